"""Every test in here runs on a SQLite file and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ibkr_mcp_server.audit.log import AuditLog
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.store.database import Database
from tests.contract.store.postgresql import SharedStore, own_schema
from tests.private_state import lay_tables
from tests.stores import NOON, an_audit_log

on_each_kind = pytest.fixture(params=["sqlite", "postgresql"])


@pytest.fixture(scope="session")
def on_postgresql() -> Iterator[SharedStore]:
    with own_schema() as schema:
        store = SharedStore(schema)
        yield store
        store.close()


@on_each_kind
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store in which nothing has happened yet."""
    if request.param == "sqlite":
        return str(lay_tables(tmp_path / "state" / "store.db"))
    shared: SharedStore = request.getfixturevalue("on_postgresql")
    return shared.emptied()


@on_each_kind
def first_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A place without a store, for tests of a first start and for those that change the tables."""
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
