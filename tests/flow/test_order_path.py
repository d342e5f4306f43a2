"""Rules about what works already and what was accepted lately, from the MCP client to the gateway."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.clock import ManualClock, next_trading_day_starts
from ibkr_mcp_server.simulator.server import PaperGateway
from tests.harness import World, running


@pytest.fixture
def run(tmp_path: Path, gateway: PaperGateway, clock: ManualClock) -> Any:
    gateway.market.set_quote(gateway.con_id("AAPL"), bid="199.98", ask="200.00")
    return partial(running, tmp_path, gateway, clock, max_orders_per_minute=50)


async def buy(world: World, price: float = 195.0, quantity: float = 1, **arguments: Any) -> dict[str, Any]:
    return await world.buy(quantity, limit_price=price, **arguments)


async def quoted(gateway: PaperGateway, clock: ManualClock, bid: str, ask: str, last: str | None = None) -> None:
    """A fresh quote that has reached the product."""
    gateway.market.set_quote(gateway.con_id("AAPL"), bid=bid, ask=ask, last=last)
    await clock.advance(1)


async def test_a_second_buy_of_the_same_instrument_waits_for_the_cooldown(run: Any, clock: ManualClock) -> None:
    """ORD-14."""
    async with run(order_cooldown_seconds=10) as world:
        assert (await buy(world))["success"]
        await clock.advance(5)
        refused = await buy(world, 196.0)
        assert (refused["code"], refused["retry_after_s"]) == ("COOLDOWN", pytest.approx(5.0))
        assert (await world.buy(symbol="MSFT"))["success"], "another instrument does not wait"
        await clock.advance(5)
        assert (await buy(world, 196.0))["success"]
    assert world.sent == 3


async def test_the_same_order_under_another_key_is_held_back(run: Any, clock: ManualClock) -> None:
    """ORD-21: a loop repeats itself; the caller's own repeat of one key is answered from the record."""
    async with run(repeated_order_seconds=10) as world:
        first = await buy(world, client_request_id="loop-number-1")
        again = await buy(world, client_request_id="loop-number-1")
        other = await buy(world, client_request_id="loop-number-2")
        different = await buy(world, 196.0)
        await clock.advance(10)
        later = await buy(world, client_request_id="loop-number-3")
    assert (first["success"], again["replayed"], different["success"], later["success"]) == (True, True, True, True)
    assert other["code"] == "REPEATED_ORDER"
    assert "loop-number-1" in other["error"]
    assert world.sent == 3


async def test_opening_value_in_a_cycle_and_in_a_day_is_capped(
    run: Any, clock: ManualClock, gateway: PaperGateway
) -> None:
    """ORD-15, RL-06: what was accepted never adds up to more than the cap; equal passes."""
    async with run(max_cycle_value_usd=4_000, max_daily_value_usd=6_000) as world:
        first_at = clock.monotonic()
        assert (await buy(world, 200.0, 10))["success"]
        await world.sleep_through(599)
        await quoted(gateway, clock, "199.98", "200.00")
        assert (await buy(world, 200.0, 10))["success"]
        refused = await buy(world, 200.0, 1)
        left = first_at + 3_600 - clock.monotonic()
        assert (refused["code"], refused["retry_after_s"]) == ("CYCLE_VALUE_LIMIT", pytest.approx(left, abs=1))
        await world.sleep_through(left)
        await quoted(gateway, clock, "199.98", "200.00")
        fits = await buy(world, 200.0, 10)
        assert fits["success"], f"the first has left the cycle: {fits}"
        assert "DAILY_VALUE_LIMIT" in str((await buy(world, 200.0, 1))["details"])
        clock.step_wall(next_trading_day_starts(clock.now()) - clock.now() + timedelta(seconds=1))
        await world.sleep_through(3_601)
        await quoted(gateway, clock, "199.98", "200.00")
        assert "DAILY_VALUE_LIMIT" not in str((await buy(world, 200.0, 1)).get("details"))


async def test_changing_an_order_counts_its_value_once(run: Any) -> None:
    async with run(max_cycle_value_usd=4_000) as world:
        placed = await buy(world, 195.0, 10)
        for price in (196.0, 197.0, 198.0):
            assert (await world.call("modify_order", perm_id=placed["perm_id"], limit_price=price))["success"]
        assert (await buy(world, 195.0, 10))["success"]
        refused = await world.call("modify_order", perm_id=placed["perm_id"], quantity=12)
    assert refused["code"] == "CYCLE_VALUE_LIMIT"


async def test_working_orders_are_counted_per_symbol_and_per_account(run: Any) -> None:
    """ORD-13: only entries are refused; cancelling one makes room."""
    async with run(max_working_orders_per_symbol=2, max_working_orders=3) as world:
        one = await buy(world, 195.0)
        assert (await buy(world, 196.0))["success"]
        assert (await buy(world, 197.0))["code"] == "WORKING_ORDERS_LIMIT"
        assert (await world.buy(symbol="MSFT"))["success"]
        assert (await world.buy(symbol="IBM"))["code"] == "WORKING_ORDERS_LIMIT"
        await world.call("cancel_order", perm_id=one["perm_id"])
        assert (await world.buy(symbol="IBM"))["success"]


async def test_with_enough_stops_entries_are_refused_and_protection_passes(run: Any) -> None:
    """ORD-12, T-26."""
    async with run(max_stop_loss_orders=1, enable_stop_loss_orders=True) as world:
        assert (await world.call("place_market_order", symbol="AAPL", action="BUY", quantity=4))["outcome"] == "filled"
        stop = {"symbol": "AAPL", "action": "SELL", "quantity": 2, "stop_price": 180.0}
        assert (await world.call("place_stop_loss", **stop))["success"]
        assert (await buy(world))["code"] == "STOP_LOSS_ORDERS_LIMIT"
        second = await world.call("place_stop_loss", **stop | {"stop_price": 181.0})
    assert second["success"]
    assert any("protects a position and passes" in warning for warning in second["warnings"])


async def test_an_entry_that_could_trade_with_an_own_order_is_refused(run: Any) -> None:
    """ORD-24: an own sell at 201 works; a buy at 201, or at the market, could meet it."""
    async with run() as world:
        assert (await world.call("place_market_order", symbol="AAPL", action="BUY", quantity=2))["success"]
        sell = await world.call("place_limit_order", symbol="AAPL", action="SELL", quantity=1, limit_price=201.0)
        refused = await buy(world, 201.0)
        market = await world.call("place_market_order", symbol="AAPL", action="BUY", quantity=1)
        below = await buy(world, 200.5)
    assert (refused["code"], market["code"]) == ("SELF_MATCH", "SELF_MATCH")
    assert str(sell["perm_id"]) in refused["error"]
    assert below["success"]


async def test_a_wide_market_opens_nothing(run: Any, gateway: PaperGateway) -> None:
    """ORD-18."""
    async with run() as world:
        gateway.market.set_quote(gateway.con_id("AAPL"), bid="197.00", ask="200.00")
        wide = await buy(world, 197.0)
    assert wide["code"] == "ILLIQUID"
    assert world.sent == 0


async def test_one_absurd_tick_opens_nothing_and_the_next_plausible_one_does(
    run: Any, gateway: PaperGateway, clock: ManualClock
) -> None:
    """ORD-25."""
    async with run() as world:
        assert (await buy(world, 195.0))["success"]
        await quoted(gateway, clock, "249.98", "250.00", "200.00")
        absurd = await buy(world, 196.0)
        await quoted(gateway, clock, "199.98", "200.00", "200.00")
        plausible = await buy(world, 196.0)
        await quoted(gateway, clock, "249.98", "250.00", "250.00")
        confirmed = await buy(world, 197.0)
    assert absurd["code"] == "IMPLAUSIBLE_QUOTE"
    assert (plausible["success"], confirmed["success"]) == (True, True)


async def test_own_prices_may_not_walk_away_step_by_step(run: Any, clock: ManualClock, gateway: PaperGateway) -> None:
    """ORD-26: steps of 2 % are each inside the collar; the third stands more than 5 % from the first."""
    prices = [round(180.0 * 1.02**step, 2) for step in range(4)]
    async with run(max_price_walk_pct=5) as world:
        answers = [await buy(world, price) for price in prices]
        assert [answer["success"] for answer in answers] == [True, True, True, False]
        assert answers[-1]["code"] == "PRICE_WALK"
        assert Decimal(answers[-1]["limit"].split()[-1]) == Decimal(189)
        await clock.advance(299)
        await quoted(gateway, clock, "199.98", "200.00")
        assert (await buy(world, prices[3]))["success"]


async def test_an_entry_of_more_than_a_share_of_the_daily_volume_is_refused(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """ORD-18: by the average that the broker tells of the stock."""
    async with running(tmp_path, gateway, clock, max_average_volume_pct="0.01", max_order_size=1_000_000,
                       max_order_value_usd=10_000_000, max_daily_value_usd=1_000_000_000,
                       max_cycle_value_usd=100_000_000) as world:  # fmt: skip
        checked = {one["check"]: one for one in (await _safety_checks(world, 1))}
        average = Decimal(checked["average_volume"]["observed"].split()[2])
        assert average > 1_000_000
        most = int(average / 10_000)
        for quantity, is_refused in ((most, False), (most + 1, True)):  # other limits may speak as well
            told = (await world.buy(quantity)).get("details", [])
            assert any(reason.startswith("ILLIQUID") for reason in told) is is_refused


async def _safety_checks(world: World, quantity: int) -> list[dict[str, Any]]:
    placed = await world.buy(quantity)
    assert placed["success"], placed
    [record] = [one for one in await world.records(EventType.DECISION) if one.decision_id == placed["decision_id"]]
    checks: list[dict[str, Any]] = record.validation_result["safety_checks"]
    return checks
