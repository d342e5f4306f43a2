"""Which fills are recorded already. A broker tells a day's fills again at every connect; each counts once (ID-13)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, select

from ibkr_mcp_server.store.schema import fills


@dataclass(frozen=True, kw_only=True)
class News:
    """What being told of a fill adds to what is recorded."""

    is_new: bool
    corrects: str | None = None
    """The execution id of the earlier version of the same fill, which this one replaces."""


def note(
    connection: Connection, execution_id: str, *, fill: str, revision: int, intent_id: str | None, now: datetime
) -> News:
    """Keep a fill that is told for the first time; a version older than one that is known adds nothing."""
    known = connection.execute(select(fills).where(fills.c.fill == fill).order_by(fills.c.revision.desc())).first()
    if known is not None and known.revision >= revision:
        return News(is_new=False)
    connection.execute(
        insert(fills).values(
            execution_id=execution_id, fill=fill, revision=revision, intent_id=intent_id, recorded_at=now
        )
    )
    return News(is_new=True, corrects=None if known is None else known.execution_id)
