"""No request that a client can send is left without an answer, whatever is in its fields."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from decimal import Decimal
from typing import Any, get_type_hints

from hypothesis import example, given, settings
from hypothesis import strategies as st

from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.simulator import requests, research_requests, stream_requests
from ibkr_mcp_server.simulator.connection import Connection
from ibkr_mcp_server.simulator.feeds import Client
from ibkr_mcp_server.simulator.replies import Message
from ibkr_mcp_server.simulator.request_base import ContractQuery, Request
from ibkr_mcp_server.simulator.requests import DECODERS, CancelOrder, GlobalCancel, PlaceOrder, StartApi
from ibkr_mcp_server.simulator.server import PaperGateway
from ibkr_mcp_server.simulator.wire import encode_frame

IN_THE_GUIDE = {
    *(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 20, 22, 23, 24, 25, 49, 50, 51, 52, 53, 54, 55),
    *(56, 57, 58, 59, 61, 62, 63, 64, 71, 74, 75, 76, 77, 78, 79, 80, 81, 82, 83, 84, 85, 86, 87, 88, 89, 90, 91),
    *(92, 93, 94, 95, 96, 97, 98, 99, 104),
}
BESIDE_IT = {18, 19, 21, 67, 68, 69, 70, 100, 101, 102, 103}
"""Advisors, exercise, display groups, event calendars: clients have calls for them."""
LEFT_OUT = {65, 66, 72, 73}
"""Verification of third-party programs, which TWS retired: an unknown message, error 320."""
TRADED = {PlaceOrder, CancelOrder, GlobalCancel, StartApi}
"""These go through the exchange, or come before there is a desk."""


def kinds(parent: type[Request]) -> Iterator[type[Request]]:
    for child in parent.__subclasses__():
        yield child
        yield from kinds(child)


READABLE = {kind for kind in kinds(Request) if kind.__module__.startswith("ibkr_mcp_server.simulator.")}
SPEAKS_LATER = {
    requests.ReqMarketDataType,
    requests.ReqAutoOpenOrders,
    requests.ReqAccountUpdates,
    requests.Unanswered,
    stream_requests.ReqMarketDepth,
    stream_requests.ReqRealTimeBars,
    stream_requests.ReqTickByTick,
    stream_requests.CancelCalculation,
    research_requests.ReqNewsBulletins,
}
"""What may be taken without a word: the end of something, and streams whose first message is still to happen."""


def test_every_message_of_the_guide_is_read() -> None:
    assert set(DECODERS) == IN_THE_GUIDE | BESIDE_IT
    assert not LEFT_OUT & set(DECODERS)


def test_every_request_that_can_be_read_has_a_handler(gateway: PaperGateway) -> None:
    assert requests.UnknownRequest in READABLE
    assert set(gateway.answered_requests) == READABLE - TRADED


CONTRACTS = [
    ContractQuery(con_id=265598, exchange="SMART"),
    ContractQuery(symbol="MSFT", sec_type="STK", exchange="SMART", currency="USD"),
    ContractQuery(symbol="AAPL", sec_type="OPT", exchange="SMART", currency="USD"),
    ContractQuery(symbol="AAPL", sec_type="OPT", last_trade_date="20261218", strike=Decimal(170), right="C"),
    ContractQuery(symbol="EUR", sec_type="CASH", exchange="IDEALPRO", currency="USD"),
    ContractQuery(symbol="SPX", sec_type="IND", exchange="CBOE", currency="USD"),
    ContractQuery(symbol="ES", sec_type="FUT", exchange="CME", currency="USD"),
    ContractQuery(symbol="ASML"),
    ContractQuery(symbol="VOW3", sec_type="STK", currency="EUR"),
    ContractQuery(symbol="NO SUCH", sec_type="STK"),
    ContractQuery(),
]
WORDS = (
    *("", "0", "AAPL", "DU9000001", "U1", "All", "TRADES", "MIDPOINT", "BID", "ASK", "BID_ASK", "SCHEDULE", "Last"),
    *("HISTORICAL_VOLATILITY", "BidAsk", "MidPoint", "1 min", "5 mins", "1 hour", "1 day", "1 month", "2 D", "1 W"),
    *("600 S", "3 days", "1 week", "20261120-14:00:00", "20261119 10:00:00 US/Eastern", "2026-11-19 10:00:00.0"),
    *("99999999-99:99:99", "STK", "STOCK.EU", "STK.US", "STK.US.MAJOR", "STK.EU.AEB", "MOST_ACTIVE", "TOP_PERC_GAIN"),
    *("HALTED", "BRFG", "BRFG$40d7e-b4a0b-0", "DJ-N$-1-f-f", "165,221,233,236,292:BRFG,318", "mdoff,292", "999", "x"),
    *("priceAbove=1;volumeAbove=x", "changePercAbove=-5;priceBelow=1e9", "9c0001", "ETF", "BUY", "SMART", "\x1b[0m"),
)
NUMBERS = st.one_of(st.integers(-2, 12), st.sampled_from([26, 50, 1000, 265598, 12087792, 2**31 - 1, 2**40, -(2**40)]))
BY_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    int: NUMBERS,
    str: st.sampled_from(WORDS),
    bool: st.booleans(),
    tuple[str, ...]: st.lists(st.sampled_from(WORDS), max_size=3).map(tuple),
    ContractQuery: st.sampled_from(CONTRACTS),
    Decimal | None: st.none() | st.sampled_from([Decimal(n) for n in ("0", "-1", "0.2", "170", "1e6", "1e30")]),
}


def filled_in(kind: type[Request]) -> st.SearchStrategy[Request]:
    hints = get_type_hints(kind)
    return st.builds(kind, **{field.name: BY_TYPE[hints[field.name]] for field in fields(kind)})


PRICED_AT_A_WILD_UNDERLYING = stream_requests.CalculateOptionPrice(
    req_id=1, contract=CONTRACTS[3], volatility=Decimal("0.2"), under_price=Decimal("1e30")
)
asked = st.sampled_from(sorted(READABLE - TRADED, key=lambda kind: kind.__name__)).flatmap(filled_in)


@settings(max_examples=50, deadline=None)
@given(st.lists(asked, min_size=10, max_size=40))
@example([PRICED_AT_A_WILD_UNDERLYING])
def test_no_request_is_met_with_silence_or_a_stumble(batch: list[Request]) -> None:
    clock = ManualClock()
    gateway = PaperGateway(clock=clock, market_always_open=True)
    connection, told = Connection(gateway), list[Message]()
    connection.client = Client(client_id=1, version=178, send=told.append)
    for request in batch:
        before = len(told)
        gateway.requested(connection, request)
        silent = type(request) in SPEAKS_LATER or type(request).__name__.startswith("Cancel")
        assert silent or len(told) > before, request
    for message in told:
        assert encode_frame(message)
