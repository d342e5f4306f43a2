"""The order types and attributes beyond the plain ones, through the client library: auctions, pegs, hours, groups."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from ib_async import LimitOrder, MarketOrder, Order

from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.simulator.server import PaperGateway
from tests.contract.clients import ACCOUNT, connected, raw_client

AAPL = 265598
RESTING = ("Submitted",)
DONE = ("Filled", "Cancelled", "Inactive")
CLOSE = datetime(2026, 11, 20, 21, tzinfo=UTC)


@pytest.fixture
async def exchange_hours(clock: ManualClock) -> AsyncIterator[PaperGateway]:
    """A gateway that keeps the exchange's hours; it is 10:00 on a Friday."""
    async with PaperGateway(clock=clock) as running:
        yield running


async def move_to(clock: ManualClock, moment: datetime) -> None:
    clock.step_wall(moment - clock.now() - timedelta(seconds=1))
    await clock.advance(1)


def order(kind: str, action: str = "BUY", quantity: float = 10, **terms: Any) -> Order:
    return Order(action=action, totalQuantity=quantity, orderType=kind, account=ACCOUNT, **terms)


# --- auctions ---


async def test_orders_for_the_close_wait_for_it_and_trade_at_its_price(
    exchange_hours: PaperGateway, clock: ManualClock
) -> None:
    exchange_hours.market.set_quote(AAPL, bid="199.98", ask="200.02", last="200.00")
    async with connected(exchange_hours) as ib:
        aapl = await ib.stock("AAPL")
        at_market = await ib.place(aapl, order("MOC"), until=("PreSubmitted",))
        good_limit = await ib.place(aapl, order("LOC", lmtPrice=205), until=("PreSubmitted",))
        low_limit = await ib.place(aapl, order("LOC", lmtPrice=190), until=("PreSubmitted",))
        await clock.advance(5)
        exchange_hours.market.set_quote(AAPL, bid="200.98", ask="201.02", last="201.00")
        await move_to(clock, CLOSE)
        await ib.until(lambda: all(trade.isDone() for trade in (at_market, good_limit, low_limit)))
        assert [at_market.orderStatus.avgFillPrice, good_limit.orderStatus.avgFillPrice] == [201.0, 201.0]
        assert (low_limit.orderStatus.status, ib.errors.codes()) == ("Cancelled", [202])


async def test_order_for_the_opening_trades_when_the_next_session_begins(
    exchange_hours: PaperGateway, clock: ManualClock
) -> None:
    exchange_hours.market.set_quote(AAPL, bid="199.98", ask="200.02", last="200.00")
    async with connected(exchange_hours) as ib:
        aapl = await ib.stock("AAPL")
        trade = await ib.place(aapl, order("MKT", tif="OPG"), until=("PreSubmitted",))
        await move_to(clock, CLOSE + timedelta(hours=1))
        assert trade.isActive()
        await move_to(clock, datetime(2026, 11, 23, 14, 30, tzinfo=UTC))  # Monday
        await ib.until(trade.isDone)
        assert trade.orderStatus.avgFillPrice == 200.0


# --- prices that follow the market ---


async def test_relative_order_follows_its_side_up_to_its_cap_and_never_backs_off(
    gateway: PaperGateway, clock: ManualClock
) -> None:
    gateway.market.set_quote(AAPL, bid="199.00", ask="200.00")
    async with connected(gateway) as ib:
        trade = await ib.place(await ib.stock("AAPL"), order("REL", auxPrice=0.05, lmtPrice=199.50), until=RESTING)
        prices = []
        for bid, ask in (("199.00", "200.00"), ("199.20", "200.20"), ("199.00", "200.00"), ("199.90", "200.50")):
            gateway.market.set_quote(AAPL, bid=bid, ask=ask)
            await clock.advance(1)
            prices.append(str(gateway.exchange.open_orders()[0].limit_price))
        assert prices == ["199.05", "199.25", "199.25", "199.5"]
        assert trade.order.lmtPrice == 199.5
        gateway.market.set_quote(AAPL, bid="199.40", ask="199.50")
        await clock.advance(1)
        await ib.until(trade.isDone)
        assert trade.orderStatus.avgFillPrice == 199.5


async def test_midprice_order_trades_in_the_middle_unless_that_is_beyond_its_cap(
    gateway: PaperGateway, clock: ManualClock
) -> None:
    gateway.market.set_quote(AAPL, bid="199.90", ask="200.15")
    async with connected(gateway) as ib:
        aapl = await ib.stock("AAPL")
        trade = await ib.place(aapl, order("MIDPRICE"), until=DONE)
        assert trade.orderStatus.avgFillPrice == 200.02
        capped = await ib.place(aapl, order("MIDPRICE", lmtPrice=199.95), until=RESTING)
        gateway.market.set_quote(AAPL, bid="199.80", ask="200.00")
        await clock.advance(1)
        await ib.until(capped.isDone)
        assert capped.orderStatus.avgFillPrice == 199.9


async def test_touched_orders_wake_from_the_better_side(gateway: PaperGateway, clock: ManualClock) -> None:
    gateway.market.set_quote(AAPL, bid="199.98", ask="200.00", last="200.00")
    async with connected(gateway) as ib:
        aapl = await ib.stock("AAPL")
        at_market = await ib.place(aapl, order("MIT", auxPrice=195), until=("PreSubmitted",))
        limited = await ib.place(aapl, order("LIT", auxPrice=195, lmtPrice=194), until=("PreSubmitted",))
        gateway.market.set_quote(AAPL, bid="194.98", ask="195.00", last="195.00")
        await clock.advance(1)
        await ib.until(lambda: at_market.isDone() and limited.orderStatus.status == "Submitted")
        assert at_market.orderStatus.avgFillPrice == 195.0


# --- hours ---


async def test_day_order_outside_hours_lives_until_the_extended_session_ends(
    exchange_hours: PaperGateway, clock: ManualClock
) -> None:
    async with connected(exchange_hours) as ib:
        aapl = await ib.stock("AAPL")
        inside = await ib.place(aapl, LimitOrder("BUY", 1, 1), until=RESTING)
        outside = await ib.place(aapl, LimitOrder("BUY", 1, 1, outsideRth=True), until=RESTING)
        await move_to(clock, CLOSE + timedelta(minutes=1))
        await ib.until(inside.isDone)
        assert outside.isActive()
        await move_to(clock, CLOSE + timedelta(hours=4))
        await ib.until(outside.isDone)


async def test_only_an_order_for_outside_hours_trades_after_the_close(
    exchange_hours: PaperGateway, clock: ManualClock
) -> None:
    exchange_hours.market.set_quote(AAPL, bid="199.98", ask="200.00")
    await move_to(clock, CLOSE + timedelta(hours=1))
    async with connected(exchange_hours) as ib:
        aapl = await ib.stock("AAPL")
        outside = await ib.place(aapl, LimitOrder("BUY", 1, 200, outsideRth=True), until=DONE)
        assert outside.orderStatus.status == "Filled"
        waits = ib.placeOrder(aapl, LimitOrder("BUY", 1, 200, account=ACCOUNT))
        await ib.until(lambda: ib.errors.codes(waits.order.orderId) == [399])
        assert [found.status for found in exchange_hours.exchange.open_orders()] == ["PreSubmitted"]


async def test_order_good_till_a_date_dies_then(gateway: PaperGateway, clock: ManualClock) -> None:
    async with connected(gateway) as ib:
        until = LimitOrder("BUY", 1, 1, tif="GTD", goodTillDate="20261120 10:05:00 US/Eastern")
        trade = await ib.place(await ib.stock("AAPL"), until, until=RESTING)
        await clock.advance(299)
        assert gateway.exchange.open_orders()
        await clock.advance(1)
        await ib.until(trade.isDone)


# --- refusals and warnings ---


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (order("MOC", tif="GTC"), 113),
        (order("STP", auxPrice=190, tif="OPG"), 111),
        (order("STP", auxPrice=190, tif="IOC"), 111),
        (order("REL", auxPrice=0.001), 110),
        (order("PEG MID"), 321),
    ],
)
async def test_terms_that_do_not_go_together_are_refused(gateway: PaperGateway, bad: Order, code: int) -> None:
    async with connected(gateway) as ib:
        bad.orderId = 0
        trade = ib.placeOrder(await ib.stock("AAPL"), bad)
        await ib.until(lambda: ib.errors.codes(trade.order.orderId) == [code])
        assert gateway.exchange.orders() == []


async def test_order_type_that_the_instrument_does_not_list_is_387(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib:
        trade = ib.placeOrder(await ib.forex("EURUSD"), order("MOC", quantity=20_000))
        await ib.until(lambda: ib.errors.codes(trade.order.orderId) == [387])


async def test_trailing_child_needs_a_limited_parent_and_a_type_is_final(gateway: PaperGateway) -> None:
    gateway.market.set_quote(AAPL, bid="199.98", ask="200.00")
    async with connected(gateway) as ib:
        aapl = await ib.stock("AAPL")
        parent = ib.placeOrder(aapl, order("MKT", transmit=False))
        child = ib.placeOrder(aapl, order("TRAIL", "SELL", auxPrice=5, parentId=parent.order.orderId))
        await ib.until(lambda: ib.errors.codes(child.order.orderId) == [328])
        trail = await ib.place(aapl, order("TRAIL", "SELL", auxPrice=5), until=("PreSubmitted",))
        trail.order.orderType, trail.order.lmtPrice = "LMT", 300
        ib.placeOrder(aapl, trail.order)
        await ib.until(lambda: ib.errors.codes(trail.order.orderId) == [329])
        assert [found.terms.order_type for found in gateway.exchange.open_orders()] == ["TRAIL"]


async def test_market_order_for_outside_hours_is_taken_with_2109(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib:
        trade = await ib.place(await ib.stock("AAPL"), order("MKT", outsideRth=True), until=DONE)
        assert (trade.orderStatus.status, ib.errors.codes(trade.order.orderId)) == ("Filled", [2109])


# --- groups ---


async def test_group_that_reduces_takes_each_fill_off_the_others(gateway: PaperGateway, clock: ManualClock) -> None:
    gateway.faults.partial_fills(Decimal(4))
    gateway.market.set_quote(AAPL, bid="199.98", ask="200.00")
    async with connected(gateway) as ib:
        aapl = await ib.stock("AAPL")
        near = await ib.place(aapl, LimitOrder("BUY", 10, 195, ocaGroup="shared", ocaType=3), until=RESTING)
        far = await ib.place(aapl, LimitOrder("BUY", 10, 190, ocaGroup="shared", ocaType=3), until=RESTING)
        gateway.market.set_quote(AAPL, bid="194.98", ask="195.00")
        await clock.advance(1)
        await ib.until(lambda: near.filled() == 4 and far.order.totalQuantity == 6)
        await clock.advance(2)
        await ib.until(lambda: near.isDone() and far.isDone())
        assert (near.filled(), far.orderStatus.status) == (10, "Cancelled")


# --- orders from elsewhere ---


async def test_manual_order_is_told_to_nobody_but_seen_by_all(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib:
        gateway.faults.manual_trade("AAPL", "BUY", Decimal(10))
        await ib.until(lambda: [row.position for row in ib.positions()] == [10])
        gateway.faults.manual_order("AAPL", "SELL", Decimal(10), Decimal(999))
        [seen] = await ib.reqAllOpenOrdersAsync()
        assert (seen.order.orderId, seen.order.clientId) == (0, 0)
        assert ib.openTrades() == [seen]
        ib.cancel_everything()
        async with asyncio.timeout(5):
            await gateway.wait_for(lambda: not gateway.exchange.open_orders())


async def test_client_zero_is_given_manual_orders_when_it_asks(gateway: PaperGateway) -> None:
    gateway.faults.apply("manual_order:AAPL:BUY:10:1.00")
    async with raw_client(gateway) as zero:
        await zero.handshake(client_id=0)
        zero.send(15, 1, 1)
        bound = await zero.next_of(100)
        assert bound[2:] == ["0", "-1"]
        assert (await zero.next_of(5))[1] == "-1"
        gateway.faults.apply("manual_order:AAPL:BUY:5:1.00")
        assert (await zero.next_of(100))[2:] == ["0", "-2"]
        zero.send(4, 1, -1, "")
        while (await zero.next_of(3))[1:3] != ["-1", "Cancelled"]:
            pass


async def test_master_client_hears_of_everybodys_orders(clock: ManualClock) -> None:
    gateway = PaperGateway(clock=clock, market_always_open=True, master_client_id=9)
    async with gateway, raw_client(gateway) as master, connected(gateway) as ib:
        await master.handshake(client_id=9)
        await ib.place(await ib.stock("AAPL"), MarketOrder("BUY", 1, orderRef="theirs"), until=DONE)
        assert (await master.next_of(5))[23] == "theirs"
        await master.next_of(11)
        await master.next_of(59)
