"""Brackets: three orders that live together or not at all."""

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
from ibkr_mcp_server.simulator.orders import Order
from ibkr_mcp_server.simulator.server import PaperGateway
from tests.harness import World, running

Run = Callable[..., AbstractAsyncContextManager[World]]


@pytest.fixture
def run(tmp_path: Path, gateway: PaperGateway, clock: ManualClock) -> Run:
    return partial(running, tmp_path, gateway, clock, enable_stop_loss_orders=True)


async def bracket(world: World, *, entry: float = 0.97, **changes: Any) -> dict[str, Any]:
    """Buy two AAPL below the market; all prices in parts of the last one."""
    last = await world.last_price("AAPL")
    prices = {"limit_price": entry, "take_profit_price": 1.05, "stop_loss_price": 0.94} | {
        name: changes.pop(name) for name in list(changes) if name.endswith("_price")
    }
    rounded = {name: round(last * part, 2) for name, part in prices.items() if part is not None}
    return await world.call("place_bracket_order", symbol="AAPL", action="BUY", quantity=2, **rounded, **changes)


def legs(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {leg["role"]: leg for leg in answer["legs"]}


def at_gateway(world: World) -> list[Order]:
    return sorted(world.gateway.exchange.orders(), key=lambda order: order.order_id)


def open_at_gateway(world: World) -> list[Order]:
    return [order for order in at_gateway(world) if not order.is_done]


async def fall_to(world: World, price: Decimal) -> None:
    world.gateway.faults.set_quote("AAPL", price - Decimal("0.01"), price)
    await world.gateway.tick()


async def reconnected(world: World) -> None:
    """The link is lost, and comes back after the pause of the first attempt."""
    await world.until(lambda: not world.app.desk.broker.link.is_up)
    for _ in range(50):
        await world.clock.advance(0.5)
        if (await world.app.desk.broker.wait_until_up(0.05)).is_up:
            return
    raise AssertionError(world.app.desk.broker.link)


async def test_three_orders_go_live_together_and_the_exits_wait_for_the_entry(run: Run) -> None:
    """ORD-20: the transmit flag is on the last one alone."""
    async with run() as world:
        placed = await bracket(world)

        assert (placed["success"], placed["outcome"], placed["unwound"]) == (True, "accepted", False), placed
        sent = [order.terms.transmit for order in world.gateway.received_orders]
        assert sent == [False, False, True]
        entry, profit, stop = at_gateway(world)
        assert (entry.terms.order_type, profit.terms.order_type, stop.terms.order_type) == ("LMT", "LMT", "STP")
        assert (profit.parent_perm_id, stop.parent_perm_id) == (entry.perm_id, entry.perm_id)
        assert (profit.terms.action, stop.terms.action, stop.tif) == ("SELL", "SELL", "GTC")
        told = legs(placed)
        assert [told[role]["perm_id"] for role in ("entry", "take_profit", "stop_loss")] == [
            order.perm_id for order in (entry, profit, stop)
        ]
        assert told["take_profit"]["status"] == "PreSubmitted"
        listed = {one["perm_id"]: one for one in (await world.call("get_open_orders"))["orders"]}
        assert [listed[order.perm_id].get("parent_perm_id") for order in (entry, profit, stop)] == [
            None,
            entry.perm_id,
            entry.perm_id,
        ]
        for role in told:
            status = await world.call("get_order_status", order_request_id=told[role]["client_request_id"])
            assert status["order"]["perm_id"] == told[role]["perm_id"], role


async def test_after_the_entry_filled_one_exit_cancels_the_other(run: Run) -> None:
    async with run() as world:
        placed = await bracket(world)
        told = legs(placed)
        await fall_to(world, Decimal(told["entry"]["terms"]["limit_price"]))
        filled = await world.call("wait_for_order", perm_id=told["entry"]["perm_id"])
        assert filled["outcome"] == "filled"
        listed = await world.call("get_stop_losses")
        assert [stop["protects"] for stop in listed["stop_losses"]] == [True]
        assert listed["positions"][0]["uncovered"] == "0"

        target = Decimal(told["take_profit"]["terms"]["limit_price"])
        world.gateway.faults.set_quote("AAPL", target, target + Decimal("0.01"))
        await world.gateway.tick()
        assert (await world.call("wait_for_order", perm_id=told["take_profit"]["perm_id"]))["outcome"] == "filled"
        assert (await world.call("wait_for_order", perm_id=told["stop_loss"]["perm_id"]))["outcome"] == "cancelled"
        assert (await world.call("get_portfolio"))["positions"] == []


async def test_a_bracket_is_one_opening_order_in_every_count_and_each_order_has_its_record(run: Run) -> None:
    """ORD-20, AUD-04."""
    async with run(max_orders_per_minute=2) as world:
        first, second = await bracket(world, client_request_id="bracket-one-1"), await bracket(world)
        third = await bracket(world)
        assert [answer["success"] for answer in (first, second, third)] == [True, True, False]
        assert third["code"] == "RATE_LIMIT"
        assert (await world.call("get_safety_status"))["daily_stats"]["opening_orders"] == 2
        assert world.sent == 6
        for event in (EventType.INTENT_RESERVED, EventType.ORDER_SENT):
            told = [record for record in await world.records(event) if record.tool == "place_bracket_order"]
            assert len(told) == 6, event
        assert [
            (await world.intent(key)).opening
            for key in ("bracket-one-1", "bracket-one-1.take-profit", "bracket-one-1.stop-loss")
        ] == [True, False, False]
        decisions = [one for one in await world.records(EventType.DECISION) if one.tool == "place_bracket_order"]
        assert len(decisions) == 3


async def test_a_bracket_needs_room_for_three_working_orders(run: Run) -> None:
    """ORD-13, ORD-20."""
    async with run(max_working_orders_per_symbol=3) as world:
        await world.buy(limit_price=round(await world.last_price("AAPL") * 0.97, 2))
        refused = await bracket(world)
        assert (refused["code"], world.sent) == ("WORKING_ORDERS_LIMIT", 1)
        await world.call("cancel_all_orders")
        assert (await bracket(world))["success"]


async def test_a_market_entry_fills_and_its_exits_work(run: Run) -> None:
    async with run() as world:
        placed = await bracket(world, order_type="MKT", limit_price=None)
        told = legs(placed)
        assert (placed["success"], placed["outcome"]) == (True, "filled"), placed
        assert "market_cap_price" in told["entry"]["terms"]
        assert {told["take_profit"]["outcome"], told["stop_loss"]["outcome"]} == {"accepted"}


async def test_a_bracket_whose_parts_do_not_fit_is_refused_whole(run: Run) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"take_profit_price": 0.96}, "BRACKET_PRICES"),
        ({"stop_loss_price": 0.98}, "BRACKET_PRICES"),
        ({"entry": 1.01, "stop_loss_price": 1.005, "take_profit_price": 1.05}, "BRACKET_PRICES"),
        ({"stop_limit_price": 0.95}, "STOP_ON_WRONG_SIDE"),
        ({"stop_limit_price": 0.80}, "PRICE_COLLAR"),
        ({"limit_price": None}, "PRICE_MISSING"),
        ({"tif": "GTC"}, "TIME_IN_FORCE_NOT_ALLOWED"),
    ]
    async with run(allowed_order_types="MKT,LMT,STP,STP LMT") as world:
        for changes, code in wrong:
            refused = await bracket(world, **changes)
            told = (refused["success"], refused["code"], refused["outcome"])
            assert told == (False, code, "refused"), (changes, refused)
        assert world.gateway.received_writes == []


async def test_a_bracket_needs_the_flag_of_stops_and_passes_every_switch(run: Run) -> None:
    """CFG-04, KS-01: also if its entry would only sell what is held."""
    async with run(enable_stop_loss_orders=False) as world:
        assert (await bracket(world))["code"] == "STOP_LOSS_DISABLED"
    async with run() as world:
        await world.call("place_market_order", symbol="AAPL", action="BUY", quantity=5)
        await world.call("emergency_stop")
        assert (await bracket(world))["code"] == "KILL_SWITCH_ACTIVE"
        last = await world.last_price("AAPL")
        prices = {"limit_price": last * 1.01, "take_profit_price": last * 0.9, "stop_loss_price": last * 1.1}
        selling = await world.call(
            "place_bracket_order", symbol="AAPL", action="SELL", quantity=2,
            **{name: round(price, 2) for name, price in prices.items()},
        )  # fmt: skip
        assert selling["code"] == "KILL_SWITCH_ACTIVE"
        assert world.sent == 1


async def test_an_exit_off_the_grid_is_refused_with_its_name(run: Run) -> None:
    async with run() as world:
        last = round(await world.last_price("AAPL"), 2)
        refused = await world.call(
            "place_bracket_order", symbol="AAPL", action="BUY", quantity=1, limit_price=last,
            take_profit_price=round(round(last * 1.05, 2) + 0.001, 3), stop_loss_price=round(last * 0.9, 2),
        )  # fmt: skip
        assert refused["code"] == "PRICE_TICK"
        assert refused["error"].startswith("take-profit: ")


# ---- half placed


async def test_when_the_last_order_is_refused_the_staged_ones_are_withdrawn(run: Run) -> None:
    """Nothing was transmitted, so nothing could trade; and nothing is left lying in the gateway."""
    async with run() as world:
        world.gateway.faults.spare_next_orders(2)
        world.gateway.faults.reject_next_order(201, "Order rejected - reason:no stops today")
        answer = await bracket(world)

        told = legs(answer)
        assert (answer["success"], answer["unwound"], answer["outcome"]) == (False, True, "cancelled"), answer
        assert (answer["code"], answer["broker_code"]) == ("BROKER_REJECTED", 201)
        assert told["stop_loss"]["outcome"] == "rejected"
        assert {told["entry"]["outcome"], told["take_profit"]["outcome"]} == {"cancelled"}
        assert open_at_gateway(world) == []
        cancelled = [
            one for one in await world.records(EventType.ORDER_SENT) if one.operation_type == "order_cancellation"
        ]
        assert len(cancelled) == 2, "each withdrawal is a write with a record of its own"
        assert (await world.call("get_safety_status"))["daily_stats"]["opening_orders"] == 1


async def test_a_bracket_that_the_broker_rejects_is_one_operation_that_failed(run: Run) -> None:
    """CB-20: who sends only brackets has an error rate, too; what never left is no failure of the broker's."""
    async with run(repeated_order_seconds=0, order_cooldown_seconds=0) as world:
        failed = []
        for trouble in ("none", "rejected", "stopped"):
            if trouble == "rejected":
                world.gateway.faults.spare_next_orders(2)
                world.gateway.faults.reject_next_order(201, "Order rejected - reason:no stops today")
            elif trouble == "stopped":
                await world.call("emergency_stop", reason="no more")
            before, _ = world.app.desk.broker.failed_operations()
            answer = await bracket(world)
            assert answer["success"] is (trouble == "none"), answer
            after, _ = world.app.desk.broker.failed_operations()
            failed.append(after - before)
    assert failed == [0, 1, 0]


async def test_when_an_exit_is_refused_on_the_way_nothing_is_transmitted(run: Run) -> None:
    async with run() as world:
        world.gateway.faults.spare_next_orders(1)
        world.gateway.faults.reject_next_order(201, "Order rejected - reason:no profits today")
        answer = await bracket(world)
        told = legs(answer)
        assert (answer["success"], answer["code"]) == (False, "BROKER_REJECTED"), answer
        assert told["take_profit"]["outcome"] == "rejected"
        assert told["entry"]["outcome"] in ("cancelled", "rejected")
        assert open_at_gateway(world) == []
        assert [order.filled for order in at_gateway(world)] == [0] * len(at_gateway(world))


async def _refused_after_transmission(world: World, **changes: Any) -> dict[str, Any]:
    """A bracket whose take-profit is refused, of which word comes only when all three have been sent."""
    world.gateway.faults.delay_acks(1)
    world.gateway.faults.spare_next_orders(1)
    world.gateway.faults.reject_next_order(201, "Order rejected - reason:too late")
    placing = asyncio.create_task(bracket(world, **changes))
    await world.until(lambda: world.sent == 3)
    world.gateway.faults.delay_acks(0)
    await world.clock.advance(1)
    return await placing


async def test_a_live_bracket_without_its_take_profit_is_cancelled(run: Run) -> None:
    async with run() as world:
        answer = await _refused_after_transmission(world)
        told = legs(answer)
        assert (answer["success"], answer["unwound"], answer["code"]) == (False, True, "BROKER_REJECTED"), answer
        assert [told[role]["outcome"] for role in ("entry", "take_profit", "stop_loss")] == [
            "cancelled",
            "rejected",
            "cancelled",
        ]
        assert open_at_gateway(world) == []


async def test_the_stop_of_an_entry_that_has_filled_stays_even_if_the_bracket_is_not_whole(run: Run) -> None:
    """Taking it back would take the protection from a position."""
    async with run() as world:
        answer = await _refused_after_transmission(world, order_type="MKT", limit_price=None)
        told = legs(answer)
        assert (answer["success"], answer["unwound"], answer["code"]) == (False, False, "BRACKET_INCOMPLETE"), answer
        assert [told[role]["outcome"] for role in ("entry", "take_profit", "stop_loss")] == [
            "filled",
            "rejected",
            "accepted",
        ]
        assert [order.terms.order_type for order in open_at_gateway(world)] == ["STP"]
        assert (await world.call("get_stop_losses"))["positions"][0]["uncovered"] == "0"


async def test_a_stop_in_the_middle_of_a_bracket_leaves_nothing_that_can_trade(run: Run) -> None:
    """A11, TW-11: each order passes the final gate by itself."""
    async with run() as world:
        safety = world.app.desk.safety
        gate, passed = safety._gate, 0
        held = gate.held

        def stop_before_the_second() -> Any:
            nonlocal passed
            passed += 1
            if passed == 2:
                world.state.sentinel.touch()
            return held()

        gate.held = stop_before_the_second  # type: ignore[method-assign]  # the moment between two sends
        answer = await bracket(world)
        gate.held = held  # type: ignore[method-assign]

        told = legs(answer)
        assert (answer["success"], answer["code"]) == (False, "STATE_CHANGED"), answer
        assert told["take_profit"]["outcome"] == told["stop_loss"]["outcome"] == "not_sent"
        assert told["entry"]["outcome"] == "cancelled"
        assert [order.terms.transmit for order in world.gateway.received_orders] == [False]
        assert open_at_gateway(world) == []


async def test_a_bracket_whose_answer_is_lost_is_unknown_and_found_whole(run: Run) -> None:
    """TW-14, ID-08, ID-09: nothing is sent twice and nothing is cancelled on a guess."""
    async with run() as world:
        world.gateway.faults.spare_next_orders(2)
        world.gateway.faults.disconnect_after_order()
        lost = await bracket(world, client_request_id="lost-bracket-1")
        assert (lost["success"], lost["code"], lost["unwound"]) == (False, "OUTCOME_UNKNOWN", False), lost
        assert {leg["outcome"] for leg in lost["legs"]} == {"unknown"}
        assert len(open_at_gateway(world)) == 3

        await reconnected(world)
        for leg, held in zip(lost["legs"], at_gateway(world), strict=True):
            found = await world.call("get_order_status", order_request_id=leg["client_request_id"])
            assert (found["outcome"], found["order"]["perm_id"]) == ("accepted", held.perm_id)
        assert world.sent == 3


async def test_a_link_that_dies_between_the_orders_transmits_nothing_and_says_so(run: Run) -> None:
    """EM-02: nothing is sent from a queue after the reconnect; what was staged is taken back."""
    async with run() as world:
        world.gateway.faults.disconnect_after_order()
        lost = await bracket(world)
        told = legs(lost)
        assert lost["success"] is False
        # Written before the end of the link was noticed, an exit is unknown until the reconnect shows the truth.
        assert {told[exit]["outcome"] for exit in ("take_profit", "stop_loss")} <= {"not_sent", "unknown"}, lost
        assert told["entry"]["outcome"] == "unknown", "staged at the gateway, and nobody there to take it back from"
        await reconnected(world)
        await world.until(lambda: not open_at_gateway(world))
        await world.app.follower.settled()
        assert [order.staged for order in at_gateway(world)] == [True]
        found = await world.call("get_order_status", order_request_id=lost["client_request_id"])
        assert found["outcome"] == "cancelled"
        assert world.sent == 1


async def test_one_key_is_one_bracket(run: Run) -> None:
    """ID-01, ID-03, ID-04."""
    async with run() as world:
        first = await bracket(world, client_request_id="one-bracket-1")
        again = await bracket(world, client_request_id="one-bracket-1")
        assert (again["success"], again["replayed"], world.sent) == (True, True, 3), again
        assert [leg["perm_id"] for leg in again["legs"]] == [leg["perm_id"] for leg in first["legs"]]
        other = await bracket(world, client_request_id="one-bracket-1", stop_loss_price=0.93)
        assert other["code"] == "IDEMPOTENCY_MISMATCH"
        stolen = await world.buy(client_request_id="one-bracket-1.stop-loss")
        assert stolen["code"] == "IDEMPOTENCY_MISMATCH"
        await world.buy(client_request_id="mine-first-1.take-profit")
        taken = await bracket(world, client_request_id="mine-first-1")
        assert taken["code"] == "IDEMPOTENCY_MISMATCH"
        assert world.sent == 4


async def test_ten_at_once_with_room_for_one_send_exactly_one_whole_bracket(run: Run) -> None:
    """TW-12."""
    async with run(max_orders_per_minute=1) as world:
        answers = await asyncio.gather(*(bracket(world) for _ in range(10)))
        assert [answer["success"] for answer in answers].count(True) == 1
        assert (world.sent, len(open_at_gateway(world))) == (3, 3)


# ---- living with brackets


async def test_cancelling_everything_takes_the_exits_with_their_entry(run: Run) -> None:
    async with run() as world:
        await bracket(world)
        done = await world.call("cancel_all_orders")
        assert (done["success"], done["outcome"], len(done["orders"])) == (True, "cancelled", 3), done
        assert open_at_gateway(world) == []


async def test_a_stop_cancels_the_entry_and_with_it_the_exits_that_wait(run: Run) -> None:
    """KS-12."""
    async with run() as world:
        placed = await bracket(world)
        stopped = await world.call("emergency_stop")
        assert stopped["cancelled_perm_ids"][0] == legs(placed)["entry"]["perm_id"]
        assert stopped["protective_perm_ids"] == []
        await world.until(lambda: not open_at_gateway(world))


async def test_the_exits_of_a_filled_bracket_count_once_and_can_be_moved_while_stopped(run: Run) -> None:
    """They share one quantity: moving the stop is no opening order, and closing more is refused."""
    async with run() as world:
        told = legs(await bracket(world, order_type="MKT", limit_price=None))
        last = await world.last_price("AAPL")
        await world.call("emergency_stop")
        open_orders = {order.perm_id for order in open_at_gateway(world)}
        assert told["stop_loss"]["perm_id"] in open_orders, "protection stays"
        moved = await world.call(
            "modify_stop_loss", perm_id=told["stop_loss"]["perm_id"], stop_price=round(last * 0.96, 2)
        )
        assert moved["success"], moved
        refused = await world.call("cancel_stop_loss", perm_id=told["stop_loss"]["perm_id"])
        assert refused["code"] == "PROTECTIVE_ORDER"


async def test_the_stop_of_a_waiting_bracket_can_be_moved_and_keeps_its_bracket(run: Run) -> None:
    """FD-43: parent, group and time in force survive a change."""
    async with run(max_orders_per_minute=1) as world:
        told = legs(await bracket(world))
        entry, _, before = at_gateway(world)
        moved = await world.call(
            "modify_stop_loss", perm_id=told["stop_loss"]["perm_id"], stop_price=float(before.terms.aux_price or 0) + 1
        )
        assert moved["success"], moved
        after = at_gateway(world)[2]
        assert (after.parent_perm_id, after.oca_group, after.tif) == (entry.perm_id, before.oca_group, "GTC")
        assert after.terms.aux_price == (before.terms.aux_price or 0) + 1
