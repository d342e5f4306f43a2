"""Scanners, news and the small print, as the client library meets them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree

import pytest
from ib_async import ScannerSubscription, TagValue

from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.simulator.server import PaperGateway
from tests.contract.clients import ACCOUNT, Client, RawClient, connected, raw_client

AAPL = 265598
CONTROL = {chr(code) for code in range(32)} | {"\u202e", "\u200b"}


# --- scanners ---


async def scan(ib: Client, code: str, *, location: str = "STK.US.MAJOR", **limits: object) -> list[str]:
    wanted = ScannerSubscription(instrument="STK", locationCode=location, scanCode=code, **limits)  # type: ignore[arg-type]
    rows = await ib.reqScannerDataAsync(wanted)
    assert [row.rank for row in rows] == list(range(len(rows)))
    return [row.contractDetails.contract.symbol for row in rows if row.contractDetails.contract]


async def test_scanner_ranks_by_the_gateways_own_prices(gateway: PaperGateway) -> None:
    aapl, msft = gateway.market.quote(AAPL).close, gateway.market.quote(272093).close
    assert aapl
    assert msft
    gateway.market.set_quote(AAPL, bid=aapl * 2, ask=aapl * 2, last=aapl * 2)
    gateway.market.set_quote(272093, bid=msft / 2, ask=msft / 2, last=msft / 2)
    async with connected(gateway) as ib, asyncio.timeout(5):
        active = await scan(ib, "MOST_ACTIVE")
        gainers, losers = await scan(ib, "TOP_PERC_GAIN"), await scan(ib, "TOP_PERC_LOSE")
        cheap = await scan(ib, "MOST_ACTIVE", belowPrice=30.0)
        few = await scan(ib, "MOST_ACTIVE", numberOfRows=2)
        nyse = await scan(ib, "MOST_ACTIVE", location="STK.NYSE")
    volumes = [gateway.market.quote(gateway.con_id(symbol)).volume or 0 for symbol in active]
    assert len(active) > 5
    assert volumes == sorted(volumes, reverse=True)
    assert (gainers[0], losers[0]) == ("AAPL", "MSFT")
    assert not set(gainers) & set(losers)
    assert 0 < len(cheap) < len(active)
    assert few == active[:2]
    assert "IBM" in nyse
    assert "AAPL" not in nyse


async def test_scanner_takes_filter_tags_and_refuses_what_it_does_not_know(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib, asyncio.timeout(5):
        wanted = ScannerSubscription(instrument="STK", locationCode="STK.US", scanCode="MOST_ACTIVE")
        everything = await ib.reqScannerDataAsync(wanted)
        dear = await ib.reqScannerDataAsync(wanted, scannerSubscriptionFilterOptions=[TagValue("priceAbove", "100")])
        funds = await ib.reqScannerDataAsync(replace(wanted, stockTypeFilter="ETF"))
        assert {"SPY", "QQQ"} <= {row.contractDetails.contract.symbol for row in funds if row.contractDetails.contract}
        assert len(funds) < len(everything)
        nothing = await ib.reqScannerDataAsync(wanted, scannerSubscriptionFilterOptions=[TagValue("priceAbove", "1e6")])
        assert 0 < len(dear) < len(everything)
        assert (list(nothing), ib.errors.codes()) == ([], [165])
        assert list(await ib.reqScannerDataAsync(replace(wanted, scanCode="NO_SUCH"))) == []
        assert list(await ib.reqScannerDataAsync(replace(wanted, marketCapAbove=1e9))) == []
        # The library cancels what was refused, which is a 365 each time.
        assert [code for code in ib.errors.codes() if code != 365] == [165, 162, 162]


async def test_scanner_is_repeated_until_cancelled(gateway: PaperGateway, clock: ManualClock) -> None:
    async with raw_client(gateway) as client:
        await client.handshake()
        ask_for_a_scan(client, 7)
        first = await client.next_of(20)
        await clock.advance(31)
        assert (await client.next_of(20))[:3] == first[:3]
        client.send(23, 1, 7)
        client.send(23, 1, 7)
        assert (await error_about(client, "7"))[3] == "365"


async def test_scanner_parameters_describe_what_can_be_scanned(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib, asyncio.timeout(5):
        document = ElementTree.fromstring(await ib.reqScannerParametersAsync())
        codes = [element.text or "" for element in document.iter("scanCode")]
        locations = [element.text or "" for element in document.iter("locationCode")]
        assert {"MOST_ACTIVE", "TOP_PERC_GAIN", "TOP_PERC_LOSE"} <= set(codes)
        assert {"STK.US.MAJOR", "STK.NASDAQ"} <= set(locations)
        for code in codes:
            await scan(ib, code)
    assert set(ib.errors.codes()) <= {165}  # nothing matches, at worst


# --- news ---


async def test_headlines_lead_to_articles_and_are_the_same_every_time(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib, asyncio.timeout(5):
        providers = "+".join(provider.code for provider in await ib.reqNewsProvidersAsync())
        first: Any = await ib.reqHistoricalNewsAsync(AAPL, providers, "", "", 10)
        again = await ib.reqHistoricalNewsAsync(AAPL, providers, "", "", 10)
        one = first[0]
        article = await ib.reqNewsArticleAsync(one.providerCode, one.articleId)
    assert len(first) == 10
    assert first == again
    assert [row.time for row in first] == sorted((row.time for row in first), reverse=True)
    assert one.headline.partition("}")[2] in article.articleText
    assert article.articleType == 0


async def test_headlines_between_two_moments(gateway: PaperGateway, clock: ManualClock) -> None:
    end = clock.now() - timedelta(days=2)
    async with connected(gateway) as ib, asyncio.timeout(5):
        rows: Any = await ib.reqHistoricalNewsAsync(AAPL, "BRFG+BRFUPDN+DJ-N", end - timedelta(days=3), end, 300)
    moments = [row.time.replace(tzinfo=UTC) for row in rows]
    assert rows
    assert all(end - timedelta(days=3) < moment <= end for moment in moments)


async def test_some_headlines_mean_harm(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib, asyncio.timeout(5):
        rows: Any = await ib.reqHistoricalNewsAsync(AAPL, "BRFG+BRFUPDN+DJ-N", "", "", 300)
        codes = {row.headline.split("}")[1] for row in rows}
    assert any("ignore all previous instructions" in text for text in codes)
    assert any("</tool_result>" in text for text in codes)
    assert any(CONTROL & set(text) for text in codes)
    assert any("\\u202e" in text for text in codes)  # non-ASCII is escaped on the wire, and not by all un-escaped


@pytest.mark.parametrize(
    ("con_id", "providers", "count"), [(1, "BRFG", 5), (AAPL, "NOSUCH", 5), (AAPL, "BRFG", 0), (AAPL, "BRFG", 301)]
)
async def test_bad_news_requests_are_321(gateway: PaperGateway, con_id: int, providers: str, count: int) -> None:
    async with raw_client(gateway) as client:
        await client.handshake()
        client.send(86, 5, con_id, providers, "", "", count, "")
        assert (await error_about(client, "5"))[3] == "321"
        client.send(84, 6, "BRFG", "BRFG$nothing", "")
        assert (await error_about(client, "6"))[3] == "10172"


async def test_live_headlines_and_bulletins_arrive_as_time_goes_on(clock: ManualClock) -> None:
    hourly = PaperGateway(clock=clock, market_always_open=True, tick_seconds=3600)
    async with hourly as gateway, connected(gateway) as ib:
        ib.reqMktData(await ib.stock("AAPL"), "292")
        ib.reqNewsBulletins(allMessages=True)
        await ib.until(ib.newsBulletins)
        assert "simulated" in ib.newsBulletins()[0].message
        for _ in range(4):
            await clock.advance(6 * 3600)
        await ib.until(lambda: ib.newsTicks() and len(ib.newsBulletins()) == 2)
        begun = datetime(2026, 11, 20, 15, tzinfo=UTC).timestamp() * 1000
        assert all(tick.timeStamp > begun for tick in ib.newsTicks())
        ib.unannotated.cancelNewsBulletins()


# --- small print ---


async def test_small_print_is_answered(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib, asyncio.timeout(5):
        await ib.unannotated.reqUserInfoAsync()
        assert ib.errors.codes() == []
    async with raw_client(gateway) as client:
        await client.handshake()
        client.send(79, 5)
        assert await client.next_of(77) == ["77", "5", "0"]
        client.send(80)
        assert (await client.next_of(78))[:4] == ["78", "2", ACCOUNT, ""]
        client.send(104, 9)
        assert await client.next_of(107) == ["107", "9", ""]
        client.send(67, 1, 11)
        assert await client.next_of(67) == ["67", "1", "11", ""]
        client.send(68, 1, 12, 1)
        assert await client.next_of(68) == ["68", "1", "12", "none"]


@pytest.mark.parametrize(
    ("fields", "about", "code"),
    [
        ((18, 1, 1), "-1", "321"),
        ((19, 1, 1, "<xml/>", 4), "-1", "321"),
        ((21, 2, 31, AAPL, "AAPL"), "31", "321"),
        ((52, 2, 32, AAPL, "AAPL", "STK", "SMART", "", "USD", "", "ReportSnapshot", 0, ""), "32", "10358"),
        ((100, 33), "33", "10276"),
        ((102, 34, AAPL), "34", "10276"),
        ((65, 1, "program", "1"), "-1", "320"),
    ],
)
async def test_what_this_login_may_not_ask_is_declined_by_code(
    gateway: PaperGateway, fields: tuple[object, ...], about: str, code: str
) -> None:
    async with raw_client(gateway) as client:
        await client.handshake()
        client.send(*fields)
        assert (await error_about(client, about))[3] == code


async def test_dead_fundamentals_end_the_call(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib, asyncio.timeout(5):
        assert not await ib.reqFundamentalDataAsync(await ib.stock("AAPL"), "ReportSnapshot")
        assert ib.errors.codes() == [10358]


def ask_for_a_scan(client: RawClient, req_id: int) -> None:
    client.send(22, req_id, -1, "STK", "STK.US.MAJOR", "MOST_ACTIVE", *[""] * 16, "", "")


async def error_about(client: RawClient, about: str) -> list[str]:
    """The next error about a request, leaving out the farm states."""
    while True:
        error = await client.next_of(4)
        if error[2] == about and error[3] not in ("2104", "2106", "2158"):
            return error
