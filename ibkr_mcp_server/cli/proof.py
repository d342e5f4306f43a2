"""A person proves themselves at the terminal, for any command that only people may give (KS-16)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ibkr_mcp_server.cli.user import local_user, typed_secret
from ibkr_mcp_server.cli.workspace import Workspace, open_workspace, settings_of
from ibkr_mcp_server.errors import Refused
from ibkr_mcp_server.safety.operator import OperatorDoor, OperatorProof, nobody_yet
from ibkr_mcp_server.safety.roles import Power

User = Annotated[
    str | None, typer.Option("--user", metavar="NAME", help="Which operator you are; your passphrase proves it.")
]
Passphrase = Annotated[str | None, typer.Option("--passphrase", hidden=True)]
"""Exists only to be refused with a reason."""


@contextmanager
def workspace_of_a_person(passphrase: str | None, env_file: Path | None) -> Iterator[Workspace]:
    """The workspace of a command that a person must prove themselves for; `passphrase` exists only to be refused.

    Raises:
        Refused: a passphrase stands in the arguments or the environment.
    """
    refuse_passphrase_in_the_open(passphrase)
    with open_workspace(settings_of(env_file)) as workspace:
        yield workspace


def operator_door(workspace: Workspace) -> OperatorDoor:
    return OperatorDoor(
        path=workspace.state.operator, database=workspace.database, audit=workspace.audit, clock=workspace.clock
    )


def proved(workspace: Workspace, user: str | None, power: Power) -> OperatorProof:
    """Ask for the passphrase, and for a one-time code where there is one.

    Raises:
        Refused: there is no terminal, nobody can be proved yet, the proof fails, or the role does not reach.
    """
    door = operator_door(workspace)
    name = own_name(door, user)
    passphrase, code = typed_proof(door, name, f"Operator passphrase of {name}: ")
    return asyncio.run(door.open(passphrase, claimed_name=name, power=power, code=code))


def typed_proof(door: OperatorDoor, name: str, prompt: str) -> tuple[str, str | None]:
    """What a person types to prove themselves: the passphrase, and a code if they have one."""
    if not door.has_passphrase:
        raise nobody_yet()
    passphrase = typed_secret(prompt)
    known = door.find(name)
    return passphrase, typed_secret("One-time code: ") if known is not None and known.has_code else None


def own_name(door: OperatorDoor, user: str | None) -> str:
    """Whom this person claims to be: as said, the only operator there is, or the login name."""
    if user is not None:
        return user
    operators = door.operators()
    return operators[0].name if len(operators) == 1 else local_user()


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
