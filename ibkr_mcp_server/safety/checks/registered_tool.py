"""The request names a tool that exists; any other counts as the strictest kind of write, and is refused (TW-16)."""

from __future__ import annotations

from dataclasses import dataclass

from ibkr_mcp_server.domain.operations import Operation
from ibkr_mcp_server.safety.codes import Code
from ibkr_mcp_server.safety.decision import PASSED, Findings, refuses
from ibkr_mcp_server.safety.snapshot import Snapshot


@dataclass(frozen=True, kw_only=True)
class RegisteredTool:
    """Stands before all other rules, so that this is the reason a caller reads first."""

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        if not operation.problems:
            return PASSED
        return refuses(*(found for found in operation.problems if found.code == Code.UNKNOWN_TOOL))
