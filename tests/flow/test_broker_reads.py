"""What the adapter reads, through the client library and a socket, from the paper gateway."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal

import pytest

from ibkr_mcp_server.broker.base import BrokerEventKind, Refusal
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.domain.instruments import InstrumentQuery, SecType
from ibkr_mcp_server.domain.money import Money
from ibkr_mcp_server.domain.orders import OrderStatus
from ibkr_mcp_server.domain.quotes import MarketDataType, Quote
from ibkr_mcp_server.errors import Refused, Unavailable
from ibkr_mcp_server.simulator.requests import ReqContractDetails
from ibkr_mcp_server.simulator.server import PaperGateway
from tests.contract.clients import NEWEST_VERSION
from tests.flow.broker_kit import (
    ACCOUNT,
    Events,
    Gate,
    TamperedLine,
    aapl,
    approved,
    cancellation,
    connected,
    marketable,
    resting,
    until_up,
)


async def test_link_tells_accounts_venue_and_server(gateway: PaperGateway, clock: ManualClock) -> None:
    async with connected(gateway, clock) as broker:
        link = broker.link
        assert link.is_up
        assert (link.venue, link.client_id, link.server_version) == ("simulator", 7, NEWEST_VERSION)
        assert link.accounts == ("DU9000001", "DU9000002")
        assert link.accounts_verified_at == clock.now()
        assert link.problem is None


async def test_accounts_are_verified_by_a_round_trip(gateway: PaperGateway, clock: ManualClock) -> None:
    async with connected(gateway, clock) as broker:
        clock.step_wall(timedelta(minutes=2))
        link = await broker.verify_accounts()
        assert link.accounts_verified_at == clock.now()


async def test_account_summary_has_money_in_its_currency(gateway: PaperGateway, clock: ManualClock) -> None:
    async with connected(gateway, clock) as broker:
        summary = await broker.account_summary(ACCOUNT)
        assert summary.base_currency == "USD"
        assert summary.net_liquidation == Money(amount=Decimal(1_000_000), currency="USD")
        assert summary.cash_balances["USD"] == 1_000_000
        assert summary.exchange_rates["USD"] == 1
        assert summary.received_at == clock.now()


async def test_many_account_summaries_never_exhaust_the_two_subscriptions(
    gateway: PaperGateway, clock: ManualClock
) -> None:
    async with connected(gateway, clock) as broker:
        for _ in range(5):
            assert (await broker.account_summary(ACCOUNT)).net_liquidation is not None
        at_once = await asyncio.gather(*(broker.account_summary(ACCOUNT) for _ in range(5)))
        assert all(summary.net_liquidation is not None for summary in at_once)


async def test_unserved_account_is_refused(gateway: PaperGateway, clock: ManualClock) -> None:
    async with connected(gateway, clock) as broker:
        for read in (broker.account_summary, broker.positions):
            with pytest.raises(Refused) as refusal:
                await read("DU1")
            assert refusal.value.code == "ACCOUNT_NOT_SERVED"


async def test_positions_carry_prices_of_the_account_that_is_asked_for(
    gateway: PaperGateway, clock: ManualClock
) -> None:
    gateway.add_position("DU9000002", "MSFT", 5, "20.00")
    async with connected(gateway, clock) as broker:
        gateway.add_position(ACCOUNT, "AAPL", 100, "150.00")
        [held] = await broker.positions(ACCOUNT)
        assert (held.instrument.symbol, held.quantity, held.average_cost) == ("AAPL", Decimal(100), Decimal(150))
        assert held.market_price is not None
        assert held.market_value is not None
        [other] = await broker.positions("DU9000002")
        assert (other.account, other.instrument.symbol) == ("DU9000002", "MSFT")
        assert other.market_price is not None
        assert len(await broker.positions()) == 2


async def test_positions_are_known_without_asking_and_follow_fills(gateway: PaperGateway, clock: ManualClock) -> None:
    async with connected(gateway, clock) as broker:
        assert broker.known_positions() == []
        filled = await broker.place_order(approved(marketable(await aapl(broker))), Gate())
        assert filled.status is OrderStatus.FILLED
        await broker.verify_accounts()  # a round trip: what was pushed before has arrived
        assert [(held.instrument.symbol, held.quantity) for held in broker.known_positions() or ()] == [
            ("AAPL", Decimal(10))
        ]


async def test_closed_broker_says_so(clock: ManualClock, gateway: PaperGateway) -> None:
    async with connected(gateway, clock) as broker:
        await broker.close()
        with pytest.raises(Unavailable) as unavailable:
            await broker.open_orders()
        assert unavailable.value.code == "LINK_DOWN"


@pytest.mark.parametrize(
    ("query", "label", "con_id"),
    [
        (InstrumentQuery(symbol="AAPL"), "AAPL", 265598),
        (InstrumentQuery(symbol="aapl"), "AAPL", 265598),
        (InstrumentQuery(symbol="AAPL.NASDAQ.USD"), "AAPL", 265598),
        (InstrumentQuery(symbol="", con_id=272093), "MSFT", 272093),
        (InstrumentQuery(symbol="EUR.USD"), "EUR.USD", 12087792),
        (InstrumentQuery(symbol="EURUSD"), "EUR.USD", 12087792),
        (InstrumentQuery(symbol="EUR", sec_type=SecType.CASH, currency="USD"), "EUR.USD", 12087792),
        (InstrumentQuery(symbol="ASML.AEB.EUR"), "ASML.AEB.EUR", 117902840),
        (InstrumentQuery(symbol="ASML", currency="EUR"), "ASML.AEB.EUR", 117902840),
        (InstrumentQuery(symbol="ASML"), "ASML", 117589399),
    ],
    ids=lambda value: getattr(value, "symbol", None),
)
async def test_symbol_forms_resolve_to_one_contract(
    gateway: PaperGateway, clock: ManualClock, query: InstrumentQuery, label: str, con_id: int
) -> None:
    async with connected(gateway, clock) as broker:
        found = await broker.resolve(query)
        assert (found.label, found.con_id) == (label, con_id)


async def test_resolved_contract_carries_the_rules_of_its_orders(gateway: PaperGateway, clock: ManualClock) -> None:
    async with connected(gateway, clock) as broker:
        found = await aapl(broker)
        assert (found.exchange, found.primary_exchange, found.multiplier) == ("SMART", "NASDAQ", Decimal(1))
        assert found.price_increment(Decimal(100)) == Decimal("0.01")
        assert found.size_increment == 1
        assert found.in_regular_hours(clock.now())
        assert found.hours_known_until is not None
        assert found.hours_known_until > clock.now() + timedelta(days=3)


async def test_unknown_symbol_is_refused_with_the_brokers_words(gateway: PaperGateway, clock: ManualClock) -> None:
    async with connected(gateway, clock) as broker:
        with pytest.raises(Refused) as refusal:
            await broker.resolve(InstrumentQuery(symbol="NOPE"))
        assert (refusal.value.code, refusal.value.broker_code) == ("CONTRACT_NOT_FOUND", 200)
        with pytest.raises(Refused) as refusal:
            await broker.resolve(InstrumentQuery(symbol="USD.EUR"))
        assert "EUR.USD" in refusal.value.next_step


async def test_ambiguous_symbol_is_refused_with_candidates(gateway: PaperGateway, clock: ManualClock) -> None:
    """FD-50: never the first hit."""
    async with connected(gateway, clock) as broker:
        with pytest.raises(Refused) as refusal:
            await broker.resolve(InstrumentQuery(symbol="ASML", exchange="SMART"))
        assert refusal.value.code == "CONTRACT_AMBIGUOUS"
        assert len(refusal.value.details) == 2
        assert any("117902840" in line and "AEB" in line for line in refusal.value.details)


async def test_resolving_twice_asks_the_broker_once(gateway: PaperGateway, clock: ManualClock) -> None:
    async with connected(gateway, clock) as broker:
        results = await asyncio.gather(*(aapl(broker) for _ in range(5)))
        assert len({found.con_id for found in results}) == 1
        asked = [entry for entry in gateway.received if isinstance(entry.request, ReqContractDetails)]
        assert len(asked) == 1


async def test_search_finds_candidates(gateway: PaperGateway, clock: ManualClock) -> None:
    async with connected(gateway, clock) as broker:
        found = await broker.search("AAP")
        assert (found[0].symbol, found[0].con_id) == ("AAPL", 265598)


async def test_quote_is_live_dated_and_complete(gateway: PaperGateway, clock: ManualClock) -> None:
    gateway.market.set_quote(265598, bid="199.98", ask="200.00", last="199.99")
    async with connected(gateway, clock) as broker:
        [quote] = await broker.quotes([await aapl(broker)])
        assert isinstance(quote, Quote)
        assert (quote.bid, quote.ask, quote.last) == (Decimal("199.98"), Decimal(200), Decimal("199.99"))
        assert quote.data_type is MarketDataType.LIVE
        assert quote.received_at == clock.now()
        assert quote.bid_size is not None
        assert quote.close is not None


async def test_currency_pair_without_last_price_is_quoted(gateway: PaperGateway, clock: ManualClock) -> None:
    async with connected(gateway, clock) as broker:
        [quote] = await broker.quotes([await broker.resolve(InstrumentQuery(symbol="EUR.USD"))])
        assert isinstance(quote, Quote)
        assert quote.bid is not None
        assert quote.last is None


async def test_absent_quote_is_a_refusal_or_has_no_sides(gateway: PaperGateway, clock: ManualClock) -> None:
    gateway.market.withdraw_quote(265598)
    async with connected(gateway, clock, quote_wait_seconds=0.2) as broker:
        [answer] = await broker.quotes([await aapl(broker)])
        if isinstance(answer, Refusal):
            assert answer.code == "NO_QUOTE"
        else:
            assert (answer.bid, answer.ask) == (None, None)


async def test_delayed_data_is_labelled_as_delayed(gateway: PaperGateway, clock: ManualClock) -> None:
    gateway.faults.deny_live_data()
    async with connected(gateway, clock) as broker:
        instrument = await aapl(broker)
        for _ in range(2):
            [quote] = await broker.quotes([instrument])
            assert isinstance(quote, Quote)
            assert quote.data_type is MarketDataType.DELAYED
            assert quote.bid is not None


async def test_refused_market_data_names_the_reason(gateway: PaperGateway, clock: ManualClock) -> None:
    gateway.faults.deny_live_data()

    def no_delayed_either(fields: list[str]) -> list[list[str]]:
        if fields[:1] == ["4"] and fields[3] == "10167":
            return [[*fields[:3], "10168", "Not subscribed. Delayed market data is not enabled.", ""]]
        return [fields]

    async with TamperedLine(gateway.port) as line:
        line.tamper = no_delayed_either
        async with connected(gateway, clock, port=line.port) as broker:
            [refusal] = await broker.quotes([await aapl(broker)])
            assert isinstance(refusal, Refusal)
            assert (refusal.code, refusal.broker_code) == ("NO_MARKET_DATA", 10168)
            assert refusal.next_step


async def test_quotes_of_several_come_in_the_order_asked(gateway: PaperGateway, clock: ManualClock) -> None:
    async with connected(gateway, clock) as broker:
        instruments = [await broker.resolve(InstrumentQuery(symbol=name)) for name in ("MSFT", "AAPL", "IBM")]
        quotes = await broker.quotes(instruments)
        assert [quote.con_id for quote in quotes if isinstance(quote, Quote)] == [one.con_id for one in instruments]


async def test_orders_of_another_client_are_listed_with_their_owner(gateway: PaperGateway, clock: ManualClock) -> None:
    async with connected(gateway, clock, client_id=8) as other, connected(gateway, clock) as broker:
        placed = await other.place_order(approved(resting(await aapl(other), order_ref="someone-else")), Gate())
        [seen] = await broker.open_orders()
        assert (seen.perm_id, seen.client_id, seen.placed_here) == (placed.perm_id, 8, False)
        assert seen.order.quantity == 10


async def test_order_that_another_client_ended_is_known_as_ended(gateway: PaperGateway, clock: ManualClock) -> None:
    async with connected(gateway, clock, client_id=8) as other, connected(gateway, clock) as broker:
        placed = await other.place_order(approved(resting(await aapl(other))), Gate())
        assert len(await broker.open_orders()) == 1
        await other.cancel_order(cancellation(placed), Gate())
        assert await broker.open_orders() == []
        [known] = broker.known_orders()
        assert known.status is OrderStatus.CANCELLED


async def test_completed_orders_and_executions_of_the_day(gateway: PaperGateway, clock: ManualClock) -> None:
    async with connected(gateway, clock) as broker:
        placed = await broker.place_order(approved(marketable(await aapl(broker))), Gate())
        [done] = await broker.completed_orders()
        assert (done.perm_id, done.status, done.filled) == (placed.perm_id, OrderStatus.FILLED, Decimal(10))
        [fill] = await broker.executions()
        assert (fill.quantity, fill.order_ref, fill.perm_id) == (Decimal(10), "ibmcp-test-1", placed.perm_id)
        assert fill.commission is not None
        assert fill.executed_at == clock.now()


async def test_replayed_executions_count_once(gateway: PaperGateway, clock: ManualClock) -> None:
    """ID-13."""
    async with connected(gateway, clock) as broker:
        events = Events(broker)
        await broker.place_order(approved(marketable(await aapl(broker))), Gate())
        first = await broker.executions()
        assert await broker.executions() == first
        gateway.disconnect_all()
        await events.until(lambda: BrokerEventKind.LINK_DOWN in events.kinds())
        await until_up(broker, clock)
        assert await broker.executions() == first
        assert events.kinds().count(BrokerEventKind.EXECUTION) == len(first)


async def test_concurrent_reads_of_one_kind_all_get_complete_answers(gateway: PaperGateway, clock: ManualClock) -> None:
    """ib_async keys these by name: of two at once the first would never return."""
    async with connected(gateway, clock) as broker:
        await broker.place_order(approved(resting(await aapl(broker))), Gate())
        answers = await asyncio.gather(*(broker.open_orders() for _ in range(6)))
        assert [len(answer) for answer in answers] == [1] * 6


async def test_late_rows_of_an_abandoned_read_never_complete_a_later_one(
    gateway: PaperGateway, clock: ManualClock
) -> None:
    async with connected(gateway, clock) as broker:
        await broker.place_order(approved(resting(await aapl(broker))), Gate())
        gateway.faults.freeze()
        abandoned = asyncio.ensure_future(broker.open_orders())
        await asyncio.sleep(0)
        abandoned.cancel()
        later = asyncio.ensure_future(broker.open_orders())
        gateway.faults.thaw()
        assert len(await later) == 1
        with pytest.raises(asyncio.CancelledError):
            await abandoned


async def test_with_every_market_data_line_in_use_the_one_asked_for_longest_ago_gives_way(
    gateway: PaperGateway, clock: ManualClock
) -> None:
    """An account has a hundred lines; one that somebody waits for is never taken away."""
    async with connected(gateway, clock) as broker:
        known = [await broker.resolve(InstrumentQuery(symbol=symbol)) for symbol in ("AAPL", "MSFT", "IBM")]
        board = broker._link.up().quotes
        board._most_lines = 2
        for instrument in (*known, known[0]):
            (answer,) = await broker.quotes([instrument])
            assert isinstance(answer, Quote), answer
            assert answer.con_id == instrument.con_id
        assert [con_id for con_id, _ in board._lines] == [known[2].con_id, known[0].con_id]
        answers = await broker.quotes(known)  # more than there are lines: as many at a time as fit
        assert [answer.con_id for answer in answers if isinstance(answer, Quote)] == [one.con_id for one in known]

        for line in board._lines.values():
            line.users += 1
        asked = next(one for one in known if one.con_id not in {con_id for con_id, _ in board._lines})
        with pytest.raises(Unavailable, match="All 2 market-data lines are in use"):
            await broker.quotes([asked])
