"""ST-02: how far an agent's profit has fallen from its highest, measured against the equity."""

from __future__ import annotations

from dataclasses import dataclass

from ibkr_mcp_server.safety.triggers.base import Kind, Ladder, Metrics, Reading


@dataclass(frozen=True, kw_only=True)
class StrategyDrawdown:
    ladder: Ladder
    number: str = "ST-02"

    def read(self, metrics: Metrics) -> tuple[Reading, ...]:
        kind = Kind(number=self.number, metric="strategy drawdown", ladder=self.ladder, unit=" %", loses_money=True)
        return tuple(
            kind.reading(one.drawdown_pct, scope=one.name) for one in metrics.strategies if one.drawdown_pct is not None
        )
