"""Counts wrong passphrases of the operator, and locks the door after too many (KS-16); survives restarts.

An attempt is counted before it is judged, so that neither a crash nor parallel guessing gives one away for free.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select

from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.store.schema import operator_attempts

MAX_FAILURES = 5
LOCK_SECONDS = 15 * 60.0
_SCOPE = "operator"


@dataclass(frozen=True, kw_only=True)
class Attempts:
    """Where the counter stands."""

    failures: int
    """Attempts since the last success or the end of the last lock."""
    locked_for_seconds: float
    """0 when the passphrase may be tried."""

    @property
    def locked(self) -> bool:
        return self.locked_for_seconds > 0


def current(connection: Connection, clock: Clock) -> Attempts:
    """The counter as it stands now; a lock that has run out reads as no failures."""
    row = connection.execute(select(operator_attempts).where(operator_attempts.c.scope == _SCOPE)).one_or_none()
    if row is None:
        return Attempts(failures=0, locked_for_seconds=0.0)
    if row.failures < MAX_FAILURES:
        return Attempts(failures=row.failures, locked_for_seconds=0.0)
    if row.boot_id == clock.boot_id:
        elapsed = clock.monotonic() - row.monotonic
    else:
        elapsed = (clock.now() - row.last_at).total_seconds()
    left = LOCK_SECONDS - max(0.0, elapsed)  # a stamp of the future has only just begun to count
    return Attempts(failures=row.failures if left > 0 else 0, locked_for_seconds=max(0.0, left))


def begin(connection: Connection, clock: Clock) -> Attempts:
    """Count one more attempt as failed, until `succeeded` says otherwise.

    Returns the state that was found: when that is locked nothing was counted, and the passphrase must not be looked at.
    Commit before looking at it.
    """
    before = current(connection, clock)
    if not before.locked:
        _store(connection, clock, before.failures + 1)
    return before


def succeeded(connection: Connection) -> None:
    """The passphrase was right: forget the failures."""
    connection.execute(delete(operator_attempts).where(operator_attempts.c.scope == _SCOPE))


def _store(connection: Connection, clock: Clock, failures: int) -> None:
    connection.execute(delete(operator_attempts).where(operator_attempts.c.scope == _SCOPE))
    connection.execute(
        insert(operator_attempts).values(
            scope=_SCOPE,
            failures=failures,
            last_at=clock.now(),
            monotonic=clock.monotonic(),
            boot_id=clock.boot_id,
        )
    )
