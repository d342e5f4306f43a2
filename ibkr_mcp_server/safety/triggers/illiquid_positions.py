"""CB-28: several positions could be sold only at a bad price, in the middle of regular hours."""

from __future__ import annotations

from dataclasses import dataclass

from ibkr_mcp_server.safety.triggers.base import Kind, Ladder, Metrics, Reading


@dataclass(frozen=True, kw_only=True)
class IlliquidPositions:
    ladder: Ladder
    number: str = "CB-28"

    def read(self, metrics: Metrics) -> tuple[Reading, ...]:
        kind = Kind(number=self.number, metric="illiquid positions", ladder=self.ladder)
        return (kind.reading(metrics.illiquid),)
