"""Reports of comparisons with the broker (ID-15), and the anchors from which the next one counts.

A report that only repeats the one before it makes that one longer, so a quiet day is a few rows.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, insert, or_, select, update

from ibkr_mcp_server.errors import Fault
from ibkr_mcp_server.store.prepared import Prepared
from ibkr_mcp_server.store.schema import reconciliations


@dataclass(frozen=True, kw_only=True)
class Report:
    """One comparison, or several in a row with the same outcome."""

    seq: int
    first_at: datetime
    last_at: datetime
    times: int
    session_id: str
    venue: str
    occasion: str
    clean: bool
    """Nothing was found that holds trading back."""
    report: dict[str, Any]  # Any, here and below: JSON
    anchors: dict[str, Any] | None
    """What the broker said, for the next comparison; None where it could not be explained."""
    accepted_by: str | None = None
    accepted_reason: str | None = None

    @property
    def differences(self) -> tuple[str, ...]:
        """One sentence for each difference that was found."""
        return tuple(found["text"] for found in self.report["differences"])


def add(
    connection: Connection,
    *,
    now: datetime,
    session_id: str,
    venue: str,
    occasion: str,
    clean: bool,
    report: dict[str, Any],
    anchors: dict[str, Any] | None,
    may_repeat: bool,
) -> tuple[Report, bool]:
    """Keep a report; with `may_repeat` it joins the newest one if that says the same. True when it is a row of its own.

    `anchors` replace the newest ones of a row that is made longer.
    """
    before = newest(connection)
    if (
        may_repeat
        and before is not None
        and (before.session_id, before.venue, before.occasion, before.clean, before.report)
        == (session_id, venue, occasion, clean, report)
    ):
        changes = {"last_at": now, "times": before.times + 1, "anchors": _text(anchors)}
        connection.execute(update(reconciliations).where(reconciliations.c.seq == before.seq).values(changes))
        return _get(connection, before.seq), False
    seq = (connection.execute(select(func.max(reconciliations.c.seq))).scalar_one() or 0) + 1
    row = {
        "seq": seq,
        "first_at": now,
        "last_at": now,
        "times": 1,
        "session_id": session_id,
        "venue": venue,
        "occasion": occasion,
        "clean": clean,
        "report": json.dumps(report, sort_keys=True),
        "anchors": _text(anchors),
    }
    connection.execute(insert(reconciliations), row)
    return _get(connection, seq), True


def newest(connection: Connection) -> Report | None:
    return _first(connection)


def newest_anchored(connection: Connection, venue: str) -> Report | None:
    """The newest report of `venue` whose figures were explained by the broker or accepted by a person."""
    known = reconciliations.c.clean | reconciliations.c.accepted_by.is_not(None)
    return _first(connection, reconciliations.c.venue == venue, reconciliations.c.anchors.is_not(None), known)


def disagreeing_since(connection: Connection, venue: str) -> datetime | None:
    """Since when every comparison at `venue` found something that holds trading back; None if the newest did not."""
    ((since,),) = _DISAGREEING_SINCE.rows(connection, venue=venue)
    return since  # type: ignore[no-any-return]  # of the column's type


def was_clean(connection: Connection, session_id: str) -> bool:
    """Whether a run of the server ever found everything in agreement."""
    good = or_(reconciliations.c.clean, reconciliations.c.accepted_by.is_not(None))
    return _first(connection, reconciliations.c.session_id == session_id, good) is not None


def accept(connection: Connection, seq: int, *, by: str, reason: str) -> Report:
    """A person takes the broker's figures of this report for true.

    Raises:
        Fault: there is no such report, or it kept no figures.
    """
    if _get(connection, seq).anchors is None:
        raise Fault("NOTHING_TO_ACCEPT", f"Report {seq} holds no figures that could be accepted.")
    connection.execute(
        update(reconciliations).where(reconciliations.c.seq == seq).values(accepted_by=by, accepted_reason=reason)
    )
    return _get(connection, seq)


_HERE = reconciliations.c.venue == bindparam("venue")
_SETTLED = select(func.max(reconciliations.c.seq)).where(
    _HERE, reconciliations.c.clean | reconciliations.c.accepted_by.is_not(None)
)
_DISAGREEING_SINCE = Prepared(
    select(func.min(reconciliations.c.first_at)).where(
        _HERE, reconciliations.c.seq > func.coalesce(_SETTLED.scalar_subquery(), 0)
    )
)


def _first(connection: Connection, *conditions: Any) -> Report | None:
    query = select(reconciliations).where(*conditions).order_by(reconciliations.c.seq.desc()).limit(1)
    row = connection.execute(query).one_or_none()
    return None if row is None else _report(row)


def _get(connection: Connection, seq: int) -> Report:
    found = _first(connection, reconciliations.c.seq == seq)
    if found is None:
        raise Fault("REPORT_MISSING", f"There is no reconciliation report {seq}.")
    return found


def _text(anchors: dict[str, Any] | None) -> str | None:
    return None if anchors is None else json.dumps(anchors, sort_keys=True)


def _report(row: Row[Any]) -> Report:
    values = dict(row._mapping)
    values["report"] = json.loads(values["report"])
    values["anchors"] = None if values["anchors"] is None else json.loads(values["anchors"])
    return Report(**values)
