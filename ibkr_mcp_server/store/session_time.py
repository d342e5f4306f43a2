"""For how long servers have run since a person armed them last (TM-06); a restart changes nothing."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select

from ibkr_mcp_server.store.columns import rfc3339
from ibkr_mcp_server.store.schema import meta

_NAME = "session_time"


@dataclass(frozen=True, kw_only=True)
class SessionTime:
    """The time that was used."""

    used_seconds: float
    armed: int
    """How often a person armed it; tells a server that its own count is over."""
    armed_by: str | None
    armed_at: str | None
    """RFC 3339, UTC; None before the first time."""


NEW = SessionTime(used_seconds=0.0, armed=0, armed_by=None, armed_at=None)


def read(connection: Connection) -> SessionTime:
    value = connection.execute(select(meta.c.value).where(meta.c.name == _NAME)).scalar_one_or_none()
    return NEW if value is None else SessionTime(**json.loads(value))


def add(connection: Connection, seconds: float, *, armed: int) -> SessionTime:
    """Count `seconds` more, unless a person armed it since `armed` was read."""
    found = read(connection)
    if found.armed != armed:
        return found
    return _store(
        connection,
        SessionTime(
            used_seconds=found.used_seconds + seconds,
            armed=found.armed,
            armed_by=found.armed_by,
            armed_at=found.armed_at,
        ),
    )


def arm(connection: Connection, by: str, at: datetime) -> SessionTime:
    """Begin anew; the caller has proved the person."""
    return _store(
        connection,
        SessionTime(used_seconds=0.0, armed=read(connection).armed + 1, armed_by=by, armed_at=rfc3339(at)),
    )


def _store(connection: Connection, time: SessionTime) -> SessionTime:
    connection.execute(delete(meta).where(meta.c.name == _NAME))
    connection.execute(insert(meta), {"name": _NAME, "value": json.dumps(asdict(time))})
    return time
