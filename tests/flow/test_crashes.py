"""kill -9 in the middle of placing orders: after the restart everything is as it was, and nothing is doubled.

The server is a process of its own here, on a gateway in this one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from ibkr_mcp_server.audit.verify import verify_database
from ibkr_mcp_server.clock import ManualClock, SystemClock
from ibkr_mcp_server.simulator.server import PaperGateway
from ibkr_mcp_server.store import intents
from ibkr_mcp_server.store.database import Database
from ibkr_mcp_server.store.intents import IntentState
from scripts.crashes.campaign import BOUNDARIES, schedules
from scripts.crashes.victim import STEPS, TRAPPED, Trap, arm
from tests.harness import running
from tests.private_state import private_state
from tests.server_process import serving


@pytest.fixture
def state() -> Iterator[Path]:
    with private_state("crash-") as path:
        yield path


async def test_killed_while_placing_orders_the_restarted_server_knows_them_all_and_doubles_none(
    state: Path,
) -> None:
    """ID-02, RL-09, KS-05, SU-04, invariants 1, 2 and 8; `make crashes` lets the kill fall at every step."""
    keys = [f"crash-order-{number:02}" for number in range(12)]
    order = {"symbol": "AAPL", "action": "BUY", "quantity": 1, "limit_price": 20.0}
    async with PaperGateway(clock=SystemClock(), market_always_open=True) as gateway:
        async with serving(state, gateway) as server:
            for key in keys:
                server.call("place_limit_order", client_request_id=key, **order)
            async with asyncio.timeout(20):
                await gateway.wait_for(lambda: len(gateway.received_orders) >= 5)
            await server.kill()

        database = Database.open(state / "state.db", read_only=True)
        before = {
            key: intent
            for key in keys
            if (intent := database.read_blocking(lambda connection, key=key: intents.find_by_key(connection, key)))  # type: ignore[misc]  # the loop's key
        }
        assert verify_database(database).ok
        database.close()
        sent = {one.terms.order_ref for one in gateway.received_orders}
        assert sent <= {intent.order_ref for intent in before.values()}, "nothing was sent without a durable intent"

        async with serving(state, gateway) as server:
            status = await server.ask("get_safety_status")
            assert status["daily_stats"]["opening_orders"] >= len(sent)
            for key in keys:
                await server.ask("place_limit_order", client_request_id=key, **order)
            references = [one.terms.order_ref for one in gateway.received_orders]
            assert len(references) == len(set(references)), "an order was doubled"
            for key, intent in before.items():
                if intent.order_ref in sent:
                    told = await server.ask("get_order_status", order_request_id=key)
                    assert told["order"] is not None, (key, told)
            await server.ask("emergency_stop", reason="before the crash")
            await server.kill()

        async with serving(state, gateway) as server:
            status = await server.ask("get_safety_status")
            assert status["kill_switch_active"] is True
            refused = await server.ask("place_limit_order", client_request_id="after-the-stop", **order)
            assert refused["code"] == "KILL_SWITCH_ACTIVE"
        database = Database.open(state / "state.db", read_only=True)
        assert verify_database(database).ok
        after = database.read_blocking(intents.unresolved)
        assert [one for one in after if one.kind == "place" and one.state is IntentState.RESERVED] == []
        database.close()


async def test_an_order_passes_every_step_at_which_the_campaign_kills(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """QA-04: the traps lie on the order path as it is today."""
    passed = set()

    class Recorder(Trap):
        def passing(self, step: str) -> None:
            passed.add(step)

    for place, name in TRAPPED:
        monkeypatch.setattr(place, name, getattr(place, name))  # puts it back afterwards
    arm(Recorder(STEPS[0], 1))
    async with running(tmp_path, gateway, clock) as world:
        assert (await world.buy(1))["success"]
        await world.until(lambda: passed >= set(STEPS))


def test_a_campaign_of_crashes_tries_every_boundary_and_repeats_itself_for_the_same_seed() -> None:
    drawn = schedules(1, 0, 200)
    assert {schedule.boundary for schedule in drawn} == set(BOUNDARIES) > set(STEPS)
    assert drawn[10:20] == schedules(1, 10, 10)
    assert drawn != schedules(2, 0, 200)
