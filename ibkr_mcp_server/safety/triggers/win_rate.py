"""CB-15, ST-04: how many of an agent's last 50 round trips were won; fewer than twenty say nothing (T-29)."""

from __future__ import annotations

from dataclasses import dataclass

from ibkr_mcp_server.safety.triggers.base import Kind, Ladder, Metrics, Reading


@dataclass(frozen=True, kw_only=True)
class WinRate:
    ladder: Ladder
    number: str = "CB-15"

    def read(self, metrics: Metrics) -> tuple[Reading, ...]:
        kind = Kind(number=self.number, metric="win rate", ladder=self.ladder, unit=" %", loses_money=True)
        return tuple(
            kind.reading(one.win_rate_pct, scope=one.name) for one in metrics.strategies if one.win_rate_pct is not None
        )
