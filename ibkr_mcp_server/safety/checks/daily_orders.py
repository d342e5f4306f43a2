"""Opening orders in a trading day (RL-05, RL-07)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from ibkr_mcp_server.clock import next_trading_day_starts
from ibkr_mcp_server.domain.operations import Operation
from ibkr_mcp_server.safety.codes import Code, problem
from ibkr_mcp_server.safety.decision import PASSED, Findings, beyond, passes
from ibkr_mcp_server.safety.snapshot import Snapshot


@dataclass(frozen=True, kw_only=True)
class DailyOrders:
    """Admits `per_day` opening orders in a trading day, and warns from `warn_at` on."""

    per_day: int
    warn_at: int

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        if not seen.opens:
            return PASSED
        used = seen.recorded.opening_today
        observed, limit = f"{used} today", self._limit
        if used >= self.per_day:
            until = next_trading_day_starts(seen.now)
            text = (
                f"{used} opening orders were accepted in this trading day; the limit is {self.per_day}. "
                f"The next trading day starts {until:%Y-%m-%d %H:%M} UTC."
            )
            return beyond(
                problem(
                    Code.DAILY_LIMIT,
                    text,
                    observed=observed,
                    limit=limit,
                    retry_after_seconds=(until - seen.now).total_seconds(),
                )
            )
        if used < self.warn_at:
            return passes(observed, limit)
        text = f"This is opening order {used + 1} of the trading day; the limit is {self.per_day}."
        return Findings(warnings=(text,), observed=observed, limit=limit)

    @cached_property
    def _limit(self) -> str:
        return f"{self.per_day} per trading day"
