"""Samples for tests of store/ and audit/; processes of their own import this, so it is kept light."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection

from ibkr_mcp_server.audit.events import AuditEvent, EventType
from ibkr_mcp_server.audit.log import AuditLog
from ibkr_mcp_server.clock import Clock, ManualClock, trading_day
from ibkr_mcp_server.domain.operations import Actor, ActorType
from ibkr_mcp_server.store.database import Database
from ibkr_mcp_server.store.intents import Intent

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


def fill_the_disk(connection: Connection) -> None:
    """A SQLite store may not grow any more: writes fail once the pages that are left are used up."""
    pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
