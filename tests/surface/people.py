"""People who type at the terminal of commands that run in the test's own process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from tests.surface.shell import Done, Shell

WORDS = "correct horse battery {}"


@contextmanager
def typing(*answers: str) -> Iterator[None]:
    """Whatever asks at the terminal gets these, in this order; test_cli_stop_and_reset.py tries a real terminal."""
    waiting = iter(answers)
    with (
        patch("ibkr_mcp_server.cli.user._has_terminal", return_value=True),
        patch("getpass.getpass", side_effect=lambda prompt: next(waiting)),
    ):
        yield


def first_admin(shell: Shell, name: str = "ann") -> None:
    passphrase = WORDS.format(name)
    with typing(passphrase, passphrase):
        done = shell.call("operator", "set-passphrase", "--user", name)
    assert done.returncode == 0, done.stderr


def added(shell: Shell, name: str, role: str, *, by: str = "ann") -> None:
    passphrase = WORDS.format(name)
    with typing(WORDS.format(by), passphrase, passphrase):
        done = shell.call("operator", "add", name, "--role", role, "--user", by)
    assert done.returncode == 0, done.stderr


def as_person(shell: Shell, name: str, *command: str, **settings: str) -> Done:
    """`command`, given by `name`, who types their passphrase."""
    with typing(WORDS.format(name)):
        return shell.call(*command, "--user", name, **settings)
