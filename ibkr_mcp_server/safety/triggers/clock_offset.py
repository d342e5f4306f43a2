"""CB-31: how far our clock and the broker's are apart for certain."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from ibkr_mcp_server.safety.triggers.base import Kind, Ladder, Metrics, Reading


@dataclass(frozen=True, kw_only=True)
class ClockOffset:
    ladder: Ladder
    number: str = "CB-31"

    def read(self, metrics: Metrics) -> tuple[Reading, ...]:
        if metrics.clock_offset_seconds is None:
            return ()
        kind = Kind(number=self.number, metric="clock offset", ladder=self.ladder, unit=" s")
        return (kind.reading(Decimal(str(round(metrics.clock_offset_seconds, 3)))),)
