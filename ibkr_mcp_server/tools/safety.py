"""Tools about safety: see everything, stop everything. There is none that resets, resumes or loosens (KS-10)."""

from __future__ import annotations

import platform
from datetime import datetime
from decimal import Decimal
from functools import cache
from importlib.metadata import version
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

from ibkr_mcp_server import __version__
from ibkr_mcp_server.broker.base import client_library
from ibkr_mcp_server.domain.operations import OperationClass
from ibkr_mcp_server.domain.portfolio_risk import RiskFigures
from ibkr_mcp_server.domain.scopes import ACCOUNT
from ibkr_mcp_server.operations import status as status_operations
from ibkr_mcp_server.operations import stop as stop_operations
from ibkr_mcp_server.operations.status import SafetyStatus
from ibkr_mcp_server.operations.stop_coordinator import in_words
from ibkr_mcp_server.operations.tool_descriptions import tools_hash
from ibkr_mcp_server.safety.codes import CODES, Code
from ibkr_mcp_server.safety.state import SafetyState
from ibkr_mcp_server.store.breaker import BreakerState
from ibkr_mcp_server.store.intents import Intent
from ibkr_mcp_server.tools.account import LinkView, link_view
from ibkr_mcp_server.tools.arguments import Arguments, NoArguments
from ibkr_mcp_server.tools.registry import Call, Reply, Tool, Toolset
from ibkr_mcp_server.tools.results import Facts, Part, Unknown
from ibkr_mcp_server.tools.text import cleaned
from ibkr_mcp_server.tools.views import age


class KillSwitchView(Part):
    """The kill switch."""

    active: bool
    mode: str | Unknown = None
    reason: str | Unknown = None
    actor: str | Unknown = None
    since: datetime | Unknown = None
    sentinel_file: bool | Unknown = None
    progress: str | Unknown = None
    """How far the stop was carried out."""
    halted_scopes: tuple[str, ...] = ()
    """Strategies and instruments that are stopped, each with its reason."""


class CauseView(Part):
    """Why the state is what it is."""

    state: str
    code: str
    reason: str
    ends: str


class HeadroomView(Part):
    """A limit and what is left of it."""

    name: str
    used: str
    limit: str
    left: str


class UnresolvedView(Part):
    """An order whose outcome is not proven."""

    client_request_id: str
    state: str
    order: str
    since: datetime
    age_seconds: float


class ViolationView(Part):
    """A refusal of this session."""

    at: str
    code: str
    check: str
    tool: str
    message: str | Unknown = None


class DailyStats(Part):
    """The trading day so far."""

    opening_orders: int
    refusals_of_session: int
    refusals_this_hour: dict[str, int]


class AuditHead(Part):
    """The newest audit record."""

    seq: int
    hash: str


class SafetyFacts(Facts):
    kill_switch_active: bool
    kill_switch: KillSwitchView
    effective_state: str
    causes: tuple[CauseView, ...]
    trading_enabled: bool | Unknown = None
    account_verified: bool
    feature_flags: dict[str, bool]
    closed_live_locks: tuple[str, ...]
    daily_stats: DailyStats | Unknown = None
    limits: tuple[HeadroomView, ...]
    unresolved_orders: tuple[UnresolvedView, ...]
    recent_violations: tuple[ViolationView, ...]
    link: LinkView | Unknown = None
    audit_head: AuditHead | Unknown = None
    config_hash: str | Unknown = None
    session_id: str | Unknown = None
    not_the_writer: str | Unknown = None
    risk: dict[str, str | int | list[str] | None] | Unknown = None
    last_drill_at: datetime | Unknown = None
    overrides: tuple[str, ...] = ()
    alerts: str | Unknown = None
    versions: dict[str, str]


TOLD_IN_WORDS = 10
"""So many of the newest refusals; of those before them the code is enough."""


async def get_safety_status(call: Call, _: NoArguments) -> Reply:
    answer = await status_operations.safety_status(call.operation(), call.desk)
    assert answer.result is not None
    state = answer.result.state
    next_step = CODES[Code(state.causes[0].code)].remedy if state.causes else None
    drilled = answer.result.drilled
    overdue = None if drilled is None else drilled.overdue(answer.result.at)
    unheard = () if answer.result.alerts is None else answer.result.alerts.concerns
    warnings = tuple(map(cleaned, filter(None, (*answer.result.notices, *unheard, overdue))))
    return Reply(decision=answer.decision, facts=_safety(answer.result), warnings=warnings, next_step=next_step)


def _safety(status: SafetyStatus) -> SafetyFacts:
    latch = status.kill.latch
    return SafetyFacts(
        kill_switch_active=status.kill.active,
        kill_switch=KillSwitchView(
            active=status.kill.active,
            mode=str(latch.mode) if latch.active else None,
            reason=cleaned(latch.reason) if latch.active else None,
            actor=f"{latch.actor_type} {cleaned(latch.actor_id, 60)} ({latch.auth})" if latch.active else None,
            since=latch.activated_at,
            sentinel_file=status.kill.sentinel,
            progress=None if status.stop_run is None or not latch.active else cleaned(in_words(status.stop_run)),
            halted_scopes=tuple(f"{cleaned(one.scope, 80)}: {cleaned(one.reason)}" for one in status.kill.others),
        ),
        effective_state=status.state.name,
        causes=tuple(
            CauseView(
                state=cause.state,
                code=cause.code,
                reason=cleaned(cause.reason),
                ends="by a person" if cause.is_latch else "by itself",
            )
            for cause in status.state.causes
        ),
        trading_enabled=status.trading_enabled,
        account_verified=status.account_verified,
        feature_flags={**status.gates, "alerts": status.alerts is not None and bool(status.alerts.configured)},
        closed_live_locks=status.closed_live_locks,
        daily_stats=None
        if status.opening_today is None
        else DailyStats(
            opening_orders=status.opening_today,
            refusals_of_session=status.refusals,
            refusals_this_hour=status.refusals_this_hour,
        ),
        limits=tuple(
            HeadroomView(name=limit.name, used=limit.used, limit=limit.limit, left=limit.left)
            for limit in status.limits
        ),
        unresolved_orders=tuple(_unresolved(intent, status.at) for intent in status.unresolved),
        recent_violations=tuple(
            ViolationView(
                at=violation.at,
                code=violation.code,
                check=violation.check,
                tool=violation.tool,
                message=cleaned(violation.message) if number <= TOLD_IN_WORDS else None,
            )
            for number, violation in zip(range(len(status.violations), 0, -1), status.violations, strict=True)
        ),
        link=link_view(status.link, status.at),
        audit_head=None
        if status.audit_head is None
        else AuditHead(seq=status.audit_head.seq, hash=status.audit_head.hash),
        config_hash=status.config_hash,
        session_id=status.session_id,
        not_the_writer=status.not_the_writer,
        risk={**_breaker(status.breaker), **({} if status.risk is None else _risk(status.risk))},
        last_drill_at=None if status.drilled is None else status.drilled.at,
        overrides=tuple(cleaned(text) for text in status.overrides),
        alerts=None if status.alerts is None else cleaned(status.alerts.summary),
        versions=versions(),
    )


def _breaker(state: BreakerState | None) -> dict[str, str | None]:
    """The circuit breaker, what opened it (CB-01), the risk mode and the recovery stage."""
    if state is None or not state.is_readable:
        return {"breaker": "open", "opened_by": "its state cannot be read"}
    told: dict[str, str | None] = {
        "breaker": "open" if state.is_open else "closed",
        "mode": state.mode.value,
        "stage": state.stage.value,
    }
    if state.is_open:
        told["opened_by"] = None if state.first is None else state.first.text
        told["opened_at"] = None if state.opened_at is None else state.opened_at.isoformat()
        told["earliest_reset"] = None if state.earliest_reset is None else state.earliest_reset.isoformat()
    return told


def _risk(figures: RiskFigures) -> dict[str, str | int | list[str] | None]:
    """What is held, by its past year: one day, 95 %; information, no limit."""

    def exact(amount: Decimal | None) -> str | None:
        return None if amount is None else f"{amount:f}"

    return {
        "value_at_risk_usd": exact(figures.value_at_risk_usd),
        "expected_shortfall_usd": exact(figures.expected_shortfall_usd),
        "sample_size": figures.sample_size,
        "held_usd": exact(figures.held_usd),
        "left_out": list(figures.left_out),
        "as_of": figures.as_of.isoformat(),
    }


def _unresolved(intent: Intent, now: datetime) -> UnresolvedView:
    return UnresolvedView(
        client_request_id=intent.request_key,
        state=intent.state,
        order=f"{intent.kind} {intent.side} {intent.quantity:f} {intent.symbol} {intent.order_type}",
        since=intent.created_at,
        age_seconds=age(intent.created_at, now),
    )


@cache  # the metadata of a package is a file that is read and parsed anew each time
def versions() -> dict[str, str]:
    library, library_version = client_library()
    return {
        "ibkr-mcp-server": __version__,
        "mcp": version("mcp"),
        library: library_version,
        "python": platform.python_version(),
        "tools": tools_hash()[:16],
    }


def without_app(trouble: str) -> SafetyFacts:
    """The status of a server that could not open its store: it counts as stopped (KS-06)."""
    cause = CauseView(state=SafetyState.HALT, code=Code.STATE_UNREADABLE, reason=cleaned(trouble), ends="by a person")
    return SafetyFacts(
        kill_switch_active=True,
        kill_switch=KillSwitchView(active=True, reason="The safety state cannot be read, which counts as stopped."),
        effective_state=SafetyState.HALT,
        causes=(cause,),
        account_verified=False,
        feature_flags={},
        closed_live_locks=(),
        limits=(),
        unresolved_orders=(),
        recent_violations=(),
        versions=versions(),
    )


def _any_text(value: object) -> str:
    return cleaned(str(value), 200)


def _any_symbol(value: object) -> str | None:
    return None if value is None else cleaned(str(value), 32) or None


class StopArguments(Arguments):
    reason: Annotated[str, BeforeValidator(_any_text), WithJsonSchema({"type": "string"})] = Field(
        default="unspecified", description="Why, for the people who will reset it"
    )

    only: Annotated[str | None, BeforeValidator(_any_symbol), WithJsonSchema({"type": "string"})] = Field(
        default=None, description="`me` (your own orders) or a symbol; else everything"
    )


class LeftView(Part):
    """An entry order that still works."""

    perm_id: int
    order: str
    reason: str


class StopFacts(Facts):
    kill_switch_active: bool
    scope: str
    first: bool
    durable: bool
    nothing_in_flight: bool
    mode: str | Unknown = None
    reason: str
    since: datetime | Unknown = None
    cancelled_perm_ids: tuple[int, ...] = ()
    still_working: tuple[LeftView, ...] = ()
    protective_perm_ids: tuple[int, ...] = ()


async def emergency_stop(call: Call, arguments: StopArguments) -> Reply:
    answer = await stop_operations.emergency_stop(call.operation(), arguments.reason, call.desk, only=arguments.only)
    report = answer.result
    assert report is not None
    latch = report.activation.latch
    facts = StopFacts(
        kill_switch_active=report.scope == ACCOUNT or latch is None,
        scope=cleaned(report.scope, 80),
        first=report.activation.first,
        durable=report.activation.durable,
        nothing_in_flight=report.activation.nothing_in_flight,
        mode=None if latch is None else str(latch.mode),
        reason=cleaned(latch.reason if latch is not None else arguments.reason),
        since=None if latch is None else latch.activated_at,
        cancelled_perm_ids=report.entries.cancelled,
        still_working=tuple(
            LeftView(perm_id=left.perm_id, order=left.label, reason=cleaned(left.reason))
            for left in report.entries.left
        ),
        protective_perm_ids=report.entries.protective_kept,
    )
    troubles = filter(None, (report.activation.problem, report.warning))
    return Reply(
        decision=answer.decision,
        facts=facts,
        warnings=tuple(map(cleaned, troubles)),
        next_step=AFTER_A_STOP if facts.kill_switch_active else AFTER_A_NARROW_STOP,
    )


AFTER_A_STOP = (
    "Opening orders are stopped on every path. Only a person can end this, with `ibkr-mcp-server reset`; tell the user."
)

AFTER_A_NARROW_STOP = (
    "Opening orders of this scope are stopped; everything else goes on. Only a person can end this; tell the user."
)

TOOLS = (
    Tool(
        name="get_safety_status",
        title="Safety status",
        description="Everything that decides whether an order may pass: kill switch, effective state with causes and "
        "how each ends, feature flags, limits with headroom, orders of unknown outcome, recent refusals, link, audit "
        "head. Works in every state. Call it at the start and whenever an order was refused by a switch.",
        toolset=Toolset.SAFETY,
        operation_class=OperationClass.SAFETY_STATUS,
        arguments=NoArguments,
        facts=SafetyFacts,
        handler=get_safety_status,
    ),
    Tool(
        name="emergency_stop",
        title="Emergency stop",
        description="Stops all opening orders at once, on every path and across restarts, and cancels working entry "
        "orders; protective orders stay. Positions are not closed. Use it when something is wrong or the user says "
        "stop; never to tidy up. No tool can undo it: a person must.",
        toolset=Toolset.SAFETY,
        operation_class=OperationClass.SAFETY_STOP,
        arguments=StopArguments,
        facts=StopFacts,
        handler=emergency_stop,
    ),
)
