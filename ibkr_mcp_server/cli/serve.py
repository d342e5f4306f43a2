"""`serve`: the MCP server, on stdio for a host or over HTTP.

Everything imported here delays the answer to tools/list; the app and what it needs are imported later, by the server.
Settings and the state directory are checked first: a wrong one refuses the start.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ibkr_mcp_server.agents import load_agents
from ibkr_mcp_server.cli.errors import explain
from ibkr_mcp_server.clock import Clock, SystemClock
from ibkr_mcp_server.errors import ConfigurationError, ProductError, Unavailable
from ibkr_mcp_server.settings.loading import load_settings
from ibkr_mcp_server.settings.model import Settings
from ibkr_mcp_server.state_dir import StateDirectory, open_state_directory

EXIT_NOT_THE_WRITER = 75
"""EX_TEMPFAIL of sysexits.h."""

if TYPE_CHECKING:
    from ibkr_mcp_server.app import App


def serve(arguments: Sequence[str]) -> int:
    """Serve until the client leaves or the process is told to end; the exit code."""
    parser = _options()
    options = parser.parse_args(arguments)
    if options.port is not None and not options.http:
        parser.error("--port is of the HTTP transport: add --http")
    if options.legacy_stdio and options.http:
        parser.error("--legacy-stdio is of the stdio transport: leave out --http")
    try:
        settings = load_settings(
            environ=os.environ,
            env_file=options.env_file,
            safety_mode=options.safety_mode,
            http_port=options.port,
            agent=options.agent,
        )
        state = open_state_directory(settings.state_directory)
        agents = load_agents(state.agents, settings)
    except ConfigurationError as error:
        return explain(error)
    clock = SystemClock()
    if options.require_writer:
        try:
            other = _other_writer(settings, state)
        except ProductError as error:
            return explain(error)
        if other is not None:
            sys.stderr.write(f"{other}\n")
            return EXIT_NOT_THE_WRITER
    opener = _opener(settings, state, clock, with_control_api=options.http)
    from ibkr_mcp_server.tools.server import Auth, TradingServer  # only now, so that wrong settings are told at once

    auth: Auth = "bearer" if options.http else "stdio"
    server = TradingServer(
        opener,
        venue=settings.broker_mode.value,
        clock=clock,
        auth=auth,
        agent=settings.agent,
        sentinel=state.sentinel,
        choice=settings.tool_choice,
    )
    if options.http:
        from ibkr_mcp_server.tools import http

        try:
            http.serve(server, settings, state, agents)
        except OSError as error:
            return explain(_not_served(settings, error))
        return 0
    from ibkr_mcp_server.tools import stdio

    stdio.serve(server, legacy=options.legacy_stdio)
    return 0


def _other_writer(settings: Settings, state: StateDirectory) -> str | None:
    """Who writes on this store already; None when nobody does (LK-01)."""
    from ibkr_mcp_server.safety.writer import newest
    from ibkr_mcp_server.store.database import Database

    database = Database.open(settings.store_location(state))
    try:
        lock = database.writer_lock()
        if lock.acquire():
            lock.release()  # the server takes it when it opens
            return None
        return f"Another process writes for this account: {database.read_blocking(newest) or 'not known yet'}."
    finally:
        database.close()


def _not_served(settings: Settings, error: OSError) -> Unavailable:
    return Unavailable(
        "NOT_SERVED",
        f"The server cannot listen on {settings.http_host}:{settings.http_port}: {error.strerror}.",
        next_step="Name another port with --port (0 takes a free one), or end the program that has this one.",
    )


def _opener(
    settings: Settings, state: StateDirectory, clock: Clock, *, with_control_api: bool
) -> Callable[[], AbstractAsyncContextManager[App]]:
    def make() -> AbstractAsyncContextManager[App]:
        from ibkr_mcp_server import log
        from ibkr_mcp_server.app import open_app

        log.configure(settings.log_level, settings.log_file, hide=settings.secrets())
        app = open_app(settings, state, clock=clock)
        return _to_stay(_beside_the_control_api(app) if with_control_api else _without_the_control_api(app))

    return make


@asynccontextmanager
async def _to_stay(opening: AbstractAsyncContextManager[App]) -> AsyncIterator[App]:
    """What is loaded by now lives as long as the server: walking through it all again and again to collect garbage
    would halt an order on its way for a tenth of a second.
    """
    async with opening as app:
        gc.freeze()
        yield app


@asynccontextmanager
async def _beside_the_control_api(opening: AbstractAsyncContextManager[App]) -> AsyncIterator[App]:
    """A server that runs for itself, not for one host's conversation, has the operators' door as well."""
    from ibkr_mcp_server.control.server import beside

    async with opening as app, beside(app):
        yield app


@asynccontextmanager
async def _without_the_control_api(opening: AbstractAsyncContextManager[App]) -> AsyncIterator[App]:
    """A host's own server; `control` may run beside it, and bad keys are told here too."""
    from ibkr_mcp_server.control.key_watch import tell_of_bad_keys

    async with opening as app:
        await tell_of_bad_keys(app.desk)
        yield app


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ibkr-mcp-server serve", description="Run the MCP server: on stdin and stdout, or over HTTP."
    )
    parser.add_argument("--http", action="store_true", help="serve Streamable HTTP on loopback, with a bearer token")
    parser.add_argument("--port", metavar="N", help="port of the HTTP transport; 0 takes a free one")
    parser.add_argument("--agent", metavar="NAME", help="who uses this server, for limits, stops and records")
    parser.add_argument("--safety-mode", metavar="on|off", help="off only with the simulator: limits warn, not refuse")
    parser.add_argument("--require-writer", action="store_true", help="exit 75 if another server writes already")
    parser.add_argument("--legacy-stdio", action="store_true", help="speak only the protocol with a handshake")
    parser.add_argument("--env-file", metavar="PATH", type=Path, help="read settings from this file, too")
    return parser
