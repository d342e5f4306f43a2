"""What the watch over the risk must remember across restarts: marks of the equity, counters, its newest figures.

Each is a small record under a name; whoever writes one says what is in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select

from ibkr_mcp_server.store.prepared import Prepared
from ibkr_mcp_server.store.schema import risk_records

_BY_NAME = Prepared(select(risk_records).where(risk_records.c.name == bindparam("name")))


@dataclass(frozen=True, kw_only=True)
class RiskRecord:
    """One record as it was written last."""

    record: dict[str, Any]  # Any: plain JSON
    updated_at: datetime


def read(connection: Connection, name: str) -> RiskRecord | None:
    for row in _BY_NAME.records(connection, name=name):
        return RiskRecord(record=json.loads(row.record), updated_at=row.updated_at)
    return None


def write(connection: Connection, name: str, record: Mapping[str, Any], now: datetime) -> None:
    text = json.dumps(record, sort_keys=True, default=str)
    connection.execute(delete(risk_records).where(risk_records.c.name == name))
    connection.execute(insert(risk_records), {"name": name, "record": text, "updated_at": now})
