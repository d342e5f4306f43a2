"""The whole safety status as JSON (MON-04): of the server in this process, or of the store when the API runs alone."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection

from ibkr_mcp_server.alerts.health import alert_health
from ibkr_mcp_server.audit.canonical import canonical
from ibkr_mcp_server.audit.log import head
from ibkr_mcp_server.clock import trading_day
from ibkr_mcp_server.control.parts import Parts
from ibkr_mcp_server.operations.desk import Desk
from ibkr_mcp_server.operations.headroom import order_limits
from ibkr_mcp_server.operations.status import SafetyStatus, gates, read_status
from ibkr_mcp_server.safety import writer
from ibkr_mcp_server.safety.minute_window import MINUTE_SECONDS
from ibkr_mcp_server.safety.state import Action
from ibkr_mcp_server.store import intents

CALLER = "control API"
"""Whose share of the limits per agent is shown."""

Json = dict[str, Any]  # Any: JSON


async def full_status(parts: Parts) -> Json:
    """Everything that decides whether an order may pass, redacted as in the audit log."""
    desk = parts.desk
    if desk is None:
        return await parts.database.read(lambda connection: _of_the_store(connection, parts))
    return as_json(await of_the_server(desk))


async def of_the_server(desk: Desk) -> SafetyStatus:
    return await desk.database.read(lambda connection: read_status(connection, desk, CALLER))


def as_json(status: SafetyStatus) -> Json:
    plain: Json = json.loads(canonical(status))
    state = plain.pop("state")
    return {
        "kill_switch_active": status.kill.active,
        "effective_state": status.state.name,
        "permissions": {action.value: status.state.permission(action).name.lower() for action in Action},
        "causes": state["causes"],
        "refusals": status.refusals,
        **plain,
    }


def _of_the_store(connection: Connection, parts: Parts) -> Json:
    """What is known without a server: neither the link nor what only lives in memory."""
    settings, now = parts.settings, parts.clock.now()
    kill = parts.kill_switch.status(connection)
    minute = len(intents.opening_in_window(connection, parts.clock, MINUTE_SECONDS))
    today = intents.opening_on(connection, trading_day(now))
    told = {
        "at": now,
        "kill_switch_active": kill.active,
        "causes": parts.kill_switch.bearing_on(connection).causes,
        "kill": kill,
        "trading_enabled": settings.enable_trading,
        "gates": gates(settings),
        "limits": order_limits(settings, minute, today),
        "opening_today": today,
        "unresolved": intents.unresolved(connection),
        "alerts": alert_health(connection, settings, now),
        "audit_head": head(connection),
        "newest_writer": writer.newest(connection),
        "config_hash": settings.fingerprint,
        "store_only": True,
    }
    plain: Json = json.loads(canonical(told))
    return plain
