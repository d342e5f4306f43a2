"""The safety status: everything that decides whether an order may pass, with causes and headroom (MON-01)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from ibkr_mcp_server.alerts.health import AlertHealth, alert_health
from ibkr_mcp_server.audit.chain import Head
from ibkr_mcp_server.audit.log import head
from ibkr_mcp_server.broker.base import LinkStatus
from ibkr_mcp_server.clock import trading_day
from ibkr_mcp_server.domain.operations import Operation
from ibkr_mcp_server.domain.portfolio_risk import RiskFigures
from ibkr_mcp_server.domain.scopes import ACCOUNT
from ibkr_mcp_server.errors import ProductError
from ibkr_mcp_server.operations.desk import Desk
from ibkr_mcp_server.operations.drills import Drilled, newest_drill
from ibkr_mcp_server.operations.headroom import Headroom, headroom
from ibkr_mcp_server.operations.overrides import overrides
from ibkr_mcp_server.operations.safe_operation import Access, Answer, safe_trading_operation
from ibkr_mcp_server.safety.codes import Code
from ibkr_mcp_server.safety.kill_switch import KillStatus
from ibkr_mcp_server.safety.minute_window import MINUTE_SECONDS
from ibkr_mcp_server.safety.policy import account_check, closed_live_locks
from ibkr_mcp_server.safety.state import Cause, EffectiveState, SafetyState
from ibkr_mcp_server.safety.tally import Hour, Violation
from ibkr_mcp_server.settings.model import Settings
from ibkr_mcp_server.store import breaker, intents, latches, limit_raises, stop_runs
from ibkr_mcp_server.store.breaker import BreakerState
from ibkr_mcp_server.store.intents import Intent
from ibkr_mcp_server.store.stop_runs import StopRun


@dataclass(frozen=True, kw_only=True)
class SafetyStatus:
    """The state of all controls at one moment."""

    at: datetime
    state: EffectiveState
    kill: KillStatus
    drilled: Drilled | None
    """The newest emergency drill."""
    stop_run: StopRun | None
    """How far the newest stop of the account was carried out; None before the first."""
    link: LinkStatus
    account_verified: bool
    trading_enabled: bool
    gates: dict[str, bool]
    closed_live_locks: tuple[str, ...]
    limits: tuple[Headroom, ...]
    """Empty when the store does not tell what is used."""
    opening_today: int | None
    unresolved: tuple[Intent, ...]
    violations: tuple[Violation, ...]
    violation_trend: tuple[Hour, ...]
    notices: tuple[str, ...]
    risk: RiskFigures | None
    """Value at risk and expected shortfall as they were reckoned last."""
    """What people should know although it holds no order back."""
    audit_head: Head | None
    """Sequence number and hash of the newest audit record."""
    config_hash: str
    session_id: str
    not_the_writer: str | None
    """Why this process refuses every write, naming the one that writes; None if it may write (LK-01)."""
    breaker: BreakerState | None = None
    """The circuit breaker, the risk mode and the recovery stage; None while the store cannot be read."""
    alerts: AlertHealth | None = None
    """None while the store cannot be read."""
    overrides: tuple[str, ...] = ()
    """Every control that is off, reduced or overridden."""
    store_problem: str | None = None
    """Why the durable state cannot be read: then everything counts as stopped."""

    @property
    def refusals(self) -> int:
        """Of this run, as far back as the trend goes."""
        return sum(sum(hour.by_code.values()) for hour in self.violation_trend)

    @property
    def refusals_this_hour(self) -> dict[str, int]:
        """By code."""
        begins = self.at.replace(minute=0, second=0, microsecond=0)
        return {
            code: count
            for hour in self.violation_trend
            if hour.begins == begins
            for code, count in hour.by_code.items()
        }


async def safety_status(operation: Operation, desk: Desk) -> Answer[SafetyStatus]:
    """The status, in every state."""

    async def act(access: Access) -> SafetyStatus:
        try:
            return await desk.database.read(
                lambda connection: read_status(connection, desk, operation.actor.id), at_once=True
            )
        except (ProductError, OSError) as error:
            return status_without_store(desk, str(error))

    return await safe_trading_operation(operation, act, desk=desk)


def read_status(connection: Connection, desk: Desk, agent: str) -> SafetyStatus:
    """Read everything in one transaction, so that the parts belong together."""
    settings, now = desk.settings, desk.clock.now()
    watch = breaker.current(connection)
    in_force = desk.safety.standing.limits(connection, watch, agent=agent)
    raised = limit_raises.in_force(connection, desk.clock)
    minute = len(intents.opening_in_window(connection, desk.clock, MINUTE_SECONDS))
    today = intents.opening_on(connection, trading_day(now))
    link = desk.broker.link
    accepts = account_check(settings).accepts
    return SafetyStatus(
        at=now,
        state=desk.safety.state(connection, agent),
        kill=desk.safety.kill_switch.status(connection),
        drilled=newest_drill(connection),
        stop_run=stop_runs.newest(connection, ACCOUNT),
        link=link,
        account_verified=bool(link.accounts) and all(map(accepts, link.accounts)),
        trading_enabled=settings.enable_trading,
        gates=gates(settings),
        closed_live_locks=closed_live_locks(settings),
        limits=headroom(connection, desk, in_force, agent, minute=minute, today=today),
        opening_today=today,
        unresolved=tuple(intents.unresolved(connection)),
        violations=desk.safety.tally.violations(),
        violation_trend=desk.safety.tally.trend(),
        notices=desk.notices.told(),
        risk=desk.risk.figures,
        audit_head=head(connection),
        config_hash=desk.audit.config_hash,
        session_id=desk.session_id,
        not_the_writer=desk.safety.writer.objection(connection),
        breaker=watch,
        alerts=alert_health(connection, settings, now),
        overrides=tuple(overrides(settings, in_force, raised, desk.safety.caution.pending())),
    )


def status_without_store(desk: Desk, trouble: str) -> SafetyStatus:
    """What is known while the store cannot be read; unreadable counts as stopped (KS-06)."""
    settings, now, link = desk.settings, desk.clock.now(), desk.broker.link
    accepts = account_check(settings).accepts
    switch = desk.safety.kill_switch
    unreadable = Cause(state=SafetyState.HALT, code=Code.STATE_UNREADABLE, reason=trouble, is_latch=True)
    return SafetyStatus(
        at=now,
        state=EffectiveState(causes=(unreadable,)),
        kill=KillStatus(
            active=True,
            latch=latches.unreadable(ACCOUNT, trouble),
            sentinel=switch.sentinel_present(),
            read_at=now,
        ),
        drilled=None,
        stop_run=None,
        link=link,
        account_verified=bool(link.accounts) and all(map(accepts, link.accounts)),
        trading_enabled=settings.enable_trading,
        gates=gates(settings),
        closed_live_locks=closed_live_locks(settings),
        limits=(),
        opening_today=None,
        unresolved=(),
        violations=desk.safety.tally.violations(),
        violation_trend=desk.safety.tally.trend(),
        notices=desk.notices.told(),
        risk=desk.risk.figures,
        audit_head=None,
        config_hash=desk.audit.config_hash,
        session_id=desk.session_id,
        not_the_writer=None,
        store_problem=trouble,
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
