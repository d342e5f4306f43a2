"""Streams beside quotes, and the tape behind them, as the client library meets them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ib_async import Contract, Index

from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.simulator.server import PaperGateway
from tests.contract.clients import connected

AAPL = 265598


async def test_depth_follows_the_book_and_names_venues(gateway: PaperGateway, clock: ManualClock) -> None:
    gateway.market.set_quote(AAPL, bid="199.98", ask="200.00")
    async with connected(gateway) as ib:
        ticker = ib.reqMktDepth(await ib.stock("AAPL"), numRows=5, isSmartDepth=True)
        await ib.until(lambda: len(ticker.domBids) == 5 and len(ticker.domAsks) == 5)
        assert [row.price for row in ticker.domBids] == [199.98, 199.97, 199.96, 199.95, 199.94]
        assert [row.price for row in ticker.domAsks] == [200.0, 200.01, 200.02, 200.03, 200.04]
        assert all(row.marketMaker and row.size > 0 for row in ticker.domBids)
        gateway.market.set_quote(AAPL, bid="198.00", ask="198.02")
        await clock.advance(1)
        await ib.until(lambda: ticker.domBids[0].price == 198.0 and ticker.domAsks[4].price == 198.06)
        gateway.market.withdraw_quote(AAPL)
        await clock.advance(1)
        await ib.until(lambda: not ticker.domBids and not ticker.domAsks)


async def test_fourth_book_is_309_and_an_index_has_none(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib:
        for symbol in ("AAPL", "MSFT", "IBM", "GOOG"):
            ib.reqMktDepth(await ib.stock(symbol))
        await ib.until(lambda: 309 in ib.errors.codes())
        [index] = await ib.qualifyContractsAsync(Index("SPX", "CBOE", "USD"))
        assert isinstance(index, Contract)
        ib.reqMktDepth(index)
        await ib.until(lambda: 10092 in ib.errors.codes())


async def test_depth_exchanges_and_smart_components_are_listed(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib, asyncio.timeout(5):
        exchanges = await ib.reqMktDepthExchangesAsync()
        components = await ib.unannotated.reqSmartComponentsAsync("9c0001")
    assert ("NASDAQ", "STK") in {(row.exchange, row.secType) for row in exchanges}
    assert ("IDEALPRO", "CASH") in {(row.exchange, row.secType) for row in exchanges}
    assert ("NASDAQ", "Q") in {(row.exchange, row.exchangeLetter) for row in components}


async def test_single_ticks_tell_trades_quotes_and_middles(gateway: PaperGateway, clock: ManualClock) -> None:
    gateway.market.set_quote(AAPL, bid="199.98", ask="200.00", last="199.99")
    async with connected(gateway) as ib:
        aapl, msft = await ib.stock("AAPL"), await ib.stock("MSFT")
        ticker: Any = ib.reqTickByTickData(aapl, "AllLast")
        quotes: Any = ib.reqTickByTickData(msft, "BidAsk")
        await ib.reqCurrentTimeAsync()  # the gateway has read both
        gateway.market.set_quote(AAPL, bid="200.98", ask="201.00", last="200.99")
        gateway.market.set_quote(gateway.con_id("MSFT"), bid="99.98", ask="100.00")
        await clock.advance(1)
        await ib.until(lambda: any(tick.price == 200.99 for tick in ticker.tickByTicks))
        await ib.until(lambda: any(tick.bidPrice == 99.98 and tick.askPrice == 100.0 for tick in quotes.tickByTicks))
        ib.cancelTickByTickData(aapl, "AllLast")
        ib.cancelTickByTickData(msft, "BidAsk")
        ticker = ib.reqTickByTickData(aapl, "MidPoint")
        await ib.reqCurrentTimeAsync()
        gateway.market.set_quote(AAPL, bid="202.00", ask="202.02")
        await clock.advance(1)
        await ib.until(lambda: any(getattr(tick, "midPoint", 0) == 202.01 for tick in ticker.tickByTicks))


async def test_single_ticks_of_a_pair_have_no_trades_and_a_sixth_stream_is_10190(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib:
        ib.reqTickByTickData(await ib.forex("EURUSD"), "Last")
        await ib.until(lambda: ib.errors.codes() == [10189])
        for symbol in ("AAPL", "MSFT", "IBM", "GOOG", "SPY", "QQQ"):
            ib.reqTickByTickData(await ib.stock(symbol), "Last")
        await ib.until(lambda: ib.errors.codes() == [10189, 10190])


async def test_five_second_bars_come_every_five_seconds(gateway: PaperGateway, clock: ManualClock) -> None:
    async with connected(gateway) as ib:
        bars = ib.reqRealTimeBars(await ib.stock("AAPL"), 5, "TRADES", False)
        for _ in range(11):
            await clock.advance(1)
        await ib.until(lambda: len(bars) == 2)
        assert bars[1].time - bars[0].time == timedelta(seconds=5)
        assert bars[0].low <= bars[0].open_ <= bars[0].high
        assert bars[0].volume > 0
        ib.cancelRealTimeBars(bars)
        ib.reqRealTimeBars(await ib.forex("EURUSD"), 5, "TRADES", False)
        await ib.until(lambda: 420 in ib.errors.codes())


async def test_past_ticks_agree_with_bars(gateway: PaperGateway, clock: ManualClock) -> None:
    await clock.advance(120)
    end = clock.now().replace(second=0)
    async with connected(gateway) as ib, asyncio.timeout(5):
        aapl = await ib.stock("AAPL")
        trades = await ib.reqHistoricalTicksAsync(aapl, "", end, 60, "TRADES", False)
        quotes = await ib.reqHistoricalTicksAsync(aapl, end - timedelta(seconds=60), "", 60, "BID_ASK", False)
        middles = await ib.reqHistoricalTicksAsync(aapl, "", end, 10, "MIDPOINT", False)
        [bar] = await ib.reqHistoricalDataAsync(aapl, end, "60 S", "1 min", "TRADES", True)
    assert [tick.time for tick in quotes] == [end - timedelta(seconds=60 - number) for number in range(60)]
    assert (trades[0].price, trades[-1].price) == (bar.open, bar.close)
    assert (max(tick.price for tick in trades), min(tick.price for tick in trades)) == (bar.high, bar.low)
    assert all(quote.priceBid <= trade.price <= quote.priceAsk for quote, trade in zip(quotes, trades, strict=True))
    assert middles[-1].price == pytest.approx((quotes[-1].priceBid + quotes[-1].priceAsk) / 2)


async def test_past_ticks_skip_the_hours_when_the_exchange_is_closed(clock: ManualClock) -> None:
    opening = datetime(2026, 11, 20, 14, 30, tzinfo=UTC)
    async with PaperGateway(clock=clock) as gateway, connected(gateway) as ib, asyncio.timeout(5):
        aapl = await ib.stock("AAPL")
        ticks = await ib.reqHistoricalTicksAsync(aapl, "", opening + timedelta(seconds=2), 4, "TRADES", True)
        ahead = await ib.reqHistoricalTicksAsync(aapl, datetime(2026, 11, 19, 22, tzinfo=UTC), "", 2, "TRADES", True)
    closing = datetime(2026, 11, 19, 21, tzinfo=UTC)
    assert [tick.time for tick in ticks] == [
        *(closing - timedelta(seconds=2), closing - timedelta(seconds=1)),
        *(opening, opening + timedelta(seconds=1)),
    ]
    assert [tick.time for tick in ahead] == [opening, opening + timedelta(seconds=1)]


async def test_streams_without_permission_are_refused_each_by_its_code(gateway: PaperGateway) -> None:
    gateway.faults.deny_live_data()
    async with connected(gateway) as ib:
        aapl = await ib.stock("AAPL")
        ib.reqMktDepth(aapl)
        ib.reqTickByTickData(aapl, "Last")
        ib.reqRealTimeBars(aapl, 5, "TRADES", False)
        await ib.until(lambda: ib.errors.codes() == [354, 10189, 420])


async def test_past_ticks_and_beginnings_need_the_history_farm(gateway: PaperGateway) -> None:
    gateway.faults.farm_lost("history")
    async with connected(gateway) as ib, asyncio.timeout(5):
        aapl = await ib.stock("AAPL")
        assert not await ib.reqHistoricalTicksAsync(aapl, "", datetime(2026, 11, 20, tzinfo=UTC), 5, "TRADES", True)
        assert not await ib.reqHistogramDataAsync(aapl, True, "1 day")
        await ib.reqHeadTimeStampAsync(aapl, "TRADES", True, 1)
        assert [code for code in ib.errors.codes() if code != 2105] == [162, 162, 162]


async def test_histogram_counts_the_days_volume_by_price(gateway: PaperGateway, clock: ManualClock) -> None:
    await clock.advance(600)
    async with connected(gateway) as ib, asyncio.timeout(5):
        aapl = await ib.stock("AAPL")
        rows = await ib.reqHistogramDataAsync(aapl, True, "1 day")
        [bar] = await ib.reqHistoricalDataAsync(aapl, "", "1 D", "1 day", "TRADES", True)
    assert [row.price for row in rows] == sorted(row.price for row in rows)
    assert sum(row.count for row in rows) == bar.volume
    assert bar.low <= rows[0].price <= rows[-1].price <= bar.high


async def test_generic_ticks_come_only_when_asked_for(gateway: PaperGateway, clock: ManualClock) -> None:
    gateway.market.set_quote(AAPL, bid="199.98", ask="200.00", last="199.99")
    async with connected(gateway) as ib:
        aapl = await ib.stock("AAPL")
        ticker = ib.reqMktData(aapl, "165,221,233,236")
        await ib.until(lambda: ticker.markPrice == 199.99 and ticker.shortableShares == 5_000_000)
        await ib.until(lambda: ticker.low52week <= ticker.high52week)
        await ib.until(lambda: ticker.avVolume > 0 and ticker.rtVolume > 0)
        ib.cancelMktData(aapl)
        ib.reqMktData(await ib.stock("MSFT"), "998")
        await ib.until(lambda: 321 in ib.errors.codes())
