"""`reconcile`: the newest comparison with the broker, and taking its figures for true."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from ibkr_mcp_server.cli.output import utc
from ibkr_mcp_server.cli.proof import Passphrase, User, proved, workspace_of_a_person
from ibkr_mcp_server.cli.workspace import EnvFile, open_workspace, settings_of
from ibkr_mcp_server.operations.acceptance import accept_figures, report_to_accept
from ibkr_mcp_server.safety.roles import Power
from ibkr_mcp_server.store import reconciliations
from ibkr_mcp_server.store.reconciliations import Report


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Our records against the broker's.", no_args_is_help=True)
    group.command("show")(show)
    group.command("accept")(accept)
    app.add_typer(group, name="reconcile")


def show(env_file: EnvFile = None) -> None:
    """Show the newest comparison. Exits 1 when something in it holds trading back, or when there is none."""
    with open_workspace(settings_of(env_file), read_only=True) as workspace:
        report = workspace.database.read_blocking(reconciliations.newest)
    if report is None:
        typer.echo("No server has compared its records with the broker's yet.")
        raise typer.Exit(1)
    _print(report)
    if not report.clean and report.accepted_by is None:
        raise typer.Exit(1)


def accept(
    reason: Annotated[str, typer.Option(help="Why the broker's figures are right; kept in the audit log.")],
    user: User = None,
    passphrase: Passphrase = None,
    env_file: EnvFile = None,
) -> None:
    """Take the broker's figures for true where no fill explains them. Asks for the operator's passphrase."""
    with workspace_of_a_person(passphrase, env_file) as workspace:
        report = report_to_accept(workspace.database)
        _print(report)
        proof = proved(workspace, user, Power.ACCEPT_FIGURES)
        asyncio.run(accept_figures(workspace.database, workspace.audit, proof, report, reason))
    typer.echo("Accepted: a running server starts its next comparison from these figures.")


def _print(report: Report) -> None:
    state = "in agreement" if report.clean else "DIFFERENCES THAT HOLD TRADING BACK"
    typer.echo(f"Report {report.seq} ({report.occasion}), {utc(report.last_at)}: {state}")
    for text in report.differences:
        typer.echo(f"  {text}")
    if report.accepted_by is not None:
        typer.echo(f"  accepted by {report.accepted_by}: {report.accepted_reason}")
