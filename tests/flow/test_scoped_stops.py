"""Stopping one agent or one instrument, while the others go on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import pytest

from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.domain import scopes
from ibkr_mcp_server.domain.operations import Actor, ActorType
from ibkr_mcp_server.errors import Fault
from ibkr_mcp_server.simulator.server import PaperGateway
from ibkr_mcp_server.store import intents
from ibkr_mcp_server.store.intents import IntentState
from ibkr_mcp_server.store.latches import KillMode
from tests.harness import World, running, time_passing
from tests.people import proof

HUMAN = Actor(type=ActorType.HUMAN, id="olivia", auth="local-shell")


async def test_a_halted_agent_opens_nothing_its_entries_go_and_the_other_agent_trades_on(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """KS-03, KS-10, ST-01, ST-08, LLM-09: halted by its name, by itself, and only ended by a person."""
    gateway.add_position("DU9000001", "AAPL", Decimal(10), Decimal(150))
    async with (
        running(tmp_path, gateway, clock, enable_stop_loss_orders=True) as one,
        one.agent("momentum") as other,
        time_passing(clock),
    ):
        entry = await one.buy(symbol="MSFT")
        theirs = await other.buy(symbol="MSFT")
        level = round(await one.last_price("AAPL") * 0.9, 2)
        stop = await one.call("place_stop_loss", symbol="AAPL", action="SELL", quantity=10, stop_price=level)
        name = (await one.intent(entry["client_request_id"])).actor_id
        assert name != (await one.intent(theirs["client_request_id"])).actor_id == "momentum"

        switch = one.app.desk.safety.kill_switch
        await switch.activate(KillMode.CLOSE_POSITIONS, "odd prices", HUMAN, scope=scopes.of_strategy(name))
        refused = await one.buy(symbol="MSFT")
        await one.until(lambda: entry["perm_id"] not in _working(gateway))
        assert (refused["code"], "odd prices" in refused["error"]) == ("KILL_SWITCH_ACTIVE", True)
        assert _working(gateway) == {theirs["perm_id"], stop["perm_id"]}, "protection stays, and the others' orders"
        assert (await other.buy(symbol="AAPL"))["success"]
        mine, his = await one.call("get_safety_status"), await other.call("get_safety_status")
        assert (mine["effective_state"], his["effective_state"]) == ("HALT", "NORMAL")
        assert mine["kill_switch_active"] is his["kill_switch_active"] is False
        assert his["kill_switch"]["halted_scopes"] == [f"strategy:{name}: odd prices"]
        assert (await one.call("close_position", symbol="AAPL", quantity=1))["code"] == "ALREADY_CLOSING"

        itself = await other.call("emergency_stop", only="me", reason="unsure")
        assert itself["scope"] == "strategy:momentum"
        await one.until(lambda: theirs["perm_id"] not in _working(gateway))
        assert (await other.buy(symbol="MSFT"))["code"] == "KILL_SWITCH_ACTIVE"
        await switch.clear(await proof(one), "looked at it", scope=scopes.of_strategy(name))
        assert (await one.buy(symbol="MSFT"))["success"]
        halts = await one.records(EventType.STRATEGY_HALT)
        assert [record.outcome["mode"] for record in halts] == ["HALT_ONLY", "HALT_ONLY"]
        assert len(await one.records(EventType.STRATEGY_RESUME)) == 1


def _working(gateway: PaperGateway) -> set[int]:
    return {order.perm_id for order in gateway.exchange.open_orders()}


async def test_an_instrument_is_stopped_alone_and_what_cannot_be_told_apart_stops_everything(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """KS-03, KS-08: also an order that was approved before the stop and waits for the gate."""
    async with running(tmp_path, gateway, clock) as world:
        apple, other = await world.buy(), await world.buy(symbol="MSFT")
        stopped = await world.call("emergency_stop", only="AAPL")
        assert stopped["scope"] == f"instrument:{gateway.con_id('AAPL')}"
        assert stopped["kill_switch_active"] is False
        assert stopped["cancelled_perm_ids"] == [apple["perm_id"]]
        assert (await world.buy())["code"] == "KILL_SWITCH_ACTIVE"
        assert (await world.buy(symbol="MSFT"))["success"]

        async with world.app.desk.safety._gate.held():
            placing = asyncio.create_task(world.buy(symbol="MSFT", client_request_id="it-waits-1"))
            await world.until(lambda: placing.done() or _reserved(world))
            assert not placing.done(), placing.result()["error"]
            con_id = gateway.con_id("MSFT")
            switch = world.app.desk.safety.kill_switch
            stopping = asyncio.create_task(
                switch.activate(KillMode.HALT_ONLY, "now", HUMAN, scope=scopes.of_instrument(con_id))
            )
            await world.until(lambda: switch.is_active_now(scopes.of_instrument(con_id)))
        assert (await placing)["code"] == "STATE_CHANGED"
        assert (await stopping).nothing_in_flight

        unclear = await world.call("emergency_stop", only="NO SUCH THING")
        assert (unclear["scope"], unclear["kill_switch_active"]) == ("account", True)
        assert "everything was stopped" in unclear["warnings"][0]
    assert other["perm_id"] in [order.perm_id for order in gateway.exchange.completed_orders()]


def _reserved(world: World) -> bool:
    database = world.app.desk.database
    found = database.read_blocking(lambda connection: intents.find_by_key(connection, "it-waits-1"))
    return found is not None and found.state is IntentState.RESERVED


async def test_an_agent_halts_and_nothing_more_and_nobody_elses_strategy(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """KS-10, KS-21: whatever an agent asked for; and callbacks that hang or fail delay and undo nothing."""
    agent = Actor(type=ActorType.AGENT, id="claude", auth="stdio")
    release = threading.Event()
    told: list[Mapping[str, object]] = []
    async with running(tmp_path, gateway, clock) as world:
        switch = world.app.desk.safety.kill_switch
        switch.callbacks.register("halt", lambda news: release.wait(30))
        switch.callbacks.register("halt", lambda news: 1 / 0)
        switch.callbacks.register("halt", told.append)
        try:
            activation = await switch.activate(KillMode.LOCKDOWN, "please", agent)
            assert activation.latch is not None
            assert activation.latch.mode is KillMode.HALT_ONLY
            assert (activation.durable, activation.nothing_in_flight) == (True, True)
            assert activation.latch.activated_at == clock.now(), "the one that hangs delayed the latch"
            await world.until(lambda: told)
        finally:
            release.set()
        assert told[0]["reason"] == "please"
        with pytest.raises(Fault, match="NOT_ITS_STRATEGY"):
            await switch.activate(KillMode.HALT_ONLY, "", agent, scope=scopes.of_strategy("other"))
