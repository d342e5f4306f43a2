"""The safety status: everything that decides whether an order may pass, with causes and headroom (MON-01)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from ibkr_mcp_server.audit.chain import Head
from ibkr_mcp_server.audit.log import head
from ibkr_mcp_server.broker.base import LinkStatus
from ibkr_mcp_server.clock import trading_day
from ibkr_mcp_server.domain.operations import Operation
from ibkr_mcp_server.operations.desk import Desk
from ibkr_mcp_server.operations.safe_operation import Access, Answer, safe_trading_operation
from ibkr_mcp_server.safety.kill_switch import KillStatus
from ibkr_mcp_server.safety.manager import MINUTE_SECONDS, Violation
from ibkr_mcp_server.safety.policy import account_check, closed_live_locks
from ibkr_mcp_server.safety.state import EffectiveState
from ibkr_mcp_server.settings import Settings
from ibkr_mcp_server.store import intents
from ibkr_mcp_server.store.intents import Intent


@dataclass(frozen=True, kw_only=True)
class Headroom:
    """One limit and how much of it is left."""

    name: str
    used: str
    limit: str
    left: str


@dataclass(frozen=True, kw_only=True)
class SafetyStatus:
    """The state of all controls at one moment."""

    at: datetime
    state: EffectiveState
    kill: KillStatus
    link: LinkStatus
    account_verified: bool
    trading_enabled: bool
    gates: dict[str, bool]
    closed_live_locks: tuple[str, ...]
    limits: tuple[Headroom, ...]
    opening_today: int
    unresolved: tuple[Intent, ...]
    violations: tuple[Violation, ...]
    audit_head: Head
    """Sequence number and hash of the newest audit record."""
    config_hash: str
    session_id: str


async def safety_status(operation: Operation, desk: Desk) -> Answer[SafetyStatus]:
    """The status, in every state."""

    async def act(access: Access) -> SafetyStatus:
        return await desk.database.read(lambda connection: read_status(connection, desk))

    return await safe_trading_operation(operation, act, desk=desk)


def read_status(connection: Connection, desk: Desk) -> SafetyStatus:
    """Read everything in one transaction, so that the parts belong together."""
    settings, now = desk.settings, desk.clock.now()
    minute = len(intents.opening_in_window(connection, desk.clock, MINUTE_SECONDS))
    today = intents.opening_on(connection, trading_day(now))
    link = desk.broker.link
    accepts = account_check(settings).accepts
    return SafetyStatus(
        at=now,
        state=desk.safety.state(connection),
        kill=desk.safety.kill_switch.status(connection),
        link=link,
        account_verified=bool(link.accounts) and all(map(accepts, link.accounts)),
        trading_enabled=settings.enable_trading,
        gates=gates(settings),
        closed_live_locks=closed_live_locks(settings),
        limits=limits(settings, minute, today),
        opening_today=today,
        unresolved=tuple(intents.unresolved(connection)),
        violations=desk.safety.recent_violations(),
        audit_head=head(connection),
        config_hash=settings.fingerprint(),
        session_id=desk.session_id,
    )


def gates(settings: Settings) -> dict[str, bool]:
    return {
        "trading": settings.enable_trading,
        "forex": settings.enable_forex_trading,
        "international": settings.enable_international_trading,
        "stop_loss_orders": settings.enable_stop_loss_orders,
        "dry_run": settings.dry_run,
        "safe_mode": settings.safe_mode,
        "safety_mode": settings.safety_mode,
    }


def limits(settings: Settings, minute: int, today: int) -> tuple[Headroom, ...]:
    """Each limit with what is used of it."""
    return (
        _counted("opening_orders_per_minute", minute, settings.max_orders_per_minute),
        _counted("opening_orders_per_trading_day", today, settings.max_daily_orders),
        _per_order("order_size_units", settings.max_order_size),
        _per_order("order_value_usd", settings.max_order_value_usd),
        _per_order("price_collar_pct", settings.price_collar_pct),
    )


def _counted(name: str, used: int, limit: int) -> Headroom:
    return Headroom(name=name, used=str(used), limit=str(limit), left=str(max(0, limit - used)))


def _per_order(name: str, limit: object) -> Headroom:
    return Headroom(name=name, used="0", limit=str(limit), left=str(limit))
