"""The commands, each in the module of its group. Only the group that is asked for is imported; help imports all."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import typer

from ibkr_mcp_server import __version__
from ibkr_mcp_server.cli.errors import explain
from ibkr_mcp_server.errors import ConfigurationError, ProductError

PROGRAM = "ibkr-mcp-server"

GROUPS = {
    "demo": "demo",
    "simulate": "simulate",
    "status": "status",
    "monitor": "monitor",
    "doctor": "doctor",
    "portfolio-halt": "halt",
    "control": "control",
    "rearm": "rearm",
    "halt-strategy": "halt",
    "portfolio-close": "halt",
    "emergency": "halt",
    "resume": "operator",
    "reset": "operator",
    "drill": "drill",
    "test-alert": "alerts",
    "operator": "operator",
    "limits": "limits",
    "approvals": "approvals",
    "approve": "approvals",
    "deny": "approvals",
    "breaker-reset": "breaker",
    "stage": "breaker",
    "reconcile": "reconcile",
    "audit": "audit",
    "agents": "agents",
    "config": "config",
    "tools": "tools",
}
"""Each command, in the order of the help, and the module of `cli/` whose `register` adds it."""


def run_command(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; errors of the product are explained, not thrown at people."""
    try:
        commands(arguments)(args=list(arguments), prog_name=PROGRAM)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    except (ConfigurationError, ProductError) as error:
        return explain(error)
    return 0


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"{PROGRAM} {__version__}")
        raise typer.Exit


def commands(arguments: Sequence[str] = ()) -> typer.Typer:
    """The program with the command that `arguments` begin with, or else with all of them."""
    app = typer.Typer(
        help="An MCP server for agents that trade at Interactive Brokers, inside limits that only a human can loosen.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_program)
    app.command("serve", add_help_option=False, context_settings={"ignore_unknown_options": True})(_serve)
    asked = GROUPS.get(arguments[0]) if arguments else None
    for module in dict.fromkeys([asked] if asked else GROUPS.values()):
        import_module(f"ibkr_mcp_server.cli.{module}").register(app)
    return app


def _program(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Its docstring would be the program's help; `commands` gives that."""


def _serve(arguments: Annotated[list[str] | None, typer.Argument(hidden=True)] = None) -> None:
    """Run the MCP server, on stdio or over HTTP."""
    from ibkr_mcp_server.cli.serve import serve  # parses for itself, see __main__.py

    raise typer.Exit(serve(arguments or []))
