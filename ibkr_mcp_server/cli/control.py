"""`control`: the HTTP control API alone, so that a stop needs no running MCP server."""

from __future__ import annotations

import asyncio
import sys

import typer

from ibkr_mcp_server.cli.workspace import EnvFile, open_workspace, settings_of
from ibkr_mcp_server.errors import Unavailable


def register(app: typer.Typer) -> None:
    app.command("control")(control)


def control(env_file: EnvFile = None) -> None:
    """Serve the control API on the store of these settings, until told to end."""
    from ibkr_mcp_server import log
    from ibkr_mcp_server.control.parts import Parts
    from ibkr_mcp_server.control.server import alone

    settings = settings_of(env_file)
    log.configure(settings.log_level, settings.log_file, hide=settings.secrets())
    with open_workspace(settings) as workspace:
        parts = Parts(
            settings=settings,
            database=workspace.database,
            audit=workspace.audit,
            kill_switch=workspace.kill_switch,
            clock=workspace.clock,
        )
        try:
            asyncio.run(alone(parts, ready=_tell))
        except OSError as error:
            raise Unavailable(
                "NOT_SERVED",
                f"The control API cannot listen on {settings.control_host}:{settings.control_port}: {error.strerror}.",
                next_step="Set IBKR_CONTROL_PORT to another port, or end the program that has this one.",
            ) from error


def _tell(url: str) -> None:
    sys.stderr.write(f"Control API at {url}; it takes no orders, it stops them.\n")
    sys.stderr.flush()
