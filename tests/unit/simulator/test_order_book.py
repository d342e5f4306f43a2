"""What the gateway remembers of orders, and what it forgets."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

from ibkr_mcp_server.simulator.order_book import REMEMBERED_UNFILLED, OrderBook
from ibkr_mcp_server.simulator.order_terms import OrderTerms
from ibkr_mcp_server.simulator.orders import CANCELLED, Order

NOW = datetime(2026, 11, 20, 15, tzinfo=UTC)


def ended(number: int, *, filled: int = 0) -> Order:
    return Order(
        perm_id=number,
        client_id=1,
        order_id=number,
        con_id=265598,
        exchange="SMART",
        account="DU1",
        terms=OrderTerms(action="BUY", quantity=Decimal(2), order_type="MKT"),
        quantity=Decimal(2),
        tif="DAY",
        status=CANCELLED,
        filled=Decimal(filled),
        placed_at=NOW,
        done_at=NOW,
    )


def test_only_the_newest_unfilled_orders_are_remembered_and_every_one_that_traded() -> None:
    book = OrderBook(trading_day=date(2026, 11, 20))
    book.keep(ended(1, filled=1))
    for number in range(2, REMEMBERED_UNFILLED + 12):
        book.keep(ended(number))
    assert (len(book.orders), min(number for number in book.orders if number > 1)) == (REMEMBERED_UNFILLED + 1, 12)
    assert (book.order(1, 1), book.order(1, 11)) == (ended(1, filled=1), None)
    assert book.changed_orders >= {2, 11}, "the journal forgets them too"


def test_a_new_day_forgets_what_ended_and_keeps_what_lives() -> None:
    book = OrderBook(trading_day=date(2026, 11, 20))
    book.keep(ended(1, filled=1))
    book.keep(replace(ended(2), status="Submitted", done_at=None))
    book.start_day(date(2026, 11, 21))
    assert (list(book.orders), book.live()) == ([2], [book.orders[2]])
