"""The commands and options that the requirements name (3.2), compared with the program's own."""

from __future__ import annotations

from typer.main import get_command

from ibkr_mcp_server.cli.main import GROUPS, commands

WHO = {"--user", "--env-file"}
"""Of what a person proves themselves for."""
REQUIRED: dict[str, set[str]] = {
    "serve": set(),  # parses for itself: test_cli_settings.py
    "status": {"--safety", "--json", "--env-file"},
    "monitor": {"--interval", "--env-file"},
    "halt-strategy": {"--reason", "--env-file"},
    "resume": {"--reason", *WHO},
    "portfolio-halt": {"--reason", "--env-file"},
    "portfolio-close": {"--reason", *WHO},
    "emergency": {"--reason", "--env-file"},
    "reset": {"--reason", "--scope", *WHO},
    "breaker-reset": {"--reason", "--acknowledge", *WHO},
    "approve": WHO,
    "drill": {"--against", *WHO},
    "audit tail": set(),
    "audit verify": set(),
    "audit export": set(),
    "config show": set(),
    "config check": set(),
    "reconcile show": {"--env-file"},
    "reconcile accept": {"--reason", *WHO},
    "stage show": {"--env-file"},
    "stage promote": {"--reason", *WHO},
}


def test_each_required_command_is_there_with_its_options() -> None:
    """3.2 of the requirements; `--user` is a claim that a typed passphrase proves (SIG-08, KS-19)."""
    there: dict[str, set[str]] = {}
    for name, command in getattr(get_command(commands()), "commands").items():  # noqa: B009 - a group of Typer's click
        group = getattr(command, "commands", None)
        found = {name: command} if group is None else {f"{name} {inner}": one for inner, one in group.items()}
        there |= {path: {option for one in each.params for option in one.opts} for path, each in found.items()}
    assert REQUIRED.keys() <= there.keys()
    lacking = {path: options - there[path] for path, options in REQUIRED.items() if options - there[path]}
    assert lacking == {}
    assert {path.split()[0] for path in there} == {"serve", *GROUPS}, "a command that nothing imports, or imports twice"
