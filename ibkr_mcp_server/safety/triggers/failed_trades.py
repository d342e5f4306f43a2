"""CB-23: orders rejected or lost in the last hour."""

from __future__ import annotations

from dataclasses import dataclass

from ibkr_mcp_server.safety.triggers.base import Kind, Ladder, Metrics, Reading


@dataclass(frozen=True, kw_only=True)
class FailedTrades:
    ladder: Ladder
    number: str = "CB-23"

    def read(self, metrics: Metrics) -> tuple[Reading, ...]:
        if metrics.order_failures_in_the_hour is None:
            return ()
        kind = Kind(number=self.number, metric="failed orders in an hour", ladder=self.ladder)
        return (kind.reading(metrics.order_failures_in_the_hour),)
