"""What the gateway makes of single orders' terms, and the codes with which it refuses those that make no order."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from ib_async import Contract, Future, LimitOrder, MarketOrder, Option, Order

from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.simulator.server import PaperGateway
from tests.contract.clients import ACCOUNT, Client, connected

AAPL = 265598
DONE = ("Filled", "Cancelled", "Inactive")


def order(kind: str, action: str = "BUY", quantity: float = 10, **terms: Any) -> Order:
    return Order(action=action, totalQuantity=quantity, orderType=kind, account=ACCOUNT, **{"tif": "DAY", **terms})


def quote(gateway: PaperGateway, bid: str, ask: str, last: str | None = None) -> None:
    gateway.market.set_quote(AAPL, bid=bid, ask=ask, last=last)


# --- trailing ---


async def test_trailing_percentage_follows_a_falling_market_for_a_buyer(
    gateway: PaperGateway, clock: ManualClock
) -> None:
    quote(gateway, "199.98", "200.02", "200.00")
    async with connected(gateway) as ib:
        trail = order("TRAIL", trailingPercent=2)
        trade = await ib.place(await ib.stock("AAPL"), trail, until=("PreSubmitted",))
        stops = []
        for last in ("200.00", "190.00", "193.00"):
            quote(gateway, last, last, last)
            await clock.advance(1)
            stops.append(str(gateway.exchange.open_orders()[0].stop_price))
        assert stops == ["204.00", "193.80", "193.80"]
        quote(gateway, "194.00", "194.02", "194.00")
        await clock.advance(1)
        await ib.until(trade.isDone)
        assert trade.orderStatus.avgFillPrice == 194.02


async def test_trailing_limit_takes_its_limit_along(gateway: PaperGateway, clock: ManualClock) -> None:
    gateway.add_position(ACCOUNT, "AAPL", 10, 150)
    quote(gateway, "199.98", "200.02", "200.00")
    async with connected(gateway) as ib:
        trail = order("TRAIL LIMIT", "SELL", auxPrice=5, lmtPriceOffset=0.5, trailStopPrice=190)
        trade = await ib.place(await ib.stock("AAPL"), trail, until=("PreSubmitted",))
        quote(gateway, "205.98", "206.02", "206.00")
        await clock.advance(1)
        [live] = gateway.exchange.open_orders()
        assert [str(live.stop_price), str(live.limit_price)] == ["201.00", "200.50"]
        quote(gateway, "200.40", "200.44", "200.40")
        await clock.advance(1)
        await ib.until(lambda: trade.orderStatus.status == "Submitted")
        assert trade.filled() == 0
        quote(gateway, "200.60", "200.64", "200.60")
        await clock.advance(1)
        await ib.until(trade.isDone)
        assert trade.orderStatus.avgFillPrice == 200.60


async def test_trailing_stop_changed_keeps_the_level_that_it_reached(gateway: PaperGateway, clock: ManualClock) -> None:
    gateway.add_position(ACCOUNT, "AAPL", 10, 150)
    quote(gateway, "210.00", "210.02", "210.00")
    async with connected(gateway) as ib:
        aapl = await ib.stock("AAPL")
        trade = await ib.place(aapl, order("TRAIL", "SELL", auxPrice=5), until=("PreSubmitted",))
        quote(gateway, "207.00", "207.02", "207.00")
        await clock.advance(1)
        trade.order.auxPrice, trade.order.trailStopPrice = 20, 1.7976931348623157e308
        ib.send_order(aapl, trade.order)
        await ib.until(lambda: gateway.exchange.open_orders()[0].terms.aux_price == 20)
        assert gateway.exchange.open_orders()[0].stop_price == 205


# --- times ---


async def test_order_good_after_a_time_waits_for_it(gateway: PaperGateway, clock: ManualClock) -> None:
    quote(gateway, "199.98", "200.00")
    async with connected(gateway) as ib:
        later = order("MKT", goodAfterTime="20261120 10:05:00 US/Eastern")
        trade = await ib.place(await ib.stock("AAPL"), later, until=("PreSubmitted",))
        await clock.advance(299)
        assert trade.isActive()
        await clock.advance(1)
        await ib.until(trade.isDone)
        assert trade.orderStatus.status == "Filled"


async def test_day_order_expires_and_a_lasting_one_lives_on_across_a_restart(
    clock: ManualClock, tmp_path: Path
) -> None:
    async with PaperGateway(clock=clock, state_dir=tmp_path) as gateway, connected(gateway) as ib:
        aapl = await ib.stock("AAPL")
        for tif in ("DAY", "GTC"):
            await ib.place(aapl, LimitOrder("BUY", 1, 1, tif=tif, orderRef=tif), until=("Submitted",))
    clock.step_wall(timedelta(hours=30))
    async with PaperGateway(clock=clock, state_dir=tmp_path) as gateway:
        await gateway.tick()
        assert [found.terms.order_ref for found in gateway.exchange.open_orders()] == ["GTC"]


# --- refusals ---


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (order("LMT"), 107),
        (order("STP"), 463),
        (order("STP", auxPrice=0), 463),
        (order("STP LMT", auxPrice=190), 107),
        (order("MIT"), 463),
        (order("TRAIL"), 321),
        (order("TRAIL", auxPrice=1, trailingPercent=1), 321),
        (order("TRAIL LIMIT", auxPrice=1), 321),
        (order("MKT", quantity=0, cashQty=1000), 10244),
        (order("MKT", whatIf=True, transmit=False), 413),
        (order("LMT", lmtPrice=1, tif="GTD", goodTillDate="20261119 10:00:00 US/Eastern"), 201),
        (order("LMT", lmtPrice=1, tif="GTD", goodTillDate="tomorrow"), 321),
        (order("LMT", lmtPrice=1, goodAfterTime="later"), 321),
    ],
)
async def test_terms_that_make_no_order_are_refused(gateway: PaperGateway, bad: Order, code: int) -> None:
    async with connected(gateway) as ib:
        bad.orderId = ib.client.getReqId()
        ib.send_order(await ib.stock("AAPL"), bad)
        await ib.until(lambda: ib.errors.codes(bad.orderId) == [code])
        assert gateway.exchange.orders() == []


async def test_condition_that_the_gateway_could_not_watch_is_refused_and_not_forgotten(gateway: PaperGateway) -> None:
    from ib_async import PriceCondition

    async with connected(gateway) as ib:
        conditional = order("MKT", conditions=[PriceCondition(isMore=True, price=300, conId=AAPL, exch="SMART")])
        conditional.orderId = ib.client.getReqId()
        ib.send_order(await ib.stock("AAPL"), conditional)
        await ib.until(lambda: ib.errors.codes(conditional.orderId) == [10340])


async def test_index_is_not_for_trading(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib:
        market = order("MKT")
        market.orderId = ib.client.getReqId()
        ib.send_order(Contract(conId=gateway.con_id("SPX"), exchange="CBOE"), market)
        await ib.until(lambda: ib.errors.codes(market.orderId) == [412])


# --- money ---


async def future(ib: Client) -> Contract:
    [found, *_] = await ib.reqContractDetailsAsync(Future("ES", exchange="CME"))
    assert found.contract is not None
    return found.contract


async def test_future_costs_margin_and_its_commission_and_pays_its_gain_when_closed(
    gateway: PaperGateway, clock: ManualClock
) -> None:
    async with connected(gateway) as ib:
        contract = await future(ib)
        gateway.market.set_quote(contract.conId, bid="1000.00", ask="1000.25", last="1000.00")
        state = await ib.whatIfOrderAsync(contract, order("MKT", quantity=2))
        assert (float(state.initMarginChange), float(state.maintMarginChange), state.commission) == (10_000, 9_000, 4.5)
        await ib.place(contract, order("MKT", quantity=2), until=DONE)
        assert gateway.accounts.by_code[ACCOUNT].cash["USD"] == 1_000_000 - 4.5
        gateway.market.set_quote(contract.conId, bid="1010.25", ask="1010.50", last="1010.25")
        sold = await ib.place(contract, order("MKT", "SELL", quantity=2), until=DONE)
        await ib.until(lambda: sold.fills and sold.fills[0].commissionReport.execId)
        assert gateway.accounts.by_code[ACCOUNT].cash["USD"] == 1_000_000 - 9 + 1_000
        assert sold.fills[0].commissionReport.realizedPNL == 1_000 - 9


async def test_option_is_paid_with_its_multiplier(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib:
        [details, *_] = await ib.reqContractDetailsAsync(Option("AAPL", exchange="SMART", currency="USD", right="C"))
        assert details.contract is not None
        gateway.market.set_quote(details.contract.conId, bid="5.00", ask="5.10", last="5.00")
        await ib.place(details.contract, order("LMT", quantity=3, lmtPrice=5.10), until=DONE)
        account = gateway.accounts.by_code[ACCOUNT]
        assert account.cash["USD"] == 1_000_000 - 3 * 510 - Decimal("1.95")
        assert account.positions[details.contract.conId].quantity == 3


async def test_stock_in_another_currency_is_paid_in_it_and_a_pair_exchanges_both(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib:
        sap, pair = await ib.stock("SAP", "EUR"), await ib.forex("EURUSD")
        gateway.market.set_quote(sap.conId, bid="99.98", ask="100.00")
        gateway.market.set_quote(pair.conId, bid="1.25000", ask="1.25005")
        await ib.place(sap, order("MKT", quantity=10), until=DONE)
        await ib.place(pair, order("MKT", quantity=20_000), until=DONE)
        cash = gateway.accounts.by_code[ACCOUNT].cash
        assert cash == {"EUR": Decimal(20_000 - 1_000 - 3), "USD": Decimal(1_000_000 - 25_001 - 2)}


async def test_order_beyond_the_accounts_funds_is_201_and_says_what_there_is(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib:
        contract = await future(ib)
        gateway.market.set_quote(contract.conId, bid="1000.00", ask="1000.25", last="1000.00")
        trade = await ib.place(contract, MarketOrder("BUY", 201), until=("Inactive",))
        assert "1000000.00 USD are available" in trade.log[-2].message + trade.log[-1].message


async def test_expired_option_is_paid_out_and_leaves_the_positions_and_the_orders(clock: ManualClock) -> None:
    async with PaperGateway(clock=clock) as gateway, connected(gateway) as ib:
        wanted = Option("AAPL", "20261120", 100, "C", "SMART", currency="USD")
        [details] = await ib.reqContractDetailsAsync(wanted)
        assert details.contract is not None
        gateway.market.set_quote(details.contract.conId, bid="0.99", ask="1.00")
        await ib.place(details.contract, order("MKT", quantity=2), until=DONE)
        lasting = order("LMT", "SELL", quantity=2, lmtPrice=900, tif="GTC")
        trade = await ib.place(details.contract, lasting, until=("Submitted",))
        gateway.market.set_quote(AAPL, bid="130.00", ask="130.00", last="130.00")
        clock.step_wall(timedelta(days=1))
        await clock.advance(1)
        await ib.until(lambda: trade.isDone() and not ib.positions())
        assert gateway.accounts.by_code[ACCOUNT].cash["USD"] == 1_000_000 - 200 - Decimal("1.30") + 2 * 30 * 100
