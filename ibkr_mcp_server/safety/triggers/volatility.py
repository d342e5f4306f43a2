"""CB-17: a held instrument moves far more within five minutes than it usually does."""

from __future__ import annotations

from dataclasses import dataclass

from ibkr_mcp_server.safety.triggers.base import Kind, Ladder, Metrics, Reading


@dataclass(frozen=True, kw_only=True)
class Volatility:
    ladder: Ladder
    number: str = "CB-17"

    def read(self, metrics: Metrics) -> tuple[Reading, ...]:
        kind = Kind(number=self.number, metric="volatility", ladder=self.ladder, unit=" times")
        return tuple(kind.reading(ratio, scope=label) for label, ratio in metrics.volatility)
