"""The rules of an order, each at its boundary, from the agent's call to what reaches the gateway."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.domain.operations import OperationClass
from ibkr_mcp_server.simulator.server import PaperGateway
from ibkr_mcp_server.tools.catalogue import TOOLS
from tests.harness import World, running
from tests.tool_examples import EXAMPLES, NearBid

Run = Callable[..., AbstractAsyncContextManager[World]]

WIDE: dict[str, Any] = {"max_order_value_usd": 1_000_000, "max_orders_per_minute": 50}
"""Limits that a test is not about."""
BUY: dict[str, Any] = {"symbol": "AAPL", "action": "BUY", "quantity": 1, "limit_price": 199.0}


@pytest.fixture
def run(tmp_path: Path, gateway: PaperGateway, clock: ManualClock) -> Run:
    """Opens the product with the settings that a test names, AAPL standing at 199.98 to 200.00."""
    gateway.market.set_quote(gateway.con_id("AAPL"), bid="199.98", ask="200.00")
    return partial(running, tmp_path, gateway, clock)


# ---- flags


async def test_a_fresh_installation_places_nothing(run: Run, gateway: PaperGateway) -> None:
    """CFG-01."""
    async with run(enable_trading=False) as world:
        for tool, order in (("place_limit_order", BUY), ("place_market_order", _market(BUY))):
            assert (await world.call(tool, **order))["code"] == "TRADING_DISABLED"
    assert gateway.received_writes == []


@pytest.mark.parametrize(
    ("symbol", "code", "flag"),
    [
        ("EUR.USD", "FOREX_DISABLED", "enable_forex_trading"),
        ("SAP.IBIS.EUR", "INTERNATIONAL_DISABLED", "enable_international_trading"),
        ("BARC.LSE.GBP", "INTERNATIONAL_DISABLED", "enable_international_trading"),
    ],
)
async def test_currencies_and_listings_abroad_need_flags_of_their_own(
    run: Run, gateway: PaperGateway, symbol: str, code: str, flag: str
) -> None:
    """CFG-02, CFG-03: with the master flag on, what is at home passes and what is not does not."""
    async with run(**WIDE) as world:
        assert (await world.call("place_limit_order", **BUY))["success"]
        refused = await world.call("place_market_order", symbol=symbol, action="BUY", quantity=1)
        assert refused["code"] == code
    assert len(gateway.received_orders) == 1
    async with run(**WIDE | {flag: True}) as world:
        assert (await world.call("place_market_order", symbol=symbol, action="BUY", quantity=1))["success"]
    assert len(gateway.received_orders) == 2


async def test_a_stop_order_needs_its_flag_and_is_told_so_before_anything_is_sent(run: Run) -> None:
    """CFG-04: the verdict on a stop order, with the flag and without."""
    stop = {"symbol": "AAPL", "action": "SELL", "quantity": 1, "order_type": "STP", "stop_price": 190.0}
    for enabled in (False, True):
        async with run(enable_stop_loss_orders=enabled) as world:
            checked = await world.call("check_order", **stop)
            found = {detail["code"] for verdict in checked["verdicts"] for detail in verdict["problems"]}
            assert ("STOP_LOSS_DISABLED" in found) is not enabled
            assert (await world.call("get_open_orders"))["success"]


async def test_safe_mode_lets_an_agent_cancel_and_nothing_else(run: Run, gateway: PaperGateway) -> None:
    """CFG-07: whatever else is armed."""
    gateway.add_position("DU9000001", "AAPL", Decimal(5), Decimal(150))
    async with run() as world:
        resting = await world.buy()
    async with run(safe_mode=True) as world:
        opening = await world.buy()
        reducing = await world.call("place_market_order", symbol="AAPL", action="SELL", quantity=1)
        changing = await world.call("modify_order", perm_id=resting["perm_id"], limit_price=178.0)
        assert {opening["code"], reducing["code"], changing["code"]} == {"SAFE_MODE"}
        assert (await world.call("get_safety_status"))["effective_state"] == "SAFE"
        assert (await world.call("cancel_order", perm_id=resting["perm_id"]))["success"]
    assert len(gateway.received_orders) == 1


# ---- size, value, price


BEYOND: tuple[tuple[dict[str, Any], str], ...] = (
    ({"quantity": 1.5}, "QUANTITY_STEP"),
    ({"quantity": 1001}, "ORDER_SIZE_LIMIT"),
    ({"limit_price": 199.005}, "PRICE_TICK"),
    ({"limit_price": 206.01}, "PRICE_COLLAR"),
    ({"limit_price": 208.0}, "PRICE_COLLAR"),
    ({"action": "SELL", "limit_price": 193.98}, "PRICE_COLLAR"),
    ({"tif": "GTC"}, "TIME_IN_FORCE_NOT_ALLOWED"),
    ({"symbol": "ZZZZ"}, "CONTRACT_NOT_FOUND"),
)


@pytest.mark.parametrize(
    "at_the_limit",
    [{"quantity": 1000}, {"limit_price": 206.0}, {"action": "SELL", "limit_price": 193.99}],
    ids=str,
)
async def test_each_rule_passes_at_its_limit_and_refuses_beyond_it(
    run: Run, gateway: PaperGateway, at_the_limit: dict[str, Any]
) -> None:
    """ORD-01, ORD-02, ORD-04, ORD-06, ORD-09, ORD-10."""
    async with run(**WIDE) as world:
        for beyond, code in BEYOND:
            refused = await world.call("place_limit_order", **BUY | beyond)
            assert refused.get("code") == code, (beyond, refused)
        assert gateway.received_orders == []
        passed = await world.call("place_limit_order", **BUY | at_the_limit)
        assert passed["success"], passed
    assert len(gateway.received_orders) == 1


@pytest.mark.parametrize(
    ("order", "value"),
    [
        ({"quantity": 50, "limit_price": 200.0}, None),
        ({"quantity": 51, "limit_price": 200.0}, "10,200"),
        ({"quantity": 51, "limit_price": 199.0}, "10,149"),
        # Far below the market a sell fills at the market, so the market is what it is worth.
        ({"action": "SELL", "quantity": 51, "limit_price": 195.0}, "10,200"),
        ({"action": "SELL", "quantity": 50, "limit_price": 195.0}, None),
    ],
    ids=str,
)
async def test_the_value_limit_counts_the_worst_price_on_either_side(
    run: Run, gateway: PaperGateway, order: dict[str, Any], value: str | None
) -> None:
    """ORD-07, FD-4: 10,000 passes; an opening sell is limited like a buy."""
    async with run() as world:
        answer = await world.call("place_limit_order", **BUY | order)
    if value is None:
        assert answer["success"], answer
    else:
        assert (answer["code"], answer["limit"]) == ("ORDER_VALUE_LIMIT", "10,000.00 USD")
        assert answer["observed"] == f"{value}.00 USD"
    assert len(gateway.received_orders) == (value is None)


async def test_a_market_order_is_worth_its_cap_and_travels_with_it(run: Run, gateway: PaperGateway) -> None:
    """ORD-07, ORD-09, FD-3: 48 shares are 9,600 at the ask and 9,888 at the cap; 49 shares are too many."""
    async with run() as world:
        too_many = await world.call("place_market_order", **_market(BUY | {"quantity": 49}))
        assert (too_many["code"], too_many["observed"]) == ("ORDER_VALUE_LIMIT", "10,094.00 USD")
        assert (await world.call("place_market_order", **_market(BUY | {"quantity": 48})))["success"]
    [sent] = gateway.received_orders
    assert (sent.terms.order_type, sent.terms.limit_price) == ("LMT", Decimal(206))


@pytest.mark.parametrize(
    ("symbol", "bid", "ask", "rate", "passes", "too_many"),
    [
        ("SAP.IBIS.EUR", "99.98", "100.00", ("EUR.USD", "1.24990", "1.25000"), 80, 81),
        ("BARC.LSE.GBP", "1999.95", "2000.00", ("GBP.USD", "1.99990", "2.00000"), 250, 251),
    ],
)
async def test_other_currencies_and_pence_are_valued_in_dollars(
    run: Run,
    gateway: PaperGateway,
    symbol: str,
    bid: str,
    ask: str,
    rate: tuple[str, str, str],
    passes: int,
    too_many: int,
) -> None:
    """ORD-07, FD-5: 80 shares at 100 EUR are 10,000 USD, and so are 250 at 2,000 pence; an unknown rate refuses."""
    name = symbol.partition(".")[0]
    gateway.market.set_quote(gateway.con_id(name), bid=bid, ask=ask)
    gateway.market.set_quote(gateway.con_id(rate[0]), bid=rate[1], ask=rate[2])
    order = {"symbol": symbol, "action": "BUY", "limit_price": float(ask)}
    async with run(enable_international_trading=True) as world:
        assert (await world.call("place_limit_order", quantity=passes, **order))["success"]
        refused = await world.call("place_limit_order", quantity=too_many, **order)
        assert refused["code"] == "ORDER_VALUE_LIMIT"
    gateway.market.withdraw_quote(gateway.con_id(rate[0]))
    async with run(enable_international_trading=True) as world:
        unknown = await world.call("place_limit_order", quantity=1, **order)
        assert unknown["code"] == "ORDER_VALUE_UNKNOWN"
    assert len(gateway.received_orders) == 1


def _market(order: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in order.items() if name != "limit_price"}


# ---- reference price


async def test_without_a_price_no_order_passes_whatever_its_limit(run: Run, gateway: PaperGateway) -> None:
    """ORD-08, FD-1, FD-2: nothing is invented, and no rule is skipped."""
    gateway.market.withdraw_quote(gateway.con_id("AAPL"))
    async with run() as world:
        for tool, order in (("place_market_order", _market(BUY)), ("place_limit_order", BUY)):
            refused = await world.call(tool, **order)
            assert refused["code"] == "NO_REFERENCE_PRICE", refused
            assert any("ORDER_VALUE_UNKNOWN" in detail or "NO_REFERENCE" in detail for detail in refused["details"])
        gateway.market.set_quote(gateway.con_id("AAPL"), bid="199.98", ask="200.00")
        await gateway.tick()
        await world.clock.advance(1)
        assert (await world.call("place_limit_order", **BUY))["success"]
    assert len(gateway.received_orders) == 1


@pytest.mark.parametrize(("bid", "ask"), [("201.00", "200.00"), ("-1", "-1")])
async def test_a_quote_that_cannot_be_true_is_no_price(run: Run, gateway: PaperGateway, bid: str, ask: str) -> None:
    """ORD-08."""
    gateway.market.set_quote(gateway.con_id("AAPL"), bid=bid, ask=ask, last="-1")
    async with run() as world:
        assert (await world.call("place_limit_order", **BUY))["code"] == "NO_REFERENCE_PRICE"
    assert gateway.received_orders == []


async def test_a_price_older_than_allowed_is_no_price(run: Run, gateway: PaperGateway) -> None:
    """ORD-08: a line that went dead is not a price that stands still; see also test_quote_age.py."""
    async with run(quote_max_age_seconds=15) as world:
        assert (await world.call("place_limit_order", **BUY))["success"]
        gateway.faults.farm_lost("market")
        await world.clock.advance(16)
        refused = await world.call("place_limit_order", **BUY)
        assert refused["code"] == "NO_REFERENCE_PRICE", refused
    assert len(gateway.received_orders) == 1


async def test_market_orders_need_live_data_and_regular_hours(
    run: Run, gateway: PaperGateway, clock: ManualClock
) -> None:
    """ORD-10: a limit order passes on delayed data, where the agent names its price."""
    gateway.faults.deny_live_data()
    async with run() as world:
        delayed = await world.call("place_market_order", **_market(BUY))
        assert delayed["code"] == "NO_LIVE_DATA", delayed
    assert gateway.received_orders == []


async def test_a_market_order_after_the_close_is_refused_with_the_next_opening(tmp_path: Path) -> None:
    """ORD-10, TM-01: 21:30 UTC on a Friday is 16:30 in New York; the next session is Monday's."""
    clock = ManualClock()
    clock.step_wall(timedelta(hours=6, minutes=30))
    async with PaperGateway(clock=clock) as gateway, running(tmp_path, gateway, clock) as world:
        refused = await world.call("place_market_order", **_market(BUY))
        assert (refused["code"], "2026-11-23 14:30 UTC" in refused["error"]) == ("OUTSIDE_REGULAR_HOURS", True)
        assert gateway.received_orders == []


# ---- every way to an order


async def test_every_tool_that_places_orders_meets_the_same_limits(run: Run, gateway: PaperGateway) -> None:
    """FD-7, FD-32: what counts is what would be sent, not which tool sends it."""
    placing = [tool for tool in TOOLS if tool.operation_class is OperationClass.ORDER_PLACEMENT and tool.writes]
    opening = [tool.name for tool in placing if "action" in tool.arguments.model_fields]
    assert {"place_market_order", "place_limit_order", "place_bracket_order", "place_stop_loss"} <= set(opening)
    async with run(enable_stop_loss_orders=True) as world:
        quote = {"bid": "199.98"}
        for name in opening:
            good = {
                key: value.of(quote) if isinstance(value, NearBid) else value for key, value in EXAMPLES[name].items()
            }
            refused = await world.call(name, **good | {"symbol": "AAPL", "quantity": 5000})
            told = {detail.partition(":")[0] for detail in refused["details"]}
            assert {"ORDER_SIZE_LIMIT", "ORDER_VALUE_LIMIT"} <= told, (name, told)
    assert gateway.received_orders == []


async def test_an_order_cannot_be_changed_past_the_limits(run: Run, gateway: PaperGateway) -> None:
    """ORD-19, FD-31: 10 shares to 1,400, or a limit through the collar; fewer shares always pass."""
    async with run(max_orders_per_minute=1) as world:
        placed = await world.call("place_limit_order", **BUY | {"quantity": 10})
        change = partial(world.call, "modify_order", perm_id=placed["perm_id"])
        await world.clock.advance(61)
        gateway.market.set_quote(gateway.con_id("AAPL"), bid="199.97", ask="200.00")
        await gateway.tick()
        larger = await change(quantity=1400)
        assert {detail.partition(":")[0] for detail in larger["details"]} == {"ORDER_SIZE_LIMIT", "ORDER_VALUE_LIMIT"}
        assert (await change(limit_price=208.0))["code"] == "PRICE_COLLAR"
        assert len(gateway.received_orders) == 1
        assert (await change(quantity=9))["success"]
    assert [(sent.terms.quantity, sent.terms.limit_price) for sent in gateway.received_orders] == [
        (Decimal(10), Decimal(199)),
        (Decimal(9), Decimal(199)),
    ]


async def test_less_than_a_lot_is_refused_before_it_is_sent(run: Run, gateway: PaperGateway) -> None:
    """ORD-16: Tokyo trades a hundred shares at least, as the contract's details say."""
    gateway.market.set_quote(gateway.con_id("7203"), bid="2499", ask="2501", last="2500")
    toyota: dict[str, Any] = {"symbol": "7203.TSEJ.JPY", "action": "BUY", "limit_price": 2400.0}
    async with run(enable_international_trading=True) as world:
        for quantity in (1, 99, 150):
            refused = await world.call("place_limit_order", **toyota, quantity=quantity)
            assert (refused["code"], refused["limit"]) == ("QUANTITY_STEP", "100")
        assert gateway.received_orders == []
        placed = await world.call("place_limit_order", **toyota, quantity=100)
        assert placed["success"], placed


async def test_a_server_holds_one_connection_whatever_it_is_asked(run: Run, gateway: PaperGateway) -> None:
    """TW-17."""
    async with run(max_orders_per_minute=1) as world:
        for tool in ("get_accounts", "get_portfolio", "get_open_orders", "get_executions", "get_account_summary"):
            assert (await world.call(tool))["success"]
        assert (await world.buy())["success"]
        assert (await world.call("get_market_data", symbols=["AAPL", "MSFT"]))["success"]
        assert gateway.client_ids == [17]
