"""The commands that stop: everything, one strategy, with the positions closed, or locked down.

`portfolio-halt`, `halt-strategy` and `emergency` need no passphrase, no reason, no server and no valid settings; where
the store fails, the stop file holds. `portfolio-close` trades, so it takes the operator's passphrase.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer
from dotenv import dotenv_values

from ibkr_mcp_server.cli.output import utc
from ibkr_mcp_server.cli.proof import Passphrase, User, proved, workspace_of_a_person
from ibkr_mcp_server.cli.user import local_user
from ibkr_mcp_server.cli.workspace import EnvFile, Workspace, open_workspace, settings_of
from ibkr_mcp_server.domain import scopes
from ibkr_mcp_server.domain.operations import Actor, ActorType
from ibkr_mcp_server.domain.scopes import ACCOUNT
from ibkr_mcp_server.errors import ConfigurationError, Fault, ProductError, Refused
from ibkr_mcp_server.operations.close_portfolio import close_portfolio
from ibkr_mcp_server.safety.kill_switch import Activation
from ibkr_mcp_server.safety.roles import Power
from ibkr_mcp_server.safety.send_gate import SendGate
from ibkr_mcp_server.settings.model import Settings
from ibkr_mcp_server.state_dir import StateDirectory, write_private
from ibkr_mcp_server.store import intents
from ibkr_mcp_server.store.latches import KillMode

Reason = Annotated[str, typer.Option(help="Why; kept in the audit log.")]


def register(app: typer.Typer) -> None:
    app.command("portfolio-halt")(portfolio_halt)
    app.command("halt-strategy")(halt_strategy)
    app.command("portfolio-close")(portfolio_close)
    app.command("emergency")(emergency)


def portfolio_halt(reason: Reason = "unspecified", env_file: EnvFile = None) -> None:
    """Stop all opening orders of every server on this state directory; only `reset` ends it."""
    _stop(KillMode.HALT_ONLY, reason, env_file)


def emergency(reason: Reason = "unspecified", env_file: EnvFile = None) -> None:
    """Lock everything down: no order passes and agents read nothing but the safety status; only `reset` ends it."""
    _stop(KillMode.LOCKDOWN, reason, env_file)


def halt_strategy(
    name: Annotated[str, typer.Argument(help="The agent, as it names itself to the server.")],
    reason: Reason = "unspecified",
    env_file: EnvFile = None,
) -> None:
    """Stop the opening orders of one agent; the others go on. Only `resume` ends it."""
    if not name.strip():
        raise Refused("STRATEGY_UNNAMED", "A strategy has a name.", next_step="`audit tail` shows who acts.")
    _stop(KillMode.HALT_ONLY, reason, env_file, scope=scopes.of_strategy(name))


def portfolio_close(
    reason: Annotated[str, typer.Option(help="Why all positions are closed; kept in the audit log.")],
    user: User = None,
    passphrase: Passphrase = None,
    env_file: EnvFile = None,
) -> None:
    """Stop everything and have a running server close every position, as a risk manager.

    Unless a threshold had stopped trading, a second risk manager must approve it; `portfolio-halt` needs nobody.
    """
    with workspace_of_a_person(passphrase, env_file) as workspace:
        proof = proved(workspace, user, Power.CLOSE_PORTFOLIO)
        activation = asyncio.run(
            close_portfolio(workspace.database, workspace.kill_switch, workspace.queue, proof, reason)
        )
    _report(activation, ACCOUNT)
    typer.echo("It then closes every position, outside regular hours at the next open; `status` shows how far it is.")


def _stop(mode: KillMode, reason: str, env_file: Path | None, *, scope: str = ACCOUNT) -> None:
    try:
        activation, note = _by_latch(mode, reason, env_file, scope)
    except Exception as error:  # whatever is broken, the stop must hold
        _by_file(reason, error, _state_of(env_file))
        return
    _report(activation, scope)
    if note:
        typer.echo(note)


def _by_latch(mode: KillMode, reason: str, env_file: Path | None, scope: str) -> tuple[Activation, str | None]:
    actor = Actor(type=ActorType.HUMAN, id=local_user(), auth="local-shell")
    with open_workspace(settings_of(env_file)) as workspace:
        activation = asyncio.run(workspace.kill_switch.activate(mode, reason, actor, scope=scope))
        return activation, _note(workspace, scope)


def _note(workspace: Workspace, scope: str) -> str | None:
    """A strategy that nobody knows is more likely misspelt than new."""
    name = scopes.strategy_of(scope)
    known = [] if name is None else workspace.database.read_blocking(intents.actors)
    if name is None or name in known:
        return None
    others = f" Those that did: {', '.join(known)}." if known else ""
    return f"Nobody called {name!r} has sent an order so far.{others}"


def _report(activation: Activation, scope: str) -> None:
    latch = activation.latch
    what = "Trading" if scope == ACCOUNT else f"{scopes.named(scope)[0].upper()}{scopes.named(scope)[1:]}"
    if latch is None:
        typer.echo(
            f"Trading is halted by the stop file; the store could not be written. {activation.problem}", err=True
        )
    elif activation.first:
        typer.echo(f"{what} is halted ({latch.mode}): {latch.reason}")
    else:
        typer.echo(f"{what} was halted already, since {utc(latch.activated_at)} ({latch.mode}): {latch.reason}")
    if activation.nothing_in_flight:
        typer.echo("The stop is durable, and no opening order is on its way any more, in any process.")
    typer.echo("A running server now cancels the working entry orders; protective orders stay.")
    name = scopes.strategy_of(scope)
    typer.echo(f"To resume: ibkr-mcp-server {'reset' if name is None else f'resume {name!r}'} --reason '…'")
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
