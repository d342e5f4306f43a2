"""Closing the circuit breaker and promoting a stage from a shell: who may, when, and what stands against it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection

from ibkr_mcp_server.clock import SystemClock
from ibkr_mcp_server.operations.recovery import WATCH
from ibkr_mcp_server.safety.circuit_breaker import enter
from ibkr_mcp_server.store import breaker, intents, latches, reconciliations, risk_records
from ibkr_mcp_server.store.breaker import Breach, BreakerState, Stage
from ibkr_mcp_server.store.database import Database
from tests.stores import OPERATOR, an_intent
from tests.surface.people import added, as_person, first_admin
from tests.surface.shell import Shell

NOW = SystemClock().now()
LOSS = Breach(
    trigger="CB-13",
    metric="daily loss",
    scope="",
    level="PAUSE",
    observed=Decimal("3.5"),
    limit=Decimal(3),
    unit=" %",
    at=NOW,
    loses_money=True,
)


@contextmanager
def the_store(shell: Shell) -> Iterator[Callable[[Callable[[Connection], object]], object]]:
    database = Database.open(shell.state / "state.db")
    yield database.run_blocking
    database.close()


def with_state(shell: Shell, change: Callable[[BreakerState], BreakerState]) -> None:
    with the_store(shell) as do:
        do(lambda c: breaker.store(c, change(breaker.current(c)), NOW))


def watched(shell: Shell, level: str) -> None:
    """A server has just compared its records and left its figures."""
    figures = {"CB-13": {"level": level, "observed": "3.5", "text": "CB-13 daily loss 3.5 %"}}
    record: dict[str, Any] = {"missing": None, "findings": [], "broken_invariants": [], "readings": figures}
    with the_store(shell) as do:
        now = SystemClock().now()
        do(lambda c: risk_records.write(c, WATCH, record, now))
        do(
            lambda c: reconciliations.add(
                c, now=now, session_id="s", venue="paper", occasion="start", clean=True, report={}, anchors=None,
                may_repeat=False,
            )
        )  # fmt: skip


def test_the_breaker_is_reset_by_an_admin_after_the_cool_down_when_nothing_stands_against_it(shell: Shell) -> None:
    """C-19, RC-01, RC-02, RC-05, KS-19: and each thing that does is named."""
    first_admin(shell)
    added(shell, "oscar", "operator")
    closed = as_person(shell, "ann", "breaker-reset", "--reason", "why not")
    assert (closed.returncode, "BREAKER_CLOSED" in closed.stderr) == (1, True)

    opened: dict[str, Any] = {"is_open": True, "opened_at": NOW, "first": LOSS, "breaches": {"CB-13": LOSS}}
    with_state(shell, lambda s: replace(s, earliest_reset=NOW + timedelta(minutes=60), **opened))
    status = shell.call("status", "--json")
    assert (status.returncode, "CIRCUIT_BREAKER_OPEN" in status.stdout) == (1, True)
    cooling = as_person(shell, "ann", "breaker-reset", "--reason", "soon")
    assert "COOLING_DOWN" in cooling.stderr

    with_state(shell, lambda s: replace(s, earliest_reset=NOW - timedelta(minutes=1)))
    unwatched = as_person(shell, "ann", "breaker-reset", "--reason", "now")
    assert "the server's watch never said how things stand" in unwatched.stderr
    watched(shell, "PAUSE")
    standing = as_person(shell, "ann", "breaker-reset", "--reason", "now")
    assert "still at PAUSE" in standing.stderr
    low = as_person(shell, "oscar", "breaker-reset", "--reason", "now", "--acknowledge", "CB-13")
    assert (low.returncode, "admin" in low.stderr) == (1, True)
    done = as_person(shell, "ann", "breaker-reset", "--reason", "earnings", "--acknowledge", "CB-13")
    assert (done.returncode, "is closed, reset by ann" in done.stdout) == (0, True), done.stderr
    assert "Stage PAPER" in done.stdout


def test_a_stage_is_promoted_by_a_senior_when_it_has_lasted(shell: Shell) -> None:
    """RC-04, RC-05."""
    first_admin(shell)
    added(shell, "sue", "senior")
    assert shell.call("stage", "show").returncode == 0
    with_state(shell, lambda s: enter(s, Stage.QUARTER, NOW))
    shown = shell.call("stage", "show")
    assert (shown.returncode, "has not lasted a trading day" in shown.stdout) == (1, True)
    early = as_person(shell, "sue", "stage", "promote", "--reason", "in a hurry")
    assert "STAGE_NOT_RIPE" in early.stderr
    with_state(shell, lambda s: replace(enter(s, Stage.QUARTER, NOW - timedelta(days=3)), stage_decisions=10))
    done = as_person(shell, "sue", "stage", "promote", "--reason", "three calm days")
    assert (done.returncode, "Stage HALF" in done.stdout) == (0, True), done.stderr


def test_an_agent_that_was_halted_comes_back_at_a_quarter_of_the_size(shell: Shell) -> None:
    """ST-09: and a person promotes it; another halt begins anew."""
    first_admin(shell)
    added(shell, "sue", "senior")
    assert shell.call("stage", "show", "--agent", "momentum").returncode == 0
    shell.call("halt-strategy", "momentum", "--reason", "looked odd")
    halted = shell.call("stage", "show", "--agent", "momentum")
    assert (halted.returncode, "momentum is halted" in halted.stdout) == (1, True)
    with the_store(shell) as do:
        scope = "strategy:momentum"
        do(lambda c: latches.clear(c, OPERATOR, "all is well", NOW - timedelta(days=3), scope=scope))
        for _ in range(10):
            do(lambda c: intents.reserve(c, an_intent(SystemClock(), actor_id="momentum")))
    resumed = shell.call("stage", "show", "--agent", "momentum")
    assert "stage QUARTER, the size limits are multiplied by 0.25" in resumed.stdout
    done = as_person(shell, "sue", "stage", "promote", "--agent", "momentum", "--reason", "three calm days")
    assert (done.returncode, "stage HALF" in done.stdout) == (0, True), done.stderr
    early = as_person(shell, "sue", "stage", "promote", "--agent", "momentum", "--reason", "in a hurry")
    assert "STAGE_NOT_RIPE" in early.stderr
    shell.call("halt-strategy", "momentum")
    with the_store(shell) as do:
        do(lambda c: latches.clear(c, OPERATOR, "again", NOW, scope=scope))
    assert "stage QUARTER" in shell.call("stage", "show", "--agent", "momentum").stdout
