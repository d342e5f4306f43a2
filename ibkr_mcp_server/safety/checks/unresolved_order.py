"""No new opening order in an instrument while an earlier one's outcome is unknown (ID-08)."""

from __future__ import annotations

from dataclasses import dataclass

from ibkr_mcp_server.domain.operations import Operation
from ibkr_mcp_server.safety.codes import Code, problem
from ibkr_mcp_server.safety.decision import PASSED, Findings, refuses
from ibkr_mcp_server.safety.snapshot import Snapshot
from ibkr_mcp_server.store.intents import IntentState


@dataclass(frozen=True, kw_only=True)
class UnresolvedOrder:
    """Intents that are merely in flight do not count; those whose outcome was lost do."""

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        order = seen.order
        if order is None or not seen.opens or not seen.recorded.unresolved:
            return PASSED
        lost = [
            intent
            for intent in seen.recorded.unresolved
            if intent.state is IntentState.UNKNOWN and intent.con_id == order.instrument.con_id
        ]
        if not lost:
            return PASSED
        keys = ", ".join(intent.request_key for intent in lost)
        text = f"{len(lost)} order(s) in {order.instrument.label} have an unknown outcome: client_request_id {keys}."
        return refuses(problem(Code.UNRESOLVED_ORDER, text, observed=len(lost), limit=0))
