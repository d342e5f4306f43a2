"""Which kind of data a client is shown, and when; bars of every kind; accounts asked for one by one."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.simulator.server import PaperGateway
from tests.contract.clients import ACCOUNT, RawClient, connected, raw_client

AAPL = 265598
A_SATURDAY = datetime(2026, 11, 21, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("asked", "denied", "closed", "told"),
    [
        (1, False, False, 1),
        (1, False, True, 1),
        (2, False, True, 2),
        (2, False, False, 1),
        (3, False, False, 1),
        (3, True, False, 3),
        (3, True, True, 3),
        (4, True, True, 4),
        (4, True, False, 3),
    ],
)
async def test_data_type_that_is_told_is_the_one_shown(asked: int, denied: bool, closed: bool, told: int) -> None:
    clock = ManualClock(A_SATURDAY) if closed else ManualClock()
    async with PaperGateway(clock=clock) as gateway, connected(gateway) as ib, asyncio.timeout(5):
        if denied:
            gateway.faults.deny_live_data()
        aapl = await ib.stock("AAPL")
        ib.reqMarketDataType(asked)
        [ticker] = await ib.reqTickersAsync(aapl)
        assert ticker.marketDataType == told
        assert ticker.hasBidAsk()


async def test_bars_of_bid_and_ask_enclose_the_middle(gateway: PaperGateway, clock: ManualClock) -> None:
    await clock.advance(300)
    async with connected(gateway) as ib, asyncio.timeout(5):
        aapl = await ib.stock("AAPL")
        kinds = {
            what: await ib.reqHistoricalDataAsync(aapl, "", "300 S", "1 min", what, True)
            for what in ("BID", "ASK", "BID_ASK")
        }
    for bid, ask, both in zip(*kinds.values(), strict=True):
        assert (both.low, both.high) == (bid.low, ask.high)
        assert bid.low <= both.open <= bid.high
        assert ask.low <= both.close <= ask.high


async def test_historical_volatility_is_a_years_and_daily_only(gateway: PaperGateway, clock: ManualClock) -> None:
    await clock.advance(60)  # a world just begun has no bar of today yet
    async with connected(gateway) as ib, asyncio.timeout(5):
        aapl = await ib.stock("AAPL")
        bars = await ib.reqHistoricalDataAsync(aapl, "", "10 D", "1 day", "HISTORICAL_VOLATILITY", True)
        assert len(bars) == 10
        assert all(0.05 < bar.close < 2 for bar in bars)
        hourly = asyncio.ensure_future(
            ib.reqHistoricalDataAsync(aapl, "", "2 D", "1 hour", "HISTORICAL_VOLATILITY", True)
        )
        await ib.until(lambda: ib.errors.codes() == [321])
        hourly.cancel()


async def test_implied_volatility_is_that_of_the_options_and_absent_without_any(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib, asyncio.timeout(5):
        aapl, ibm = await ib.stock("AAPL"), await ib.stock("IBM")
        bars = await ib.reqHistoricalDataAsync(aapl, "", "5 D", "1 day", "OPTION_IMPLIED_VOLATILITY", True)
        assert {bar.close for bar in bars} == {0.38}
        assert not await ib.reqHistoricalDataAsync(ibm, "", "5 D", "1 day", "OPTION_IMPLIED_VOLATILITY", True)
        assert ib.errors.codes() == [162]


async def test_positions_and_values_of_one_account_are_pushed_until_cancelled(gateway: PaperGateway) -> None:
    async with raw_client(gateway) as client:
        await client.handshake()
        client.send(74, 1, 5, ACCOUNT, "")
        await client.next_of(72)
        client.send(76, 1, 6, ACCOUNT, "", 0)
        assert (await client.next_of(73))[2:5] == ["6", ACCOUNT, ""]
        await client.next_of(74)
        gateway.add_position("DU9000002", "MSFT", 3, 20)
        gateway.add_position(ACCOUNT, "AAPL", 7, 150)
        row = await client.next_of(71)
        assert (row[2], row[3], row[5], row[-3]) == ("5", ACCOUNT, "AAPL", "7")
        assert await client.next_of(73)
        client.send(75, 1, 5)
        client.send(77, 1, 6)
        client.send(49, 1)
        await client.next_of(49)
        gateway.add_position(ACCOUNT, "AAPL", 8, 150)
        client.send(49, 1)
        assert await ids_until(client, 49) == []


async def test_accounts_that_are_not_there_are_321_in_every_request(gateway: PaperGateway) -> None:
    async with raw_client(gateway) as client:
        await client.handshake()
        client.send(74, 1, 5, "U1", "")
        client.send(76, 1, 6, "U1", "", 0)
        client.send(92, 7, "U1", "")
        client.send(94, 8, "U1", "", AAPL)
        client.send(6, 2, 1, "U1")
        client.send(49, 1)
        told = []
        while (fields := await client.next())[0] != "49":
            told += [(fields[2], fields[3])] if fields[0] == "4" and fields[3] == "321" else []
        assert told == [("5", "321"), ("6", "321"), ("7", "321"), ("8", "321"), ("-1", "321")]


async def ids_until(client: RawClient, last: int) -> list[str]:
    """The kinds of the messages before the next one of kind `last`."""
    found = []
    while (fields := await client.next())[0] != str(last):
        found.append(fields[0])
    return found
