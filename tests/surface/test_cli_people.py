"""Several people at the shell: roles, a second person, and the queue of what waits for a word."""

from __future__ import annotations

import re

import pytest

from ibkr_mcp_server.clock import SystemClock, next_trading_day_starts
from ibkr_mcp_server.domain.operations import BY_THRESHOLD, Actor, ActorType
from ibkr_mcp_server.safety import credentials
from ibkr_mcp_server.store import latches
from ibkr_mcp_server.store.database import Database
from ibkr_mcp_server.store.latches import KillMode
from tests.surface.people import added, as_person, first_admin
from tests.surface.shell import Done, Shell

LIVE = {"IBKR_BROKER_MODE": "live"}


@pytest.fixture(autouse=True)
def cheap_passphrases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(credentials._COST, "n", 16)


def request_of(done: Done) -> str:
    found = re.search(r"approve ([2-9A-Z]{8})", done.stderr)
    assert found, done.stderr
    return found[1]


def test_in_live_mode_a_reset_takes_two_admins(shell: Shell) -> None:
    """KS-15, KS-17, KS-19."""
    first_admin(shell)
    for name, role in (("ben", "admin"), ("cat", "operator")):
        added(shell, name, role)
    shell.call("portfolio-halt", "--reason", "[bold]tried\x1b out")

    operator = as_person(shell, "cat", "reset", "--reason", "fine", **LIVE)
    assert (operator.returncode, "ROLE_TOO_LOW" in operator.stderr) == (1, True)
    assert '"needs": "admin"' in shell.call("audit", "tail", "--type", "AUTH_FAILED", "--json").stdout
    once = as_person(shell, "ann", "reset", "--reason", "looked into", **LIVE)
    assert (once.returncode, "SECOND_PERSON_NEEDED" in once.stderr) == (1, True)
    identity = request_of(once)
    for command in (("reset", "--reason", "looked into"), ("approve", identity)):
        twice = as_person(shell, "ann", *command, **LIVE)
        assert (twice.returncode, "SAME_PERSON" in twice.stderr) == (1, True)
    listed = shell.call("approvals", **LIVE).stdout
    for told in (identity, "looked into", "End the stop HALT_ONLY", "[bold]tried out", "approved by", "ann"):
        assert told in listed
    assert "\x1b" not in listed
    assert shell.call("status").returncode == 2

    done = as_person(shell, "ben", "approve", identity, **LIVE)
    assert (done.returncode, "reset by ann and ben" in done.stdout) == (0, True), done.stderr
    assert shell.call("status").returncode == 0
    assert shell.call("approvals").stdout == "Nothing waits for approval.\n"
    assert "ben" in shell.call("audit", "tail", "--type", "KILL_SWITCH_DEACTIVATE").stdout

    shell.call("portfolio-halt")
    again = as_person(shell, "ben", "reset", "--reason", "once more", **LIVE)
    denied = as_person(shell, "cat", "deny", request_of(again), "--reason", "no", **LIVE)
    assert (denied.returncode, "Denied by cat: no" in denied.stdout) == (0, True)
    assert "APPROVAL_NOT_OPEN" in as_person(shell, "ann", "approve", request_of(again), **LIVE).stderr
    assert as_person(shell, "ann", "reset", "--reason", "one is enough on paper").returncode == 0


def test_a_stop_made_by_a_kill_threshold_takes_two_admins_on_paper_too(shell: Shell) -> None:
    """KS-17."""
    first_admin(shell)
    added(shell, "ben", "admin")
    store = Database.open(shell.state / "state.db")
    breaker = Actor(type=ActorType.SYSTEM, id="circuit breaker", auth=BY_THRESHOLD)
    now = SystemClock().now()
    store.run_blocking(
        lambda c: latches.activate(c, mode=KillMode.HALT_ONLY, actor=breaker, reason="daily loss 5.1 %", now=now)
    )
    store.close()
    assert "SECOND_PERSON_NEEDED" in as_person(shell, "ann", "reset", "--reason", "seen").stderr
    assert as_person(shell, "ben", "reset", "--reason", "seen too").returncode == 0
    assert shell.call("status").returncode == 0


def test_a_limit_is_raised_by_two_people_at_the_shell(shell: Shell) -> None:
    """CFG-21."""
    first_admin(shell)
    added(shell, "ben", "risk_manager")
    until = next_trading_day_starts(SystemClock().now()).isoformat()
    wanted = ("limits", "raise", "IBKR_MAX_ORDER_VALUE_USD", "20000", "--until", until, "--reason", "a roll")
    assert shell.call("limits", "show").stdout == "Every limit is as configured.\n"
    once = as_person(shell, "ann", *wanted)
    assert (once.returncode, "from 10000 to 20000" in once.stdout) == (1, True)
    done = as_person(shell, "ben", "approve", request_of(once))
    assert (done.returncode, "raised by ann and ben" in done.stdout) == (0, True), done.stderr
    assert "20000 instead of 10000" in shell.call("limits", "show").stdout
    status = shell.json("status", "--safety")
    assert ["20000 instead of 10000" in told for told in status["concerns"]] == [True]
    assert (status["status"], [one["limit"] for one in status["limits"] if one["name"] == "order_value_usd"]) == (
        "DEGRADED", ["20000"],
    )  # fmt: skip
    assert as_person(shell, "ben", "limits", "restore", "IBKR_MAX_ORDER_VALUE_USD").returncode == 0
    assert shell.json("limits", "show") == []


def test_operators_are_added_listed_and_removed_by_an_admin(shell: Shell) -> None:
    """KS-19."""
    assert "NO_PASSPHRASE" in as_person(shell, "ann", "operator", "add", "ben", "--role", "viewer").stderr
    first_admin(shell)
    added(shell, "ben", "senior")
    assert [(one["name"], one["role"]) for one in shell.json("operator", "list")] == [
        ("ann", "admin"),
        ("ben", "senior"),
    ]
    assert "senior" in shell.call("operator", "list").stdout
    assert "ROLE_TOO_LOW" in as_person(shell, "ben", "operator", "remove", "ann").stderr
    assert as_person(shell, "ann", "operator", "remove", "ben").returncode == 0
    assert [one["name"] for one in shell.json("operator", "list")] == ["ann"]
