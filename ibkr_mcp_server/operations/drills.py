"""When the emergency was practised last (QA-06)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.audit.log import newest_of

OVERDUE = timedelta(days=30)


@dataclass(frozen=True, kw_only=True)
class Drilled:
    """The newest drill."""

    at: datetime
    passed: bool
    against: str

    def overdue(self, now: datetime) -> str | None:
        """What to say when it was too long ago; None while it was not."""
        age = now - self.at
        if age <= OVERDUE:
            return None
        return f"The last emergency drill was {age.days} days ago; run `ibkr-mcp-server drill` every {OVERDUE.days}."


def newest_drill(connection: Connection) -> Drilled | None:
    """None before the first one."""
    record = newest_of(connection, EventType.DRILL_RESULT)
    if record is None:
        return None
    outcome = record.outcome or {}
    return Drilled(
        at=record.timestamp, passed=outcome.get("passed") is True, against=str(outcome.get("against", "unknown"))
    )
