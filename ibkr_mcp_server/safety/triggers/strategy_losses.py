"""ST-03: an agent's losing round trips in a row."""

from __future__ import annotations

from dataclasses import dataclass

from ibkr_mcp_server.safety.triggers.base import Kind, Ladder, Metrics, Reading


@dataclass(frozen=True, kw_only=True)
class StrategyLosses:
    ladder: Ladder
    number: str = "ST-03"

    def read(self, metrics: Metrics) -> tuple[Reading, ...]:
        kind = Kind(number=self.number, metric="losses in a row", ladder=self.ladder, loses_money=True)
        return tuple(kind.reading(one.losses_in_a_row, scope=one.name) for one in metrics.strategies)
