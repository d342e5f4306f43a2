"""Only the process that holds the writer's role sends anything (LK-01, LK-05)."""

from __future__ import annotations

from dataclasses import dataclass

from ibkr_mcp_server.domain.operations import Operation
from ibkr_mcp_server.safety.codes import Code, problem
from ibkr_mcp_server.safety.decision import PASSED, Findings, refuses
from ibkr_mcp_server.safety.snapshot import Snapshot


@dataclass(frozen=True, kw_only=True)
class TheWriter:
    """Refuses every write of a process without the role."""

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        objection = seen.recorded.not_the_writer
        return PASSED if objection is None else refuses(problem(Code.NOT_THE_WRITER, objection))
