"""CB-29: orders whose outcome stays unknown although the broker answers; two late ones count as a very late one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from ibkr_mcp_server.safety.triggers.base import Kind, Ladder, Level, Metrics, Reading

MANY = 2


@dataclass(frozen=True, kw_only=True)
class UnknownOrders:
    ladder: Ladder
    number: str = "CB-29"

    def read(self, metrics: Metrics) -> tuple[Reading, ...]:
        if not metrics.unknown_seconds:
            return ()
        kind = Kind(number=self.number, metric="unknown outcome for", ladder=self.ladder, unit=" s")
        oldest = Decimal(round(max(metrics.unknown_seconds)))
        reading = kind.reading(oldest)
        late = [seconds for seconds in metrics.unknown_seconds if Decimal(round(seconds)) >= (self.ladder.pause or 0)]
        if len(late) < MANY or self.ladder.pause is None:
            return (reading,)
        return (replace(reading, level=Level.KILL, limit=self.ladder.pause),)
