"""CB-13: what was lost since the trading day began, fees and open losses included."""

from __future__ import annotations

from dataclasses import dataclass

from ibkr_mcp_server.safety.triggers.base import Kind, Ladder, Metrics, Reading, fall_pct


@dataclass(frozen=True, kw_only=True)
class DailyLoss:
    ladder: Ladder
    number: str = "CB-13"

    def read(self, metrics: Metrics) -> tuple[Reading, ...]:
        kind = Kind(number=self.number, metric="daily loss", ladder=self.ladder, unit=" %", loses_money=True)
        falls = ((fall_pct(one.day_start, one.equity), one.account) for one in metrics.accounts)
        return tuple(kind.reading(fall, scope=account) for fall, account in falls if fall is not None)
