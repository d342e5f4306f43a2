"""What is counted: rejections, errors, trades, fees, losses; the gateway brings them about, and single agents halt."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.domain import scopes
from ibkr_mcp_server.operations.risk_figures import report_strategy
from ibkr_mcp_server.operations.risk_memory import PEAKS
from ibkr_mcp_server.simulator.server import PaperGateway
from ibkr_mcp_server.store import risk_records
from ibkr_mcp_server.store.latches import current
from tests.flow.breaker_kit import ACCOUNT, SLOWLY, breaches, breaker_closed, priced, rejected, tick
from tests.harness import World, running
from tests.people import proof
from tests.stores import fill_the_disk


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


async def test_a_rejection_is_judged_at_once_and_not_with_the_next_second(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """CB-04: no second passes, so that no look is due."""

    def in_a_row(world: World) -> int | None:
        metrics = world.app.risk_monitor.metrics
        return None if metrics is None else metrics.order_failures_in_a_row

    async with running(tmp_path, gateway, clock, max_orders_per_minute=50) as world:
        assert (await world.buy())["success"]
        await rejected(world, 1)
        await world.until(lambda: in_a_row(world) == 1)


async def test_requests_and_orders_that_fail_pause_by_their_rate_once_there_are_enough(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """CB-03, CB-20, T-29: also when the server is restarted between them."""
    limits: dict[str, Any] = {"error_rate_warning_pct": 5, "max_error_rate_pct": 10, "max_orders_per_minute": 50}
    async with running(tmp_path, gateway, clock, **limits) as world:
        count = world.app.desk.broker.failed_operations
        while count()[1] < 60:
            await world.call("get_open_orders")
            await clock.advance(0.2)
        await rejected(world, 2)
        assert await breaches(world) == {}
        before = count()
        await clock.advance(16)  # what went well is kept now and then, what failed at once
        await tick(world)
    async with running(tmp_path, gateway, clock, **limits) as world:
        count = world.app.desk.broker.failed_operations
        assert await breaches(world) == {}
        while 100 * count()[0] <= 6 * count()[1]:
            await rejected(world, 1)
        assert await breaches(world) == {"CB-20": "WARN"}
        failed, operations = (now - then for now, then in zip(count(), before, strict=True))
        assert failed > 0.1 * operations  # what this run saw would pause by itself
        async with asyncio.timeout(10):
            while await breaches(world) == {"CB-20": "WARN"}:
                await rejected(world, 1)
        assert await breaches(world) == {"CB-20": "PAUSE"}


async def test_errors_of_the_line_pause_and_stop_and_a_wrong_clock_pauses(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """CB-03, CB-21, CB-31, RL-14, A6: information is no error; the clocks are compared by what is certain."""
    limits: dict[str, Any] = {"api_errors_warning": 2, "max_api_errors_per_minute": 3, "api_errors_kill": 10}
    async with running(tmp_path, gateway, clock, **limits) as world:
        gateway.faults.error_flood(50, 2104, "Market data farm connection is OK:usfarm")
        gateway.faults.error_flood(2, 100, "Max rate of messages per second has been exceeded.")
        assert await breaches(world) == {}
    async with running(tmp_path, gateway, clock, **limits) as world:  # a restart forgets none of a minute's
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
            while (await breaches(world)).get("CB-31") != "PAUSE":
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

    async def lose(world: World, quantity: int = 10) -> None:
        """One round trip, of which each order fills in two parts."""
        gateway.faults.partial_fills(Decimal(quantity) / 2)
        bought = await world.call("place_market_order", symbol="AAPL", action="BUY", quantity=quantity)
        assert bought["success"], str(bought.get("error"))
        await tick(world, "100.00")
        await tick(world, "99.00")
        assert (await world.call("place_market_order", symbol="AAPL", action="SELL", quantity=quantity))["success"]
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

        await report_strategy(world.app.desk.database, clock, agent.name, losses_in_a_row=0)
        scope = scopes.of_strategy(agent.name)
        await world.app.desk.safety.kill_switch.clear(await proof(world), "looked into", scope=scope)
        again = await world.buy(5, symbol="MSFT", limit_price=95.0)
        assert (again["code"], again["limit"]) == ("ORDER_VALUE_LIMIT", "450.00 USD")  # 3,600 times 0.25, in REDUCE
        await lose(world, 2)
        assert await breaches(world) == {"CB-14": "PAUSE", "CB-27": "PAUSE", "ST-03": "WARN"}
        assert len(await world.records(EventType.STRATEGY_HALT)) == 1  # the agent's own streak began anew


async def test_a_fill_is_in_the_figures_of_breaker_agent_and_limits_within_a_second_and_once(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """TW-13, SIM-02: the gateway tells the fill twice."""
    priced(gateway, "100.00")
    gateway.faults.apply("duplicate_next_message:11")
    async with running(tmp_path, gateway, clock) as world:

        def trades() -> int | None:
            metrics = world.app.risk_monitor.metrics
            return None if metrics is None else metrics.trades_in_the_hour

        await tick(world)
        assert trades() == 0
        bought = await world.call("place_market_order", symbol="AAPL", action="BUY", quantity=2)
        assert bought["outcome"] == "filled"
        await clock.advance(1)
        await world.until(lambda: trades() == 1)  # the clock stands still meanwhile
        assert world.app.risk_monitor.metrics is not None
        (agent,) = world.app.risk_monitor.metrics.strategies
        assert agent.repeats == 1
        limits = {line["name"]: line for line in (await world.call("get_safety_status"))["limits"]}
        assert limits["concurrent_positions"]["used"] == "1"
        assert Decimal(limits["largest_position_usd"]["used"]) >= 200  # at the worst price
        assert len((await world.call("get_executions"))["executions"]) == 1


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
        assert (await world.call("close_position", symbol="AAPL", quantity=1))["success"]  # reducing always counts, too
        await tick(world)
        assert (await breaches(world))["CB-24"] == "KILL"
    assert [("CB-33" in halt.outcome["reason"], halt.outcome["first"]) for halt in halts] == [(True, True)]


async def sampled(world: World) -> None:
    """The prices of what is held are looked at anew, which happens every ten seconds."""
    market = world.app.risk_monitor.market
    taken = market.taken
    async with asyncio.timeout(10):
        while market.taken == taken:
            await world.clock.advance(2)
            await asyncio.sleep(0.002)
    await tick(world)


WIDE: dict[str, Any] = {
    "daily_loss_warning_pct": 8,
    "max_daily_loss_pct": 9,
    "daily_loss_kill_pct": 10,
    "daily_drawdown_warning_pct": 20,
    "max_daily_drawdown_pct": 25,
    "weekly_drawdown_warning_pct": 26,
    "max_weekly_drawdown_pct": 30,
    "max_total_drawdown_pct": 40,
    "max_orders_per_minute": 500,
    "max_daily_orders": 500,
}
"""For what single agents lose, which is small change to the account."""


async def test_an_agent_whose_profit_has_fallen_too_far_is_halted_alone_whatever_is_reported_of_it(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """ST-02, ST-06, CB-03: prices alone bring it about, and the highest profit is known after a restart."""
    priced(gateway, "100.00")
    gateway.accounts.by_code[ACCOUNT].cash["USD"] = Decimal(10_000)
    settings = SLOWLY | WIDE
    async with running(tmp_path, gateway, clock, **settings) as world:
        async with world.agent("alpha") as alpha:
            bought = await alpha.call("place_market_order", symbol="AAPL", action="BUY", quantity=28)
            assert bought["success"], bought
        await tick(world, "100.00")
        await tick(world, "104.00")  # 112 USD of profit, a good percent of the equity
        await sampled(world)
        assert await breaches(world) == {}
    async with running(tmp_path, gateway, clock, **settings) as world, world.agent("alpha") as alpha:
        await report_strategy(world.app.desk.database, clock, "alpha", drawdown_pct=Decimal(0))
        await tick(world)
        await tick(world, "87.00")  # 476 USD below it, and 4.94 % of what the equity is then
        await sampled(world)
        assert await world.records(EventType.STRATEGY_HALT) == []
        await tick(world, "86.50")  # 5.09 %
        await sampled(world)
        (halt,) = await world.records(EventType.STRATEGY_HALT)
        assert "ST-02 strategy drawdown of alpha" in halt.outcome["reason"]
        refused = await alpha.buy(symbol="MSFT", limit_price=80.0)
        assert (refused["code"], "alpha" in refused["error"]) == ("KILL_SWITCH_ACTIVE", True)
        assert (await world.buy(symbol="MSFT", limit_price=80.0))["success"]  # the others trade on
        assert (await alpha.call("close_position", symbol="AAPL"))["success"]


async def test_the_twentieth_loser_halts_an_agent_and_if_people_want_that_opens_the_breaker_for_all(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """CB-14, CB-15, ST-04, T-29: nineteen say nothing; the share of all counts only where it was given a level."""
    priced(gateway, "100.00")
    limits = WIDE | {"consecutive_losses_warning": 21, "max_consecutive_losses": 22}

    async def sold(agent: World, times: int) -> None:
        for _ in range(times):
            answer = await agent.call("place_market_order", symbol="AAPL", action="SELL", quantity=1)
            assert answer["success"], answer
        for _ in range(2):
            await tick(agent)

    async with running(tmp_path, gateway, clock, **limits) as world, world.agent("alpha") as alpha:
        for agent in (world, alpha):
            assert (await agent.call("place_market_order", symbol="AAPL", action="BUY", quantity=30))["success"]
        await tick(world, "99.00")
        await sold(world, 5)
        await tick(world, "103.00")
        await sold(world, 1)  # one winner ends the streak of all
        await tick(world, "99.00")
        await sold(alpha, 19)
        assert await world.records(EventType.STRATEGY_HALT) == []
        assert await breaches(world) == {}  # of all together there are twenty-five, one of them won
        await sold(alpha, 1)
        (halt,) = await world.records(EventType.STRATEGY_HALT)
        assert "CB-15 win rate of alpha 0 %" in halt.outcome["reason"]
        assert (await alpha.buy(symbol="MSFT", limit_price=90.0))["code"] == "KILL_SWITCH_ACTIVE"
        assert (await world.buy(symbol="MSFT", limit_price=90.0))["success"]
        await sold(world, 1)
        assert (await breaches(world))["CB-14"] == "WARN"
    async with running(tmp_path, gateway, clock, **limits, min_account_win_rate_pct=30) as world:
        await tick(world)
        assert (await world.buy(symbol="MSFT", limit_price=90.0))["code"] == "CIRCUIT_BREAKER_OPEN"
        (trip,) = await world.records(EventType.CIRCUIT_BREAKER_TRIP)
        assert (trip.outcome["trigger"], trip.outcome["metric"]) == ("CB-15", "win rate of all")
        await sold(world, 1)
        assert (await breaches(world))["CB-14"] == "PAUSE"


async def test_a_store_that_takes_no_record_stops_trading_at_once(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """CB-32, A15: the order is not sent, and the stop holds however the disk recovers."""

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
