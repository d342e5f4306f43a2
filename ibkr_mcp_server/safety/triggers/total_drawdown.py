"""CB-12: how far the equity has fallen from the highest ever seen (T-02: each window has its own peak)."""

from __future__ import annotations

from dataclasses import dataclass

from ibkr_mcp_server.safety.triggers.base import Kind, Ladder, Metrics, Reading, fall_pct


@dataclass(frozen=True, kw_only=True)
class TotalDrawdown:
    ladder: Ladder
    number: str = "CB-12"

    def read(self, metrics: Metrics) -> tuple[Reading, ...]:
        kind = Kind(number=self.number, metric="total drawdown", ladder=self.ladder, unit=" %", loses_money=True)
        falls = ((fall_pct(one.high_water, one.equity), one.account) for one in metrics.accounts)
        return tuple(kind.reading(fall, scope=account) for fall, account in falls if fall is not None)
