"""`reset`, `resume`, `operator`: what only a person may do, proved by what they type at a terminal (KS-16, KS-19)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from ibkr_mcp_server.cli.output import console, facts, print_json
from ibkr_mcp_server.cli.proof import (
    Passphrase,
    User,
    operator_door,
    own_name,
    proved,
    typed_proof,
    workspace_of_a_person,
)
from ibkr_mcp_server.cli.user import local_user, typed_secret
from ibkr_mcp_server.cli.workspace import AsJson, EnvFile, open_workspace, settings_of
from ibkr_mcp_server.domain import scopes
from ibkr_mcp_server.domain.scopes import ACCOUNT
from ibkr_mcp_server.errors import Refused
from ibkr_mcp_server.operations.reset import check_resumable, reset_kill_switch
from ibkr_mcp_server.safety.kill_switch import not_active, power_to_end
from ibkr_mcp_server.safety.operator import SHORTEST_PASSPHRASE, nobody_yet
from ibkr_mcp_server.safety.roles import Power, Role

Name = Annotated[str, typer.Argument(metavar="NAME", help="The operator's name.")]


def register(app: typer.Typer) -> None:
    app.command("reset")(reset)
    app.command("resume")(resume)
    group = typer.Typer(help="The people who may decide, their roles and passphrases.", no_args_is_help=True)
    group.command("set-passphrase")(set_passphrase)
    group.command("add")(add)
    group.command("list")(show)
    group.command("remove")(remove)
    app.add_typer(group, name="operator")


def reset(
    reason: Annotated[str, typer.Option(help="Why trading may resume; kept in the audit log.")],
    scope: Annotated[
        str, typer.Option(metavar="SCOPE", help="account, strategy:NAME or instrument:CON_ID, as `status` lists them.")
    ] = ACCOUNT,
    user: User = None,
    passphrase: Passphrase = None,
    env_file: EnvFile = None,
) -> None:
    """End a stop, as an admin. In live mode, and after a KILL threshold, a second admin must approve it."""
    known = scopes.parsed(scope)
    if known is None:
        raise Refused(
            "SCOPE_UNKNOWN",
            f"{scope!r} is no scope.",
            next_step="Give account, strategy:NAME or instrument:CON_ID; `status` lists those that are stopped.",
        )
    _end_stop(known, reason, user, passphrase, env_file)
    typer.echo("Running servers accept opening orders again, as far as their other controls allow.")


def resume(
    name: Annotated[str, typer.Argument(help="The strategy, as `status` lists it: the agent's name.")],
    reason: Annotated[str, typer.Option(help="Why it may trade again; kept in the audit log.")],
    user: User = None,
    passphrase: Passphrase = None,
    env_file: EnvFile = None,
) -> None:
    """Let one halted strategy trade again, as a senior. After a KILL threshold a second one must approve it."""
    _end_stop(scopes.of_strategy(name), reason, user, passphrase, env_file)


def _end_stop(scope: str, reason: str, user: str | None, passphrase: str | None, env_file: Path | None) -> None:
    with workspace_of_a_person(passphrase, env_file) as workspace:
        if not workspace.kill_switch.is_active_now(scope):
            raise not_active(scope)
        if not operator_door(workspace).has_passphrase:
            raise nobody_yet()
        check_resumable(workspace.database, scope, clock=workspace.clock)
        proof = proved(workspace, user, power_to_end(scope))
        done = reset_kill_switch(
            workspace.database,
            workspace.kill_switch,
            proof,
            reason,
            settings=workspace.settings,
            queue=workspace.queue,
            clock=workspace.clock,
            scope=scope,
        )
        latch = asyncio.run(done)
    what = "The kill switch" if scope == ACCOUNT else f"The stop of {scopes.named(scope)}"
    typer.echo(f"{what} is off, reset by {latch.actor_id}: {latch.reason}")


def set_passphrase(user: User = None, passphrase: Passphrase = None, env_file: EnvFile = None) -> None:
    """Set the first passphrase, which makes an admin; or change your own, which asks for the current one."""
    with workspace_of_a_person(passphrase, env_file) as workspace:
        door = operator_door(workspace)
        if door.has_passphrase:
            name = own_name(door, user)
            current, code = typed_proof(door, name, "Current operator passphrase: ")
            proof = asyncio.run(door.open(current, claimed_name=name, code=code))
            asyncio.run(door.replace_passphrase(_typed_twice(), current, proof))
        else:
            name = user or local_user()
            asyncio.run(door.set_passphrase(_typed_twice(), claimed_name=name))
    typer.echo(f"The passphrase of {name} is set. Only its hash is stored; nobody can read it back.")


def add(
    name: Name,
    role: Annotated[Role, typer.Option(help="What this person may do; docs/operating.md has the table.")],
    one_time_code: Annotated[
        bool, typer.Option("--one-time-code", help="Also ask this person for codes of an authenticator.")
    ] = False,
    user: User = None,
    passphrase: Passphrase = None,
    env_file: EnvFile = None,
) -> None:
    """Add a person, as an admin: first you prove yourself, then the new person types their passphrase."""
    with workspace_of_a_person(passphrase, env_file) as workspace:
        proof = proved(workspace, user, Power.MANAGE_OPERATORS)
        chosen = _typed_twice(f" of {name}")
        key = asyncio.run(operator_door(workspace).add(name, role, chosen, proof, with_code=one_time_code))
    typer.echo(f"{name} is an operator now, with the role {role}.")
    if key is not None:
        typer.echo("Enter this key into the authenticator now; it is never shown again:")
        typer.echo(f"  {key}")
        typer.echo(f"  otpauth://totp/ibkr-mcp-server:{quote(name)}?secret={key}&issuer=ibkr-mcp-server")


def show(as_json: AsJson = False, env_file: EnvFile = None) -> None:
    """List the operators with their roles."""
    with open_workspace(settings_of(env_file), read_only=True) as workspace:
        operators = operator_door(workspace).operators()
    entries = [
        {"name": one.name, "role": one.role.value, "one_time_code": one.has_code, "since": one.since or None}
        for one in operators
    ]
    if as_json:
        print_json(entries)
        return
    if not operators:
        raise nobody_yet()
    table = facts("Operators")
    for one in operators:
        table.add_row(one.name, f"{one.role}{', passphrase and one-time code' if one.has_code else ', passphrase'}")
    console().print(table)


def remove(name: Name, user: User = None, passphrase: Passphrase = None, env_file: EnvFile = None) -> None:
    """Take a person's credential away, as an admin."""
    with workspace_of_a_person(passphrase, env_file) as workspace:
        proof = proved(workspace, user, Power.MANAGE_OPERATORS)
        asyncio.run(operator_door(workspace).remove(name, proof))
    typer.echo(f"{name} is no operator any more.")


def _typed_twice(whose: str = "") -> str:
    first = typed_secret(f"New operator passphrase{whose} (at least {SHORTEST_PASSPHRASE} characters): ")
    if typed_secret("The same again: ") != first:
        raise Refused("PASSPHRASES_DIFFER", "The two passphrases are not the same; nothing was changed.")
    return first
