"""`status`: what the store says about safety, whether a server runs or not. Reads only (MON-02)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from sqlalchemy import Connection

from ibkr_mcp_server.alerts.health import AlertHealth, alert_health
from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.audit.log import AuditRecord, head, newest_of, tail
from ibkr_mcp_server.cli.audit import str_of
from ibkr_mcp_server.cli.config import closed_gates
from ibkr_mcp_server.cli.output import console, facts, print_json, utc
from ibkr_mcp_server.cli.workspace import AsJson, EnvFile, Workspace, existing_state, open_workspace, settings_of
from ibkr_mcp_server.clock import trading_day
from ibkr_mcp_server.domain.scopes import ACCOUNT
from ibkr_mcp_server.errors import ConfigurationError, ProductError
from ibkr_mcp_server.operations.drills import Drilled, newest_drill
from ibkr_mcp_server.operations.headroom import Headroom, order_limits, position_limits
from ibkr_mcp_server.operations.overrides import overrides, recorded_troubles
from ibkr_mcp_server.operations.status import gates
from ibkr_mcp_server.operations.stop_coordinator import in_words
from ibkr_mcp_server.safety.circuit_breaker import CircuitBreaker
from ibkr_mcp_server.safety.codes import Code
from ibkr_mcp_server.safety.kill_switch import KillStatus
from ibkr_mcp_server.safety.limits_in_force import limits_in_force
from ibkr_mcp_server.safety.minute_window import MINUTE_SECONDS
from ibkr_mcp_server.safety.state import Cause, EffectiveState, SafetyState
from ibkr_mcp_server.settings.alerts import channels_set, channels_set_by
from ibkr_mcp_server.settings.base import variable_of
from ibkr_mcp_server.settings.loading import load_settings
from ibkr_mcp_server.settings.model import Settings, rule_of
from ibkr_mcp_server.settings.rules import Privacy
from ibkr_mcp_server.store import breaker, intents, limit_raises, reconciliations, stop_runs
from ibkr_mcp_server.store.breaker import BreakerState
from ibkr_mcp_server.store.errors import StoreUnreadable
from ibkr_mcp_server.store.intents import Intent
from ibkr_mcp_server.store.reconciliations import Report
from ibkr_mcp_server.store.schema import IntentState
from ibkr_mcp_server.store.stop_runs import StopRun

STARTS_LOOKED_THROUGH = 50
_CONFIG = EventType.CONFIG_LOADED


class Level(IntEnum):
    """The exit codes."""

    NORMAL = 0
    DEGRADED = 1
    STOPPED = 2


@dataclass(frozen=True, kw_only=True)
class Status:
    """The store at one moment, and the configuration that it is judged by."""

    at: datetime
    kill: KillStatus
    drilled: Drilled | None
    stop_run: StopRun | None
    settings: Settings
    started_at: datetime | None
    """When the newest server start read `settings`; None when they are this shell's, for want of a recorded start."""
    limits: tuple[Headroom, ...]
    unresolved: tuple[Intent, ...]
    audit_head: str
    overrides: tuple[str, ...]
    alerts: AlertHealth
    breaker: BreakerState
    risk: tuple[Cause, ...] = ()
    """What the circuit breaker, the risk mode and the recovery stage hold back."""
    stops: tuple[Cause, ...] = ()
    heard: tuple[AuditRecord | None, ...] = ()
    """The newest record of the link and of the accounts, as a server wrote it."""
    compared: Report | None = None
    """The newest comparison with the broker."""
    refusals: tuple[AuditRecord, ...] = ()
    """The newest refusals, newest last."""

    @property
    def state(self) -> EffectiveState:
        """As far as the store tells; the link, the hours and the data are a running server's to judge."""
        safe = (SAFE_MODE,) if self.settings.safe_mode else ()
        return EffectiveState(causes=(*self.stops, *self.risk, *safe))

    @property
    def lost(self) -> tuple[Intent, ...]:
        """Of the unresolved orders those to worry about: most are on their way, and the broker's word is, too."""
        late = self.at - timedelta(seconds=float(self.settings.unknown_order_warning_seconds))
        return tuple(
            intent for intent in self.unresolved if intent.state is IntentState.UNKNOWN or intent.created_at <= late
        )

    @property
    def concerns(self) -> tuple[str, ...]:
        """What is not as it should be, apart from a stop."""
        return tuple(_concerns(self))

    @property
    def level(self) -> Level:
        if self.kill.active:
            return Level.STOPPED
        return Level.DEGRADED if self.concerns else Level.NORMAL


def register(app: typer.Typer) -> None:
    app.command("status")(status)


def status(
    safety: Annotated[
        bool, typer.Option("--safety", help="Also the limits with their headroom, and the gates.")
    ] = False,
    as_json: AsJson = False,
    env_file: EnvFile = None,
) -> None:
    """Show the safety state, with or without a running server. Exits 0 when normal, 1 when degraded, 2 when stopped."""
    settings = settings_of(env_file)
    try:
        with open_workspace(settings, read_only=True) as workspace:
            seen = workspace.database.read_blocking(lambda connection: read(connection, workspace))
    except ProductError as error:
        raise typer.Exit(_without_store(settings, error, as_json=as_json)) from error
    if as_json:
        print_json(_fields(seen))
    else:
        _show(seen, safety=safety)
    raise typer.Exit(seen.level)


def read(connection: Connection, workspace: Workspace) -> Status:
    """The store as it is now."""
    settings, started_at = _server_settings(connection, workspace.settings)
    clock, now = workspace.clock, workspace.clock.now()
    minute = len(intents.opening_in_window(connection, clock, MINUTE_SECONDS))
    today = intents.opening_on(connection, trading_day(now))
    watch = CircuitBreaker(settings=settings, audit=workspace.audit, clock=clock)
    in_force = limits_in_force(connection, clock, watch.factor_of(breaker.current(connection)))
    raised = limit_raises.in_force(connection, clock)
    return Status(
        at=now,
        kill=workspace.kill_switch.status(connection),
        drilled=newest_drill(connection),
        stop_run=stop_runs.newest(connection, ACCOUNT),
        settings=settings,
        started_at=started_at,
        limits=(*order_limits(in_force.of(settings), minute, today), *position_limits(in_force.of(settings))),
        unresolved=tuple(intents.unresolved(connection)),
        audit_head=str_of(head(connection)),
        overrides=(
            *overrides(settings, in_force, raised),
            *(() if started_at is None else recorded_troubles(connection, started_at)),
        ),
        alerts=alert_health(connection, settings, now, _server_channels(connection, workspace.settings)),
        risk=watch.causes(connection),
        breaker=breaker.current(connection),
        stops=workspace.kill_switch.bearing_on(connection).causes,
        heard=tuple(_newest(connection, *kinds) for kinds in HEARD),
        compared=reconciliations.newest(connection),
        refusals=tuple(_refusals(connection)),
    )


HEARD = ((EventType.LINK_UP, EventType.LINK_DOWN), (EventType.ACCOUNT_VERIFIED, EventType.ACCOUNT_REJECTED))
REFUSALS_SHOWN = 5
DECISIONS_LOOKED_THROUGH = 40
SAFE_MODE = Cause(
    state=SafetyState.SAFE, code=Code.SAFE_MODE, reason="Safe mode is configured (IBKR_SAFE_MODE).", is_latch=True
)


def _newest(connection: Connection, *kinds: EventType) -> AuditRecord | None:
    found = [record for kind in kinds if (record := newest_of(connection, kind)) is not None]
    return max(found, key=lambda record: record.seq, default=None)


def _refusals(connection: Connection) -> list[AuditRecord]:
    decided = tail(connection, DECISIONS_LOOKED_THROUGH, EventType.DECISION)
    return [record for record in decided if (record.outcome or {}).get("approved") is False][-REFUSALS_SHOWN:]


def _server_settings(connection: Connection, own: Settings) -> tuple[Settings, datetime | None]:
    """The settings that the newest server start recorded; a shell often has others than the host that starts one."""
    for record in reversed(tail(connection, STARTS_LOOKED_THROUGH, _CONFIG)):
        recorded = (record.outcome or {}).get("config")
        if isinstance(recorded, dict):
            try:
                return load_settings(environ=dict(_readable(recorded))), record.timestamp
            except ConfigurationError:  # recorded by a version with other rules
                return own, None
    return own, None


def _server_channels(connection: Connection, own: Settings) -> tuple[str, ...]:
    """The channels of alerts of the newest server start; their secrets were not recorded, that they are set was."""
    starts = [(record.outcome or {}).get("config") for record in tail(connection, STARTS_LOOKED_THROUGH, _CONFIG)]
    newest = next((recorded for recorded in reversed(starts) if isinstance(recorded, dict)), None)
    if newest is None:
        return channels_set(own)
    return channels_set_by(lambda name: newest.get(variable_of(name)) not in (None, "false"))


def _readable(recorded: dict[str, Any]) -> Iterator[tuple[str, str]]:  # Any: whatever JSON was recorded
    """Recorded settings but for those that were hidden."""
    for name in Settings.model_fields:
        text, rule = recorded.get(variable_of(name)), rule_of(name)
        if not isinstance(text, str) or rule.privacy is not Privacy.OPEN:
            continue
        try:
            rule.value_of(text)
        except ValueError:
            continue
        yield variable_of(name), text


def _concerns(seen: Status) -> Iterator[str]:
    if seen.drilled is not None and (overdue := seen.drilled.overdue(seen.at)) is not None:
        yield overdue
    for latch in seen.kill.others:
        yield f"{latch.scope} is stopped since {utc(latch.activated_at)}, by {latch.actor_id}: {latch.reason}"
    yield from (cause.reason for cause in seen.risk)
    if seen.lost:
        yield f"{len(seen.lost)} orders with an outcome that is not known yet."
    for limit in seen.limits:
        if limit.left == "0":
            yield f"The limit {limit.name} is used up ({limit.used} of {limit.limit})."
    if seen.settings.safe_mode:
        yield SAFE_MODE.reason
    yield from seen.alerts.concerns
    yield from seen.overrides


# -- For people -------------------------------------------------------------------------------------------------------

_STYLES = {Level.NORMAL: "bold green", Level.DEGRADED: "bold yellow", Level.STOPPED: "bold red"}


def _show(seen: Status, *, safety: bool) -> None:
    console().print(view_of(seen, safety=safety))


def view_of(seen: Status, *, safety: bool) -> Group:
    """What a person sees; with `safety` also the limits and the gates."""
    table = facts("")
    table.title = None
    for name, value in _facts(seen):
        table.add_row(name, escape(value))
    parts: list[RenderableType] = [Text.assemble((seen.level.name, _STYLES[seen.level]), f" at {utc(seen.at)}"), table]
    if safety:
        for name, value in _more_facts(seen):
            table.add_row(name, escape(value))
        gates_told = [f"  {sentence}" for sentence in closed_gates(seen.settings)]
        if seen.settings.enable_trading:
            gates_told.append("  Orders may be placed: IBKR_ENABLE_TRADING is true.")
        parts += ["", _limits_table(seen), "", Text("Trading gates", style="bold"), *map(Text, gates_told)]
    return Group(*parts)


def _facts(seen: Status) -> Iterator[tuple[str, str]]:
    latch = seen.kill.latch
    if latch.active:
        yield "Kill switch", f"ON, {latch.mode}, scope {latch.scope}, since {utc(latch.activated_at)}"
        yield "  reason", latch.reason
        yield "  by", f"{latch.actor_type} {latch.actor_id} ({latch.auth}), repeated {latch.repeats} times"
        run = seen.stop_run
        is_of_latch = run is not None and run.generation == latch.generation
        yield "  progress", in_words(run) if run is not None and is_of_latch else "no server has taken it up yet"
    else:
        yield "Kill switch", "off"
    if seen.kill.sentinel:
        yield "Stop file", "present: all trading is stopped while it exists"
    for concern in seen.concerns:
        yield "Concern", concern
    for intent in seen.unresolved:
        yield "Unresolved", f"{_order(intent)}, {intent.state} since {utc(intent.created_at)}"
    yield "Alerts", seen.alerts.in_words
    yield "Audit head", seen.audit_head
    yield "Last drill", "never" if seen.drilled is None else _drilled(seen.drilled)
    if seen.started_at is not None:
        yield "Settings", f"of the newest server start, {utc(seen.started_at)}; broker mode {seen.settings.broker_mode}"
    else:
        yield "Settings", f"of this shell; no server start is recorded. Broker mode {seen.settings.broker_mode}"


def _more_facts(seen: Status) -> Iterator[tuple[str, str]]:
    """The rest of what decides whether an order may pass (MON-01), as servers recorded it."""
    yield "State", f"{seen.state.name}, as far as the store tells"
    for cause in seen.state.causes:
        yield "  cause", f"{cause.state}, ends {'by a person' if cause.is_latch else 'by itself'}: {cause.reason}"
    yield "Breaker", "OPEN" if seen.breaker.is_open else "closed"
    yield "Risk mode", f"{seen.breaker.mode}, stage {seen.breaker.stage}"
    link, accounts = seen.heard
    yield "Link", _heard(link, {EventType.LINK_UP: "up", EventType.LINK_DOWN: "DOWN"})
    yield "Accounts", _heard(accounts, {EventType.ACCOUNT_VERIFIED: "verified", EventType.ACCOUNT_REJECTED: "REJECTED"})
    if seen.compared is None:
        yield "Data", "no server has compared its records with the broker's yet"
    else:
        age = (seen.at - seen.compared.last_at).total_seconds()
        yield "Data", f"compared with the broker's {age:.0f} s ago, {'clean' if seen.compared.clean else 'NOT CLEAN'}"
    for record in seen.refusals:
        yield "Refused", f"{utc(record.timestamp)}, {record.tool}: {', '.join((record.outcome or {}).get('codes', ()))}"


def _heard(record: AuditRecord | None, words: Mapping[EventType, str]) -> str:
    return "no server has told" if record is None else f"{words[record.event_type]}, recorded {utc(record.timestamp)}"


def _limits_table(seen: Status) -> Table:
    table = Table("Limit", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for heading in ("Used", "Of", "Left"):
        table.add_column(heading, justify="right")
    for limit in seen.limits:
        style = "yellow" if limit.left == "0" else ""
        table.add_row(limit.name.replace("_", " "), limit.used, limit.limit, limit.left, style=style)
    return table


def _drilled(drill: Drilled) -> str:
    return f"{utc(drill.at)}, against the {drill.against}, {'passed' if drill.passed else 'NOT PASSED'}"


def _order(intent: Intent) -> str:
    return f"{intent.kind} {intent.side} {intent.quantity:f} {intent.symbol} {intent.order_type}"


def _without_store(settings: Settings, error: ProductError, *, as_json: bool) -> Level:
    """No store yet is a server that never ran; a store that cannot be read counts as stopped (KS-06)."""
    state = existing_state(settings)
    never_ran = isinstance(error, StoreUnreadable) and error.code == "STORE_MISSING" and not state.sentinel.exists()
    level = Level.DEGRADED if never_ran else Level.STOPPED
    sentence = (
        f"No server has run with the state directory {state.path} yet."
        if never_ran
        else "The safety state cannot be read, which counts as stopped."
    )
    if as_json:
        problem = {"code": error.code, "message": error.message, "next_step": error.next_step}
        print_json({"status": level.name, "exit_code": level, "summary": sentence, "problem": problem})
    else:
        console().print(f"[{_STYLES[level]}]{level.name}[/] {escape(sentence)}")
        typer.echo(f"{error}\n{error.next_step}", err=True)
    return level


# -- For programs -----------------------------------------------------------------------------------------------------


def _fields(seen: Status) -> dict[str, object]:
    latch = asdict(seen.kill.latch)
    return {
        "status": seen.level.name,
        "exit_code": seen.level,
        "at": seen.at,
        "kill_switch_active": seen.kill.active,
        "kill_switch": {**latch, "mode": str(seen.kill.latch.mode), "sentinel": seen.kill.sentinel},
        "last_drill_at": None if seen.drilled is None else seen.drilled.at,
        "stop_run": None if seen.stop_run is None else asdict(seen.stop_run),
        "halted_scopes": [{**asdict(one), "mode": str(one.mode)} for one in seen.kill.others],
        "concerns": seen.concerns,
        "risk": [{"state": one.state, "code": one.code, "reason": one.reason} for one in seen.risk],
        "alerts": asdict(seen.alerts),
        "effective_state": seen.state.name,
        "breaker": {"open": seen.breaker.is_open, "mode": seen.breaker.mode, "stage": seen.breaker.stage},
        "link": None if seen.heard[0] is None else seen.heard[0].event_type,
        "accounts": None if seen.heard[1] is None else seen.heard[1].event_type,
        "compared_at": None if seen.compared is None else seen.compared.last_at,
        "recent_violations": [
            {"at": record.timestamp, "tool": record.tool, "codes": (record.outcome or {}).get("codes")}
            for record in seen.refusals
        ],
        "trading_enabled": seen.settings.enable_trading,
        "gates": gates(seen.settings),
        "closed_gates": list(closed_gates(seen.settings)),
        "limits": [asdict(limit) for limit in seen.limits],
        "unresolved": [
            {
                "client_request_id": intent.request_key,
                "order": _order(intent),
                "state": intent.state,
                "created_at": intent.created_at,
            }
            for intent in seen.unresolved
        ],
        "audit_head": seen.audit_head,
        "settings_from": "server start" if seen.started_at is not None else "this shell",
        "settings_at": seen.started_at,
        "broker_mode": seen.settings.broker_mode,
    }
