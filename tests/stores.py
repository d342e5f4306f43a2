"""Databases and samples for tests of store/ and audit/."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Connection, insert, make_url, select

from ibkr_mcp_server.agents import Agent, write_agents
from ibkr_mcp_server.audit.events import AuditEvent, EventType
from ibkr_mcp_server.audit.log import AuditLog
from ibkr_mcp_server.clock import Clock, ManualClock, trading_day
from ibkr_mcp_server.domain.agents import AgentLimits
from ibkr_mcp_server.domain.operations import Actor, ActorType
from ibkr_mcp_server.store.database import Database
from ibkr_mcp_server.store.intents import Intent
from ibkr_mcp_server.store.schema import metadata

POSTGRESQL = os.environ.get("IBKR_TEST_POSTGRESQL_URL", "postgresql://127.0.0.1:5432/test")
REDIS = os.environ.get("IBKR_TEST_REDIS_URL", "redis://127.0.0.1:6379/0")
AGENT = Actor(type=ActorType.AGENT, id="claude", auth="stdio")
OPERATOR = Actor(type=ActorType.HUMAN, id="root", auth="passphrase")
NOON = datetime(2026, 11, 20, 17, 0, tzinfo=UTC)


class OtherBoot(ManualClock):
    """A clock after the machine was started anew: its monotonic readings compare with nobody else's."""

    @property
    def boot_id(self) -> str:
        return "another-boot"


def an_intent(clock: Clock, **fields: Any) -> Intent:
    now = clock.now()
    values: dict[str, Any] = {
        "intent_id": uuid4().hex,
        "request_key": uuid4().hex,
        "fingerprint": "f" * 64,
        "kind": "place",
        "opening": True,
        "actor_id": "claude",
        "account": "DU9000001",
        "con_id": 265598,
        "symbol": "AAPL",
        "side": "BUY",
        "quantity": Decimal("10"),
        "order_type": "LMT",
        "limit_price": Decimal("190.50"),
        "worst_case_value_usd": Decimal("1905.00"),
        "order_ref": f"ref-{uuid4().hex}",
        "decision_id": uuid4().hex,
        "trading_day": trading_day(now),
        "created_at": now,
        "monotonic": clock.monotonic(),
        "boot_id": clock.boot_id,
        "session_id": "7b0f6b52-6d5c-4c06-9a53-0d6b86ad3c51",
    }
    return Intent(**(values | fields))


def an_event(**fields: Any) -> AuditEvent:
    values: dict[str, Any] = {
        "type": EventType.DECISION,
        "actor": AGENT,
        "operation_type": "order_placement",
        "tool": "place_limit_order",
        "order_data": {"symbol": "AAPL", "quantity": Decimal("10"), "limit_price": Decimal("190.50")},
        "validation_result": {"verdict": "approved", "limits": {"order_value": Decimal("10000")}},
    }
    return AuditEvent(**(values | fields))


def an_audit_log(database: Database, clock: Clock) -> AuditLog:
    return AuditLog(database, session_id=str(uuid4()), config_hash="c" * 64, clock=clock)


def write_agent(path: Path, **limits: Any) -> None:
    """The agent `momentum` with limits of its own, in the state directory that a server will open below `path`."""
    state = path / "state"
    state.mkdir(mode=0o700)
    write_agents(state / "agents.json", [Agent(name="momentum", limits=AgentLimits(**limits))])


def fill_the_disk(connection: Connection) -> None:
    """A SQLite store may not grow any more: writes fail once the pages that are left are used up."""
    pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")


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


TABLES = metadata.sorted_tables
