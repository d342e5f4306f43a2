"""Ways out: closing positions, cancelling everything, waiting for an order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.simulator.server import PaperGateway
from tests.flow.test_stop_losses import hold, protect
from tests.harness import World, running, time_passing

Run = Callable[..., AbstractAsyncContextManager[World]]


@pytest.fixture
def run(tmp_path: Path, gateway: PaperGateway, clock: ManualClock) -> Run:
    return partial(running, tmp_path, gateway, clock, enable_stop_loss_orders=True)


# ---- closing


async def test_a_position_is_closed_by_the_brokers_word_while_trading_is_stopped_and_no_quota_is_used(
    run: Run,
) -> None:
    """T-25, KS-13, RL-12."""
    async with run(max_orders_per_minute=1) as world:
        await hold(world)
        await world.call("emergency_stop")
        closed = await world.call("close_position", symbol="AAPL")
        assert (closed["outcome"], closed["terms"]["action"], closed["filled"]) == ("filled", "SELL", "10"), closed
        assert "market_cap_price" in closed["terms"], "never without a bound"
        await world.until(lambda: not world.app.desk.broker.known_positions())
        again = await world.call("close_position", symbol="AAPL")
        assert (again["success"], again["code"]) == (False, "NO_POSITION")


async def test_a_part_is_closed_at_a_limit_and_never_more_than_is_held(run: Run) -> None:
    async with run() as world:
        price = await hold(world)
        limit = round(price * 1.01, 2)
        working = await world.call("close_position", symbol="AAPL", quantity=4, price=limit)
        assert (working["outcome"], working["terms"]["quantity"]) == ("accepted", "4")
        refused = await world.call("close_position", symbol="AAPL", quantity=7, price=limit)
        assert (refused["code"], refused["limit"]) == ("WOULD_OPEN", "6")
        rest = await world.call("close_position", symbol="AAPL", price=limit)
        assert rest["terms"]["quantity"] == "6", "net of what is closing already"
        none = await world.call("close_position", symbol="AAPL")
        assert none["code"] == "ALREADY_CLOSING"


async def test_a_position_that_a_stop_covers_is_not_sold_twice(run: Run) -> None:
    """Both could fill, and the second would open a short position."""
    async with run() as world:
        stop = await protect(world, await hold(world))
        refused = await world.call("close_position", symbol="AAPL")
        assert refused["code"] == "ALREADY_CLOSING"
        assert "stop" in refused["next_step"]
        await world.call("cancel_stop_loss", perm_id=stop["perm_id"])
        assert (await world.call("close_position", symbol="AAPL"))["outcome"] == "filled"


async def test_closing_at_once_from_two_sides_never_crosses_zero(run: Run) -> None:
    async with run() as world:
        await hold(world)
        answers = await asyncio.gather(*(world.call("close_position", symbol="AAPL") for _ in range(5)))
        assert sorted(answer["success"] for answer in answers) == [False] * 4 + [True]
        assert {answer["code"] for answer in answers if not answer["success"]} <= {
            "WOULD_OPEN",
            "ALREADY_CLOSING",
            "NO_POSITION",
        }
        await world.until(lambda: not world.app.desk.broker.known_positions())


async def test_one_key_closes_once(run: Run) -> None:
    async with run() as world:
        await hold(world)
        first = await world.call("close_position", symbol="AAPL", quantity=5, client_request_id="close-half-1")
        again = await world.call("close_position", symbol="AAPL", quantity=5, client_request_id="close-half-1")
        assert (first["outcome"], again["replayed"], again["perm_id"]) == ("filled", True, first["perm_id"])


# ---- cancelling everything


async def test_every_entry_is_cancelled_with_the_brokers_word_and_protection_is_kept(run: Run) -> None:
    """Invariant 6, RL-11: each cancellation is judged and recorded by itself."""
    async with run(max_orders_per_minute=9) as world:
        stop = await protect(world, await hold(world))
        entries = [await world.buy() for _ in range(3)]
        done = await world.call("cancel_all_orders")

        assert (done["success"], done["outcome"]) == (True, "cancelled"), done
        assert {one["perm_id"] for one in done["orders"]} == {entry["perm_id"] for entry in entries}
        assert {one["outcome"] for one in done["orders"]} == {"cancelled"}
        assert done["protective_kept"] == [stop["perm_id"]]
        assert [order.perm_id for order in world.gateway.exchange.open_orders()] == [stop["perm_id"]]
        decisions = [record for record in await world.records(EventType.DECISION) if record.tool == "cancel_all_orders"]
        sent = [record for record in await world.records(EventType.ORDER_SENT) if record.tool == "cancel_all_orders"]
        assert (len(decisions), len(sent)) == (4, 3), "the request itself, and every order"


async def test_protective_stops_go_too_if_asked_but_not_while_trading_is_stopped(run: Run) -> None:
    """Table 0.1."""
    async with run() as world:
        stop = await protect(world, await hold(world))
        await world.call("emergency_stop")
        refused = await world.call("cancel_all_orders", include_protective=True)
        assert (refused["success"], refused["code"], refused["outcome"]) == (False, "PROTECTIVE_ORDER", "refused")
        assert [(one["perm_id"], one["outcome"]) for one in refused["orders"]] == [(stop["perm_id"], "refused")]
        assert len(world.gateway.exchange.open_orders()) == 1


async def test_in_normal_operation_protective_stops_can_be_cancelled_as_well(run: Run) -> None:
    async with run() as world:
        await protect(world, await hold(world))
        done = await world.call("cancel_all_orders", include_protective=True)
        assert (done["success"], done["outcome"], len(done["orders"])) == (True, "cancelled", 1)
        assert world.gateway.exchange.open_orders() == []


async def test_a_dry_run_cancels_nothing_and_says_so_of_each_order(run: Run) -> None:
    """CFG-06."""
    async with run() as world:
        placed = await world.buy()
    async with run(dry_run=True) as world:
        done = await world.call("cancel_all_orders")
        assert (done["outcome"], [one["outcome"] for one in done["orders"]]) == ("dry_run", ["dry_run"]), done
        assert [order.perm_id for order in world.gateway.exchange.open_orders()] == [placed["perm_id"]]


async def test_cancelling_nothing_is_a_success_and_orders_of_others_are_counted_not_touched(
    run: Run, tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    async with run() as world:
        assert (await world.call("cancel_all_orders"))["orders"] == []
        async with running(tmp_path / "other", gateway, clock, client_id=99) as other:
            theirs = await other.buy()
            done = await world.call("cancel_all_orders")
            assert (done["orders"], done["not_ours"]) == ([], 1)
            assert [order.perm_id for order in gateway.exchange.open_orders()] == [theirs["perm_id"]]


async def test_a_cancellation_whose_answer_is_lost_is_unknown_in_the_sum_too(run: Run) -> None:
    """TW-14."""
    async with run(broker_deadline_seconds=0.5) as world:
        await world.buy()
        world.gateway.faults.delay_acks(3600)
        lost = await world.call("cancel_all_orders")
        assert (lost["success"], lost["code"], lost["outcome"]) == (False, "OUTCOME_UNKNOWN", "unknown"), lost


# ---- waiting


async def test_waiting_ends_with_the_fill_and_asks_the_broker_nothing_meanwhile(run: Run) -> None:
    async with run() as world:
        placed = await world.buy()
        told: list[str] = []

        async def hear(progress: float, total: float | None, message: str | None) -> None:
            told.append(message or "")

        arguments = {"perm_id": placed["perm_id"], "timeout_seconds": 30}
        waiting = asyncio.create_task(world.client.call_tool("wait_for_order", arguments, progress_callback=hear))
        await world.until(lambda: told)
        before = len(world.gateway.received)
        await world.clock.advance(5)
        assert not waiting.done()
        cheap = Decimal(placed["terms"]["limit_price"])
        world.gateway.faults.set_quote("AAPL", cheap - Decimal("0.01"), cheap)
        await world.gateway.tick()
        answer: Any = (await waiting).structured_content
        assert (answer["outcome"], answer["ended_by"], answer["order"]["filled"]) == ("filled", "final", "1")
        assert answer["waited_seconds"] == 5.0
        assert "filled 0 of 1" in told[0]
        assert [entry.request for entry in world.gateway.received[before:]] == []


async def test_waiting_is_bounded_and_tells_where_the_order_stands(run: Run) -> None:
    async with run() as world:
        placed = await world.buy()
        async with time_passing(world.clock):
            answer = await world.call("wait_for_order", perm_id=placed["perm_id"])
        assert (answer["success"], answer["ended_by"], answer["outcome"]) == (True, "timeout", "accepted")


async def test_waiting_for_a_change_ends_with_the_change_and_a_finished_order_is_told_at_once(run: Run) -> None:
    async with run() as world:
        placed = await world.buy()
        waiting = asyncio.create_task(world.call("wait_for_order", perm_id=placed["perm_id"], until="change"))
        await asyncio.sleep(0.05)
        await world.call("modify_order", perm_id=placed["perm_id"], quantity=2)
        assert (await waiting)["ended_by"] == "change"
        await world.call("cancel_order", perm_id=placed["perm_id"])
        done = await world.call("wait_for_order", order_request_id=placed["client_request_id"])
        assert (done["ended_by"], done["outcome"], done["waited_seconds"]) == ("final", "cancelled", 0.0)


async def test_waiting_for_an_order_that_nobody_knows_or_too_long_is_refused(run: Run) -> None:
    async with run() as world:
        assert (await world.call("wait_for_order", perm_id=999))["code"] == "ORDER_NOT_FOUND"
        assert (await world.call("wait_for_order", perm_id=999, timeout_seconds=3600))["code"] == "INVALID_ARGUMENTS"


async def test_a_lost_link_ends_the_wait(run: Run) -> None:
    async with run() as world:
        placed = await world.buy()
        waiting = asyncio.create_task(world.call("wait_for_order", perm_id=placed["perm_id"]))
        await asyncio.sleep(0.05)
        world.gateway.faults.disconnect()
        assert (await waiting)["ended_by"] == "link_down"
