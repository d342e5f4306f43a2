"""What a market-data line concludes from its ticks; nothing old, delayed or withdrawn passes for a live price."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from ibkr_mcp_server.broker.quote_line import Line
from ibkr_mcp_server.domain.quotes import MarketDataType, Quote

NOON = datetime(2026, 11, 20, 17, 0, tzinfo=UTC)
BID, ASK, LAST, DELAYED_BID, BID_SIZE, ASK_SIZE = 1, 2, 4, 66, 0, 3
DELAYED_MODEL = 83
MODEL = 13


def quoted(*, right: str = "") -> Line:
    """A line that has told both sides."""
    line = Line(con_id=265598, asked=1, req_id=7, right=right)
    line.price(BID, 99.98, 3, NOON)
    line.price(ASK, 100.00, 5, NOON)
    return line


def quote(line: Line) -> Quote:
    told = line.quote()
    assert told is not None
    return told


def test_a_delayed_tick_makes_the_whole_line_delayed() -> None:
    """A gateway that sends no marketDataType before its delayed ticks must not pass for a live one."""
    line = quoted()
    assert quote(line).data_type is MarketDataType.LIVE
    line.price(DELAYED_BID, 99.90, 3, NOON)
    assert quote(line).data_type is MarketDataType.DELAYED
    option = quoted(right="C")
    option.computation(DELAYED_MODEL, {"delta": 0.5, "implied_volatility": 0.2}, NOON)
    assert quote(option).data_type is MarketDataType.DELAYED


def test_a_side_whose_size_becomes_zero_has_no_price_any_more() -> None:
    line = quoted()
    line.size(ASK_SIZE, 0)
    assert (quote(line).bid, quote(line).ask) == (Decimal("99.98"), None)
    line.price(BID, 99.97, 0, NOON)
    assert quote(line).bid is None


def test_a_side_that_is_not_restated_when_the_line_is_asked_again_is_not_known_now() -> None:
    line = quoted()
    line.settle()
    line.ask_again(8)
    line.price(ASK, 100.10, 5, NOON + timedelta(seconds=1))
    line.settle()
    assert (quote(line).bid, quote(line).bid_size, quote(line).ask) == (None, None, Decimal("100.1"))


def test_a_line_that_restates_nothing_keeps_what_it_had_with_its_age() -> None:
    line = quoted()
    line.settle()
    line.ask_again(8)
    line.settle()
    assert (quote(line).bid, quote(line).received_at) == (Decimal("99.98"), NOON)
    assert line.is_quiet(NOON + timedelta(seconds=15), 15)


def test_ticks_of_no_meaning_here_change_nothing() -> None:
    line = quoted(right="C")
    before = quote(line)
    line.size(27_000, 4)
    line.price(27_000, 4.0, 1, NOON + timedelta(seconds=1))
    line.computation(27_000, {"delta": 0.5}, NOON)
    line.computation(MODEL, {}, NOON)
    line.text(45, "no number")
    assert quote(line) == before
