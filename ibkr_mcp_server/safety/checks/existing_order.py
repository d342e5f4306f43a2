"""The order to be changed or cancelled exists, works, and is ours to touch."""

from __future__ import annotations

from dataclasses import dataclass

from ibkr_mcp_server.domain.operations import Operation, OperationClass
from ibkr_mcp_server.domain.orders import CHANGEABLE
from ibkr_mcp_server.safety.codes import Code, problem
from ibkr_mcp_server.safety.decision import PASSED, Findings, refuses
from ibkr_mcp_server.safety.snapshot import Snapshot


@dataclass(frozen=True, kw_only=True)
class ExistingOrder:
    """The broker tells of the order; cancelling one that has ended is no fault (ID-06), changing it is."""

    client_id: int

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        current = seen.observed.current
        if current is None:
            return PASSED  # a missing order is among the problems that order_form reports
        changes = operation.operation_class is OperationClass.ORDER_MODIFICATION
        if not current.is_working:
            if not changes:
                return Findings(observed=current.status)
            text = f"The order {current.perm_id} is {current.status}; it cannot be changed any more."
            return refuses(problem(Code.ORDER_NOT_WORKING, text, observed=current.status))
        if current.client_id != self.client_id:
            text = f"The order {current.perm_id} belongs to client id {current.client_id}, not to {self.client_id}."
            return refuses(problem(Code.NOT_OUR_ORDER, text, observed=current.client_id, limit=self.client_id))
        order = seen.order
        if changes and order is not None and _same(order, current.order):
            return refuses(problem(Code.NOTHING_TO_CHANGE, "The modification leaves the order as it is."))
        return Findings(observed=current.status)


def _same(after: object, before: object) -> bool:
    fields = ("quantity", "time_in_force", "outside_rth", *CHANGEABLE)
    return all(getattr(after, name) == getattr(before, name) for name in fields)
