"""CB-30: positions or orders that no fill explains; at once a pause, and a stop if nobody puts it right."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from ibkr_mcp_server.safety.triggers.base import Kind, Ladder, Metrics, Reading


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    ladder: Ladder
    number: str = "CB-30"

    def read(self, metrics: Metrics) -> tuple[Reading, ...]:
        if metrics.mismatch_seconds is None:
            return ()
        kind = Kind(number=self.number, metric="records disagree for", ladder=self.ladder, unit=" s")
        return (kind.reading(Decimal(round(metrics.mismatch_seconds))),)
