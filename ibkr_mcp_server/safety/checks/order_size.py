"""Units per order (ORD-06)."""

from __future__ import annotations

from dataclasses import dataclass

from ibkr_mcp_server.domain.operations import Operation
from ibkr_mcp_server.safety.codes import Code, problem
from ibkr_mcp_server.safety.decision import PASSED, Findings, beyond, passes
from ibkr_mcp_server.safety.snapshot import Snapshot


@dataclass(frozen=True, kw_only=True)
class OrderSize:
    """Refuses opening orders of more than `max_units`; a verified reduction is bounded by the position itself."""

    max_units: int

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        order = seen.order
        if order is None or not seen.opens:
            return PASSED
        observed, limit = f"{order.quantity:f}", str(self.max_units)
        if order.quantity <= self.max_units:
            return passes(observed, limit)
        text = f"The order is for {order.quantity:f} units; the limit is {self.max_units} per order."
        return beyond(problem(Code.ORDER_SIZE_LIMIT, text, observed=observed, limit=limit))
