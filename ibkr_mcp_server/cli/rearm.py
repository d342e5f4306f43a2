"""`rearm`: a person looked after a long session and lets it go on (TM-06)."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from ibkr_mcp_server.cli.proof import Passphrase, User, proved, workspace_of_a_person
from ibkr_mcp_server.cli.workspace import EnvFile
from ibkr_mcp_server.operations.session_limit import rearm as arm_again
from ibkr_mcp_server.safety.roles import Power


def register(app: typer.Typer) -> None:
    app.command("rearm")(rearm)


def rearm(
    reason: Annotated[str, typer.Option(help="What was looked at; kept in the audit log.")] = "unspecified",
    user: User = None,
    passphrase: Passphrase = None,
    env_file: EnvFile = None,
) -> None:
    """Let a session of IBKR_MAX_SESSION_DURATION_HOURS begin anew, as a senior. Asks for your passphrase."""
    with workspace_of_a_person(passphrase, env_file) as workspace:
        proof = proved(workspace, user, Power.PROMOTE_STAGE)
        asyncio.run(arm_again(workspace.database, workspace.audit, workspace.clock, proof, reason))
        hours = workspace.settings.max_session_duration_hours
    typer.echo(f"Armed by {proof.actor.id} for another {hours:g} hours of running.")
