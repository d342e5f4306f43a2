"""CB-10: how far the equity, open profits included, has fallen from the highest of the trading day."""

from __future__ import annotations

from dataclasses import dataclass

from ibkr_mcp_server.safety.triggers.base import Kind, Ladder, Metrics, Reading, fall_pct


@dataclass(frozen=True, kw_only=True)
class DailyDrawdown:
    ladder: Ladder
    number: str = "CB-10"

    def read(self, metrics: Metrics) -> tuple[Reading, ...]:
        kind = Kind(number=self.number, metric="daily drawdown", ladder=self.ladder, unit=" %", loses_money=True)
        falls = ((fall_pct(one.day_peak, one.equity), one.account) for one in metrics.accounts)
        return tuple(kind.reading(fall, scope=account) for fall, account in falls if fall is not None)
