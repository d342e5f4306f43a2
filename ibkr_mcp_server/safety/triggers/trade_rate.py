"""CB-24: orders with at least one fill in the last hour; the parts of one are one trade (T-55)."""

from __future__ import annotations

from dataclasses import dataclass

from ibkr_mcp_server.safety.triggers.base import Kind, Ladder, Metrics, Reading


@dataclass(frozen=True, kw_only=True)
class TradeRate:
    ladder: Ladder
    number: str = "CB-24"

    def read(self, metrics: Metrics) -> tuple[Reading, ...]:
        if metrics.trades_in_the_hour is None:
            return ()
        kind = Kind(number=self.number, metric="trades in an hour", ladder=self.ladder)
        return (kind.reading(metrics.trades_in_the_hour),)
