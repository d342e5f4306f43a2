"""CB-16: what was lost within the last five minutes."""

from __future__ import annotations

from dataclasses import dataclass

from ibkr_mcp_server.safety.triggers.base import Kind, Ladder, Metrics, Reading, fall_pct


@dataclass(frozen=True, kw_only=True)
class LossVelocity:
    ladder: Ladder
    number: str = "CB-16"

    def read(self, metrics: Metrics) -> tuple[Reading, ...]:
        kind = Kind(
            number=self.number, metric="loss within five minutes", ladder=self.ladder, unit=" %", loses_money=True
        )
        falls = ((fall_pct(one.peak_of_five_minutes, one.equity), one.account) for one in metrics.accounts)
        return tuple(kind.reading(fall, scope=account) for fall, account in falls if fall is not None)
