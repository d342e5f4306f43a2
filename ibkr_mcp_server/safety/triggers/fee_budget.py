"""CB-27: the commissions of the trading day, measured against the equity."""

from __future__ import annotations

from dataclasses import dataclass

from ibkr_mcp_server.safety.triggers.base import Kind, Ladder, Metrics, Reading


@dataclass(frozen=True, kw_only=True)
class FeeBudget:
    ladder: Ladder
    number: str = "CB-27"

    def read(self, metrics: Metrics) -> tuple[Reading, ...]:
        if metrics.fees_pct is None:
            return ()
        kind = Kind(number=self.number, metric="fees of the day", ladder=self.ladder, unit=" %", loses_money=True)
        return (kind.reading(metrics.fees_pct),)
