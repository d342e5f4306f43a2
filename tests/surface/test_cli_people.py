"""Several people at the shell: roles, a second person, and the queue of what waits for a word."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime

import pytest

from ibkr_mcp_server.clock import SystemClock, next_trading_day_starts
from ibkr_mcp_server.domain.operations import BY_THRESHOLD, Actor, ActorType
from ibkr_mcp_server.safety import credentials
from ibkr_mcp_server.store import breaker, latches
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


def by_threshold(shell: Shell, scope: str, reason: str) -> None:
    """What the circuit breaker does at a KILL level."""
    store = Database.open(shell.state / "state.db")
    breaker = Actor(type=ActorType.SYSTEM, id="circuit breaker", auth=BY_THRESHOLD)
    now = SystemClock().now()
    store.run_blocking(
        lambda c: latches.activate(c, mode=KillMode.HALT_ONLY, actor=breaker, reason=reason, now=now, scope=scope)
    )
    store.close()


def test_a_stop_made_by_a_kill_threshold_takes_two_admins_on_paper_too(shell: Shell) -> None:
    """KS-17."""
    first_admin(shell)
    added(shell, "ben", "admin")
    by_threshold(shell, "account", "daily loss 5.1 %")
    assert "SECOND_PERSON_NEEDED" in as_person(shell, "ann", "reset", "--reason", "seen").stderr
    assert as_person(shell, "ben", "reset", "--reason", "seen too").returncode == 0
    assert shell.call("status").returncode == 0


def test_what_a_kill_threshold_stopped_for_lost_money_stays_stopped_until_the_next_trading_day(shell: Shell) -> None:
    """KS-15, RC-01: the remaining time is told; a stop that a person made has no cool-down."""
    first_admin(shell)
    added(shell, "ben", "admin")
    now = SystemClock().now()
    cools_until = next_trading_day_starts(now)
    store = Database.open(shell.state / "state.db")

    def cooling(until: datetime) -> None:
        store.run_blocking(
            lambda c: breaker.store(c, replace(breaker.current(c), is_open=True, earliest_reset=until), now)
        )

    cooling(cools_until)
    shell.call("portfolio-halt")
    assert as_person(shell, "ann", "reset", "--reason", "my own stop").returncode == 0
    by_threshold(shell, "account", "daily loss 5.1 %")
    early = as_person(shell, "ann", "reset", "--reason", "seen")
    assert (early.returncode, "COOLING_DOWN" in early.stderr) == (1, True)
    assert f"until {cools_until:%Y-%m-%d %H:%M} UTC, another" in early.stderr
    cooling(now)
    identity = request_of(as_person(shell, "ann", "reset", "--reason", "seen"))
    cooling(cools_until)  # it tripped once more
    assert "COOLING_DOWN" in as_person(shell, "ben", "approve", identity).stderr
    assert shell.json("status")["kill_switch_active"] is True
    store.close()


def test_an_approval_ends_the_stop_that_was_asked_for_and_no_other(shell: Shell) -> None:
    """KS-03, KS-17: of a strategy and of an instrument, while all trading is stopped as well."""
    first_admin(shell)
    added(shell, "sue", "senior")
    added(shell, "ben", "admin")
    shell.call("portfolio-halt")
    by_threshold(shell, "strategy:momentum", "drawdown 5.1 %")
    by_threshold(shell, "instrument:265598", "too wild")
    for scope, command, words in (
        ("strategy:momentum", ("resume", "momentum"), "The stop of the strategy 'momentum' is off, reset by ann and"),
        ("instrument:265598", ("reset", "--scope", "instrument:265598"), "in the contract 265598 is off, reset by ann"),
    ):
        second = "sue" if command[0] == "resume" else "ben"
        once = as_person(shell, "ann", *command, "--reason", "looked into")
        done = as_person(shell, second, "approve", request_of(once))
        assert (done.returncode, words in done.stdout) == (0, True), (scope, done.stdout, done.stderr)
        assert scope not in [one["scope"] for one in shell.json("status")["halted_scopes"]]
        assert shell.json("status")["kill_switch_active"] is True


def test_closing_everything_takes_two_risk_managers_and_the_second_word_does_it(shell: Shell) -> None:
    """KS-17, KS-19: unless a threshold had stopped trading, and then one is enough."""
    first_admin(shell)
    for name, role in (("rita", "risk_manager"), ("sue", "senior")):
        added(shell, name, role)
    once = as_person(shell, "ann", "portfolio-close", "--reason", "out of everything")
    assert (once.returncode, "SECOND_PERSON_NEEDED" in once.stderr) == (1, True)
    identity = request_of(once)
    assert "SAME_PERSON" in as_person(shell, "ann", "portfolio-close", "--reason", "out of everything").stderr
    assert "ROLE_TOO_LOW" in as_person(shell, "sue", "approve", identity).stderr
    assert shell.json("status")["kill_switch_active"] is False
    done = as_person(shell, "rita", "approve", identity)
    assert (done.returncode, "closes every position, ordered by ann and rita" in done.stdout) == (0, True), done.stderr
    latch = shell.json("status")["kill_switch"]
    assert (latch["active"], latch["mode"], latch["reason"]) == (True, "CLOSE_POSITIONS", "out of everything")

    assert as_person(shell, "ann", "reset", "--reason", "and again").returncode == 0
    by_threshold(shell, "account", "daily loss 5.1 %")
    assert as_person(shell, "rita", "portfolio-close", "--reason", "enough").returncode == 0
    assert shell.json("status")["kill_switch"]["mode"] == "CLOSE_POSITIONS"


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
