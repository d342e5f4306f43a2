"""`monitor`: the safety state as it changes, until a signal ends it (MON-03). Reads only."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from ibkr_mcp_server.audit.log import tail
from ibkr_mcp_server.cli.audit import table_of
from ibkr_mcp_server.cli.output import console, utc
from ibkr_mcp_server.cli.status import read, view_of
from ibkr_mcp_server.cli.workspace import EnvFile, open_workspace, settings_of
from ibkr_mcp_server.clock import SystemClock
from ibkr_mcp_server.errors import ProductError
from ibkr_mcp_server.settings.model import Settings

RECORDS_SHOWN = 8


def register(app: typer.Typer) -> None:
    app.command("monitor")(monitor)


def monitor(
    interval: Annotated[float, typer.Option(min=0.2, max=3_600, metavar="N", help="Seconds between looks.")] = 2.0,
    env_file: EnvFile = None,
) -> None:
    """Show state, limits and the newest records again and again; Ctrl-C ends it."""
    settings = settings_of(env_file)
    ended = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    screen = console()
    if not screen.is_terminal:
        while not ended.is_set():
            screen.print(_look(settings))
            ended.wait(interval)
        return
    with Live(_look(settings), console=screen, screen=True, auto_refresh=False) as live:
        while not ended.wait(interval):
            live.update(_look(settings), refresh=True)


def _look(settings: Settings) -> RenderableType:
    """The store is opened anew for each look, so that one that comes, goes or is repaired meanwhile is seen."""
    try:
        with open_workspace(settings, read_only=True) as workspace:
            seen, records = workspace.database.read_blocking(
                lambda connection: (read(connection, workspace), tail(connection, RECORDS_SHOWN))
            )
    except ProductError as error:
        title = f"UNREADABLE at {utc(SystemClock().now())}"
        return Panel(Text(f"{error}\n{error.next_step}"), title=title, border_style="red")
    return Group(view_of(seen, safety=True), "", Text("Newest records", style="bold"), table_of(records))
