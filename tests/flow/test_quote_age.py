"""How old a quote is: as old as the broker's last word about it, and never younger."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from ibkr_mcp_server.broker.base import Refusal
from ibkr_mcp_server.broker.market_data import RENEWED_AFTER_SECONDS
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.domain.quotes import MarketDataType, Quote
from ibkr_mcp_server.simulator.requests import CancelMarketData, ReqMarketData
from ibkr_mcp_server.simulator.server import PaperGateway
from tests.flow.broker_kit import aapl, connected, until
from tests.harness import running

AAPL = 265598
A_SATURDAY = datetime(2026, 11, 21, 15, tzinfo=UTC)


def _asked(gateway: PaperGateway) -> int:
    return sum(isinstance(entry.request, ReqMarketData) for entry in gateway.received)


async def test_quiet_instrument_is_asked_anew_and_its_quote_is_as_old_as_the_answer(
    gateway: PaperGateway, clock: ManualClock
) -> None:
    """Nothing moves for a minute: the broker restates the price, so it is known to hold now."""
    gateway.market.set_quote(AAPL, bid="199.98", ask="200.00", last="199.99")
    async with connected(gateway, clock) as broker:
        instrument = await aapl(broker)
        [first] = await broker.quotes([instrument])
        assert isinstance(first, Quote)
        await clock.advance(60)
        [quiet] = await broker.quotes([instrument])
        assert isinstance(quiet, Quote)
        assert (quiet.bid, quiet.ask, quiet.received_at) == (first.bid, first.ask, clock.now())
        assert quiet.changed_at == first.received_at  # and it has stood still for a minute
        assert _asked(gateway) == 2


async def test_line_that_has_just_spoken_is_not_asked_anew(gateway: PaperGateway, clock: ManualClock) -> None:
    gateway.market.set_quote(AAPL, bid="199.98", ask="200.00", last="199.99")
    async with connected(gateway, clock) as broker:
        instrument = await aapl(broker)
        await broker.quotes([instrument])
        await clock.advance(RENEWED_AFTER_SECONDS - 0.1)
        [second] = await broker.quotes([instrument])
        assert isinstance(second, Quote)
        assert second.age_seconds(clock.now()) == pytest.approx(RENEWED_AFTER_SECONDS - 0.1)
        assert _asked(gateway) == 1


async def test_silent_line_keeps_the_age_of_what_it_said_last(gateway: PaperGateway, clock: ManualClock) -> None:
    """A dead feed restates nothing: its quote must not look young."""
    async with connected(gateway, clock, quote_wait_seconds=0.2) as broker:
        instrument = await aapl(broker)
        [first] = await broker.quotes([instrument])
        assert isinstance(first, Quote)
        gateway.faults.farm_lost("market")
        await clock.advance(60)
        for _ in range(2):
            [old] = await broker.quotes([instrument])
            assert isinstance(old, Quote)
            assert (old.received_at, old.bid) == (first.received_at, first.bid)


async def test_side_that_the_broker_does_not_restate_is_not_known(gateway: PaperGateway, clock: ManualClock) -> None:
    gateway.market.set_quote(AAPL, bid="199.98", ask="200.00", last="199.99")
    async with connected(gateway, clock, quote_wait_seconds=0.2) as broker:
        instrument = await aapl(broker)
        await broker.quotes([instrument])
        gateway.faults.farm_lost("market")  # nothing is pushed from here on
        gateway.market.set_quote(AAPL, bid="-1", ask="201.00", last="199.99")
        await clock.advance(60)
        gateway.faults.farm_restored("market")
        [one_sided] = await broker.quotes([instrument])
        assert isinstance(one_sided, Quote)
        assert (one_sided.bid, one_sided.ask) == (None, Decimal("201.00"))


async def test_asking_anew_never_adds_subscriptions(gateway: PaperGateway, clock: ManualClock) -> None:
    gateway.market.set_quote(AAPL, bid="199.98", ask="200.00", last="199.99")
    async with connected(gateway, clock) as broker:
        instrument = await aapl(broker)
        for _ in range(5):
            answers = await asyncio.gather(*(broker.quotes([instrument]) for _ in range(4)))
            assert all(isinstance(quote, Quote) for [quote] in answers)
            await clock.advance(30)

        def ended() -> int:
            return sum(isinstance(entry.request, CancelMarketData) for entry in gateway.received)

        await until(lambda: ended() == _asked(gateway) - 1)
        assert _asked(gateway) == 5  # four callers at once share one request


@pytest.mark.parametrize(
    ("wanted", "subscribed", "closed", "told"),
    [
        (None, True, False, MarketDataType.LIVE),
        (None, False, False, MarketDataType.DELAYED),
        (MarketDataType.LIVE, True, False, MarketDataType.LIVE),
        (MarketDataType.LIVE, False, False, None),
        (MarketDataType.DELAYED, False, False, MarketDataType.DELAYED),
        (MarketDataType.DELAYED, True, False, MarketDataType.LIVE),
        (MarketDataType.FROZEN, True, True, MarketDataType.FROZEN),
        (MarketDataType.FROZEN, True, False, MarketDataType.LIVE),
        (MarketDataType.FROZEN, False, True, MarketDataType.DELAYED_FROZEN),
        (MarketDataType.DELAYED_FROZEN, False, True, MarketDataType.DELAYED_FROZEN),
    ],
)
async def test_type_of_data_is_asked_for_and_told_as_it_came(
    wanted: MarketDataType | None, subscribed: bool, closed: bool, told: MarketDataType | None
) -> None:
    clock = ManualClock(A_SATURDAY) if closed else ManualClock()
    async with PaperGateway(clock=clock) as gateway, connected(gateway, clock) as broker:
        if not subscribed:
            gateway.faults.deny_live_data()
        instrument = await aapl(broker)
        for _ in range(2):  # the second time, what may be had is known
            [answer] = await broker.quotes([instrument], wanted)
            if told is None:
                assert isinstance(answer, Refusal)
                assert answer.broker_code == 10089
            else:
                assert isinstance(answer, Quote)
                assert answer.data_type is told


async def test_types_of_one_instrument_do_not_mix(gateway: PaperGateway, clock: ManualClock) -> None:
    gateway.faults.deny_live_data()
    async with connected(gateway, clock) as broker:
        instrument = await aapl(broker)
        kinds = (MarketDataType.LIVE, MarketDataType.DELAYED, None)
        live, delayed, best = [(await broker.quotes([instrument], kind))[0] for kind in kinds]
        assert isinstance(live, Refusal)
        assert isinstance(delayed, Quote)
        assert isinstance(best, Quote)


async def test_tool_tells_age_type_and_for_how_long_nothing_changed() -> None:
    async with running() as world:
        world.gateway.market.set_quote(AAPL, bid="199.98", ask="200.00", last="199.99")
        await world.call("get_market_data", symbol=["AAPL"])
        await world.clock.advance(30)
        [quote] = (await world.call("get_market_data", symbols=["AAPL"]))["quotes"]
        assert (quote["age_seconds"], quote["unchanged_seconds"], quote["data_type"]) == (0, 30, "live")
        assert quote["last_traded_at"].endswith("Z")

        world.gateway.faults.deny_live_data()
        refused = await world.call("get_market_data", symbols=["MSFT"], market_data_type="live")
        assert (refused["code"], refused["broker_code"]) == ("NO_MARKET_DATA", 10089)
        [delayed] = (await world.call("get_market_data", symbols=["MSFT"]))["quotes"]
        assert delayed["data_type"] == "delayed"


async def test_pence_are_told_as_hundredths_of_the_currency() -> None:
    async with running() as world:
        [quote] = (await world.call("get_market_data", symbols=["BARC.LSE.GBP"]))["quotes"]
        assert (quote["currency"], quote["price_magnifier"]) == ("GBP", 100)


async def test_order_passes_on_a_quiet_but_live_quote_and_not_on_a_dead_one() -> None:
    """ORD-08: 15 seconds are the oldest that a quote may be."""
    async with running(decision_timeout_seconds=5) as world:
        world.gateway.market.set_quote(AAPL, bid="199.98", ask="200.00", last="199.99")
        assert (await world.buy())["success"]
        await world.clock.advance(40)
        assert (await world.buy())["success"]
        world.gateway.faults.farm_lost("market")
        await world.clock.advance(40)
        refused = await world.buy()
        assert refused["code"] == "NO_REFERENCE_PRICE", refused
        assert world.sent == 2
