"""`approvals`, `approve` and `deny`: what waits for a person's word, and giving it.

Some requests are carried out by the approval that completes them; those of an order wait for whoever asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

import typer
from rich.text import Text

from ibkr_mcp_server.cli import limits
from ibkr_mcp_server.cli.output import console, facts, print_json, utc
from ibkr_mcp_server.cli.proof import Passphrase, User, proved, workspace_of_a_person
from ibkr_mcp_server.cli.workspace import AsJson, EnvFile, Workspace, open_workspace, settings_of
from ibkr_mcp_server.domain import scopes
from ibkr_mcp_server.domain.scopes import ACCOUNT
from ibkr_mcp_server.operations.close_portfolio import CLOSE, close_portfolio
from ibkr_mcp_server.operations.limit_raises import RAISE, wish_of
from ibkr_mcp_server.operations.reset import RESET, reset_kill_switch
from ibkr_mcp_server.safety.approval_queue import no_such_request
from ibkr_mcp_server.safety.operator import OperatorProof
from ibkr_mcp_server.safety.roles import LEAST, Power
from ibkr_mcp_server.store import approvals
from ibkr_mcp_server.store.approvals import Approval
from ibkr_mcp_server.tools.text import cleaned

Identity = Annotated[str, typer.Argument(metavar="ID", help="The request's id, as `approvals` lists it.")]


def register(app: typer.Typer) -> None:
    app.command("approvals")(waiting)
    app.command("approve")(approve)
    app.command("deny")(deny)


def waiting(as_json: AsJson = False, env_file: EnvFile = None) -> None:
    """List what waits for a person's word."""
    with open_workspace(settings_of(env_file), read_only=True) as workspace:
        found = workspace.database.read_blocking(lambda connection: approvals.unused(connection, workspace.clock))
    if as_json:
        print_json(found)
        return
    if not found:
        typer.echo("Nothing waits for approval.")
    for approval in found:
        _print(approval)


def approve(identity: Identity, user: User = None, passphrase: Passphrase = None, env_file: EnvFile = None) -> None:
    """Show a request and approve it. Asks for your passphrase at the terminal."""
    with workspace_of_a_person(passphrase, env_file) as workspace:
        approval = _found(workspace, identity)
        _print(approval)
        proof = proved(workspace, user, Power(approval.power))
        granted = asyncio.run(workspace.queue.approve(approval.approval_id, proof))
        if not granted.is_granted:
            typer.echo(f"Approved by {proof.actor.id}. Another person must approve it as well.")
            return
        carry_out = CARRIED_OUT.get(granted.kind)
        if carry_out is None:
            typer.echo(f"Approved by {proof.actor.id}. Whoever asked can go on, until {utc(granted.expires_at)}.")
            return
        typer.echo(asyncio.run(carry_out(workspace, granted, proof)))


def deny(
    identity: Identity,
    reason: Annotated[str, typer.Option(help="Why not; kept in the audit log.")] = "unspecified",
    user: User = None,
    passphrase: Passphrase = None,
    env_file: EnvFile = None,
) -> None:
    """End a request without doing what it asks for. Asks for your passphrase at the terminal."""
    with workspace_of_a_person(passphrase, env_file) as workspace:
        approval = _found(workspace, identity)
        _print(approval)
        proof = proved(workspace, user, Power.DENY)
        asyncio.run(workspace.queue.refuse(approval.approval_id, proof, reason))
    typer.echo(f"Denied by {proof.actor.id}: {reason}")


async def _reset(workspace: Workspace, approval: Approval, proof: OperatorProof) -> str:
    latch = await reset_kill_switch(
        workspace.database,
        workspace.kill_switch,
        proof,
        approval.reason,
        settings=workspace.settings,
        queue=workspace.queue,
        clock=workspace.clock,
        scope=str(approval.subject["scope"]),
    )
    both = " and ".join(vote.principal for vote in approval.votes)
    what = "The kill switch" if latch.scope == ACCOUNT else f"The stop of {scopes.named(latch.scope)}"
    return f"{what} is off, reset by {both}: {latch.reason}"


async def _close(workspace: Workspace, approval: Approval, proof: OperatorProof) -> str:
    await close_portfolio(workspace.database, workspace.kill_switch, workspace.queue, proof, approval.reason)
    both = " and ".join(vote.principal for vote in approval.votes)
    return f"Trading is stopped, and a running server closes every position, ordered by {both}: {approval.reason}"


async def _raise(workspace: Workspace, approval: Approval, proof: OperatorProof) -> str:
    wish = wish_of(approval.subject, workspace.settings, workspace.clock)
    return limits.told(await limits.raised_in(workspace, wish, approval.reason, proof))


CarryOut = Callable[[Workspace, Approval, OperatorProof], Coroutine[Any, Any, str]]

CARRIED_OUT: dict[str, CarryOut] = {RESET: _reset, RAISE: _raise, CLOSE: _close}
"""Kind → what the last approval does, and the sentence about it."""


def _found(workspace: Workspace, identity: str) -> Approval:
    wanted = identity.strip().upper()
    found = workspace.database.read_blocking(lambda connection: approvals.find(connection, workspace.clock, wanted))
    if found is None:
        raise no_such_request(identity)
    return found


def _print(approval: Approval) -> None:
    """An agent may have written parts of it: nothing in them is markup or moves the cursor."""
    table = facts(f"{approval.approval_id}: {approval.kind}, {approval.standing}")
    for line in approval.terms:
        table.add_row("what", _plain(line))
    asked = f"{approval.requested_type} {approval.requested_by}, {utc(approval.requested_at)}"
    table.add_row("asked by", _plain(asked))
    table.add_row("reason", _plain(approval.reason))
    table.add_row("needs", f"{approval.needed} with the role {LEAST[Power(approval.power)]}")
    if approval.votes:
        table.add_row("approved by", ", ".join(vote.principal for vote in approval.votes))
    table.add_row("ends", f"{utc(approval.expires_at)}, in {approval.left_seconds:.0f} s")
    console().print(table)


def _plain(text: str) -> Text:
    return Text(cleaned(text, 300))
