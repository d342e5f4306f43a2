"""The instruments of the paper gateway as the unmodified client library sees them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from ib_async import Contract, ContractDetails, Crypto, Forex, Future, Index, MarketOrder, Option, Stock

from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.simulator.server import PaperGateway
from tests.contract.clients import ACCOUNT, Client, connected

DURING_EUROPE = datetime(2026, 11, 20, 14, 0, tzinfo=UTC)


async def details(ib: Client, contract: Contract) -> list[ContractDetails]:
    async with asyncio.timeout(5):
        return await ib.reqContractDetailsAsync(contract)


async def one(ib: Client, contract: Contract) -> ContractDetails:
    [found] = await details(ib, contract)
    return found


# --- looking up ---


@pytest.mark.parametrize(
    ("symbol", "exchange", "currency", "zone", "tick", "lot"),
    [
        ("ASML", "AEB", "EUR", "MET", 0.0001, 1),
        ("SAP", "IBIS", "EUR", "MET", 0.0001, 1),
        ("7203", "TSEJ", "JPY", "Japan", 0.1, 100),
        ("700", "SEHK", "HKD", "Hongkong", 0.001, 100),
        ("005930", "KSE", "KRW", "Asia/Seoul", 1, 1),
        ("BARC", "LSE", "GBP", "GB-Eire", 0.0001, 1),
        ("MC", "SBF", "EUR", "MET", 0.0001, 1),
        ("NESN", "EBS", "CHF", "MET", 0.0001, 1),
        ("BHP", "ASX", "AUD", "Australia/NSW", 0.001, 1),
        ("NOVO.B", "KFX", "DKK", "MET", 0.0001, 1),
        ("SHOP", "TSE", "CAD", "US/Eastern", 0.005, 1),
    ],
)
async def test_a_stock_abroad_has_its_exchange_s_zone_lot_and_price_grid(
    gateway: PaperGateway, symbol: str, exchange: str, currency: str, zone: str, tick: float, lot: int
) -> None:
    async with connected(gateway) as ib:
        found = await one(ib, Stock(symbol, exchange, currency))
        async with asyncio.timeout(5):
            rule = await ib.reqMarketRuleAsync(int(found.marketRuleIds.split(",")[0]))
    assert found.contract is not None
    assert (found.contract.primaryExchange, found.timeZoneId) == (exchange, zone)
    assert (found.minTick, found.minSize, found.sizeIncrement) == (tick, lot, lot)
    assert found.priceMagnifier == (100 if exchange == "LSE" else 1)
    assert rule is not None
    assert rule[0].increment == tick
    assert all(found.__dict__[name] for name in ("industry", "category", "subcategory", "longName", "tradingHours"))


async def test_ambiguous_symbols_come_with_every_listing_and_one_currency_may_not_be_enough(
    gateway: PaperGateway,
) -> None:
    async with connected(gateway) as ib:
        airbus = await details(ib, Stock("AIR", "SMART", "EUR"))
        bhp = await details(ib, Stock("BHP", "SMART"))
        async with asyncio.timeout(5):
            search = await ib.reqMatchingSymbolsAsync("BHP")
    assert [row.contract.primaryExchange for row in airbus if row.contract] == ["SBF", "IBIS"]
    assert {row.contract.currency for row in bhp if row.contract} == {"USD", "AUD", "GBP"}
    assert {row.contract.currency for row in search or () if row.contract} == {"USD", "AUD", "GBP"}


async def test_an_option_is_found_by_its_terms_and_names_its_underlying(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib:
        found = await one(ib, Option("AAPL", "20261218", 170, "C", "SMART"))
        strikes = await details(ib, Option("AAPL", "20261218", 0, "P", "SMART"))
    assert found.contract is not None
    assert found.contract.localSymbol == "AAPL  261218C00170000"
    assert (found.contract.multiplier, found.contract.tradingClass) == ("100", "AAPL")
    assert (found.underConId, found.underSymbol, found.underSecType) == (265598, "AAPL", "STK")
    assert (found.contractMonth, found.realExpirationDate) == ("202612", "20261218")
    assert len(strikes) > 20
    assert {row.contract.right for row in strikes if row.contract} == {"P"}


async def test_futures_months_an_index_and_a_coin_are_found(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib:
        months = await details(ib, Future("ES", exchange="CME"))
        front = await one(ib, Future("CL", "202701", "NYMEX"))
        index = await one(ib, Index("SPX", "CBOE", "USD"))
        coin = await one(ib, Crypto("BTC", "PAXOS", "USD"))
    assert [row.contract.localSymbol for row in months if row.contract][:2] == ["ESZ6", "ESH7"]
    assert (months[0].underSymbol, months[0].minTick) == ("SPX", 0.25)
    assert front.contract is not None
    assert (front.contract.localSymbol, front.contract.lastTradeDateOrContractMonth) == ("CLF7", "20261221")
    assert index.contract is not None
    assert index.contract.secType == "IND"
    assert coin.minSize == 1e-8


async def test_what_has_expired_is_found_no_more_not_even_by_its_id(clock: ManualClock) -> None:
    async with PaperGateway(clock=clock) as gateway, connected(gateway) as ib:
        [found] = await details(ib, Option("AAPL", "20261120", 170, "C", "SMART"))
        assert found.contract is not None
        await clock.advance(10 * 3600)
        assert await details(ib, Contract(conId=found.contract.conId)) == []
        assert ib.errors[-1][1] == 200


# --- market data ---


@pytest.mark.parametrize(
    "contract",
    [
        Option("AAPL", "20261218", 170, "C", "SMART"),
        Option("SPX", "20261218", 1250, "P", "CBOE", tradingClass="SPX"),
        Future("ES", "202612", "CME"),
        Future("GC", "202612", "COMEX"),
        Forex("CADJPY"),
        Crypto("BTC", "PAXOS", "USD"),
        Stock("7203", "TSEJ", "JPY"),
    ],
    ids=lambda contract: f"{contract.symbol} {contract.secType}",
)
async def test_every_kind_has_a_quote(gateway: PaperGateway, contract: Contract) -> None:
    async with connected(gateway) as ib, asyncio.timeout(5):
        [qualified] = await ib.qualifyContractsAsync(contract)
        assert isinstance(qualified, Contract)
        [ticker] = await ib.reqTickersAsync(qualified)
    assert 0 < ticker.bid < ticker.ask
    assert ticker.bidSize > 0
    assert (ticker.last > 0) is (contract.secType != "CASH")


async def test_an_index_is_quoted_and_not_traded(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib, asyncio.timeout(5):
        [index] = await ib.qualifyContractsAsync(Index("SPX", "CBOE", "USD"))
        assert isinstance(index, Contract)
        [ticker] = await ib.reqTickersAsync(index)
        trade = ib.placeOrder(index, MarketOrder("BUY", 1, account=ACCOUNT))
        await ib.until(lambda: trade.isDone())
    assert ticker.last > 0
    assert ticker.bid == ticker.ask == -1
    assert 412 in ib.errors.codes()


async def test_what_nobody_subscribed_to_is_refused_or_delayed(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib, asyncio.timeout(5):
        contracts = await ib.qualifyContractsAsync(Stock("VOW3", "SMART", "EUR"), Stock("GLEN", "SMART", "GBP"))
        nothing, later = (contract for contract in contracts if isinstance(contract, Contract))
        for contract in (nothing, later):
            await ib.reqTickersAsync(contract)
        assert ib.errors.codes() == [354, 10089]
        ib.reqMarketDataType(3)
        for contract in (nothing, later):
            await ib.reqTickersAsync(contract)
        assert ib.errors.codes() == [354, 10089, 354, 10167]
        ticker = ib.ticker(later)
        assert ticker is not None
        assert (ticker.marketDataType, ticker.bid > 0) == (3, True)
        bars = await ib.reqHistoricalDataAsync(nothing, "", "1 D", "1 hour", "TRADES", useRTH=True)
        assert not bars
        assert "No market data permissions for IBIS STK" in ib.errors[-1][2]


# --- positions ---


async def test_a_yen_position_counts_in_dollars_at_the_yen_s_rate(gateway: PaperGateway) -> None:
    gateway.market.set_quote(gateway.con_id("USD.JPY"), bid="99.995", ask="100.005")
    gateway.market.set_quote(gateway.con_id("7203"), bid="4999", ask="5001", last="5000")
    gateway.add_position(ACCOUNT, "7203", 200, 4800)

    async with connected(gateway, account=ACCOUNT) as ib:
        [row] = ib.portfolio(ACCOUNT)
        values = {(row.tag, row.currency): row.value for row in ib.accountValues(ACCOUNT)}

    assert (row.contract.currency, row.marketPrice, row.marketValue) == ("JPY", 5000, 1_000_000)
    assert row.unrealizedPNL == 40_000
    assert values["StockMarketValue", "BASE"] == values["GrossPositionValue", "USD"] == "10000.00"
    assert values["NetLiquidation", "USD"] == "1010000.00"
