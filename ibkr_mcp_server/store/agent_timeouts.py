"""Until when an agent that asked too often is not listened to (RL-10); survives restarts.

The rows stand beside the operator's own lock, which is the same kind of record: who, since when, on which clock.
"""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select

from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.store.schema import operator_attempts


def begin(connection: Connection, clock: Clock, agent: str, attempts: int) -> None:
    """A timeout of `agent` begins now, after so many attempts in a minute."""
    connection.execute(delete(operator_attempts).where(operator_attempts.c.scope == _scope(agent)))
    connection.execute(
        insert(operator_attempts).values(
            scope=_scope(agent),
            failures=attempts,
            last_at=clock.now(),
            monotonic=clock.monotonic(),
            boot_id=clock.boot_id,
        )
    )


def left_seconds(connection: Connection, clock: Clock, agent: str, length_seconds: float) -> float:
    """What is left of a timeout of that length; 0 when none is running.

    Under another boot the wall clock decides, and a timeout that seems to begin in the future has only just begun.
    """
    row = connection.execute(select(operator_attempts).where(operator_attempts.c.scope == _scope(agent))).one_or_none()
    if row is None:
        return 0.0
    if row.boot_id == clock.boot_id:
        elapsed = clock.monotonic() - row.monotonic
    else:
        elapsed = (clock.now() - row.last_at).total_seconds()
    return max(0.0, length_seconds - max(0.0, float(elapsed)))


def _scope(agent: str) -> str:
    return f"agent:{agent}"
