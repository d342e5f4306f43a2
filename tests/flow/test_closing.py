"""Closing every position by a person's order: sized by the broker's word, bounded, and never across zero."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.domain.operations import Actor, ActorType
from ibkr_mcp_server.simulator.server import PaperGateway
from ibkr_mcp_server.store.latches import KillMode
from tests.flow.test_stopping import proof
from tests.harness import World, running, time_passing

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
    """KS-02, KS-14, EM-01, T-25: longs and shorts, with their stops, at once; nobody else may trade meanwhile."""
    gateway.add_position(ACCOUNT, "AAPL", Decimal(100), Decimal(150))
    gateway.add_position(ACCOUNT, "MSFT", Decimal(-40), Decimal(300))
    async with running(tmp_path, gateway, clock, enable_stop_loss_orders=True) as world:
        level = round(await world.last_price("AAPL") * 0.9, 2)
        stop = await world.call("place_stop_loss", symbol="AAPL", action="SELL", quantity=100, stop_price=level)
        entry = await world.buy(symbol="NVDA")
        assert (stop["success"], entry["success"]) == (True, True)
        await closing(world)
        assert (await world.call("close_position", symbol="MSFT"))["code"] == "KILL_SWITCH_ACTIVE"
        await until(world, lambda: not gateway.exchange.open_orders() and not held(gateway, "AAPL"))
        await until(world, lambda: _done(world))
        assert [held(gateway, "AAPL"), held(gateway, "MSFT")] == [0, 0]
        assert sum(fill.quantity for fill in gateway.exchange.executions()) == 140, "nothing was closed twice"
        (report,) = await world.records(EventType.STOP_CARRIED_OUT)
        assert (report.outcome["step"], report.outcome["positions_left"]) == ("done", [])
        assert report.actor["id"] == "stop-coordinator"
        status = await world.call("get_safety_status")
        assert status["kill_switch"]["progress"].startswith("done; 1 round")
        await until(world, lambda: _compared_after_the_stop(world))
        await world.app.desk.safety.kill_switch.clear(await proof(world), "flat, and understood")
        assert (await world.buy())["success"]


def _done(world: World) -> bool:
    return bool(world.app.desk.database.read_blocking(lambda c: c.exec_driver_sql(FINISHED).scalar()))


def _compared_after_the_stop(world: World) -> bool:
    query = "SELECT count(*) FROM reconciliations WHERE occasion = 'after a stop'"
    return bool(world.app.desk.database.read_blocking(lambda c: c.exec_driver_sql(query).scalar()))


FINISHED = "SELECT count(*) FROM stop_runs WHERE finished_at IS NOT NULL"
