"""`reset` and `operator`: what only a person may do, proved by a passphrase typed at a terminal (KS-16)."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated

import typer

from ibkr_mcp_server.cli.user import local_user, typed_secret
from ibkr_mcp_server.cli.workspace import EnvFile, Workspace, open_workspace, settings_of
from ibkr_mcp_server.errors import Refused
from ibkr_mcp_server.operations.reset import check_resumable, reset_kill_switch
from ibkr_mcp_server.safety.operator import SHORTEST_PASSPHRASE, OperatorDoor
from ibkr_mcp_server.store.latches import Latch

User = Annotated[str | None, typer.Option("--user", metavar="NAME", help="Name for the audit log; proves nothing.")]
Passphrase = Annotated[str | None, typer.Option("--passphrase", hidden=True)]
"""Exists only to be refused with a reason."""


def register(app: typer.Typer) -> None:
    app.command("reset")(reset)
    group = typer.Typer(help="The operator's passphrase.", no_args_is_help=True)
    group.callback()(lambda: None)  # keeps the name of the only command
    group.command("set-passphrase")(set_passphrase)
    app.add_typer(group, name="operator")


def reset(
    reason: Annotated[str, typer.Option(help="Why trading may resume; kept in the audit log.")],
    user: User = None,
    passphrase: Passphrase = None,
    env_file: EnvFile = None,
) -> None:
    """End a stop. Asks for the operator's passphrase at the terminal."""
    refuse_passphrase_in_the_open(passphrase)
    with open_workspace(settings_of(env_file)) as workspace:
        door = operator_door(workspace)
        if not workspace.kill_switch.status_now().active:
            raise Refused("NOT_ACTIVE", "The kill switch is off; there is nothing to reset.")
        if not door.has_passphrase:
            raise Refused(
                "NO_PASSPHRASE",
                "No operator passphrase is set, so nobody can be proved.",
                next_step="Run: ibkr-mcp-server operator set-passphrase",
            )
        check_resumable(workspace.database)
        typed = typed_secret("Operator passphrase: ")

        async def proved_and_reset() -> Latch:
            proof = await door.open(typed, claimed_name=user or local_user())
            return await reset_kill_switch(workspace.database, workspace.kill_switch, proof, reason)

        latch = asyncio.run(proved_and_reset())
    typer.echo(f"The kill switch is off, reset by {latch.actor_id}: {latch.reason}")
    typer.echo("Running servers accept opening orders again, as far as their other controls allow.")


def set_passphrase(user: User = None, passphrase: Passphrase = None, env_file: EnvFile = None) -> None:
    """Set the operator's passphrase, or change it; changing asks for the current one."""
    refuse_passphrase_in_the_open(passphrase)
    with open_workspace(settings_of(env_file)) as workspace:
        door, name = operator_door(workspace), user or local_user()
        if door.has_passphrase:
            current = typed_secret("Current operator passphrase: ")
            proof = asyncio.run(door.open(current, claimed_name=name))
            asyncio.run(door.replace_passphrase(_typed_twice(), proof))
        else:
            asyncio.run(door.set_passphrase(_typed_twice(), claimed_name=name))
    typer.echo("The operator's passphrase is set. Only its hash is stored; nobody can read it back.")


def operator_door(workspace: Workspace) -> OperatorDoor:
    return OperatorDoor(
        path=workspace.state.operator, database=workspace.database, audit=workspace.audit, clock=workspace.clock
    )


def _typed_twice() -> str:
    first = typed_secret(f"New operator passphrase (at least {SHORTEST_PASSPHRASE} characters): ")
    if typed_secret("The same again: ") != first:
        raise Refused("PASSPHRASES_DIFFER", "The two passphrases are not the same; nothing was changed.")
    return first


def refuse_passphrase_in_the_open(given: str | None) -> None:
    variables = [name for name in os.environ if name.upper().startswith("IBKR_") and "PASSPHRASE" in name.upper()]
    if given is None and not variables:
        return
    where = f"The variable {variables[0]}" if variables else "The option --passphrase"
    raise Refused(
        "PASSPHRASE_IN_THE_OPEN",
        f"{where} carries a passphrase, where other programs can read it; it was not looked at.",
        next_step="Take it away and type the passphrase when asked. If it is the real one, change it: "
        "ibkr-mcp-server operator set-passphrase",
    )
