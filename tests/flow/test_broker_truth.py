"""What we concluded ourselves yields to the broker's word, in whatever order that word arrives."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.operations.reconciliation import Occasion
from ibkr_mcp_server.simulator.server import PaperGateway
from ibkr_mcp_server.store import intents
from ibkr_mcp_server.store.intents import IntentState
from tests.harness import World, running


async def _fill(world: World) -> None:
    world.gateway.market.set_quote(world.gateway.con_id("AAPL"), bid="1.00", ask="1.01")
    await world.gateway.tick()
    await world.until(lambda: not world.working_orders())
    await world.app.follower.settled()


async def test_order_missing_from_one_list_is_not_taken_for_ended(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """Rows of lists are lost; what the broker spoke of meanwhile, or names when asked again, works on."""
    async with running(tmp_path, gateway, clock) as world:
        await world.buy(2, client_request_id="not-in-the-list")
        await clock.advance(35)  # long enough for absence to prove something
        await world.until_quiet()
        for lost in (("5",), ("5", "3")):  # the row of the list; that and the status that follows it
            for message in lost:
                gateway.faults.apply(f"drop_next_message:{message}")
            listed = await world.call("get_open_orders")
            assert len(listed["orders"]) == 1
            for message in lost:
                gateway.faults.apply(f"drop_next_message:{message}")
            report = await world.app.reconciler.reconcile(Occasion.PERIODIC)
            assert report.clean
            assert (await world.intent("not-in-the-list")).state == "ACCEPTED"


@pytest.mark.parametrize("concluded", [IntentState.EXPIRED, IntentState.REJECTED])
@pytest.mark.parametrize("told_by", ["event", "lists"])
async def test_order_that_we_took_for_ended_is_followed_to_its_true_end(
    concluded: IntentState, told_by: str, tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    async with running(tmp_path, gateway, clock) as world:
        placed = await world.buy(2, client_request_id="wrongly-ended")
        intent = await world.intent("wrongly-ended")
        await world.app.desk.database.run(
            lambda connection: intents.advance(connection, intent.intent_id, concluded, now=clock.now())
        )
        await clock.advance(1)
        if told_by == "lists":
            report = await world.app.reconciler.reconcile(Occasion.PERIODIC)
            assert "wrongly-ended" in str(report.report)
            assert (await world.intent("wrongly-ended")).state == "ACCEPTED"
        await _fill(world)
        after = await world.intent("wrongly-ended")
    assert (after.state, after.filled_quantity, after.perm_id) == ("FILLED", Decimal(2), placed["perm_id"])


async def test_order_that_a_gateway_does_not_know_any_more_is_told_as_gone_after_a_quiet_time(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """A gateway that lost its orders, or another one: absence counts only once the link has been quiet."""
    async with running(tmp_path, gateway, clock) as world:
        await world.buy(2, client_request_id="forgotten")
    async with (
        PaperGateway(clock=clock, market_always_open=True) as another,
        running(tmp_path, another, clock) as world,
    ):
        await world.app.reconciler.reconcile(Occasion.PERIODIC)
        assert (await world.intent("forgotten")).state == "ACCEPTED"
        await clock.advance(35)
        await world.until_quiet()
        await world.app.reconciler.reconcile(Occasion.PERIODIC)
        gone = await world.intent("forgotten")
        told = [one.intent_id for one in await world.records(EventType.ORDER_RECONCILED)]
    assert (gone.state, told) == ("EXPIRED", [gone.intent_id])
    assert "does not list the order any more" in str(gone.result)
