"""The ids of signed requests that were used: each counts once, over restarts too (SIG-04)."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, insert, select

from ibkr_mcp_server.store.schema import control_nonces

KEPT_HOURS = 24
"""Far longer than a signature holds, so that a clock set wrong for a while lets nothing be replayed."""


def used(connection: Connection, space: str, nonce: str) -> str | None:
    """The digest of the request that used the id; None if none did."""
    row = connection.execute(
        select(control_nonces.c.digest).where(control_nonces.c.space == space, control_nonces.c.nonce == nonce)
    ).one_or_none()
    return None if row is None else str(row.digest)


def use(connection: Connection, space: str, nonce: str, digest: str, now: datetime) -> str | None:
    """Use the id, unless a request did before: then its digest is returned and nothing changes."""
    earlier = used(connection, space, nonce)
    if earlier is not None:
        return earlier
    connection.execute(delete(control_nonces).where(control_nonces.c.seen_at < now - timedelta(hours=KEPT_HOURS)))
    connection.execute(insert(control_nonces).values(space=space, nonce=nonce, digest=digest, seen_at=now))
    return None
