"""How far each stop was carried out, so that whoever writes next can go on after a crash (EM-01)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select

from ibkr_mcp_server.store.prepared import Prepared
from ibkr_mcp_server.store.schema import stop_runs

_OF_LATCH = select(stop_runs).where(
    stop_runs.c.scope == bindparam("scope"), stop_runs.c.generation == bindparam("generation")
)
# Each status asks for it.
_NEWEST = Prepared(
    select(stop_runs).where(stop_runs.c.scope == bindparam("scope")).order_by(stop_runs.c.generation.desc()).limit(1)
)


@dataclass(frozen=True, kw_only=True)
class StopRun:
    """The effects of one use of one switch."""

    scope: str
    generation: int
    """Of the latch whose effects these are."""
    mode: str
    step: str
    begun_at: datetime
    updated_at: datetime
    finished_at: datetime | None = None
    attempts: int = 0
    """Rounds of closing positions so far."""
    report: dict[str, Any] = field(default_factory=dict)  # Any: JSON
    """What was done and what is left."""


def of_latch(connection: Connection, scope: str, generation: int) -> StopRun | None:
    row = connection.execute(_OF_LATCH, {"scope": scope, "generation": generation}).mappings().one_or_none()
    return None if row is None else _from_row(row)


def newest(connection: Connection, scope: str) -> StopRun | None:
    rows = _NEWEST.mappings(connection, scope=scope)
    return _from_row(rows[0]) if rows else None


def keep(connection: Connection, run: StopRun, now: datetime) -> StopRun:
    """Write `run` down as it stands now."""
    kept = replace(run, updated_at=now)
    connection.execute(
        delete(stop_runs).where(stop_runs.c.scope == run.scope, stop_runs.c.generation == run.generation)
    )
    connection.execute(insert(stop_runs), {**vars(kept), "report": json.dumps(kept.report)})
    return kept


def _from_row(row: Mapping[Any, Any]) -> StopRun:  # Any: values of all the columns' types
    values = dict(row)
    values["report"] = json.loads(values["report"])
    return StopRun(**values)
