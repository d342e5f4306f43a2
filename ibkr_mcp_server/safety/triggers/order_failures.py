"""CB-22: orders in a row that the broker rejected or that were lost; one that succeeds ends it (T-28)."""

from __future__ import annotations

from dataclasses import dataclass

from ibkr_mcp_server.safety.triggers.base import Kind, Ladder, Metrics, Reading


@dataclass(frozen=True, kw_only=True)
class OrderFailures:
    ladder: Ladder
    number: str = "CB-22"

    def read(self, metrics: Metrics) -> tuple[Reading, ...]:
        if metrics.order_failures_in_a_row is None:
            return ()
        kind = Kind(number=self.number, metric="order failures in a row", ladder=self.ladder)
        return (kind.reading(metrics.order_failures_in_a_row),)
