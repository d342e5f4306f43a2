"""`breaker-reset` and `stage`: closing the circuit breaker, and coming back to full size; only people do either."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from ibkr_mcp_server.cli.output import utc
from ibkr_mcp_server.cli.proof import Passphrase, User, operator_door, proved, workspace_of_a_person
from ibkr_mcp_server.cli.workspace import EnvFile, Workspace, open_workspace, settings_of
from ibkr_mcp_server.operations.recovery import promote_agent, promote_stage, require_resettable, reset_breaker
from ibkr_mcp_server.safety.agent_stages import against_promotion, stage_of
from ibkr_mcp_server.safety.circuit_breaker import STAGE_FACTORS, CircuitBreaker
from ibkr_mcp_server.safety.operator import nobody_yet
from ibkr_mcp_server.safety.roles import Power
from ibkr_mcp_server.store import breaker
from ibkr_mcp_server.store.breaker import BreakerState, Stage

Agent = Annotated[
    str | None, typer.Option("--agent", metavar="NAME", help="An agent that was halted, instead of all trading.")
]


def register(app: typer.Typer) -> None:
    app.command("breaker-reset")(breaker_reset)
    group = typer.Typer(help="The stages in which trading comes back after a loss.", no_args_is_help=True)
    group.command("show")(show)
    group.command("promote")(promote)
    app.add_typer(group, name="stage")


def breaker_reset(
    reason: Annotated[str, typer.Option(help="Why trading may go on; kept in the audit log.")],
    acknowledge: Annotated[
        list[str] | None,
        typer.Option(metavar="TRIGGER", help="Accept a figure that has not recovered, such as CB-12; may be repeated."),
    ] = None,
    user: User = None,
    passphrase: Passphrase = None,
    env_file: EnvFile = None,
) -> None:
    """Close the circuit breaker, as an admin. Refused during the cool-down, and while its cause is still there."""
    accepted = frozenset(acknowledge or ())
    with workspace_of_a_person(passphrase, env_file) as workspace:
        if not operator_door(workspace).has_passphrase:
            raise nobody_yet()
        workspace.database.read_blocking(
            lambda c: require_resettable(c, breaker.current(c), workspace.clock.now(), accepted)
        )
        proof = proved(workspace, user, Power.RESET_BREAKER)
        state = asyncio.run(
            reset_breaker(
                workspace.database,
                workspace.audit,
                workspace.clock,
                workspace.settings,
                proof,
                reason,
                acknowledge=accepted,
            )
        )
    typer.echo(f"The circuit breaker is closed, reset by {proof.actor.id}.")
    if state.stage is not Stage.FULL:
        typer.echo(_stage_line(state))


def show(agent: Agent = None, env_file: EnvFile = None) -> None:
    """Show the stage, and what stands against the next one. Exits 1 below full size."""
    with open_workspace(settings_of(env_file), read_only=True) as workspace:
        if agent is not None:
            _show_agent(workspace, agent)
            return
        state = workspace.database.read_blocking(breaker.current)
        rules = CircuitBreaker(settings=workspace.settings, audit=workspace.audit, clock=workspace.clock)
        against = rules.against_promotion(state)
    typer.echo(_stage_line(state))
    if state.stage is Stage.FULL:
        return
    typer.echo(f"Since {utc(state.stage_since)}: {state.stage_decisions} decisions without a warning.")
    for text in against:
        typer.echo(f"  {text}")
    if not against:
        typer.echo(f"{state.stage.above} can follow: ibkr-mcp-server stage promote --reason '…'")
    raise typer.Exit(1)


def _show_agent(workspace: Workspace, agent: str) -> None:
    at = workspace.database.read_blocking(lambda c: stage_of(c, agent))
    against = workspace.database.read_blocking(
        lambda c: against_promotion(c, agent, at, workspace.clock, workspace.settings)
    )
    typer.echo(f"{agent}: stage {at.stage}, the size limits are multiplied by {STAGE_FACTORS[at.stage]}.")
    if at.stage is not Stage.FULL:
        for text in against:
            typer.echo(f"  {text}")
        raise typer.Exit(1)


def promote(
    reason: Annotated[str, typer.Option(help="Why more size is right; kept in the audit log.")],
    agent: Agent = None,
    user: User = None,
    passphrase: Passphrase = None,
    env_file: EnvFile = None,
) -> None:
    """Go one stage up, as a senior."""
    with workspace_of_a_person(passphrase, env_file) as workspace:
        proof = proved(workspace, user, Power.PROMOTE_STAGE)
        parts = (workspace.database, workspace.audit, workspace.clock, workspace.settings, proof, reason)
        if agent is not None:
            at = asyncio.run(promote_agent(*parts, agent))
            typer.echo(f"{agent}: stage {at.stage}, the size limits are multiplied by {STAGE_FACTORS[at.stage]}.")
            return
        state = asyncio.run(promote_stage(*parts))
    typer.echo(_stage_line(state))


def _stage_line(state: BreakerState) -> str:
    if state.stage is Stage.FULL:
        return "Stage FULL: the size limits are as configured."
    size = f"the size limits are multiplied by {STAGE_FACTORS[state.stage]}"
    paper = ", and what opens reaches no real broker" if state.stage is Stage.PAPER else ""
    return f"Stage {state.stage}: {size}{paper}."
