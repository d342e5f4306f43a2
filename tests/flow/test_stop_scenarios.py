"""Stops at bad moments, and what goes on beneath them (A11, A16, KS-24)."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.broker.ib import IBBroker
from ibkr_mcp_server.broker.pacing import Pacer
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.domain.operations import Actor, ActorType
from ibkr_mcp_server.safety.kill_switch import KillSwitch
from ibkr_mcp_server.safety.send_gate import SendGate
from ibkr_mcp_server.simulator.server import PaperGateway
from ibkr_mcp_server.store.database import Database
from ibkr_mcp_server.store.latches import KillMode
from tests.flow.breaker_kit import breaches, breaker_closed, rejected
from tests.harness import World, running, time_passing
from tests.people import proof
from tests.stores import an_audit_log

HUMAN = Actor(type=ActorType.HUMAN, id="olivia", auth="local-shell")


async def test_orders_that_wait_for_the_pace_are_dropped_by_a_stop_and_a_fill_under_it_is_booked(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """A11, KS-22, KS-24, EM-02: in the throttle's wait, and while the link is down; records go on beneath the stop."""
    settings: dict[str, Any] = {
        "max_orders_per_minute": 500,
        "max_daily_orders": 500,
        "kill_cancel_entry_orders": False,
    }
    async with running(tmp_path, gateway, clock, **settings) as world:
        price = round(await world.last_price("AAPL") * 0.9, 2)
        assert (await world.buy(2, limit_price=price))["success"]
        waiting = [asyncio.create_task(world.buy()) for _ in range(45)]  # more than may leave while the clock stands
        await world.until(lambda: _pacer(world).waiting >= 5)
        await world.call("emergency_stop", reason="in the queue")
        before = world.sent
        async with time_passing(clock):
            answers = await asyncio.gather(*waiting)
        dropped = [answer for answer in answers if not answer["success"]]
        assert dropped
        assert {answer["code"] for answer in dropped} <= {"STATE_CHANGED", "KILL_SWITCH_ACTIVE", "DECISION_TIMEOUT"}
        assert "STATE_CHANGED" in {answer["code"] for answer in dropped}
        assert world.sent == before, "nothing left after the stop had returned"

        quote = Decimal(str(price)) - 1
        gateway.faults.set_quote("AAPL", bid=quote - Decimal("0.01"), ask=quote)
        async with time_passing(clock):
            await world.until(lambda: gateway.exchange.executions())
        await world.app.follower.settled()
        assert await world.records(EventType.ORDER_FILLED), "booked while stopped"
        gateway.faults.release_quote("AAPL")

        await world.app.desk.safety.kill_switch.clear(await proof(world), "looked at it")
        gateway.disconnect_all()
        await world.until(lambda: not world.app.desk.broker.link.is_up)
        stopped = await world.call("emergency_stop", reason="while it was down")
        assert stopped["durable"]
        sent = world.sent
        await world.reconnected()
        assert (await world.buy())["code"] == "KILL_SWITCH_ACTIVE"
        assert world.sent == sent


def _pacer(world: World) -> Pacer:
    broker = world.app.desk.broker
    assert isinstance(broker, IBBroker)
    return broker._link._pacer


async def test_the_stop_comes_before_the_breaker_and_the_breaker_before_the_limits(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """A16, TW-03, TW-04: each layer is told, the strictest gives the reason, and with all clear the order executes."""
    async with running(
        tmp_path, gateway, clock, max_orders_per_minute=50, order_failures_warning=2, max_order_failures=3
    ) as world:
        await rejected(world, 3)
        breached = await breaches(world)
        await world.call("emergency_stop")
        too_large: dict[str, Any] = {"symbol": "MSFT", "quantity": 5_000}
        killed = await world.buy(**too_large)
        assert killed["code"] == "KILL_SWITCH_ACTIVE"
        assert {"CIRCUIT_BREAKER_OPEN", "ORDER_SIZE_LIMIT"} <= {found.split(":")[0] for found in killed["details"]}
        await world.app.desk.safety.kill_switch.clear(await proof(world), "looked at it")
        paused = await world.buy(**too_large)
        assert paused["code"] == "CIRCUIT_BREAKER_OPEN"
        assert any("ORDER_SIZE_LIMIT" in found for found in paused["details"])
        await breaker_closed(world, *breached)
        limited = await world.buy(**too_large)
        assert limited["code"] == "ORDER_SIZE_LIMIT"
        assert (await world.buy(symbol="MSFT"))["success"]


async def test_many_doors_at_once_make_one_stop_and_recorded_repeats(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """KS-09: the tool, other processes' switches and the file, all at the same moment; the strictest mode stays."""
    async with running(tmp_path, gateway, clock) as world:
        others = [Database.open(world.state.database) for _ in range(3)]
        switches = [
            KillSwitch(
                database=database,
                audit=an_audit_log(database, clock),
                clock=clock,
                gate=SendGate(world.state.send_lock),
                sentinel=world.state.sentinel,
            )
            for database in others
        ]
        modes = (KillMode.HALT_ONLY, KillMode.LOCKDOWN, KillMode.HALT_ONLY)
        activations = await asyncio.gather(
            *(
                switch.activate(modes[number % 3], f"door {number}", HUMAN)
                for number, switch in enumerate(switches * 8)
            ),
            *(world.app.desk.safety.kill_switch.activate(KillMode.HALT_ONLY, "here", HUMAN) for _ in range(8)),
        )
        for database in others:
            database.close()
        latch = world.app.desk.safety.kill_switch.status_now().latch
        records = await world.records(EventType.KILL_SWITCH_ACTIVATE)
    assert sum(activation.first for activation in activations) == 1
    assert all(activation.durable and activation.nothing_in_flight for activation in activations)
    assert (latch.mode, latch.repeats) == (KillMode.LOCKDOWN, 31)
    assert len(records) == 32
