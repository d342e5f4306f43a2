"""How much of the equity the broker would tie up after the order, by its own preview (PL-13)."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

from ibkr_mcp_server.domain.operations import Operation
from ibkr_mcp_server.safety.codes import Code, problem
from ibkr_mcp_server.safety.decision import PASSED, Findings, beyond, passes
from ibkr_mcp_server.safety.snapshot import Snapshot


@dataclass(frozen=True, kw_only=True)
class MarginAfter:
    """Keeps the maintenance margin after a new order at or below `most_pct` percent of the equity after it.

    A change of a working order cannot be previewed, and passes.
    """

    asked: bool
    """Whether the broker is asked at all."""
    most_pct: Decimal

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        if not self.asked or seen.order is None or not seen.opens or seen.observed.current is not None:
            return PASSED
        if seen.observed.value_usd is None:
            return PASSED  # refused for that; then the broker was not asked either
        limit = self._limit
        told = seen.observed.margin
        if told is None or told.maintenance_after is None or told.equity_after is None:
            text = "The broker has not said what the account's margin would be after the order."
            return beyond(problem(Code.MARGIN_UNKNOWN, text, limit=limit))
        if told.equity_after > 0 and told.maintenance_after * 100 <= self.most_pct * told.equity_after:
            share = told.maintenance_after * 100 / told.equity_after
            return passes(f"{share:.2f} %", limit)
        observed = f"{told.maintenance_after:,.2f} of {told.equity_after:,.2f}"
        text = f"After the order the maintenance margin would be {observed}; the limit is {limit}."
        return beyond(problem(Code.MARGIN_LIMIT, text, observed=observed, limit=limit))

    @cached_property
    def _limit(self) -> str:
        return f"{self.most_pct:f} % of the equity"
