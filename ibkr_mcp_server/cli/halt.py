"""`portfolio-halt`: stop all opening orders, now, from any shell of this user.

Needs no passphrase, no reason, no server and no valid settings; where the store fails, the stop file holds.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer
from dotenv import dotenv_values

from ibkr_mcp_server.cli.output import utc
from ibkr_mcp_server.cli.user import local_user
from ibkr_mcp_server.cli.workspace import EnvFile, open_workspace, settings_of
from ibkr_mcp_server.domain.operations import Actor, ActorType
from ibkr_mcp_server.errors import ConfigurationError, Fault, ProductError
from ibkr_mcp_server.safety.kill_switch import Activation
from ibkr_mcp_server.safety.send_gate import SendGate
from ibkr_mcp_server.settings import Settings
from ibkr_mcp_server.state_dir import StateDirectory, write_private
from ibkr_mcp_server.store.latches import KillMode


def register(app: typer.Typer) -> None:
    app.command("portfolio-halt")(portfolio_halt)


def portfolio_halt(
    reason: Annotated[str, typer.Option(help="Why; kept in the audit log.")] = "unspecified", env_file: EnvFile = None
) -> None:
    """Stop all opening orders of every server on this state directory; only `reset` ends it."""
    try:
        activation = _by_latch(reason, env_file)
    except Exception as error:  # whatever is broken, the stop must hold
        _by_file(reason, error, _state_of(env_file))
        return
    _report(activation)


def _by_latch(reason: str, env_file: Path | None) -> Activation:
    actor = Actor(type=ActorType.HUMAN, id=local_user(), auth="local-shell")
    with open_workspace(settings_of(env_file)) as workspace:
        return asyncio.run(workspace.kill_switch.activate(KillMode.HALT_ONLY, reason, actor))


def _report(activation: Activation) -> None:
    latch = activation.latch
    if latch is None:
        typer.echo(
            f"Trading is halted by the stop file; the store could not be written. {activation.problem}", err=True
        )
    elif activation.first:
        typer.echo(f"Trading is halted ({latch.mode}): {latch.reason}")
    else:
        typer.echo(f"Trading was halted already, since {utc(latch.activated_at)}: {latch.reason}")
    if activation.nothing_in_flight:
        typer.echo("The stop is durable, and no opening order is on its way any more, in any process.")
    typer.echo("A running server now cancels the working entry orders; protective orders stay.")
    typer.echo("To resume: ibkr-mcp-server reset --reason '…'")
    if not activation.nothing_in_flight:
        typer.echo(f"A process may still be sending: {activation.problem}", err=True)
        raise typer.Exit(1)


def _by_file(reason: str, cause: Exception, state: StateDirectory) -> None:
    why = "\n".join(cause.problems) if isinstance(cause, ConfigurationError) else str(cause)
    typer.echo(f"The store cannot be used, so the stop file is left instead. {why}", err=True)
    _leave(state.sentinel, reason)
    typer.echo(f"Trading is halted while {state.sentinel} exists.")
    try:
        asyncio.run(_nothing_in_flight(state))
    except (ProductError, OSError) as error:
        typer.echo(f"A process may still be sending: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo("No opening order is on its way any more, in any process.")
    typer.echo("To resume, repair the store; then: ibkr-mcp-server reset --reason '…'")


def _leave(sentinel: Path, reason: str) -> None:
    try:
        sentinel.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            write_private(sentinel, reason + "\n")
        except OSError:
            sentinel.touch()  # a full disk may still take an empty file
    except OSError as error:
        raise Fault(
            "STOP_FAILED",
            f"TRADING IS NOT HALTED: {sentinel} cannot be written ({error.strerror}).",
            next_step="End the server process, and cancel the orders in TWS or at IBKR.",
        ) from error


async def _nothing_in_flight(state: StateDirectory) -> None:
    async with SendGate(state.send_lock).held():
        return


def _state_of(env_file: Path | None) -> StateDirectory:
    """Where a server with these settings looks for the stop file, even if the settings are wrong elsewhere."""
    given = os.environ.get("IBKR_STATE_DIR") or (dotenv_values(env_file).get("IBKR_STATE_DIR") if env_file else None)
    path = Path(given) if given else None
    return StateDirectory(path=path if path is not None and path.is_absolute() else Settings().state_directory)
