"""Limits that two people raised for a while (CFG-21): which, to what, until when, and who they were."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, insert, select, update

from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.store.deadlines import left_seconds
from ibkr_mcp_server.store.prepared import Prepared
from ibkr_mcp_server.store.schema import limit_raises


@dataclass(frozen=True, kw_only=True)
class LimitRaise:
    """One raise that holds."""

    raise_id: str
    """The id of the request that two people approved."""
    name: str
    """Of the setting."""
    value: Decimal
    until: datetime
    reason: str
    approved_by: str
    made_at: datetime


def add(connection: Connection, clock: Clock, raised: LimitRaise) -> None:
    """A raise holds from now on; an earlier one of the same limit ends."""
    end(connection, clock, raised.name)
    connection.execute(
        insert(limit_raises).values(
            raise_id=raised.raise_id,
            name=raised.name,
            value=raised.value,
            until=raised.until,
            reason=raised.reason,
            approved_by=raised.approved_by,
            made_at=raised.made_at,
            monotonic=clock.monotonic(),
            boot_id=clock.boot_id,
            seconds=(raised.until - raised.made_at).total_seconds(),
        )
    )


def end(connection: Connection, clock: Clock, name: str) -> int:
    """End the raise of a limit before its time; how many ended."""
    where = (limit_raises.c.name == name) & limit_raises.c.ended_at.is_(None)
    return connection.execute(update(limit_raises).where(where).values(ended_at=clock.now())).rowcount


def in_force(connection: Connection, clock: Clock) -> tuple[LimitRaise, ...]:
    """The raises that hold now, by name. One holds while both clocks say so."""
    rows = _OPEN.records(connection)
    return tuple(_raise(row) for row in rows if clock.now() < row.until and _left(clock, row) > 0)


_OPEN = Prepared(select(limit_raises).where(limit_raises.c.ended_at.is_(None)).order_by(limit_raises.c.name))


def _left(clock: Clock, row: Any) -> float:  # Any: a record of the table
    return left_seconds(clock, began_at=row.made_at, monotonic=row.monotonic, boot_id=row.boot_id, seconds=row.seconds)


def _raise(row: Any) -> LimitRaise:  # Any: as above
    return LimitRaise(
        raise_id=row.raise_id,
        name=row.name,
        value=row.value,
        until=row.until,
        reason=row.reason,
        approved_by=row.approved_by,
        made_at=row.made_at,
    )
