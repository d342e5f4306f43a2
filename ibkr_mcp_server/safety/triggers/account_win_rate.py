"""CB-15 for the account: how many of the last 50 round trips of all agents were won; off unless it is asked for."""

from __future__ import annotations

from dataclasses import dataclass

from ibkr_mcp_server.safety.triggers.base import Kind, Ladder, Metrics, Reading


@dataclass(frozen=True, kw_only=True)
class AccountWinRate:
    ladder: Ladder
    number: str = "CB-15"

    def read(self, metrics: Metrics) -> tuple[Reading, ...]:
        if metrics.win_rate_pct is None:
            return ()
        kind = Kind(number=self.number, metric="win rate of all", ladder=self.ladder, unit=" %", loses_money=True)
        return (kind.reading(metrics.win_rate_pct),)
