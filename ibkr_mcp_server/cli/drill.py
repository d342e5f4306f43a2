"""`drill`: the emergency practised from trigger to flat, with what it took beside what it may take (KS-23, QA-06)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ibkr_mcp_server import log
from ibkr_mcp_server.audit.events import AuditEvent, EventType
from ibkr_mcp_server.cli.output import console
from ibkr_mcp_server.cli.proof import Passphrase, User, proved, refuse_passphrase_in_the_open
from ibkr_mcp_server.cli.user import local_user
from ibkr_mcp_server.cli.workspace import EnvFile, Workspace, open_workspace, settings_of
from ibkr_mcp_server.domain.operations import Actor, ActorType
from ibkr_mcp_server.errors import Refused
from ibkr_mcp_server.safety.roles import Power
from ibkr_mcp_server.settings.broker import BrokerMode
from ibkr_mcp_server.state_dir import StateDirectory, open_state_directory

if TYPE_CHECKING:
    from ibkr_mcp_server.cli.drill_stage import Figure

ENTRIES_ON_PAPER = 3
LOG = "drill.log"
"""In the state directory: what the server of the drill has to say must not stand between the figures."""


class Against(StrEnum):
    SIMULATOR = "simulator"
    PAPER = "paper"


def register(app: typer.Typer) -> None:
    app.command("drill")(drill)


def drill(
    against: Annotated[
        Against, typer.Option(help="A paper gateway of its own, or the configured paper account.")
    ] = Against.SIMULATOR,
    orders: Annotated[int, typer.Option(min=1, max=500, help="Working orders to cancel, on the simulator.")] = 100,
    positions: Annotated[int, typer.Option(min=1, max=20, help="Positions to close, on the simulator.")] = 20,
    triggers: Annotated[int, typer.Option(min=1, max=500, help="Stops from another process.")] = 30,
    user: User = None,
    passphrase: Passphrase = None,
    env_file: EnvFile = None,
) -> None:
    """Practise the emergency and print measured against allowed times; exits 1 when one was missed.

    Against paper it places a few entries of one share, halts, and leaves trading halted: `reset` belongs to the drill.
    """
    from ibkr_mcp_server.cli import drill_stage  # opens the product: only when it is asked for

    refuse_passphrase_in_the_open(passphrase)
    settings = settings_of(env_file)
    if against is Against.PAPER and settings.broker_mode is not BrokerMode.PAPER:
        raise Refused(
            "NOT_ON_PAPER",
            f"The broker mode is {settings.broker_mode}; this drill needs a paper account.",
            next_step="Set IBKR_BROKER_MODE=paper, or drill against the simulator.",
        )
    with open_workspace(settings) as workspace:
        log.configure("ERROR", workspace.state.path / LOG)
        actor = Actor(type=ActorType.HUMAN, id=local_user(), auth="local-shell")
        if against is Against.PAPER:
            actor = proved(workspace, user, Power.HALT_STRATEGY).actor
            figures = asyncio.run(drill_stage.on_paper(settings, workspace.state, ENTRIES_ON_PAPER))
        else:
            size = drill_stage.Size(orders=orders, positions=positions, triggers=triggers)
            with _thrown_away(workspace.state.path) as state:
                figures = asyncio.run(drill_stage.on_the_simulator(state, size))
        passed = all(figure.passed for figure in figures)
        _record(workspace, actor, against, figures, passed=passed)
    console().print(_table(figures))
    if not passed:
        raise typer.Exit(1)


def _record(workspace: Workspace, actor: Actor, against: Against, figures: Sequence[Figure], *, passed: bool) -> None:
    outcome = {"against": against, "passed": passed, "figures": list(figures)}
    asyncio.run(workspace.audit.record(AuditEvent(type=EventType.DRILL_RESULT, actor=actor, outcome=outcome)))


def _table(figures: Sequence[Figure]) -> Table:
    table = Table(title="Emergency drill", title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0))
    table.add_column("", width=4)
    table.add_column("What")
    for heading in ("Took", "May take"):
        table.add_column(heading, justify="right")
    for figure in figures:
        verdict = "[green]pass[/]" if figure.passed else "[red]FAIL[/]"
        table.add_row(verdict, figure.name, _time(figure.measured), _time(figure.target))
    return table


def _time(seconds: float) -> str:
    return f"{seconds * 1_000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


@contextmanager
def _thrown_away(beside: Path) -> Iterator[StateDirectory]:
    """A private directory for one drill."""
    path = Path(mkdtemp(dir=beside, prefix="drill-"))
    try:
        yield open_state_directory(path)
    finally:
        rmtree(path, ignore_errors=True)
