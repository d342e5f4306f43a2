"""The commands and options that the requirements name (3.2), compared with the program's own."""

from __future__ import annotations

import re
from typing import Any

from typer.main import get_command

from ibkr_mcp_server.cli.main import GROUPS, commands
from tests.surface.shell import Shell

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


SECRETS = re.compile("secret|token|passphrase|password|webhook|url|key|code")


def parameters() -> dict[str, list[Any]]:
    """Click's parameters of each command of the program, by the command's words."""
    there: dict[str, list[Any]] = {}
    for name, command in getattr(get_command(commands()), "commands").items():  # noqa: B009 - a group of Typer's click
        group = getattr(command, "commands", None)
        found = {name: command} if group is None else {f"{name} {inner}": one for inner, one in group.items()}
        there |= {path: each.params for path, each in found.items()}
    return there


def test_no_command_takes_a_secret_among_its_arguments(shell: Shell) -> None:
    """SEC-07: `ps` shows them. A passphrase given so is refused; `--key` of `audit verify` names a file."""
    every = [one for each in parameters().values() for one in each if not getattr(one, "is_flag", False)]
    assert {option for one in every for option in one.opts if SECRETS.search(option)} == {"--passphrase", "--key"}
    assert all(one.hidden for one in every if "--passphrase" in one.opts)
    of_serve = re.findall(r"--[\w-]+", shell.call("serve", "--help").stdout)
    assert "--agent" in of_serve
    assert [option for option in of_serve if SECRETS.search(option)] == []


def test_each_required_command_is_there_with_its_options() -> None:
    """3.2 of the requirements; `--user` is a claim that a typed passphrase proves (SIG-08, KS-19)."""
    there = {path: {option for one in each for option in one.opts} for path, each in parameters().items()}
    assert REQUIRED.keys() <= there.keys()
    lacking = {path: options - there[path] for path, options in REQUIRED.items() if options - there[path]}
    assert lacking == {}
    assert {path.split()[0] for path in there} == {"serve", *GROUPS}, "a command that nothing imports, or imports twice"
