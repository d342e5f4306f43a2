"""`status`: what the store says about safety, whether a server runs or not. Reads only (MON-02)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import IntEnum
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from sqlalchemy import Connection

from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.audit.log import head, tail
from ibkr_mcp_server.cli.audit import str_of
from ibkr_mcp_server.cli.config import closed_gates
from ibkr_mcp_server.cli.output import console, facts, print_json, utc
from ibkr_mcp_server.cli.workspace import AsJson, EnvFile, Workspace, existing_state, open_workspace, settings_of
from ibkr_mcp_server.clock import trading_day
from ibkr_mcp_server.domain.scopes import ACCOUNT
from ibkr_mcp_server.errors import ConfigurationError, ProductError
from ibkr_mcp_server.operations.drills import Drilled, newest_drill
from ibkr_mcp_server.operations.headroom import Headroom, order_limits
from ibkr_mcp_server.operations.overrides import overrides
from ibkr_mcp_server.operations.status import gates
from ibkr_mcp_server.operations.stop_coordinator import in_words
from ibkr_mcp_server.safety.circuit_breaker import CircuitBreaker
from ibkr_mcp_server.safety.kill_switch import KillStatus
from ibkr_mcp_server.safety.limits_in_force import limits_in_force
from ibkr_mcp_server.safety.minute_window import MINUTE_SECONDS
from ibkr_mcp_server.safety.state import Cause
from ibkr_mcp_server.setting_rules import Privacy
from ibkr_mcp_server.settings import Settings, load_settings, rule_of, variable_of
from ibkr_mcp_server.store import breaker, intents, limit_raises, stop_runs
from ibkr_mcp_server.store.errors import StoreUnreadable
from ibkr_mcp_server.store.intents import Intent
from ibkr_mcp_server.store.stop_runs import StopRun

STARTS_LOOKED_THROUGH = 50


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
    risk: tuple[Cause, ...] = ()
    """What the circuit breaker, the risk mode and the recovery stage hold back."""

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
        limits=order_limits(in_force.of(settings), minute, today),
        unresolved=tuple(intents.unresolved(connection)),
        audit_head=str_of(head(connection)),
        overrides=tuple(overrides(settings, in_force, raised)),
        risk=watch.causes(connection),
    )


def _server_settings(connection: Connection, own: Settings) -> tuple[Settings, datetime | None]:
    """The settings that the newest server start recorded; a shell often has others than the host that starts one."""
    for record in reversed(tail(connection, STARTS_LOOKED_THROUGH, EventType.CONFIG_LOADED)):
        recorded = (record.outcome or {}).get("config")
        if isinstance(recorded, dict):
            try:
                return load_settings(environ=dict(_readable(recorded))), record.timestamp
            except ConfigurationError:  # recorded by a version with other rules
                return own, None
    return own, None


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
    if seen.unresolved:
        yield f"{len(seen.unresolved)} orders with an outcome that is not known yet."
    for limit in seen.limits:
        if limit.left == "0":
            yield f"The limit {limit.name} is used up ({limit.used} of {limit.limit})."
    if seen.settings.safe_mode:
        yield "Safe mode is configured (IBKR_SAFE_MODE)."
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
    yield "Audit head", seen.audit_head
    yield "Last drill", "never" if seen.drilled is None else _drilled(seen.drilled)
    if seen.started_at is not None:
        yield "Settings", f"of the newest server start, {utc(seen.started_at)}; broker mode {seen.settings.broker_mode}"
    else:
        yield "Settings", f"of this shell; no server start is recorded. Broker mode {seen.settings.broker_mode}"


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
