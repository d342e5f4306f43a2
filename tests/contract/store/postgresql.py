"""Stores on a PostgreSQL server, where there is one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest
from sqlalchemy import Connection, insert, make_url, select

from ibkr_mcp_server.store.database import Database
from ibkr_mcp_server.store.schema import metadata

POSTGRESQL = os.environ.get("IBKR_TEST_POSTGRESQL_URL", "postgresql://127.0.0.1:5432/test")
TABLES = metadata.sorted_tables


@contextmanager
def own_schema() -> Iterator[str]:
    """The URL of an empty PostgreSQL schema, dropped afterwards; skips where there is no server."""
    psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")
    name = f"test_{uuid4().hex}"
    try:
        server = psycopg.connect(POSTGRESQL, autocommit=True, connect_timeout=2)
    except psycopg.OperationalError as error:
        pytest.skip(f"no PostgreSQL at {make_url(POSTGRESQL).render_as_string()}: {error}")
    with server:
        server.execute(f"CREATE SCHEMA {name}")
        try:
            url = make_url(POSTGRESQL).update_query_dict({"options": f"-csearch_path={name}"})
            yield url.render_as_string(hide_password=False)
        finally:
            server.execute(f"DROP SCHEMA {name} CASCADE")


class SharedStore:
    """A store on PostgreSQL that is emptied for each test: to lay out its tables takes half a second.

    A test that changes the tables themselves needs a store of its own.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._database = Database.open(url)
        self._first_rows = self._database.read_blocking(
            lambda connection: [(table, connection.execute(select(table)).mappings().all()) for table in TABLES]
        )

    def emptied(self) -> str:
        """Its URL, once it holds what a new store does."""
        self._database.run_blocking(self._empty)
        return self.url

    def close(self) -> None:
        self._database.close()

    def _empty(self, connection: Connection) -> None:
        connection.exec_driver_sql("ALTER TABLE audit_log DISABLE TRIGGER USER")  # nothing else deletes records
        for table in reversed(TABLES):
            connection.execute(table.delete())
        connection.exec_driver_sql("ALTER TABLE audit_log ENABLE TRIGGER USER")
        for table, rows in self._first_rows:
            if rows:
                connection.execute(insert(table), [dict(row) for row in rows])
