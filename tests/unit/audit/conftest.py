"""A store with some records in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ibkr_mcp_server.audit.log import AuditLog
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.store.database import Database
from tests.private_state import lay_tables
from tests.stores import NOON, an_audit_log


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database.open(lay_tables(tmp_path / "state" / "store.db"))
    yield database
    database.close()


@pytest.fixture
def log(database: Database, clock: ManualClock) -> AuditLog:
    return an_audit_log(database, clock)
