"""The link dies between send and acknowledgement: told as unknown, ended as one order or none, whatever is retried."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.domain.operations import BY_THRESHOLD
from ibkr_mcp_server.domain.orders import Side
from ibkr_mcp_server.simulator.server import PaperGateway
from ibkr_mcp_server.store import breaker
from ibkr_mcp_server.store.intents import IntentState
from tests.flow.broker_kit import Gate, aapl, approved, connected, resting
from tests.harness import World, running, time_passing

KEY = "lost-acknowledgement"


async def ended(world: World) -> IntentState:
    """How the lost order ended, time passing."""
    async with asyncio.timeout(20), time_passing(world.clock):
        while (state := (await world.intent(KEY)).state) in (IntentState.UNKNOWN, IntentState.SENT):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return state


async def retried(world: World) -> set[str]:
    """What an agent is told that sends the same request again and again."""
    answers = [await world.buy(1, client_request_id=KEY, limit_price=150.0) for _ in range(10)]
    return {str(answer.get("code", "OK")) for answer in answers}


@pytest.mark.parametrize("arrives", [True, False])
async def test_order_whose_link_dies_before_the_acknowledgement_is_one_order_or_none(
    arrives: bool, tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """Scenario A2; ID-08 to ID-10: after twenty retries."""
    async with running(tmp_path, gateway, clock, auto_cancel_orders_on_disconnect=False) as world:
        gateway.faults.apply("disconnect_after_order" if arrives else "disconnect_before_order")
        told = await world.buy(1, client_request_id=KEY, limit_price=150.0)
        assert told["code"] == "OUTCOME_UNKNOWN"
        assert (await world.intent(KEY)).state is IntentState.UNKNOWN
        await retried(world)
        await world.reconnected()
        assert await ended(world) is (IntentState.ACCEPTED if arrives else IntentState.REJECTED)
        await retried(world)
        reference = (await world.intent(KEY)).order_ref
        held = [order for order in gateway.exchange.orders() if order.terms.order_ref == reference]
        assert len(held) == int(arrives)
        sent = [order for order in gateway.received_orders if order.terms.order_ref == reference]
        assert len(sent) == 1, "what was lost is never sent again"
        told_of = {record.event_type for record in await world.records()}
        assert {EventType.LINK_DOWN, EventType.LINK_UP, EventType.ORDER_UNKNOWN} <= told_of
        assert arrives or EventType.ORDER_RECONCILED in told_of  # only its absence had to be concluded
        status = await world.call("get_order_status", order_request_id=KEY)
        assert (status["order"]["perm_id"] == held[0].perm_id) if arrives else not status.get("order")


async def test_other_opening_orders_in_the_instrument_wait_while_one_is_unknown(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """ID-08."""
    async with running(tmp_path, gateway, clock, auto_cancel_orders_on_disconnect=False) as world:
        gateway.faults.disconnect_before_order()
        assert (await world.buy(1, client_request_id=KEY, limit_price=150.0))["code"] == "OUTCOME_UNKNOWN"
        await world.reconnected()
        assert (await world.buy(1))["code"] == "UNRESOLVED_ORDER"
        assert (await world.buy(1, symbol="MSFT"))["success"]
        assert await ended(world) is IntentState.REJECTED
        assert (await world.buy(1))["success"]


async def test_order_that_shows_at_the_broker_29_seconds_late_is_found_and_not_repeated(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """ID-09, ID-10: it comes to light just before its absence would prove anything."""
    async with running(tmp_path, gateway, clock, auto_cancel_orders_on_disconnect=False) as world:
        gateway.faults.disconnect_before_order()
        assert (await world.buy(1, client_request_id=KEY, limit_price=150.0))["code"] == "OUTCOME_UNKNOWN"
        lost = await world.intent(KEY)
        await world.reconnected()
        for _ in range(28):
            await clock.advance(1)
            await asyncio.sleep(0.005)
        assert (await world.intent(KEY)).state is IntentState.UNKNOWN
        async with connected(gateway, clock, client_id=9) as late:  # the broker's back office hands it on at last
            order = resting(await aapl(late), order_ref=lost.order_ref, quantity=lost.quantity)
            placed = await late.place_order(approved(order), Gate())
            assert await ended(world) is IntentState.ACCEPTED
        assert (await world.intent(KEY)).perm_id == placed.perm_id
        assert len([one for one in gateway.exchange.orders() if one.terms.order_ref == lost.order_ref]) == 1


@pytest.mark.parametrize("minutes", [-10, 10])
async def test_steps_of_the_wall_clock_neither_end_nor_draw_out_the_time_in_which_a_lost_order_may_show(
    minutes: int, tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """ID-10: by the monotonic clock it counts as never arrived after half a minute and the next look."""
    async with running(tmp_path, gateway, clock, auto_cancel_orders_on_disconnect=False) as world:
        gateway.faults.disconnect_before_order()
        assert (await world.buy(1, client_request_id=KEY, limit_price=150.0))["code"] == "OUTCOME_UNKNOWN"
        await world.reconnected()
        clock.step_wall(timedelta(minutes=minutes))
        await clock.advance(28)
        await world.app.follower.settled()
        assert (await world.intent(KEY)).state is IntentState.UNKNOWN
        before = clock.monotonic()
        assert await ended(world) is IntentState.REJECTED
        assert clock.monotonic() - before < 60


async def contradicted(world: World, gateway: PaperGateway, clock: ManualClock, key: str) -> None:
    """An order of unknown outcome whose reference comes back on an order of the other side: it stays unknown."""
    gateway.faults.disconnect_before_order()
    symbol = "AAPL" if key == KEY else "MSFT"
    price = round(await world.last_price(symbol) * 0.9, 2)
    told = await world.buy(1, symbol=symbol, client_request_id=key, limit_price=price)
    assert told["code"] == "OUTCOME_UNKNOWN"
    reference = (await world.intent(key)).order_ref
    await world.reconnected()
    async with connected(gateway, clock, client_id=9 if key == KEY else 10) as other:
        order = resting(await aapl(other), side=Side.SELL, limit_price=Decimal("9999.00"), order_ref=reference)
        await other.place_order(approved(order), Gate())


async def passing(world: World, seconds: int) -> None:
    for _ in range(seconds // 5):
        await world.clock.advance(5)
        await asyncio.sleep(0.02)


async def test_order_that_stays_unknown_holds_trading_back_after_a_minute_and_stops_it_after_five(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """ID-11, CB-29: by default."""
    async with running(tmp_path, gateway, clock) as world:
        await contradicted(world, gateway, clock, KEY)
        await passing(world, 120)
        assert (await world.intent(KEY)).state is IntentState.UNKNOWN
        refused = await world.buy(1, symbol="SPY")
        assert refused["code"] == "UNRESOLVED_ORDER"
        assert (await world.call("get_safety_status"))["effective_state"] == "SAFE"
        state = await world.app.desk.database.read(breaker.current)
        assert (state.is_open, state.breaches["CB-29"].level) == (True, "PAUSE")
        assert not (await world.call("get_safety_status"))["kill_switch_active"]
        await passing(world, 300)
        (activation,) = await world.records(EventType.KILL_SWITCH_ACTIVATE)
        assert "CB-29" in activation.outcome["reason"]
        assert activation.actor["auth"] == BY_THRESHOLD  # its end takes two people (KS-17)
        assert (await world.buy(1, symbol="SPY"))["code"] == "KILL_SWITCH_ACTIVE"


async def test_two_orders_that_stay_unknown_stop_trading_after_a_minute(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    async with running(tmp_path, gateway, clock) as world:
        for key in (KEY, "another-lost-order"):
            await contradicted(world, gateway, clock, key)
        await passing(world, 120)
        (activation,) = await world.records(EventType.KILL_SWITCH_ACTIVATE)
        assert ("CB-29" in activation.outcome["reason"], activation.actor["auth"]) == (True, BY_THRESHOLD)
