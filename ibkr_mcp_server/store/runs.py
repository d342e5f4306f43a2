"""How earlier runs of the server ended, by their own records (SU-06)."""

from __future__ import annotations

from sqlalchemy import Connection, select

from ibkr_mcp_server.store import reconciliations
from ibkr_mcp_server.store.schema import audit_log

_START, _STOP = "SERVER_START", "SERVER_STOP"


def unclean_run_before(connection: Connection, session_id: str) -> str | None:
    """A sentence about the newest run that did not end in order and after which no other found all in agreement.

    A run that lives beside this one has no end yet and counts as well: it may be sending.
    """
    starts = connection.execute(
        select(audit_log.c.session_id, audit_log.c.timestamp)
        .where(audit_log.c.event_type == _START)
        .order_by(audit_log.c.seq.desc())
    )
    for run, started_at in starts:
        if run == session_id:
            continue
        stopped = connection.execute(
            select(audit_log.c.seq).where(audit_log.c.event_type == _STOP, audit_log.c.session_id == run).limit(1)
        ).first()
        if stopped is None:
            return f"The run of {started_at} did not end in order; the broker's records are compared first."
        if reconciliations.was_clean(connection, run):
            return None
    return None
