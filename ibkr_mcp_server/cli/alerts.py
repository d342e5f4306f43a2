"""`test-alert`: a message by every channel, at once, and what became of each (AL-01)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table
from sqlalchemy import Connection

from ibkr_mcp_server.alerts.channels import Channel, Unsent, channels_of, within
from ibkr_mcp_server.cli.output import console, print_json
from ibkr_mcp_server.cli.user import local_user
from ibkr_mcp_server.cli.workspace import AsJson, EnvFile, Workspace, open_workspace, settings_of
from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.domain.alerts import Alert, Priority
from ibkr_mcp_server.errors import Refused
from ibkr_mcp_server.operations.alerting import delivery_event, hidden
from ibkr_mcp_server.settings.model import Settings
from ibkr_mcp_server.store import alerts
from ibkr_mcp_server.store.schema import DeliveryState

SUBJECT = "test"


@dataclass(frozen=True, kw_only=True)
class Tried:
    """What became of the message on one channel."""

    channel: str
    sent: bool
    seconds: float
    problem: str | None = None


def register(app: typer.Typer) -> None:
    app.command("test-alert")(send_test)


def send_test(
    priority: Annotated[Priority, typer.Option(help="Goes to the channels that take this one.")] = Priority.CRITICAL,
    as_json: AsJson = False,
    env_file: EnvFile = None,
) -> None:
    """Send a test alert now and print what every channel said; exits 1 when one did not take it."""
    settings = settings_of(env_file)
    with open_workspace(settings) as workspace:
        channels = channels_of(settings, workspace.database.read_blocking(alerts.installation))
        alert = _alert(priority, workspace.clock)
        taking = [channel for channel in channels if channel.takes(alert)]
        if not taking:
            raise _nothing_to_test(settings, priority, channels)
        tried = asyncio.run(_try_all(taking, alert, workspace.clock, settings))
        workspace.database.run_blocking(lambda connection: _record(connection, workspace, alert, tried))
    if as_json:
        print_json({"priority": priority, "channels": tried})
    else:
        console().print(_table(tried))
    if not all(one.sent for one in tried):
        raise typer.Exit(1)


def _alert(priority: Priority, clock: Clock) -> Alert:
    return Alert(
        number=None,
        raised_at=clock.now(),
        event="TEST",
        priority=priority,
        title="Test of the alerts",
        text=f"Sent by {local_user()} with `ibkr-mcp-server test-alert`. Nothing has happened; if you read this, "
        f"alerts of priority {priority} reach you.",
        incident=SUBJECT,
    )


def _nothing_to_test(settings: Settings, priority: Priority, channels: Sequence[Channel]) -> Refused:
    if not channels:
        return Refused(
            "NO_CHANNEL",
            "No channel of alerts is set.",
            next_step="Set IBKR_ALERT_SLACK_WEBHOOK, IBKR_ALERT_EMAIL_… or IBKR_ALERT_PAGERDUTY_KEY: docs/alerts.md.",
        )
    names = ", ".join(channel.name for channel in channels)
    return Refused(
        "NO_CHANNEL",
        f"No channel takes alerts of priority {priority}; set are: {names}.",
        next_step="Test with --priority critical, or lower a channel's IBKR_ALERT_…_PRIORITY.",
    )


async def _try_all(channels: Sequence[Channel], alert: Alert, clock: Clock, settings: Settings) -> tuple[Tried, ...]:
    return tuple(await asyncio.gather(*(_try(channel, alert, clock, settings) for channel in channels)))


async def _try(channel: Channel, alert: Alert, clock: Clock, settings: Settings) -> Tried:
    began = clock.monotonic()
    try:
        await within(channel.send(alert), clock)
    except Unsent as error:
        seconds, problem = clock.monotonic() - began, hidden(str(error), settings)
        return Tried(channel=channel.name, sent=False, seconds=seconds, problem=problem)
    return Tried(channel=channel.name, sent=True, seconds=clock.monotonic() - began)


def _record(connection: Connection, workspace: Workspace, alert: Alert, tried: Sequence[Tried]) -> None:
    """As any other alert, so that one that arrives ends what alerts that do not arrive hold back (AL-06).

    The test of a channel is not repeated by a server.
    """
    numbered = replace(alert, number=alerts.add(connection, alert, SUBJECT, routed=True))
    sent = [one.channel for one in tried if one.sent]
    alerts.note_sent(connection, numbered, sent, workspace.clock.now())
    for one in tried:
        state = DeliveryState.SENT if one.sent else DeliveryState.FAILED
        workspace.audit.append(connection, delivery_event(numbered, one.channel, state, one.problem, attempts=1))


def _table(tried: Sequence[Tried]) -> Table:
    table = Table("", "Channel", "Took", "Answer", title="Test alert", title_justify="left", box=None)
    for one in tried:
        verdict = "[green]sent[/]" if one.sent else "[red]FAILED[/]"
        table.add_row(verdict, one.channel, f"{one.seconds:.2f} s", escape(one.problem or "taken"))
    return table
