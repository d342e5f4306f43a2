"""What is counted: rejections, errors, trades, fees, losses; the gateway brings them about, and single agents halt."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.domain import scopes
from ibkr_mcp_server.operations.risk_figures import report_strategy
from ibkr_mcp_server.operations.risk_monitor import PEAKS
from ibkr_mcp_server.simulator.server import PaperGateway
from ibkr_mcp_server.store import breaker, risk_records
from ibkr_mcp_server.store.latches import current
from tests.flow.operator_kit import breaker_closed
from tests.flow.test_circuit_breaker import ACCOUNT, priced, tick
from tests.flow.test_stopping import proof
from tests.harness import World, running


async def breaches(world: World) -> dict[str, str]:
    """Trigger to level of everything that is breached."""
    await tick(world)
    await world.app.follower.settled()
    await tick(world)  # the look after everything was written down
    state = await world.app.desk.database.read(breaker.current)
    return {breach.trigger: breach.level for breach in state.breaches.values()}


async def rejected(world: World, times: int) -> None:
    for _ in range(times):
        await world.clock.advance(0.01)  # so that the store can tell their order
        world.gateway.faults.reject_next_order()
        assert (await world.buy(symbol="MSFT"))["outcome"] == "rejected"


async def test_rejections_of_the_broker_count_in_a_row_and_by_the_hour(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """CB-22, CB-23, T-28: a success ends the row, and what was refused here never counts."""
    limits: dict[str, Any] = {
        "max_orders_per_minute": 50,
        "order_failures_warning": 2,
        "max_order_failures": 3,
        "failed_trades_warning": 3,
        "max_failed_trades_per_hour": 4,
    }
    async with running(tmp_path, gateway, clock, **limits) as world:
        for _ in range(6):
            assert not (await world.buy(0))["success"]
        await rejected(world, 2)
        assert await breaches(world) == {"CB-22": "WARN"}
        assert (await world.buy())["success"]
        await rejected(world, 2)
        assert await breaches(world) == {"CB-22": "WARN", "CB-23": "WARN"}
        await rejected(world, 1)
        assert await breaches(world) == {"CB-22": "PAUSE", "CB-23": "PAUSE"}
        assert (await world.buy())["code"] == "CIRCUIT_BREAKER_OPEN"

        assert not (await breaker_closed(world, "CB-22", "CB-23")).is_open  # the counts begin anew
        assert "CB-22" not in await breaches(world)


async def test_requests_and_orders_that_fail_pause_by_their_rate_once_there_are_enough(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """CB-20, T-29."""
    limits: dict[str, Any] = {"error_rate_warning_pct": 5, "max_error_rate_pct": 10}
    async with running(tmp_path, gateway, clock, **limits) as world:
        count = world.app.desk.broker.failed_operations
        while count()[1] < 20:
            await world.call("get_open_orders")
        assert await breaches(world) == {}
        while 100 * count()[0] <= 11 * count()[1]:
            await rejected(world, 1)
        assert (await breaches(world))["CB-20"] == "PAUSE"


async def test_errors_of_the_line_pause_and_stop_and_a_wrong_clock_pauses(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """CB-21, CB-31, RL-14, A6: information is no error; the clocks are compared by what is certain."""
    limits: dict[str, Any] = {"api_errors_warning": 2, "max_api_errors_per_minute": 3, "api_errors_kill": 10}
    async with running(tmp_path, gateway, clock, **limits) as world:
        gateway.faults.error_flood(50, 2104, "Market data farm connection is OK:usfarm")
        gateway.faults.error_flood(2, 100, "Max rate of messages per second has been exceeded.")
        assert await breaches(world) == {}
        gateway.faults.error_flood(2, 100, "Max rate of messages per second has been exceeded.")
        assert await breaches(world) == {"CB-21": "PAUSE"}
        assert not (await world.app.desk.database.read(current)).active
        gateway.faults.error_flood(7, 100, "Max rate of messages per second has been exceeded.")
        assert await breaches(world) == {"CB-21": "KILL"}
        latch = await world.app.desk.database.read(current)
        assert (latch.active, latch.auth) == (True, "threshold")

        gateway.faults.clock_skew(3.5)
        async with asyncio.timeout(10):
            while "CB-31" not in await breaches(world):
                await clock.advance(5)


async def test_losses_halt_an_agent_and_then_everybody_and_a_restart_forgets_none(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """CB-03, CB-14, CB-24, CB-27, ST-01, ST-03, ST-06, T-01, T-55."""
    limits: dict[str, Any] = {
        "strategy_max_consecutive_losses": 2,
        "consecutive_losses_warning": 1,
        "max_consecutive_losses": 3,
        "fees_warning_pct": "0.03",
        "max_fees_pct": "0.05",
        "max_price_walk_pct": 100,
        "max_order_value_usd": 3_600,
    }
    priced(gateway, "100.00")
    gateway.accounts.by_code[ACCOUNT].cash["USD"] = Decimal(10_000)

    async def lose(world: World) -> None:
        """One round trip, of which each order fills in two parts."""
        gateway.faults.partial_fills(Decimal(5))
        assert (await world.call("place_market_order", symbol="AAPL", action="BUY", quantity=10))["success"]
        await tick(world, "100.00")
        await tick(world, "99.00")
        assert (await world.call("place_market_order", symbol="AAPL", action="SELL", quantity=10))["success"]
        await tick(world, "99.00")
        await tick(world, "100.00")

    async with running(tmp_path, gateway, clock, **limits) as world:
        await lose(world)
        assert await breaches(world) == {"CB-14": "WARN"}
        peaks = await world.app.desk.database.read(partial(risk_records.read, name=PEAKS))
        assert peaks is not None
        assert set(peaks.record) == {"default"}
    async with running(tmp_path, gateway, clock, **limits) as world:
        await tick(world)
        await lose(world)
        assert await breaches(world) == {"CB-14": "WARN", "CB-27": "WARN", "ST-03": "WARN"}  # 4 USD of fees
        assert world.app.risk_monitor.metrics is not None
        assert world.app.risk_monitor.metrics.trades_in_the_hour == 4
        (agent,) = world.app.risk_monitor.metrics.strategies
        assert agent.losses_in_a_row == 2
        stopped = await world.buy(symbol="MSFT")
        assert stopped["code"] == "KILL_SWITCH_ACTIVE"
        assert "losses in a row" in stopped["error"]
        halts = await world.records(EventType.STRATEGY_HALT)
        assert len(halts) == 1

        await report_strategy(world.app.desk.database, clock, agent.name, losses_in_a_row=0, drawdown_pct=Decimal(0))
        await clock.advance(11)
        await tick(world)
        (agent,) = world.app.risk_monitor.metrics.strategies
        assert agent.losses_in_a_row == 2  # what is reported loosens nothing
        await report_strategy(world.app.desk.database, clock, agent.name, losses_in_a_row=7)
        await clock.advance(11)
        await tick(world)
        (agent,) = world.app.risk_monitor.metrics.strategies
        assert agent.losses_in_a_row == 7

        scope = scopes.of_strategy(agent.name)
        await world.app.desk.safety.kill_switch.clear(await proof(world), "looked into", scope=scope)
        again = await world.buy(5, symbol="MSFT", limit_price=95.0)
        assert (again["code"], again["limit"]) == ("ORDER_VALUE_LIMIT", "450.00 USD")  # 3,600 times 0.25, in REDUCE


async def test_trades_by_the_hour_and_the_same_again_and_again(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """CB-24, CB-33: the parts of one order are one trade; the agent that repeats itself halts alone."""
    limits: dict[str, Any] = {
        "trades_per_hour_warning": 2,
        "max_trades_per_hour": 3,
        "trades_per_hour_kill": 4,
        "repeated_executions_warning": 2,
        "max_repeated_executions": 3,
    }
    priced(gateway, "100.00")
    gateway.faults.partial_fills(Decimal(1))
    async with running(tmp_path, gateway, clock, **limits) as world:
        for _ in range(2):
            assert (await world.call("place_market_order", symbol="AAPL", action="BUY", quantity=2))["success"]
        for _ in range(3):
            await tick(world)
        assert await breaches(world) == {}
        assert (await world.call("place_market_order", symbol="AAPL", action="BUY", quantity=1))["success"]
        await tick(world)
        assert await breaches(world) == {"CB-24": "WARN", "CB-33": "WARN"}
        assert (await world.call("place_market_order", symbol="AAPL", action="BUY", quantity=1))["success"]
        await tick(world)
        assert (await breaches(world))["CB-24"] == "PAUSE"
        halts = await world.records(EventType.STRATEGY_HALT)
    assert [("CB-33" in halt.outcome["reason"], halt.outcome["first"]) for halt in halts] == [(True, True)]


async def test_a_store_that_takes_no_record_stops_trading_at_once(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """CB-32, A15: the order is not sent, and the stop holds however the disk recovers."""

    def fill_the_disk(connection: Connection) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    async with running(tmp_path, gateway, clock) as world:
        database = world.app.desk.database
        await database.run(fill_the_disk)
        async with asyncio.timeout(10):
            while (await world.buy())["success"]:  # until the pages that are left are used up
                pass
        sent = world.sent
        async with asyncio.timeout(10):
            while not (latch := await database.read(current)).active:  # noqa: ASYNC110 - bounded
                await asyncio.sleep(0.005)
        assert "CB-32" in latch.reason
        assert (await world.buy())["code"] == "KILL_SWITCH_ACTIVE"
        assert world.sent == sent
