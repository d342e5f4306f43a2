"""A warning well before inefficiency stops opening orders (RL-15); the stop itself is a cause of the state."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from ibkr_mcp_server.domain.operations import Operation
from ibkr_mcp_server.safety.decision import PASSED, Findings, passes
from ibkr_mcp_server.safety.efficiency import ratio, told
from ibkr_mcp_server.safety.snapshot import Snapshot


@dataclass(frozen=True, kw_only=True)
class OrderEfficiency:
    """Warns from `warn_at` messages for each order that traded on."""

    warn_at: int
    limit: int

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        day = seen.recorded.messages
        if not seen.opens:
            return PASSED
        observed, limit = told(day), self._limit
        if ratio(day) < self.warn_at:
            return passes(observed, limit)
        text = f"Messages to the broker for each order that traded: {observed}; at {self.limit} nothing more is opened."
        return Findings(warnings=(text,), observed=observed, limit=limit)

    @cached_property
    def _limit(self) -> str:
        return f"{self.limit} a trading day"
