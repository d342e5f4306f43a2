"""Option chains, greeks and option arithmetic, as the client library meets them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from ib_async import Contract, Index, Option

from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.simulator.server import PaperGateway
from tests.contract.clients import Client, connected


async def option(ib: Client, symbol: str = "AAPL", right: str = "C") -> Contract:
    """An option of the third expiry, at the strike nearest to the price."""
    stock = await ib.stock(symbol)
    [ticker] = await ib.reqTickersAsync(stock)
    chain = next(row for row in await chains(ib, stock) if row.exchange == "SMART")
    strike = min(chain.strikes, key=lambda strike: abs(strike - ticker.last))
    [found] = await ib.qualifyContractsAsync(Option(symbol, chain.expirations[2], strike, right, "SMART"))
    assert isinstance(found, Contract)
    return found


async def chains(ib: Client, underlying: Contract) -> list[Any]:
    return list(await ib.reqSecDefOptParamsAsync(underlying.symbol, "", underlying.secType, underlying.conId))


async def test_chain_names_expirations_and_strikes_that_resolve(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib, asyncio.timeout(10):
        contract = await option(ib)
        [index] = await ib.qualifyContractsAsync(Index("SPX", "CBOE", "USD"))
        assert isinstance(index, Contract)
        of_index = await chains(ib, index)
        of_none = await chains(ib, await ib.stock("IBM"))
        assert contract.secType == "OPT"
        assert contract.multiplier == "100"
        assert {row.tradingClass for row in of_index} == {"SPX", "SPXW"}
        assert of_none == []
        assert ib.errors.codes() == []


async def test_chain_of_an_unknown_underlying_is_321(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib:
        asking = asyncio.ensure_future(ib.reqSecDefOptParamsAsync("AAPL", "", "STK", 1))
        await ib.until(lambda: ib.errors.codes() == [321])
        asking.cancel()


async def test_quotes_of_options_carry_greeks(gateway: PaperGateway, clock: ManualClock) -> None:
    async with connected(gateway) as ib, asyncio.timeout(10):
        call, put = await option(ib), await option(ib, right="P")
        streamed = ib.reqMktData(call)
        await ib.until(lambda: streamed.modelGreeks and streamed.bidGreeks and streamed.askGreeks)
        [of_put] = await ib.reqTickersAsync(put)
        assert streamed.modelGreeks
        assert of_put.modelGreeks
        assert 0.2 < (streamed.modelGreeks.delta or 0) < 0.8
        assert -0.8 < (of_put.modelGreeks.delta or 0) < -0.2
        assert (streamed.modelGreeks.theta or 0) < 0 < (streamed.modelGreeks.vega or 0)
        assert (streamed.modelGreeks.gamma or 0) > 0
        assert streamed.bid < (streamed.modelGreeks.optPrice or 0) < streamed.ask
        assert streamed.bidGreeks
        assert streamed.askGreeks
        assert (streamed.bidGreeks.impliedVol or 0) < (streamed.askGreeks.impliedVol or 0)


async def test_delayed_greeks_use_the_delayed_types(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib, asyncio.timeout(10):
        contract = await option(ib)
        gateway.faults.deny_live_data()
        ib.reqMarketDataType(3)
        ticker = ib.reqMktData(contract)
        await ib.until(lambda: ticker.modelGreeks and ticker.marketDataType == 3)


async def test_price_and_volatility_are_each_others_inverse(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib, asyncio.timeout(10):
        contract = await option(ib)
        at = contract.strike
        priced = await ib.calculateOptionPriceAsync(contract, volatility=0.4, underPrice=at)
        assert priced
        assert priced.optPrice
        explained = await ib.calculateImpliedVolatilityAsync(contract, optionPrice=priced.optPrice, underPrice=at)
        assert explained
        assert explained.impliedVol == pytest.approx(0.4, abs=1e-4)
        assert explained.undPrice == at


async def test_arithmetic_on_nonsense_is_321(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib:
        contract = await option(ib)
        for number, (volatility, price) in enumerate([(0.4, 0.0), (-1.0, 100.0)], start=1):
            asking = asyncio.create_task(ib.calculateOptionPriceAsync(contract, volatility, price))
            await ib.until(lambda number=number: ib.errors.codes() == [321] * number)  # type: ignore[misc]
            asking.cancel()
        asking = asyncio.create_task(ib.calculateImpliedVolatilityAsync(await ib.stock("AAPL"), 1.0, 100.0))
        await ib.until(lambda: ib.errors.codes() == [321] * 3)
        asking.cancel()
