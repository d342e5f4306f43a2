"""The emergency drill: the whole stop path, measured, recorded and remembered."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

from ibkr_mcp_server.clock import SystemClock
from ibkr_mcp_server.operations.drills import Drilled
from ibkr_mcp_server.simulator.server import PaperGateway
from tests.stores import NOON
from tests.surface.people import as_person, first_admin
from tests.surface.shell import Shell


def test_a_drill_prints_what_it_took_beside_what_it_may_take_and_is_remembered(shell: Shell) -> None:
    """KS-23, QA-06: latch, another process, cancel and close, end; nothing of it touches the operator's own store."""
    done = shell.run("drill", "--orders", "4", "--positions", "2", "--triggers", "1")
    assert done.returncode in (0, 1), done.stderr  # how fast it was is the machine's affair
    rows = [line for line in done.stdout.splitlines() if line.startswith(("pass", "FAIL"))]
    assert len(rows) == 4, done.stdout + done.stderr
    for what in (
        "durable in this process",
        "p99 of 1",
        "4 working orders cancelled and 2 positions flat",
        "ends in order",
    ):
        assert sum(what in row for row in rows) == 1
    (line,) = shell.call("audit", "tail", "-n", "1", "--json").stdout.splitlines()
    record = json.loads(line)
    assert record["event_type"] == "DRILL_RESULT"
    assert [figure["target"] for figure in record["outcome"]["figures"]] == ["0.01", "0.1", "5.0", "5.0"]
    assert "against the simulator" in shell.call("status").stdout
    assert [path for path in shell.state.iterdir() if path.is_dir() and path.name.startswith("drill-")] == []


def test_a_drill_is_overdue_after_thirty_days() -> None:
    """QA-06."""
    drill = Drilled(at=NOON, passed=True, against="simulator")
    assert drill.overdue(NOON + timedelta(days=30)) is None
    assert "31 days ago" in (drill.overdue(NOON + timedelta(days=31)) or "")


async def test_a_drill_against_paper_halts_the_paper_account_and_leaves_the_reset_to_people(shell: Shell) -> None:
    """KS-23: the paper gateway plays the account; entries of one share are placed, stopped and cancelled."""
    await asyncio.to_thread(first_admin, shell)
    async with PaperGateway(clock=SystemClock(), market_always_open=True) as gateway:
        settings = {
            "IBKR_BROKER_MODE": "paper",
            "IBKR_PORT": str(gateway.port),
            "IBKR_ENABLE_TRADING": "true",
            "IBKR_ALLOW_WEEKEND_TRADING": "true",
            "IBKR_RESTART_WINDOWS": "",  # the real clock may stand in one
            "IBKR_DECISION_TIMEOUT_SECONDS": "4",
        }
        done = await asyncio.to_thread(as_person, shell, "ann", "drill", "--against", "paper", **settings)
        assert done.returncode in (0, 1), done.stderr
        rows = [line for line in done.stdout.splitlines() if line.startswith(("pass", "FAIL"))]
        assert ["the stop is durable" in rows[0], "3 entries are cancelled" in rows[1]] == [True, True], done.stdout
        assert [order.terms.quantity for order in gateway.received_orders] == [1, 1, 1]
        assert gateway.exchange.open_orders() == []
    status = await asyncio.to_thread(shell.call, "status")
    assert (status.returncode, "against the paper" in status.stdout) == (2, True)
    refused = await asyncio.to_thread(as_person, shell, "ann", "reset", "--reason", "the drill is over")
    assert "were not compared with the broker's since the stop" in refused.stderr


def test_a_drill_against_paper_needs_the_paper_mode(shell: Shell) -> None:
    assert "NOT_ON_PAPER" in shell.call("drill", "--against", "paper").stderr
