"""One key, one order (ID-01..ID-04)."""

from __future__ import annotations

from dataclasses import dataclass

from ibkr_mcp_server.domain.operations import Operation
from ibkr_mcp_server.safety.decision import PASSED, Code, Findings, problem, refuses
from ibkr_mcp_server.safety.snapshot import Snapshot


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
