"""`demo`: a scripted agent trades on the built-in paper gateway and meets every guard; needs no account.

The server is a process of its own, spoken to over stdio by a real MCP client; the operator is the real command line at
a pseudo terminal. The state directory is fresh, and removed afterwards.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import TextIO

import typer
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.types import Implementation
from platformdirs import user_state_path

from ibkr_mcp_server import __version__
from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.audit.log import AuditRecord, tail
from ibkr_mcp_server.cli.audit import table_of
from ibkr_mcp_server.cli.demo_stage import Agent, Stage, Unexpected
from ibkr_mcp_server.cli.demo_story import Scene, play
from ibkr_mcp_server.cli.output import console
from ibkr_mcp_server.clock import SystemClock
from ibkr_mcp_server.errors import ConfigurationError
from ibkr_mcp_server.state_dir import StateDirectory, state_directory_problems
from ibkr_mcp_server.store.database import Database

RECORDS_LOOKED_THROUGH = 1_000
LOG_LINES_SHOWN = 15

AGENT = Implementation(name="demo-agent", version=__version__)

NEXT = """
[bold]Where to go next[/]
  ibkr-mcp-server serve             the MCP server, for a host such as Claude Desktop
  ibkr-mcp-server status --safety   kill switch, limits, unresolved orders
  ibkr-mcp-server config show       every setting, and where its value comes from
  ibkr-mcp-server simulate          the paper gateway alone, for any TWS API client
"""


def register(app: typer.Typer) -> None:
    app.command("demo")(demo)


def demo() -> None:
    """Watch a scripted agent trade on the built-in paper gateway, be refused, stop, and be reset. Needs no account."""
    clock, screen = SystemClock(), console()
    stage, began = Stage(screen), clock.monotonic()
    stage.say(
        "[bold]ibkr-mcp-server demo[/]: a scripted agent, a real MCP client, works on the built-in paper gateway.\n"
        "[dim]Each line says what is expected; it appears once the server's answer has proved it.[/]"
    )
    with _own_state() as state, (state.path / "server.err").open("w+", encoding="utf-8") as errors:
        failure = asyncio.run(_played(stage, _environment(state), errors))
        if failure is not None:
            stage.failed(failure)
            stage.say(_end_of_logs(state))
            raise typer.Exit(1)
        stage.say("")
        stage.say(table_of(_story_of(state)))
    stage.say(f"\n[bold green]All {stage.steps} steps came out as expected[/], in {clock.monotonic() - began:.0f} s.")
    stage.say(NEXT)


async def _played(stage: Stage, environment: dict[str, str], errors: TextIO) -> Unexpected | None:
    """Play the story; what went wrong, if anything did."""
    server = StdioServerParameters(command=sys.executable, args=["-m", "ibkr_mcp_server", "serve"], env=environment)
    try:
        async with Client(stdio_client(server, errlog=errors), client_info=AGENT) as client:
            try:
                await play(Scene(agent=Agent(client), stage=stage, environment=environment))
            except Unexpected as failure:
                return failure
    except (ExceptionGroup, MCPError, OSError) as error:
        return Unexpected("The server starts and keeps talking", str(error))
    return None


def _environment(state: StateDirectory) -> dict[str, str]:
    """Of the demo's processes: nothing of the caller's settings."""
    settings = {
        "IBKR_STATE_DIR": str(state.path),
        "IBKR_ENABLE_TRADING": "true",
        "IBKR_LOG_FILE": str(state.path / "server.log"),
    }
    return {name: text for name, text in os.environ.items() if not name.upper().startswith("IBKR_")} | settings


@contextmanager
def _own_state() -> Iterator[StateDirectory]:
    """A fresh state directory beside the user's own, or else in the working directory; removed afterwards."""
    problems: list[str] = []
    for parent in (user_state_path("ibkr-mcp-server-demo", appauthor=False), Path.cwd() / ".state"):
        found = state_directory_problems(parent / "demo")
        problems += found
        if found:
            continue
        try:
            parent.mkdir(parents=True, exist_ok=True)
            path = Path(mkdtemp(dir=parent, prefix="demo-"))
        except OSError as error:
            problems.append(f"{parent} cannot be written: {error.strerror}.")
            continue
        try:
            yield StateDirectory(path=path)
        finally:
            rmtree(path)
            with suppress(OSError):  # other demos may be playing there
                parent.rmdir()
        return
    raise ConfigurationError(["The demo finds no place for its state.", *problems])


def _story_of(state: StateDirectory) -> list[AuditRecord]:
    database = Database.open(state.database, read_only=True)
    try:
        records = database.read_blocking(lambda connection: tail(connection, RECORDS_LOOKED_THROUGH))
    finally:
        database.close()
    return [record for record in records if _tells(record)]


def _tells(record: AuditRecord) -> bool:
    """Whether the record is one of the story's turns: a refusal, what became of a request, a person's act."""
    match record.event_type:
        case EventType.DECISION:
            return record.outcome["approved"] is False
        case EventType.ORDER_PLACED | EventType.ORDER_FILLED | EventType.ORDER_CANCELLED:
            return record.tool is not None
        case kind:
            return kind in (
                EventType.KILL_SWITCH_ACTIVATE,
                EventType.AUTH_FAILED,
                EventType.KILL_SWITCH_DEACTIVATE,
            )


def _end_of_logs(state: StateDirectory) -> str:
    lines: list[str] = []
    for name in ("server.err", "server.log"):
        path = state.path / name
        if path.exists():
            lines += path.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES_SHOWN:]
    return "\n".join(["", "The end of the server's log:", *lines]) if lines else ""
