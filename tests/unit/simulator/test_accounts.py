"""The books: average cost, realised profit, cash and margin."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.simulator.accounts import Accounts
from ibkr_mcp_server.simulator.commissions import commission_for
from ibkr_mcp_server.simulator.instruments import Listing
from ibkr_mcp_server.simulator.listings import default_catalogue
from ibkr_mcp_server.simulator.market import Market
from ibkr_mcp_server.simulator.sessions import Sessions

CODE = "DU1"
AAPL = 265598


class Books:
    """One account and the market that values it."""

    def __init__(self) -> None:
        catalogue = default_catalogue()
        sessions = Sessions(always_open=True)
        self.market = Market(catalogue, sessions, seed=1, started=ManualClock().now())
        self.accounts = Accounts([CODE], catalogue=catalogue, market=self.market)
        listing = catalogue.by_con_id(AAPL)
        assert listing is not None
        self.aapl: Listing = listing
        self.catalogue = catalogue

    def fill(self, quantity: str | int | Decimal, price: str | int | Decimal, commission: str = "0") -> Decimal | None:
        return self.accounts.book_fill(
            CODE,
            self.aapl,
            signed_quantity=Decimal(quantity),
            price=Decimal(price),
            commission=Decimal(commission),
        )

    @property
    def held(self) -> tuple[Decimal, Decimal]:
        position = self.accounts.by_code[CODE].positions[AAPL]
        return position.quantity, position.average_cost


@pytest.fixture
def books() -> Books:
    return Books()


def test_average_cost_includes_commissions(books: Books) -> None:
    books.fill(10, 100, "1")
    books.fill(10, 110, "1")
    assert books.held == (Decimal(20), Decimal("105.1"))


def test_short_sale_is_carried_at_its_proceeds(books: Books) -> None:
    assert books.fill(-10, 100, "1") is None
    assert books.held == (Decimal(-10), Decimal("99.9"))
    assert books.fill(10, 90, "1") == Decimal("98")


def test_closing_part_realises_that_part(books: Books) -> None:
    books.fill(10, 100)
    assert books.fill(-4, 110, "1") == 39
    assert books.held == (Decimal(6), Decimal(100))


def test_turning_around_closes_and_opens(books: Books) -> None:
    books.fill(10, 100)
    assert books.fill(-15, 110, "3") == 98
    assert books.held == (Decimal(-5), Decimal("109.8"))


@given(st.lists(st.tuples(st.integers(-50, 50).filter(bool), st.integers(1, 500)), min_size=1, max_size=12))
def test_profit_booked_is_cash_gained(fills: list[tuple[int, int]]) -> None:
    """Whatever is traded: equity moves by realised plus unrealised profit, to the cent."""
    books = Books()
    for quantity, price in fills:
        books.fill(quantity, price, "1")
    gained = books.accounts.equity(CODE) - Decimal(1_000_000)
    shown = books.accounts.realized_pnl(CODE) + books.accounts.unrealized_pnl(CODE)
    assert abs(gained - shown) < Decimal("0.000001")
    assert abs(gained - books.accounts.daily_pnl(CODE)) < Decimal("0.000001")


def test_new_day_starts_its_profit_at_nought(books: Books) -> None:
    books.fill(10, 100)
    books.fill(-10, 110)
    assert books.accounts.realized_pnl(CODE) == 100
    books.accounts.start_day()
    assert books.accounts.realized_pnl(CODE) == books.accounts.daily_pnl(CODE) == 0
    assert books.accounts.by_code[CODE].positions == {}


def test_margin_grows_with_the_position_and_reducing_frees_it(books: Books) -> None:
    books.market.set_quote(AAPL, bid="200", ask="200", last="200")
    opening = books.accounts.margin_change(CODE, books.aapl, Decimal(100), Decimal(1))
    assert (opening.initial_after, opening.equity_after) == (Decimal(5000), Decimal(999_999))
    books.fill(100, 200)
    closing = books.accounts.margin_change(CODE, books.aapl, Decimal(-100), Decimal(1))
    assert (closing.initial_before, closing.initial_after) == (Decimal(5000), Decimal(0))


def test_values_list_each_tag_once_per_currency(books: Books) -> None:
    keys = [(row.tag, row.currency) for row in books.accounts.values(CODE)]
    assert len(keys) == len(set(keys))


def test_commission_is_half_a_cent_a_share_and_at_least_a_dollar(books: Books) -> None:
    assert commission_for(books.aapl, quantity=Decimal(10), value=Decimal(2000)) == Decimal("1.00")
    assert commission_for(books.aapl, quantity=Decimal(1000), value=Decimal(2000)) == Decimal(5)


def test_pence_are_not_pounds(books: Books) -> None:
    [barclays] = books.catalogue.matching(symbol="BARC")
    books.accounts.book_fill(CODE, barclays, signed_quantity=Decimal(100), price=Decimal(250), commission=Decimal(1))
    assert books.accounts.by_code[CODE].cash["GBP"] == -251
