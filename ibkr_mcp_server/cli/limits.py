"""`limits`: what is raised for a while, raising it with a second person, and ending that early."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.text import Text

from ibkr_mcp_server.cli.output import console, facts, print_json, utc
from ibkr_mcp_server.cli.proof import Passphrase, User, proved, workspace_of_a_person
from ibkr_mcp_server.cli.workspace import AsJson, EnvFile, Workspace, open_workspace, settings_of
from ibkr_mcp_server.operations.limit_raises import Wish, raise_limit, read_until, read_wish, restore_limit
from ibkr_mcp_server.safety.operator import OperatorProof
from ibkr_mcp_server.safety.roles import Power
from ibkr_mcp_server.settings.base import variable_of
from ibkr_mcp_server.settings.rules import as_text
from ibkr_mcp_server.store import limit_raises
from ibkr_mcp_server.store.limit_raises import LimitRaise

Name = Annotated[str, typer.Argument(metavar="NAME", help="The limit, such as IBKR_MAX_ORDER_VALUE_USD.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Limits that two people raised for a while.", no_args_is_help=True)
    group.command("show")(show)
    group.command("raise")(raise_)
    group.command("restore")(restore)
    app.add_typer(group, name="limits")


def show(as_json: AsJson = False, env_file: EnvFile = None) -> None:
    """List the raises that hold now. `status --safety` shows every limit."""
    with open_workspace(settings_of(env_file), read_only=True) as workspace:
        clock = workspace.clock
        found = workspace.database.read_blocking(lambda connection: limit_raises.in_force(connection, clock))
        settings = workspace.settings
    if as_json:
        print_json(found)
        return
    if not found:
        typer.echo("Every limit is as configured.")
        return
    table = facts("Raised limits")
    for one in found:
        configured = as_text(getattr(settings, one.name))
        table.add_row(variable_of(one.name), f"{as_text(one.value)} instead of {configured}, until {utc(one.until)}")
        table.add_row("", Text(f"by {one.approved_by}: {one.reason}"))
    console().print(table)


def raise_(
    name: Name,
    value: Annotated[str, typer.Argument(metavar="VALUE", help="What to raise it to.")],
    until: Annotated[str, typer.Option(help="HH:MM in New York, or an ISO time; at most the end of the trading day.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the audit log.")],
    user: User = None,
    passphrase: Passphrase = None,
    env_file: EnvFile = None,
) -> None:
    """Raise a limit until an hour of this trading day. A second risk manager must approve it."""
    with workspace_of_a_person(passphrase, env_file) as workspace:
        wish = read_wish(workspace.settings, workspace.clock, name, value, read_until(until, workspace.clock))
        for line in wish.terms(workspace.settings):
            typer.echo(line)
        proof = proved(workspace, user, Power.RAISE_LIMIT)
        raised = asyncio.run(raised_in(workspace, wish, reason, proof))
    typer.echo(told(raised))


async def raised_in(workspace: Workspace, wish: Wish, reason: str, proof: OperatorProof) -> LimitRaise:
    return await raise_limit(
        wish,
        reason,
        proof,
        settings=workspace.settings,
        queue=workspace.queue,
        database=workspace.database,
        audit=workspace.audit,
        clock=workspace.clock,
    )


def told(raised: LimitRaise) -> str:
    return (
        f"{variable_of(raised.name)} is {as_text(raised.value)} until {utc(raised.until)}, raised by "
        f"{raised.approved_by}. Running servers use it from the next decision on."
    )


def restore(name: Name, user: User = None, passphrase: Passphrase = None, env_file: EnvFile = None) -> None:
    """End a raise before its time. Asks for your passphrase at the terminal."""
    with workspace_of_a_person(passphrase, env_file) as workspace:
        proof = proved(workspace, user, Power.DENY)
        done = restore_limit(name, proof, database=workspace.database, audit=workspace.audit, clock=workspace.clock)
        typer.echo(f"{variable_of(asyncio.run(done))} is as configured again.")
