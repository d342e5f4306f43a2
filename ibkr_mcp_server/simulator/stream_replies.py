"""Messages of the live streams, of the tape behind them, and of option arithmetic (tws-wire guide, sections 5 to 7)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal

from ibkr_mcp_server.simulator.market import Bar, MarketQuote
from ibkr_mcp_server.simulator.replies import Message
from ibkr_mcp_server.simulator.wire import UNSET_INTEGER, Field

ASK, BID = 0, 1
"""The sides of a book as TWS numbers them."""
INSERT, UPDATE, DELETE = range(3)

TICK_BY_TICK_TYPES = {"Last": 1, "AllLast": 2, "BidAsk": 3, "MidPoint": 4}


def real_time_bar(req_id: int, bar: Bar) -> Message:
    assert isinstance(bar.start, datetime)
    prices = bar.open, bar.high, bar.low, bar.close
    return (50, 3, req_id, _epoch(bar.start), *prices, bar.volume, bar.wap, bar.count)


# --- depth ---


def depth_row(req_id: int, row: int, operation: int, side: int, price: Decimal, size: Decimal) -> Message:
    """One row of one exchange's book."""
    return (12, 1, req_id, row, operation, side, price, size)


def smart_depth_row(
    req_id: int, row: int, venue: str, operation: int, side: int, price: Decimal, size: Decimal
) -> Message:
    """One row of the book put together from all venues."""
    return (13, 1, req_id, row, venue, operation, side, price, size, 1)


def depth_exchanges(rows: Sequence[tuple[str, str]]) -> Message:
    """Which exchange shows its book for which security type."""
    fields: list[Field] = []
    for exchange, sec_type in rows:
        fields += [exchange, sec_type, "", "Deep2" if sec_type == "STK" else "Deep", UNSET_INTEGER]
    return (80, len(rows), *fields)


def smart_components(req_id: int, venues: Sequence[tuple[str, str]]) -> Message:
    """Which bit of an exchange map stands for which venue, and the venue's letter."""
    fields = [field for bit, (venue, letter) in enumerate(venues) for field in (bit, venue, letter)]
    return (82, req_id, len(venues), *fields)


# --- the tape ---


def tick_by_tick_trade(req_id: int, kind: str, at: datetime, price: Decimal, size: Decimal, venue: str) -> Message:
    return (99, req_id, TICK_BY_TICK_TYPES[kind], _epoch(at), price, size, 0, venue, "")


def tick_by_tick_quote(req_id: int, quote: MarketQuote) -> Message:
    return (99, req_id, 3, _epoch(quote.at), quote.bid, quote.ask, quote.bid_size or 0, quote.ask_size or 0, 0)


def tick_by_tick_middle(req_id: int, at: datetime, middle: Decimal) -> Message:
    return (99, req_id, 4, _epoch(at), middle)


def historical_middles(req_id: int, rows: Sequence[tuple[datetime, Decimal]]) -> Message:
    fields = [field for at, price in rows for field in (_epoch(at), 0, price, 0)]
    return (96, req_id, len(rows), *fields, 1)


def historical_quotes(req_id: int, quotes: Sequence[MarketQuote]) -> Message:
    fields = [field for q in quotes for field in (_epoch(q.at), 0, q.bid, q.ask, q.bid_size or 0, q.ask_size or 0)]
    return (97, req_id, len(quotes), *fields, 1)


def historical_trades(req_id: int, rows: Sequence[tuple[datetime, Decimal, Decimal, str]]) -> Message:
    fields = [field for at, price, size, venue in rows for field in (_epoch(at), 0, price, size, venue, "")]
    return (98, req_id, len(rows), *fields, 1)


def histogram(req_id: int, rows: Iterable[tuple[Decimal, int]]) -> Message:
    pairs = list(rows)
    return (89, req_id, len(pairs), *[field for pair in pairs for field in pair])


def _epoch(moment: datetime) -> int:
    return int(moment.timestamp())
