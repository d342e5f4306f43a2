"""The limits of the portfolio, through the whole product."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ibkr_mcp_server.agents import Agent, write_agents
from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.domain.agents import AgentLimits
from ibkr_mcp_server.simulator.server import PaperGateway
from tests.flow.broker_kit import Gate, aapl, approved, connected, resting
from tests.harness import running

LIMITS: dict[str, Any] = {"max_position_value_usd": 10_000, "max_total_exposure_usd": 15_000}


@pytest.fixture(autouse=True)
def prices(gateway: PaperGateway) -> None:
    for symbol in ("AAPL", "MSFT", "IBM"):
        gateway.market.set_quote(gateway.con_id(symbol), bid="99.99", ask="100.00")


async def test_a_working_order_uses_up_its_instruments_limit_and_the_refusal_is_audited_with_its_layer(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """PL-03, PL-15: equal to the limit passes, one unit more does not."""
    async with running(tmp_path, gateway, clock, **LIMITS) as world:
        assert (await world.buy(60, limit_price=99.0))["success"]
        assert (await world.buy(40, limit_price=101.5))["success"]  # 5,940 + 4,060
        refused = await world.buy(1, limit_price=99.0)
        records = await world.records(EventType.ORDER_REJECTED_LIMITS)
    assert refused["code"] == "POSITION_VALUE_LIMIT"
    assert refused["limit"] == "10,000.00 USD"
    assert [record.outcome["layer"] for record in records] == ["position_value"]
    assert records[0].outcome["limit"] == "10,000.00 USD"
    assert records[0].outcome["observed"].endswith("USD")
    assert records[0].decision_id == refused["decision_id"]
    assert world.sent == 2


async def test_two_orders_of_three_percent_do_not_fit_into_five(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """PL-02."""
    settings: dict[str, Any] = {"max_position_size_pct": 5, "max_order_value_usd": 50_000}
    async with running(tmp_path, gateway, clock, **settings) as world:
        first = await world.buy(300, limit_price=99.5)  # of 1,000,000 USD
        second = await world.buy(300, limit_price=99.5)
    assert first["success"]
    assert second["code"] == "POSITION_SIZE_LIMIT"


async def test_the_sum_over_instruments_is_limited_and_a_cancelled_entry_makes_room(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """PL-06."""
    async with running(tmp_path, gateway, clock, **LIMITS) as world:
        first = await world.buy(100, limit_price=99.0)
        refused = await world.buy(60, symbol="MSFT", limit_price=99.0)
        await world.call("cancel_order", perm_id=first["perm_id"])
        await world.until(lambda: not world.working_orders())
        passes = await world.buy(60, symbol="MSFT", limit_price=99.0)
    assert refused["code"] == "EXPOSURE_VALUE_LIMIT"
    assert passes["success"]


async def test_what_was_filled_counts_as_much_as_what_works(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """T-04, and reducing is open at any size of the portfolio (T-09)."""
    async with running(tmp_path, gateway, clock, **LIMITS) as world:
        assert (await world.call("place_market_order", symbol="AAPL", action="BUY", quantity=90))["success"]
        await clock.advance(1)
        await world.until(lambda: gateway.exchange.executions())
        refused = await world.buy(20, limit_price=99.0)
        gateway.market.set_quote(gateway.con_id("AAPL"), bid="300.00", ask="300.01")
        closed = await world.call("close_position", symbol="AAPL")
    assert refused["code"] == "POSITION_VALUE_LIMIT"
    assert closed["success"]


async def test_an_order_of_another_client_counts(tmp_path: Path, gateway: PaperGateway, clock: ManualClock) -> None:
    """Two programs on one account share its limits."""
    async with connected(gateway, clock, client_id=18) as other:
        theirs = resting(await aapl(other), quantity=Decimal(90), limit_price=Decimal("99.00"), order_ref="another")
        await other.place_order(approved(theirs), Gate())
        async with running(tmp_path, gateway, clock, **LIMITS) as world:
            refused = await world.buy(20, limit_price=99.0)
            fits = await world.buy(10, limit_price=99.0)
    assert refused["code"] == "POSITION_VALUE_LIMIT"
    assert fits["success"]


async def test_a_new_instrument_is_refused_when_the_portfolio_is_full_and_adding_to_one_is_not(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """PL-07, T-05."""
    async with running(tmp_path, gateway, clock, max_concurrent_positions=2) as world:
        assert (await world.buy(1))["success"]
        assert (await world.buy(1, symbol="MSFT"))["success"]
        third = await world.buy(1, symbol="IBM")
        again = await world.buy(1)
    assert third["code"] == "POSITIONS_LIMIT"
    assert again["success"]


async def test_selling_what_is_not_held_is_refused_by_default(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """PL-14."""
    sell: dict[str, Any] = {"symbol": "AAPL", "action": "SELL", "quantity": 10, "limit_price": 101.0}
    async with running(tmp_path, gateway, clock, allow_short=False) as world:
        refused = await world.call("place_limit_order", **sell)
        await world.call("place_market_order", symbol="AAPL", action="BUY", quantity=10)
        await clock.advance(1)
        await world.until(lambda: gateway.exchange.executions())
        await world.call("get_portfolio")
        first = await world.call("place_limit_order", **sell)
        second = await world.call("place_limit_order", **sell)
    assert refused["code"] == second["code"] == "SHORT_NOT_ALLOWED"
    assert first["success"], first


async def test_orders_at_once_cannot_use_the_same_room(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """TW-12: what was decided on counts before the broker has told of it."""
    settings: dict[str, Any] = {"max_orders_per_minute": 50, **LIMITS}
    async with running(tmp_path, gateway, clock, **settings) as world:
        answers = await asyncio.gather(
            *(world.buy(40, limit_price=round(99.9 - number / 100, 2)) for number in range(10))
        )
    assert sum(answer["success"] for answer in answers) == 2
    assert {answer["code"] for answer in answers if not answer["success"]} == {"POSITION_VALUE_LIMIT"}
    assert sum(Decimal(str(order.quantity)) for order in gateway.exchange.open_orders()) == 80


async def test_a_preview_shows_every_layer_and_the_largest_that_passes_and_leaves_no_rejection(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """PL-01, PL-16: 101 at 99 USD stay below 10,000; that quantity passes, and one more does not."""
    asked: dict[str, Any] = {"symbol": "AAPL", "action": "BUY", "order_type": "LMT", "limit_price": 99.0}
    settings: dict[str, Any] = {**LIMITS, "max_order_value_usd": 1_000_000, "order_cooldown_seconds": 10}
    async with running(tmp_path, gateway, clock, **settings) as world:
        preview = await world.call("check_order", quantity=200, **asked)
        assert (preview["largest_quantity"], preview["bound_by"], preview["wait_seconds"]) == (
            "101", ["POSITION_VALUE_LIMIT"], 0.0,
        ), preview  # fmt: skip
        assert await world.records(EventType.ORDER_REJECTED_LIMITS) == []
        assert (await world.buy(102, limit_price=99.0))["code"] == "POSITION_VALUE_LIMIT"
        assert (await world.buy(101, limit_price=99.0))["success"]
        await clock.advance(4)
        pair = await world.call("check_order", symbol="EUR.USD", action="BUY", quantity=1, order_type="MKT")
        assert Decimal(pair["largest_quantity"]) == 0
        assert "FOREX_DISABLED" in pair["bound_by"]
        assert "QUANTITY_STEP" not in pair["bound_by"], pair
        after = await world.call("check_order", quantity=1, **asked)
        assert (after["largest_quantity"], after["wait_seconds"]) == ("0", 6.0)
    told = str(preview)
    assert "POSITION_VALUE_LIMIT" in told
    assert "EXPOSURE_VALUE_LIMIT" in told


async def test_the_status_shows_what_is_used_and_left_of_each_layer(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """MON-01: of an account with 1,000,000 USD, working orders counted as they are for the next order."""
    async with running(tmp_path, gateway, clock, **LIMITS) as world:
        await world.buy(60, limit_price=99.0)
        await world.buy(10, symbol="MSFT", limit_price=99.0)
        shown = {line["name"]: line for line in (await world.call("get_safety_status"))["limits"]}
    assert (shown["largest_position_usd"]["used"], shown["largest_position_usd"]["left"]) == ("5940.00", "4060.00")
    assert (shown["total_exposure_usd"]["used"], shown["total_exposure_usd"]["left"]) == ("6930.00", "8070.00")
    assert shown["largest_position_pct_of_equity"]["used"] == "0.60"
    assert shown["total_exposure_pct_of_equity"]["used"] == "0.70"
    assert shown["concurrent_positions"]["used"] == "2"
    assert shown["leverage"]["used"] == "0.01"


async def test_an_agents_share_a_sector_and_the_cash_are_limited_and_a_restart_forgets_no_share(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """PL-04, PL-08, PL-11, ST-05: of an account with 1,000,000 USD."""
    shares: dict[str, Any] = {
        "max_position_size_pct": 1,
        "max_position_pct_per_strategy": 1,
        "max_sector_exposure_pct": 400,
    }
    async with running(tmp_path, gateway, clock, **shares) as world, world.agent("fast") as fast:
        assert (await fast.call("place_market_order", symbol="AAPL", action="BUY", quantity=60))["success"]
        await clock.advance(1)
        await world.until(lambda: gateway.exchange.executions())
        await world.app.follower.settled()
        refused = await fast.buy(45, symbol="MSFT", limit_price=99.0)
        assert refused["code"] == "STRATEGY_LIMIT"
        assert (await fast.buy(35, symbol="MSFT", limit_price=99.0))["success"]
        shown = {line["name"]: line for line in (await fast.call("get_safety_status"))["limits"]}
        assert shown["agent_exposure_pct_of_equity"]["used"] == "0.95"
        assert (await world.buy(45, symbol="MSFT", limit_price=99.0))["success"]
    async with running(tmp_path, gateway, clock, **shares) as world, world.agent("fast") as fast:
        assert (await fast.buy(45, symbol="IBM", limit_price=99.0))["code"] == "STRATEGY_LIMIT"
    sectors: dict[str, Any] = {
        "max_sector_exposure_pct": 2,
        "cash_reserve_pct": 98,
        "max_portfolio_value_at_risk": 0.03,
    }
    async with running(tmp_path, gateway, clock, **sectors) as world:
        shown = {line["name"]: line for line in (await world.call("get_safety_status"))["limits"]}
        known = await world.buy(70, symbol="IBM", limit_price=99.0)  # 6,000 + 7,920 of the same sector are there
        assert known["code"] == "SECTOR_LIMIT", known
        assert any(detail.startswith("CASH_RESERVE") for detail in known["details"]), known
        assert (await world.buy(10, symbol="IBM", limit_price=99.0))["success"]
    assert shown["largest_sector_pct_of_equity"]["limit"] == "2"
    assert shown["capital_at_risk_fraction"]["limit"] == "0.03"


async def test_the_brokers_preview_of_the_margin_and_its_shares_to_lend_decide(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """PL-13, PL-14: of 60,000 USD a fifth is maintenance margin, above 1 % of the equity; previews place nothing."""
    settings: dict[str, Any] = {
        "margin_preview": True, "margin_use_warning_pct": 1, "max_order_value_usd": 100_000, "allow_short": True,
    }  # fmt: skip
    async with running(tmp_path, gateway, clock, **settings) as world:
        refused = await world.buy(600, limit_price=99.9)
        assert (refused["code"], refused["limit"]) == ("MARGIN_LIMIT", "1 % of the equity"), refused
        assert (refused["observed"], gateway.exchange.orders()) == ("11,998.80 of 999,997.00", []), refused
        order: dict[str, Any] = {"symbol": "AAPL", "action": "BUY", "order_type": "LMT", "limit_price": 99.9}
        preview = await world.call("check_order", quantity=600, **order)
        assert (preview["largest_quantity"], preview["bound_by"]) == ("500", ["MARGIN_LIMIT"]), preview
        sell: dict[str, Any] = {"symbol": "AAPL", "action": "SELL", "quantity": 10, "limit_price": 100.1}
        assert (await world.call("place_limit_order", **sell))["success"]  # of a stock that is easy to borrow
        assert (await world.buy(100, symbol="MSFT", limit_price=99.9))["success"]
    assert world.sent == 2


async def test_the_status_tells_value_at_risk_and_the_headroom_of_every_limit(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """PL-17, MON-01: figures from a year of daily prices, reckoned beside the orders."""
    write_agents(tmp_path / "agents.json", [Agent(name="slow", limits=AgentLimits(max_orders_per_minute=2))])
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "agents.json").rename(tmp_path / "state" / "agents.json")
    async with running(tmp_path, gateway, clock, value_at_risk_seconds=3_600) as world:
        before = await world.call("get_safety_status")
        assert (await world.call("place_market_order", symbol="AAPL", action="BUY", quantity=90))["success"]
        assert (await world.buy(10, symbol="MSFT", limit_price=99.0))["success"]
        for _ in range(12):
            await clock.advance(1)
        await world.until(lambda: (found := world.app.desk.risk.figures) is not None and found.held_usd)
        async with world.agent("slow") as slow:
            assert (await slow.buy(1, symbol="IBM", limit_price=99.0))["success"]
            status = await slow.call("get_safety_status")
    risk, left = status["risk"], {line["name"]: line["left"] for line in status["limits"]}
    assert risk["sample_size"] > 200
    assert Decimal(risk["expected_shortfall_usd"]) >= Decimal(risk["value_at_risk_usd"]) > 0
    assert 8_000 < Decimal(risk["held_usd"]) < 10_000
    assert risk["left_out"] == []
    assert left["own_orders_per_minute"] == "1"
    assert (left["working_orders"], left["working_orders_in_one_instrument"]) == ("998", "999")
    assert left["working_stop_losses"] == "25"
    assert Decimal(left["opening_usd_in_cycle"]) < 10_000_000 - 990
    assert left["opening_usd_in_cycle"] == left["opening_usd_in_trading_day"]
    assert 70 < Decimal(left["margin_use_pct"]) <= 75
    assert "sample_size" not in before["risk"], "reckoned before anything is held"
