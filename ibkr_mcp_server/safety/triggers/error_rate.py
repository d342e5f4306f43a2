"""CB-20: how many of the requests and orders of 15 minutes failed; fewer than twenty say nothing (T-29)."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from ibkr_mcp_server.safety.triggers.base import Kind, Ladder, Metrics, Reading

ENOUGH = 20


@dataclass(frozen=True, kw_only=True)
class ErrorRate:
    ladder: Ladder
    number: str = "CB-20"

    def read(self, metrics: Metrics) -> tuple[Reading, ...]:
        if metrics.operations < ENOUGH:
            return ()
        kind = Kind(number=self.number, metric="error rate", ladder=self.ladder, unit=" %")
        return (kind.reading(Decimal(metrics.failed_operations) / metrics.operations * 100),)
