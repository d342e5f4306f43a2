"""Closing every position by a person's order: sized by the broker's word, bounded, and never across zero."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.cli.workspace import open_workspace
from ibkr_mcp_server.clock import ManualClock, SystemClock
from ibkr_mcp_server.domain.operations import Actor, ActorType
from ibkr_mcp_server.operations.close_portfolio import close_portfolio
from ibkr_mcp_server.operations.closing import Closer
from ibkr_mcp_server.operations.stop_coordinator import in_words
from ibkr_mcp_server.safety.approval_queue import SecondPersonNeeded
from ibkr_mcp_server.safety.roles import Role
from ibkr_mcp_server.settings.loading import load_settings
from ibkr_mcp_server.simulator.server import PaperGateway
from ibkr_mcp_server.store import stop_runs
from ibkr_mcp_server.store.latches import KillMode
from tests.harness import World, running, time_passing
from tests.people import people, queue
from tests.private_state import private_state
from tests.server_process import serving

MANAGER = Actor(type=ActorType.HUMAN, id="rita", auth="passphrase")
ACCOUNT = "DU9000001"


def held(gateway: PaperGateway, symbol: str) -> Decimal:
    """What the gateway's own books say."""
    position = gateway.exchange._accounts.by_code[ACCOUNT].positions.get(gateway.con_id(symbol))
    return Decimal(0) if position is None else position.quantity


async def closing(world: World, reason: str = "out of everything") -> None:
    await world.app.desk.safety.kill_switch.activate(KillMode.CLOSE_POSITIONS, reason, MANAGER)


async def until(world: World, true: Any) -> None:
    async with time_passing(world.clock):
        try:
            await world.until(true)
        except TimeoutError as late:
            status = await world.call("get_safety_status")
            raise AssertionError(status["kill_switch"]) from late


async def test_everything_is_cancelled_and_closed_and_then_the_stop_can_be_ended(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """KS-02, KS-14, KS-17, EM-01, T-25: two people order it; longs and shorts, with their stops, at once."""
    gateway.add_position(ACCOUNT, "AAPL", Decimal(100), Decimal(150))
    gateway.add_position(ACCOUNT, "MSFT", Decimal(-40), Decimal(300))
    async with running(tmp_path, gateway, clock, enable_stop_loss_orders=True) as world:
        level = round(await world.last_price("AAPL") * 0.9, 2)
        stop = await world.call("place_stop_loss", symbol="AAPL", action="SELL", quantity=100, stop_price=level)
        entry = await world.buy(symbol="NVDA")
        assert (stop["success"], entry["success"]) == (True, True)
        gateway.faults.fill_before_cancel(2)  # the entry, which opens 1, and the stop, which closes 100 by itself
        managers = await people(world, rita=Role.RISK_MANAGER)
        order = (world.app.desk.database, world.app.desk.safety.kill_switch, queue(world))
        with pytest.raises(SecondPersonNeeded):
            await close_portfolio(*order, managers["rita"], "out of everything")
        assert held(gateway, "AAPL") == 100
        await close_portfolio(*order, managers["ann"], "out of everything")
        assert (await world.call("close_position", symbol="MSFT"))["code"] == "KILL_SWITCH_ACTIVE"
        await until(world, lambda: not gateway.exchange.open_orders() and not held(gateway, "AAPL"))
        await until(world, lambda: _done(world))
        assert [held(gateway, "AAPL"), held(gateway, "MSFT")] == [0, 0]
        assert sum(fill.quantity for fill in gateway.exchange.executions()) == 142, "nothing was closed twice"
        (report,) = await world.records(EventType.STOP_CARRIED_OUT)
        assert (report.outcome["step"], report.outcome["positions_left"]) == ("done", [])
        assert report.actor["id"] == "stop-coordinator"
        status = await world.call("get_safety_status")
        assert status["kill_switch"]["progress"].startswith("done; ")
        await until(world, lambda: _compared_after_the_stop(world))
        await world.app.desk.safety.kill_switch.clear(managers["ann"], "flat, and understood")
        assert (await world.buy())["success"]


async def test_partial_fills_rejections_and_a_halted_market_end_flat_without_crossing_zero(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """A13, KS-14: what cannot be closed is told, keeps its protection, and is closed once it can be."""
    gateway.add_position(ACCOUNT, "AAPL", Decimal(100), Decimal(150))
    gateway.add_position(ACCOUNT, "MSFT", Decimal(40), Decimal(300))
    async with running(tmp_path, gateway, clock, enable_stop_loss_orders=True) as world:
        level = round(await world.last_price("MSFT") * 0.9, 2)
        stop = await world.call("place_stop_loss", symbol="MSFT", action="SELL", quantity=40, stop_price=level)
        gateway.faults.partial_fills(Decimal(30))
        gateway.faults.reject_next_order()
        gateway.faults.halt("MSFT")
        await closing(world)
        await until(world, lambda: not held(gateway, "AAPL"))
        await until(world, lambda: _progress(world).startswith("leftovers reported"))
        assert "40 MSFT left" in _progress(world)
        await until(world, lambda: [order.terms.order_type for order in gateway.exchange.open_orders()] == ["STP"])
        (protects,) = gateway.exchange.open_orders()
        assert protects.perm_id != stop["perm_id"]
        assert protects.remaining == 40
        assert protects.terms.aux_price == Decimal(str(level))
        leftovers = (await world.records(EventType.STOP_CARRIED_OUT))[0].outcome
        assert [left["label"] for left in leftovers["positions_left"]] == ["MSFT"]

        gateway.faults.resume("MSFT")
        await until(world, lambda: _done(world))
        assert [held(gateway, "AAPL"), held(gateway, "MSFT")] == [0, 0]
        assert gateway.exchange.open_orders() == []
        assert sum(fill.quantity for fill in gateway.exchange.executions()) == 140, "nothing was closed twice"


async def test_a_closed_market_is_waited_for_and_nothing_is_sent_before_it_opens(tmp_path: Path) -> None:
    """A13, KS-14, TM-03: queued for the open, which is said; nothing is sent before."""
    clock = ManualClock(datetime(2026, 11, 20, 22, 0, tzinfo=UTC))  # Friday, an hour after the close
    async with PaperGateway(clock=clock) as gateway:
        gateway.add_position(ACCOUNT, "AAPL", Decimal(10), Decimal(150))
        async with running(tmp_path, gateway, clock) as world:
            await closing(world)
            await until(world, lambda: "queued for the open" in _progress(world))
            assert "2026-11-23T14:30" in _progress(world)
            assert gateway.received_orders == []
            clock.step_wall(datetime(2026, 11, 23, 14, 31, tzinfo=UTC) - clock.now())
            await until(world, lambda: _done(world))
            assert held(gateway, "AAPL") == 0


async def test_where_the_configuration_lets_nothing_be_closed_no_protection_is_taken_away(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """KS-14, CFG-01: the reason is told, and the position keeps its stop."""
    gateway.add_position(ACCOUNT, "AAPL", Decimal(10), Decimal(150))
    async with running(tmp_path, gateway, clock, enable_stop_loss_orders=True) as world:
        level = round(await world.last_price("AAPL") * 0.9, 2)
        stop = await world.call("place_stop_loss", symbol="AAPL", action="SELL", quantity=10, stop_price=level)
    async with running(tmp_path, gateway, clock, enable_trading=False) as world:
        await closing(world)
        await until(world, lambda: "IBKR_ENABLE_TRADING=false" in _progress(world))
    assert [order.perm_id for order in gateway.exchange.open_orders()] == [stop["perm_id"]]
    assert len(gateway.received_orders) == 1


async def test_without_a_price_protection_stays_and_a_stop_that_was_taken_is_placed_until_the_broker_takes_it(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """KS-14: whatever fails on the way, a position is not left without the stop that it had."""
    gateway.add_position(ACCOUNT, "AAPL", Decimal(10), Decimal(150))
    kept: list[list[Any]] = []

    async def keep(protection: list[Any]) -> None:
        kept.append(list(protection))

    async with running(tmp_path, gateway, clock, enable_stop_loss_orders=True) as world:
        level = round(await world.last_price("AAPL") * 0.9, 2)
        stop = await world.call("place_stop_loss", symbol="AAPL", action="SELL", quantity=10, stop_price=level)
        closer = Closer(world.app.desk, (), keep)
        gateway.faults.withdraw_quote("AAPL")
        await clock.advance(30)
        world.app.desk.broker._link.up().quotes._wait_seconds = 0.05  # type: ignore[attr-defined]  # real seconds
        (left,) = await closer.attempt()
        assert left.reason == "It has no fresh price to close at, so its protection stays."
        assert ([order.perm_id for order in gateway.exchange.open_orders()], kept) == ([stop["perm_id"]], [])

        gateway.faults.release_quote("AAPL")
        await clock.advance(1)
        gateway.faults.reject_next_order()  # the close
        gateway.faults.reject_next_order()  # the stop, which is placed again
        async with time_passing(clock, step=0.5):
            (left,) = await closer.attempt()
            (problem,) = await closer.protect_again()
            assert (gateway.exchange.open_orders(), problem.startswith("AAPL is without its stop at")) == ([], True)
            assert await closer.protect_again() == ()
        (again,) = gateway.exchange.open_orders()
        assert (again.remaining, again.terms.aux_price) == (Decimal(10), Decimal(str(level)))
        assert [len(protection) for protection in kept] == [1, 1, 0]


async def test_closing_waits_for_a_link_that_is_up_and_goes_on_then(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """KS-14: nothing is sized by positions that the broker told before the link was lost."""
    gateway.add_position(ACCOUNT, "AAPL", Decimal(10), Decimal(150))
    async with running(tmp_path, gateway, clock) as world:
        gateway.faults.refuse_connections()
        gateway.disconnect_all()
        await world.until(lambda: not world.app.desk.broker.link.is_up)
        await closing(world)
        async with time_passing(clock, step=3):
            await world.until(lambda: world.app.desk.broker.link.attempts > 1)
            assert held(gateway, "AAPL") == 10
            gateway.trade_by_hand("AAPL", "SELL", Decimal(4), None)
            gateway.faults.refuse_connections(False)
            await world.until(lambda: not held(gateway, "AAPL"))
            await world.until(lambda: _done(world))
    assert [fill.quantity for fill in gateway.exchange.executions()] == [4, 6]


async def test_a_server_that_is_killed_while_it_closes_is_followed_by_one_that_finishes() -> None:
    """EM-01: kill -9 with one position closed and another one waiting; nothing is closed twice."""
    async with PaperGateway(clock=SystemClock(), market_always_open=True) as gateway:
        gateway.add_position(ACCOUNT, "AAPL", Decimal(30), Decimal(150))
        gateway.add_position(ACCOUNT, "MSFT", Decimal(40), Decimal(300))
        gateway.faults.halt("MSFT")
        with private_state("close-") as state:
            async with serving(state, gateway) as server:
                await asyncio.to_thread(_ordered, state)
                async with asyncio.timeout(20):
                    await gateway.wait_for(lambda: len(gateway.received_orders) >= 2)
                    await gateway.wait_for(lambda: not held(gateway, "AAPL"))
                await server.kill()
            gateway.faults.resume("MSFT")
            async with serving(state, gateway) as server:
                await server.until(lambda status: (status["kill_switch"]["progress"] or "").startswith("done"))
        assert [held(gateway, "AAPL"), held(gateway, "MSFT")] == [0, 0]
        assert sum(fill.quantity for fill in gateway.exchange.executions()) == 70
        assert gateway.exchange.open_orders() == []


def _ordered(state: Path) -> None:
    """What `portfolio-close` does once two people have proved themselves."""
    with open_workspace(load_settings(environ={"IBKR_STATE_DIR": str(state)})) as workspace:
        asyncio.run(workspace.kill_switch.activate(KillMode.CLOSE_POSITIONS, "out", MANAGER))


def _progress(world: World) -> str:
    run = world.app.desk.database.read_blocking(lambda c: stop_runs.newest(c, "account"))
    return "" if run is None else in_words(run)


def _done(world: World) -> bool:
    return bool(world.app.desk.database.read_blocking(lambda c: c.exec_driver_sql(FINISHED).scalar()))


def _compared_after_the_stop(world: World) -> bool:
    query = "SELECT count(*) FROM reconciliations WHERE occasion = 'after a stop'"
    return bool(world.app.desk.database.read_blocking(lambda c: c.exec_driver_sql(query).scalar()))


FINISHED = "SELECT count(*) FROM stop_runs WHERE finished_at IS NOT NULL"
