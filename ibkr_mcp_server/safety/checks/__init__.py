"""The rules, one file each: pure functions of an operation and a snapshot.

A check never does I/O and never reads a clock. An exception in one is a refusal (TW-07).
"""

from __future__ import annotations

from typing import Protocol

from ibkr_mcp_server.domain.operations import Operation
from ibkr_mcp_server.safety.decision import Findings
from ibkr_mcp_server.safety.snapshot import Snapshot


class Check(Protocol):
    """One rule."""

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        """What the rule says about `operation`, judged by `seen` alone."""
        ...
