"""CB-19: how much of the equity the broker ties up as maintenance margin."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from ibkr_mcp_server.safety.triggers.base import Kind, Ladder, Metrics, Reading


@dataclass(frozen=True, kw_only=True)
class MarginUse:
    ladder: Ladder
    number: str = "CB-19"

    def read(self, metrics: Metrics) -> tuple[Reading, ...]:
        """An account without equity that owes margin is worse than any limit."""
        kind = Kind(number=self.number, metric="margin use", ladder=self.ladder, unit=" %")
        found = []
        for one in metrics.accounts:
            if one.equity is None or one.maintenance_margin is None:
                continue
            if one.equity > 0:
                found.append(kind.reading(one.maintenance_margin / one.equity * 100, scope=one.account))
            elif one.maintenance_margin > 0:
                found.append(kind.reading(Decimal(999), scope=one.account))
        return tuple(found)
