"""What closes a position never crosses zero (T-25)."""

from __future__ import annotations

from dataclasses import dataclass

from ibkr_mcp_server.domain.operations import CloseDraft, Operation
from ibkr_mcp_server.safety.codes import Code, problem
from ibkr_mcp_server.safety.decision import PASSED, Findings, refuses
from ibkr_mcp_server.safety.snapshot import Snapshot


@dataclass(frozen=True, kw_only=True)
class ClosesOnly:
    """Refuses a close that the broker's position, net of all that may still trade, does not cover."""

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        order, exposure = seen.order, seen.observed.exposure
        if not isinstance(operation.draft, CloseDraft) or order is None or not seen.opens:
            return PASSED
        most = None if exposure is None else exposure.reducible(order.side)
        limit = "unknown" if most is None else f"{most:f}"
        text = f"Closing {order.quantity:f} {order.instrument.label} is more than can be closed now: {limit}."
        return refuses(problem(Code.WOULD_OPEN, text, observed=f"{order.quantity:f}", limit=limit))
