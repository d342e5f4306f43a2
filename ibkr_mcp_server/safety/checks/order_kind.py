"""Which order types and times in force are allowed (ORD-10)."""

from __future__ import annotations

from dataclasses import dataclass

from ibkr_mcp_server.domain.operations import Operation
from ibkr_mcp_server.domain.orders import TimeInForce
from ibkr_mcp_server.safety.decision import PASSED, Code, Findings, problem
from ibkr_mcp_server.safety.snapshot import Snapshot
from ibkr_mcp_server.safety.state import Action


@dataclass(frozen=True, kw_only=True)
class OrderKind:
    """GTC is for protective orders only: an entry must not outlive the day in which it was judged."""

    types: tuple[str, ...]
    times_in_force: tuple[str, ...]

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        order = seen.order
        if order is None:
            return PASSED
        found = []
        if order.order_type not in self.types:
            limit = ", ".join(self.types)
            text = f"Order type {order.order_type} is not allowed; allowed are {limit}."
            found.append(problem(Code.ORDER_TYPE_NOT_ALLOWED, text, observed=order.order_type, limit=limit))
        allowed = [
            name for name in self.times_in_force if name != TimeInForce.GTC or seen.observed.action is Action.PROTECT
        ]
        if order.time_in_force not in allowed:
            limit = ", ".join(allowed)
            text = f"Time in force {order.time_in_force} is not allowed for this order; allowed: {limit}."
            found.append(problem(Code.TIME_IN_FORCE_NOT_ALLOWED, text, observed=order.time_in_force, limit=limit))
        return Findings(problems=tuple(found), observed=f"{order.order_type} {order.time_in_force}")
