"""Every test in here runs on a SQLite file and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ibkr_mcp_server.audit.log import AuditLog
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.store.database import Database
from tests.stores import NOON, an_audit_log, own_schema


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield str(tmp_path / "state" / "store.db")
    else:
        with own_schema() as schema:
            yield schema


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    database = Database.open(url)
    yield database
    database.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON)


@pytest.fixture
def log(database: Database, clock: ManualClock) -> AuditLog:
    return an_audit_log(database, clock)
