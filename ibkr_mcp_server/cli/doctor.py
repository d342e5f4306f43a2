"""`doctor`: looks at everything that trading needs, says what is wrong, and what to do about it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.text import Text

from ibkr_mcp_server.broker.base import Refusal
from ibkr_mcp_server.cli.config import closed_gates
from ibkr_mcp_server.cli.output import console, facts, print_json
from ibkr_mcp_server.cli.proof import operator_door
from ibkr_mcp_server.cli.workspace import AsJson, EnvFile, existing_state, open_workspace
from ibkr_mcp_server.clock import SystemClock
from ibkr_mcp_server.domain.accounts import masked
from ibkr_mcp_server.domain.instruments import InstrumentQuery, SecType
from ibkr_mcp_server.domain.quotes import MarketDataType
from ibkr_mcp_server.errors import ConfigurationError, ProductError
from ibkr_mcp_server.safety.policy import account_check
from ibkr_mcp_server.safety.writer import newest
from ibkr_mcp_server.settings.alerts import channels_set
from ibkr_mcp_server.settings.broker import BrokerMode
from ibkr_mcp_server.settings.loading import load_settings
from ibkr_mcp_server.settings.model import Settings

if TYPE_CHECKING:
    from ibkr_mcp_server.broker.base import Broker, LinkStatus

LINK_SECONDS, LOOKS = 8.0, 16
MOST_CLOCK_SECONDS = 2.0
"""Apart from the broker's clock; beyond it trading is held back (CB-31)."""
LOOKED_AT = InstrumentQuery(symbol="SPY", sec_type=SecType.STK, exchange="SMART", currency="USD")
"""Traded as much as anything; what the account may see of it tells its permissions."""


class Mark(StrEnum):
    FINE = "fine"
    LOOK = "look"
    WRONG = "wrong"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was found about one thing."""

    about: str
    mark: Mark
    says: str
    do: str = ""


def register(app: typer.Typer) -> None:
    app.command("doctor")(doctor)


def doctor(as_json: AsJson = False, env_file: EnvFile = None) -> None:
    """Check configuration, state, gateway, accounts, permissions, data and clock. Exits 1 when something is wrong."""
    findings = asyncio.run(_all(env_file))
    if as_json:
        print_json(findings)
    else:
        _show(findings)
    if any(found.mark is Mark.WRONG for found in findings):
        raise typer.Exit(1)


async def _all(env_file: Path | None) -> list[Finding]:
    try:
        settings = load_settings(environ=os.environ, env_file=env_file)
    except ConfigurationError as error:
        return [
            _wrong("configuration", problem, "Correct it; docs/settings.md has all settings.")
            for problem in error.problems
        ]
    findings = [_fine("configuration", f"Every setting is right; broker mode {settings.broker_mode}.")]
    findings += [Finding(about="configuration", mark=Mark.LOOK, says=sentence) for sentence in closed_gates(settings)]
    findings.append(_alerts(settings))
    findings += _state(settings)
    findings += [found async for found in _gateway(settings)]
    return findings


def _alerts(settings: Settings) -> Finding:
    channels = channels_set(settings)
    if not channels:
        return _look("alerts", "No channel is set, so nobody is told when trading stops.", "See docs/alerts.md.")
    return _fine("alerts", f"By {', '.join(channels)}; `ibkr-mcp-server test-alert` tries them.")


def _state(settings: Settings) -> Iterator[Finding]:
    try:
        state = existing_state(settings)
    except ConfigurationError as error:
        for problem in error.problems:
            yield _wrong("state directory", problem, "Repair it, or set IBKR_STATE_DIR.")
        return
    if not state.path.exists():
        yield _look("state directory", f"{state.path} is made at the first start.", "Start the server once.")
        return
    yield _fine("state directory", f"{state.path} is private.")
    try:
        with open_workspace(settings, read_only=True) as workspace:
            kill = workspace.kill_switch.status_now()
            writer = workspace.database.read_blocking(newest)
            has_passphrase = operator_door(workspace).has_passphrase
    except ProductError as error:
        if error.code == "STORE_MISSING":
            yield _look("store", "There is none yet.", "Start the server once.")
        else:
            yield _wrong("store", error.message, error.next_step)
        return
    yield _fine(
        "store", f"{workspace.database.where} is sound" + ("." if writer is None else f"; last writer: {writer}.")
    )
    if kill.active:
        yield _wrong("kill switch", f"Trading is stopped: {kill.latch.reason}", "See docs/operating.md, After a stop.")
    else:
        yield _fine("kill switch", "Off.")
    if has_passphrase:
        yield _fine("operator", "A passphrase is set.")
    else:
        yield _look("operator", "Nobody can reset a stop.", "Run: ibkr-mcp-server operator set-passphrase")


async def _gateway(settings: Settings) -> AsyncIterator[Finding]:
    from ibkr_mcp_server.app import link_to_look

    try:
        state = existing_state(settings)
    except ConfigurationError:
        return  # told already
    async with link_to_look(settings, state, clock=SystemClock()) as broker:
        link = broker.link
        for _ in range(LOOKS):
            link = await broker.wait_until_up(LINK_SECONDS / LOOKS)
            if link.is_up or link.problem is not None:
                break
        if not link.is_up:
            problem = link.problem or f"{link.address} did not answer within {LINK_SECONDS:.0f} s."
            todo = "Start TWS or IB Gateway, enable its API, and compare IBKR_HOST and IBKR_PORT."
            yield _wrong("gateway", problem, todo)
            return
        if settings.broker_mode is BrokerMode.SIMULATOR:
            yield _fine("gateway", "The built-in paper gateway plays; a server brings its own.")
        else:
            yield _fine("gateway", f"Connected to {link.address}.")
        for found in _accounts(settings, link):
            yield found
        async for found in _data(broker):
            yield found
        yield _clock(broker.link)


def _accounts(settings: Settings, link: LinkStatus) -> Iterator[Finding]:
    accepts = account_check(settings).accepts
    strange = [masked(account) for account in link.accounts if not accepts(account)]
    shown = ", ".join(masked(account) for account in link.accounts) or "none"
    if strange or not link.accounts:
        yield _wrong(
            "accounts",
            f"The link serves {shown}; not accepted: {', '.join(strange) or 'an empty list'}.",
            "Log in to the account that IBKR_BROKER_MODE means; in live mode list it in IBKR_LIVE_ACCOUNTS.",
        )
    else:
        yield _fine("accounts", f"{shown}: accepted.")


async def _data(broker: Broker) -> AsyncIterator[Finding]:
    try:
        [answer] = await broker.quotes([await broker.resolve(LOOKED_AT)])
    except ProductError as error:
        yield _wrong("permissions", error.message, error.next_step or "Ask IBKR for market-data permissions.")
        return
    if isinstance(answer, Refusal):
        yield _wrong("permissions", answer.message, answer.next_step or "Ask IBKR for market-data permissions.")
    elif answer.data_type is MarketDataType.LIVE:
        yield _fine("permissions", f"Live data of {LOOKED_AT.symbol}.")
        missing = [name for name in ("bid", "ask") if getattr(answer, name) is None]
        if missing:
            yield _look("data", f"{LOOKED_AT.symbol} has no {' and no '.join(missing)} now.", "Is the market open?")
        else:
            yield _fine("data", f"{LOOKED_AT.symbol} {answer.bid} / {answer.ask}.")
    else:
        yield _look(
            "permissions",
            f"{LOOKED_AT.symbol} comes as {answer.data_type} data; market orders need live data.",
            "Subscribe to it at IBKR, and share it with the paper account.",
        )


def _clock(link: LinkStatus) -> Finding:
    offset = link.clock_offset
    if offset is None:
        return _look("clock", "The broker's clock was not measured yet.", "Run this again.")
    if offset.at_least_seconds > MOST_CLOCK_SECONDS:
        todo = "Switch on time synchronisation (NTP)."
        return _wrong("clock", f"The broker's clock is {offset.seconds:+.1f} s from this machine's.", todo)
    return _fine("clock", f"Within {abs(offset.seconds) + offset.uncertainty_seconds:.1f} s of the broker's.")


_STYLES = {Mark.FINE: ("✓", "green"), Mark.LOOK: ("•", "yellow"), Mark.WRONG: ("✗", "bold red")}


def _show(findings: list[Finding]) -> None:
    table = facts("")
    table.title = None
    for found in findings:
        sign, style = _STYLES[found.mark]
        text = Text(found.says)
        if found.do and found.mark is not Mark.FINE:
            text.append(f"\n→ {found.do}", style="bold")
        table.add_row(Text(f"{sign} {found.about}", style=style), text)
    console().print(table)
    wrong = sum(found.mark is Mark.WRONG for found in findings)
    console().print("Everything that was looked at is in order." if not wrong else f"{wrong} to repair.")


def _fine(about: str, says: str) -> Finding:
    return Finding(about=about, mark=Mark.FINE, says=says)


def _look(about: str, says: str, do: str) -> Finding:
    return Finding(about=about, mark=Mark.LOOK, says=says, do=do)


def _wrong(about: str, says: str, do: str) -> Finding:
    return Finding(about=about, mark=Mark.WRONG, says=says, do=do)
