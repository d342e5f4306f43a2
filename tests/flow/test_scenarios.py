"""Acceptance scenarios that no other file tells: storms of pacing, clocks that are wrong, many small orders at once.

`tests/scenarios.py` says where each scenario of the requirements is shown.
"""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.simulator.requests import ReqHistoricalData
from ibkr_mcp_server.simulator.server import PaperGateway
from tests.flow.breaker_kit import ACCOUNT, priced, tick
from tests.harness import running, time_passing


async def test_many_small_orders_at_once_never_touch_the_cash_reserve(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """A5; TW-12, PL-11: each would fit alone, and forty come in the same moment from two agents."""
    priced(gateway, "100.00")
    cash = gateway.accounts.by_code[ACCOUNT].cash
    cash["USD"] = Decimal(10_000)
    limits: dict[str, Any] = {
        "cash_reserve_pct": 10,
        "cash_reserve_usd": 500,
        "max_orders_per_minute": 100,
        "max_daily_orders": 100,
        "max_position_size_pct": 30,
        "max_concurrent_positions": 50,
        "max_portfolio_value_at_risk": 1,
    }
    symbols = ("AAPL", "MSFT", "IBM", "GOOG")
    for symbol in symbols:
        gateway.market.set_quote(gateway.con_id(symbol), bid="100.00", ask="100.00", last="100.00")
    async with running(tmp_path, gateway, clock, **limits) as world, world.agent("fast") as fast:
        await tick(world)
        answers = await asyncio.gather(
            *(
                (world, fast)[number % 2].buy(5, symbol=symbols[number % 4], limit_price=95.0 + number / 100)
                for number in range(40)
            )
        )
    refused = [answer for answer in answers if not answer["success"]]
    assert refused
    assert any("CASH_RESERVE" in found for answer in refused for found in (answer["code"], *answer["details"]))
    cost = sum(Decimal(str(order.limit_price)) * order.quantity + 1 for order in gateway.exchange.open_orders())
    assert 10_000 - cost >= 1_000, "a tenth stays, and the fixed reserve is the smaller one"
    assert 10_000 - cost < 1_000 + 2 * 480, "and what does not belong to it can be used"
    assert world.sent == len(answers) - len(refused)


async def test_ten_minutes_of_pacing_complaints_bound_the_calls_open_the_breaker_and_lose_no_comparison(
    tmp_path: Path, clock: ManualClock
) -> None:
    """A6; RL-13, CB-21: the agent goes on asking all the time."""
    limits: dict[str, Any] = {"api_errors_warning": 2, "max_api_errors_per_minute": 3, "api_errors_kill": 10}
    async with (
        PaperGateway(clock=clock, market_always_open=True, tick_seconds=20) as gateway,
        running(tmp_path, gateway, clock, **limits) as world,
    ):
        asked = 0
        for _ in range(10):
            gateway.faults.error_flood(2, 100, "Max rate of messages per second has been exceeded.")
            gateway.faults.pace_next_history(3)
            calls = [
                asyncio.create_task(world.call("get_historical_bars", symbol="AAPL", duration="5 D")) for _ in range(2)
            ]
            asked += len(calls)
            async with time_passing(clock):
                await asyncio.gather(*calls)
            await clock.advance(60)
            await world.until_quiet()
        status = await world.call("get_safety_status")
        report = await world.newest_report()
        trips = await world.records(EventType.CIRCUIT_BREAKER_TRIP)
        assert (await world.buy())["code"] == "CIRCUIT_BREAKER_OPEN"
        assert world.app.desk.broker.link.is_up
    requests = [entry for entry in gateway.received if isinstance(entry.request, ReqHistoricalData)]
    assert asked < len(requests) <= 3 * asked
    assert status["effective_state"] == "OBSERVE"
    assert [(trip.outcome["trigger"], trip.outcome["level"]) for trip in trips] == [("CB-21", "PAUSE")]
    assert report.clean
    assert report.times >= 9, "once in each of the minutes at least"
    assert (clock.now() - report.last_at).total_seconds() < 60
    assert gateway.received_writes == []


@pytest.mark.parametrize("minutes", [-10, 10])
async def test_with_a_clock_that_is_ten_minutes_off_nothing_opens_and_what_stops_or_reduces_works(
    minutes: int, tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """A8; CB-31, SIG-11: whichever of the two clocks is wrong."""
    priced(gateway, "100.00")
    gateway.add_position(ACCOUNT, "AAPL", 10, 100)
    gateway.faults.clock_skew(60 * minutes)
    async with running(tmp_path, gateway, clock) as world:
        await tick(world)
        refused = await world.buy(1, symbol="SPY")
        assert (refused["code"], "CB-31" in refused["error"]) == ("CIRCUIT_BREAKER_OPEN", True)
        sold = await world.call("place_market_order", symbol="AAPL", action="SELL", quantity=1)
        assert sold["success"], sold["error"]
        (tmp_path / "state" / "KILL").touch()
        assert (await world.buy(1, symbol="SPY"))["code"] == "KILL_SWITCH_ACTIVE"
    assert world.sent == 1
