"""The tools' descriptions and schemas as one hash: what agents are told about them is static and versioned (LLM-04)."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from sqlalchemy import Connection

from ibkr_mcp_server.audit.events import AuditEvent, EventType
from ibkr_mcp_server.audit.log import tail
from ibkr_mcp_server.domain.operations import SYSTEM

_PAGE = Path(__file__).parents[1] / "tools" / "schemas.json"


@cache
def tools_hash() -> str:
    """SHA-256 of what tools/list answers."""
    return hashlib.sha256(_PAGE.read_bytes()).hexdigest()


def change_since_last_start(connection: Connection, now: str) -> AuditEvent | None:
    """What to record when the last start told of another hash than `now`."""
    before = next(iter(tail(connection, 1, EventType.SERVER_START)), None)
    told = None if before is None or not before.outcome else before.outcome.get("tools_hash")
    if told in (None, now):
        return None
    return AuditEvent(type=EventType.TOOLS_CHANGED, actor=SYSTEM, outcome={"before": told, "now": now})
