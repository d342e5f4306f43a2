"""One key, one order (ID-01..ID-04)."""

from __future__ import annotations

from dataclasses import dataclass

from ibkr_mcp_server.domain.operations import Operation
from ibkr_mcp_server.safety.codes import Code, problem
from ibkr_mcp_server.safety.decision import PASSED, Findings, refuses
from ibkr_mcp_server.safety.snapshot import Snapshot
from ibkr_mcp_server.store.intents import Intent, IntentState


@dataclass(frozen=True, kw_only=True)
class Idempotency:
    """Refuses a key that stands for something else; a true repeat is answered from the record by the manager."""

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        earlier = seen.recorded.same_key
        if earlier is None or earlier.fingerprint == seen.recorded.fingerprint:
            return PASSED
        stands_for = f"{earlier.kind} {earlier.side} {earlier.quantity:f} {earlier.symbol}"
        text = f"client_request_id {earlier.request_key} already stands for another request: {stands_for}."
        return refuses(problem(Code.IDEMPOTENCY_MISMATCH, text, observed=earlier.request_key))


def repeated(earlier: Intent) -> Findings:
    """The same request again: its own record answers, unless that is not known yet (ID-04)."""
    if earlier.state not in (IntentState.RESERVED, IntentState.SENT):
        return Findings(observed=earlier.state)
    text = f"The request {earlier.request_key} is being carried out (intent {earlier.intent_id})."
    return refuses(problem(Code.IN_PROGRESS, text, observed=earlier.state))
