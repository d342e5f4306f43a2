"""Stopping from a shell, and what it takes to resume."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection

from ibkr_mcp_server.clock import SystemClock
from ibkr_mcp_server.store import intents, operator_attempts, reconciliations
from ibkr_mcp_server.store.database import Database
from ibkr_mcp_server.store.intents import IntentState
from tests.stores import an_intent
from tests.surface.people import as_person, first_admin, typing
from tests.surface.shell import Done, Shell

PASSPHRASE = "correct horse battery"
needs_terminals = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo terminals")


def set_passphrase(shell: Shell, passphrase: str = PASSPHRASE) -> None:
    with typing(passphrase, passphrase):
        done = shell.call("operator", "set-passphrase")
    assert done.returncode == 0, done.stderr


def proving(shell: Shell, *command: str, passphrase: str = PASSPHRASE) -> Done:
    """`command`, given by somebody who types that passphrase."""
    with typing(passphrase):
        done = shell.call(*command)
    assert passphrase not in done.stdout + done.stderr
    return done


def test_portfolio_halt_needs_nothing_and_status_tells_who_when_why(shell: Shell) -> None:
    """KS-04, KS-09, KS-18, MON-02: no secret, no reason, no server, no store yet."""
    first = shell.call("portfolio-halt")
    again = shell.call("portfolio-halt", "--reason", "second thoughts")
    status = shell.call("status", "--safety", "--json")
    text = shell.call("status", "--safety")

    assert first.returncode == again.returncode == 0
    assert "Trading is halted (HALT_ONLY): unspecified" in first.stdout
    assert "no opening order is on its way" in first.stdout
    assert "halted already" in again.stdout
    assert status.returncode == text.returncode == 2
    for told in ('"kill_switch_active": true', '"auth": "local-shell"', '"repeats": 1', '"scope": "account"'):
        assert told in status.stdout
    for told in ("STOPPED", "HALT_ONLY", "unspecified", "local-shell", "opening orders per minute"):
        assert told in text.stdout


def test_halt_holds_by_the_stop_file_when_the_store_or_the_settings_are_broken(shell: Shell) -> None:
    """KS-06, KS-08: whatever is broken, the stop holds."""
    misspelt = shell.call("portfolio-halt", "--reason", "now", IBKR_ENABLE_TRADNG="true")
    assert (misspelt.returncode, (shell.state / "KILL").read_text()) == (0, "now\n")
    assert "stop file" in misspelt.stderr
    (shell.state / "KILL").unlink()

    (shell.state / "state.db").write_bytes(b"not a database at all, but long enough to be read as one" * 40)
    damaged = shell.call("portfolio-halt")
    status = shell.call("status", "--json")

    assert damaged.returncode == 0
    assert (shell.state / "KILL").exists()
    assert "STORE" not in damaged.stdout
    assert str(shell.state / "KILL") in damaged.stdout
    assert (status.returncode, '"status": "STOPPED"' in status.stdout) == (2, True)


def test_a_stop_file_left_by_hand_shows_as_a_stop_even_before_the_first_start(shell: Shell) -> None:
    """KS-07."""
    (shell.state / "KILL").touch()
    assert shell.call("status").returncode == 2

    shell.call("portfolio-halt")
    assert "stop file" in shell.call("status").stdout.lower()


def test_a_passphrase_is_typed_at_a_terminal_or_refused(shell: Shell) -> None:
    """KS-16: never an argument, never the environment, never a pipe."""
    shell.call("portfolio-halt")

    in_arguments = shell.call("reset", "--reason", "all is well", "--passphrase", PASSPHRASE)
    in_environment = shell.call("reset", "--reason", "all is well", IBKR_OPERATOR_PASSPHRASE=PASSPHRASE)
    without_one = shell.call("reset", "--reason", "all is well")
    piped = shell.run("operator", "set-passphrase", stdin=f"{PASSPHRASE}\n{PASSPHRASE}\n")

    for refused in (in_arguments, in_environment):
        assert (refused.returncode, "PASSPHRASE_IN_THE_OPEN" in refused.stderr) == (1, True)
        assert PASSPHRASE not in refused.stdout + refused.stderr
    assert "operator set-passphrase" in without_one.stderr
    assert (piped.returncode, "NO_TERMINAL" in piped.stderr) == (1, True)
    assert not (shell.state / "operator.json").exists()
    assert shell.call("status").returncode == 2


def test_only_the_right_passphrase_resets_and_five_wrong_ones_lock_the_door(shell: Shell) -> None:
    """KS-15, KS-16, and that stopping stays possible while the door is locked (KS-18)."""
    set_passphrase(shell)
    (shell.state / "KILL").touch()
    shell.call("portfolio-halt", "--reason", "tried out")
    reset = ("reset", "--reason", "looked into")

    assert shell.call("reset").returncode == 2  # a reason is required
    wrong = proving(shell, *reset, passphrase="wrong horse battery")
    assert (wrong.returncode, "4 more attempts" in wrong.stderr) == (1, True)
    right = proving(shell, *reset)
    assert (right.returncode, "The kill switch is off" in right.stdout) == (0, True)
    assert not (shell.state / "KILL").exists()
    assert shell.call("status").returncode == 0
    assert "NOT_ACTIVE" in shell.call("reset", "--reason", "again").stderr

    shell.call("portfolio-halt")
    store = Database.open(shell.state / "state.db")
    for _ in range(4):
        store.run_blocking(lambda connection: operator_attempts.begin(connection, SystemClock()))
    store.close()
    wrong = proving(shell, *reset, passphrase="wrong horse battery")
    assert (wrong.returncode, "0 more attempts" in wrong.stderr) == (1, True)
    locked = proving(shell, *reset)
    assert (locked.returncode, "OPERATOR_LOCKED" in locked.stderr) == (1, True)
    assert shell.call("portfolio-halt").returncode == 0
    assert "failures 5" in shell.call("audit", "tail", "--type", "AUTH_FAILED").stdout


@needs_terminals
def test_changing_the_passphrase_takes_the_current_one_and_two_equal_new_ones(shell: Shell) -> None:
    """At a real terminal at last, which does not show what is typed; the demo resets at one."""

    def change(*typed: str) -> tuple[int, str]:
        with typing(*typed):
            done = shell.call("operator", "set-passphrase")
        return done.returncode, done.stderr

    code, told = change("short", "short")
    assert (code, "PASSPHRASE_TOO_SHORT" in told) == (1, True)
    set_passphrase(shell)
    code, told = change("wrong horse battery", "", "")
    assert (code, "WRONG_PASSPHRASE" in told) == (1, True)
    code, told = change(PASSPHRASE, "another horse battery", "another house battery")
    assert (code, "PASSPHRASES_DIFFER" in told) == (1, True)
    new = "another horse battery"
    typed = [("Current", PASSPHRASE), ("New operator passphrase", new), ("again", new)]
    changed = shell.type_at_terminal("operator", "set-passphrase", typed=typed)
    assert (changed.exit_code, new in changed.screen) == (0, False), changed.screen
    assert PASSPHRASE not in (shell.state / "operator.json").read_text()


def test_reset_is_refused_while_the_audit_log_does_not_verify(shell: Shell) -> None:
    """KS-15: the invariants of a start hold, or trading does not resume."""
    set_passphrase(shell)
    shell.call("portfolio-halt")
    with closing(sqlite3.connect(shell.state / "state.db")) as store, store:
        for (trigger,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            store.execute(f"DROP TRIGGER {trigger}")
        store.execute('UPDATE audit_log SET outcome = \'{"reason":"nothing"}\' WHERE seq = 2')
    store.close()

    refused = shell.call("reset", "--reason", "all is well")

    assert (refused.returncode, "NOT_RESUMABLE" in refused.stderr, "Record 2" in refused.stderr) == (1, True, True)
    assert shell.call("status").returncode == 2


def test_reset_is_refused_until_a_comparison_after_the_stop_found_both_sides_alike(shell: Shell) -> None:
    """KS-15: no comparison since, a difference, an invariant that does not hold, a lost order; each is named."""
    first_admin(shell)
    store = Database.open(shell.state / "state.db")

    def refusal() -> str:
        refused = as_person(shell, "ann", "reset", "--reason", "all is well")
        assert (refused.returncode, "NOT_RESUMABLE" in refused.stderr) == (1, True)
        return refused.stderr

    def compared(*, clean: bool, **report: list[object]) -> None:
        kept: dict[str, Any] = {"differences": [], "broken_invariants": [], **report}
        about: dict[str, Any] = {"session_id": "s", "venue": "paper", "occasion": "after a stop", "anchors": None}
        now = SystemClock().now()
        store.run_blocking(
            lambda c: reconciliations.add(c, now=now, clean=clean, report=kept, may_repeat=False, **about)
        )

    compared(clean=True)
    shell.call("portfolio-halt")
    assert "were not compared with the broker's since the stop" in refusal()
    compared(clean=False, differences=[{"text": "AAPL: 10 here, 12 at the broker."}])
    assert "disagree: AAPL: 10 here, 12 at the broker." in refusal()
    compared(clean=True, broken_invariants=["The account is not served."])
    assert "An invariant of the start does not hold: The account is not served." in refusal()
    compared(clean=True)
    lost = an_intent(SystemClock(), request_key="lost-order")
    store.run_blocking(lambda c: intents.reserve(c, lost))
    assert "The outcome of an order is unknown: BUY 10 AAPL (RESERVED, client_request_id lost-order)" in refusal()
    store.run_blocking(lambda c: intents.release(c, lost.intent_id, "never sent", SystemClock().now()))
    assert "REASON_MISSING" in as_person(shell, "ann", "reset", "--reason", " ").stderr
    done = as_person(shell, "ann", "reset", "--reason", "all is well")
    store.close()
    assert done.returncode == 0, done.stderr


def test_status_tells_by_its_exit_code_whether_all_is_well(shell: Shell) -> None:
    """MON-02: 0 normal, 1 degraded, 2 stopped."""
    Database.open(shell.state / "state.db").close()
    normal = shell.call("status", "--safety")
    degraded = shell.call("status", "--safety", IBKR_SAFE_MODE="true")
    shell.call("portfolio-halt")
    stopped = shell.call("status", "--safety", IBKR_SAFE_MODE="true")

    assert [done.returncode for done in (normal, degraded, stopped)] == [0, 1, 2]
    for word, done in (("NORMAL", normal), ("DEGRADED", degraded), ("STOPPED", stopped)):
        assert word in done.stdout
    assert "IBKR_SAFE_MODE" in degraded.stdout


def test_an_order_on_its_way_is_no_trouble_and_one_that_stays_unknown_is(shell: Shell) -> None:
    """MON-02: a look in the moment of a send does not alarm whoever polls the exit code."""
    clock = SystemClock()
    database = Database.open(shell.state / "state.db")

    def status_with(state: IntentState, age_seconds: int) -> Done:
        sent_at = clock.now() - timedelta(seconds=age_seconds)
        intent = an_intent(clock, intent_id=f"{state} {age_seconds}", created_at=sent_at)

        def advanced(connection: Connection, to: IntentState) -> None:
            intents.advance(connection, intent.intent_id, to, now=clock.now())

        database.run_blocking(lambda connection: intents.reserve(connection, intent))
        database.run_blocking(lambda connection: advanced(connection, state))
        done = shell.call("status", "--safety")
        database.run_blocking(lambda connection: advanced(connection, IntentState.REJECTED))
        return done

    try:
        on_its_way = status_with(IntentState.SENT, age_seconds=0)
        late = status_with(IntentState.SENT, age_seconds=16)
        unknown = status_with(IntentState.UNKNOWN, age_seconds=0)
    finally:
        database.close()
    assert [done.returncode for done in (on_its_way, late, unknown)] == [0, 1, 1]
    for done in (on_its_way, late, unknown):
        assert "Unresolved" in done.stdout


def test_one_strategy_is_halted_and_resumed_and_everything_locked_by_command(shell: Shell) -> None:
    """KS-02, KS-03, KS-18, ST-01: halting needs nothing, resuming one person, closing two."""
    set_passphrase(shell)
    halted = shell.call("halt-strategy", "momentum", "--reason", "too keen")
    status = shell.call("status", "--json")
    assert "The strategy 'momentum' is halted (HALT_ONLY): too keen" in halted.stdout
    assert "Nobody called 'momentum' has sent an order so far." in halted.stdout
    assert (status.returncode, '"scope": "strategy:momentum"' in status.stdout) == (1, True)
    assert "SCOPE_UNKNOWN" in shell.call("reset", "--reason", "ok", "--scope", "strategy").stderr
    assert "NOT_ACTIVE" in shell.call("resume", "another", "--reason", "ok").stderr
    resumed = proving(shell, "resume", "momentum", "--reason", "talked to it")
    assert (resumed.returncode, shell.call("status").returncode) == (0, 0), resumed.stderr

    closed = proving(shell, "portfolio-close", "--reason", "out of everything")
    assert (closed.returncode, "portfolio-close" in shell.call("approvals").stdout) == (1, True), closed.stderr
    assert shell.call("status").returncode == 0, "one person alone closes nothing"
    assert "LOCKDOWN" in shell.call("emergency").stdout
    assert "LOCKDOWN" in shell.call("portfolio-halt").stdout, "a later stop does not loosen it"
    assert '"mode": "LOCKDOWN"' in shell.call("status", "--json").stdout
