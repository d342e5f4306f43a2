"""The demo is a promise: it exits with 0 only if every step was proved."""

from __future__ import annotations

import sys

import pytest

from tests.surface.shell import Shell


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo terminals")
def test_the_demo_proves_every_step_and_leaves_nothing_behind(first_shell: Shell) -> None:
    """Its own settings and state: the caller's are neither used nor touched."""
    before = list(first_shell.state.iterdir())
    done = first_shell.run("demo", XDG_STATE_HOME=str(first_shell.state), IBKR_SAFE_MODE="true")

    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "steps came out as expected" in done.stdout
    for told in (
        "ORDER_VALUE_LIMIT",
        "KILL_SWITCH_ACTIVE",
        "UNKNOWN_TOOL",
        "WRONG_PASSPHRASE",
        "An order passes again",
    ):
        assert told in done.stdout
    assert list(first_shell.state.iterdir()) == before
