"""The books: average cost, realised profit, cash and margin."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.simulator.accounts import Accounts
from ibkr_mcp_server.simulator.commissions import STOCKS_ABROAD, commission_for
from ibkr_mcp_server.simulator.derivatives import list_derivatives
from ibkr_mcp_server.simulator.instruments import Listing
from ibkr_mcp_server.simulator.listings import default_catalogue
from ibkr_mcp_server.simulator.market import Market
from ibkr_mcp_server.simulator.sessions import Sessions

CODE = "DU1"
AAPL = 265598
TODAY = date(2026, 11, 20)


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
    books.accounts.start_day(TODAY)
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


# --- other instruments ---


def listing(books: Books, symbol: str, sec_type: str, **wanted: str) -> Listing:
    return books.catalogue.matching(symbol=symbol, sec_type=sec_type, **wanted)[-1]  # type: ignore[arg-type]


@pytest.fixture
def all_books() -> Books:
    """With options and futures."""
    books = Books()
    list_derivatives(books.catalogue, books.market)
    return books


def book(books: Books, row: Listing, quantity: int, price: str) -> Decimal | None:
    return books.accounts.book_fill(
        CODE, row, signed_quantity=Decimal(quantity), price=Decimal(price), commission=Decimal(0)
    )


def cash_and_equity(books: Books) -> tuple[float, float]:
    return float(books.accounts.by_code[CODE].cash["USD"]), float(books.accounts.equity(CODE))


def test_future_is_settled_in_cash_at_the_days_end_and_its_gain_is_not_counted_twice(all_books: Books) -> None:
    row = listing(all_books, "ES", "FUT")
    book(all_books, row, -2, "1000.00")
    all_books.market.set_quote(row.con_id, bid="990.00", ask="990.25", last="990.00")
    assert cash_and_equity(all_books) == (1_000_000, 1_001_000)
    all_books.accounts.start_day(TODAY)
    assert cash_and_equity(all_books) == (1_001_000, 1_001_000)
    assert book(all_books, row, 2, "985.00") == 1_500
    assert cash_and_equity(all_books) == (1_001_500, 1_001_500)


@settings(deadline=None, max_examples=40)  # it makes a market for each example
@given(st.lists(st.tuples(st.integers(-5, 5).filter(bool), st.integers(900, 1100), st.booleans()), max_size=12))
def test_gain_of_a_future_is_the_same_whenever_it_was_settled(fills: list[tuple[int, int, bool]]) -> None:
    books = Books()
    list_derivatives(books.catalogue, books.market)
    row, paid, held = listing(books, "ES", "FUT"), 0, 0
    for quantity, price, day_ends in fills:
        books.market.set_quote(row.con_id, bid=Decimal(price), ask=Decimal(price), last=Decimal(price))
        book(books, row, quantity, str(price))
        paid, held = paid + quantity * price * 50, held + quantity
        if day_ends:
            books.accounts.start_day(TODAY)
        assert abs(books.accounts.equity(CODE) - (1_000_000 + held * price * 50 - paid)) < Decimal("1e-9")


def test_written_option_ties_up_what_it_could_cost_and_a_bought_one_its_premium(all_books: Books) -> None:
    call = all_books.catalogue.matching(symbol="AAPL", sec_type="OPT", right="C", strike=Decimal(200))[-1]
    all_books.market.set_quote(AAPL, bid="190.00", ask="190.00", last="190.00")
    all_books.market.set_quote(call.con_id, bid="3.00", ask="3.00", last="3.00")
    bought = all_books.accounts.margin(CODE, change=(call, Decimal(2)))
    written = all_books.accounts.margin(CODE, change=(call, Decimal(-2)))
    assert bought == (Decimal(600), Decimal(600))
    assert written == (2 * 100 * (Decimal("0.2") * 190 - 10),) * 2


@pytest.mark.parametrize(
    ("symbol", "sec_type", "quantity", "value", "commission"),
    [
        ("AAPL", "STK", 1_000, 200_000, "5"),
        ("BARC", "STK", 100, 200, "3"),
        ("7203", "STK", 100, 300_000, "240"),
        ("EUR", "CASH", 1_000_000, 1_300_000, "26"),
        ("ES", "FUT", 2, 100_000, "4.50"),
        ("AAPL", "OPT", 10, 5_000, "6.50"),
        ("BTC", "CRYPTO", 1, 50_000, "90"),
    ],
)
def test_commission_follows_the_schedule_of_its_kind(
    all_books: Books, symbol: str, sec_type: str, quantity: int, value: int, commission: str
) -> None:
    row = listing(all_books, symbol, sec_type)
    assert commission_for(row, quantity=Decimal(quantity), value=Decimal(value)) == Decimal(commission)


def test_every_currency_in_which_something_is_listed_has_a_rate_and_a_schedule(all_books: Books) -> None:
    for row in all_books.catalogue:
        assert all_books.accounts.rate(row.currency) > 0
        assert row.currency == "USD" or row.sec_type != "STK" or row.currency in STOCKS_ABROAD


def test_currency_without_any_pair_is_unknown_and_not_worth_a_dollar(books: Books) -> None:
    with pytest.raises(LookupError, match="XYZ"):
        books.accounts.rate("XYZ")


def test_expired_contracts_are_paid_out_and_leave_the_account(all_books: Books) -> None:
    chain = all_books.catalogue.matching(symbol="AAPL", sec_type="OPT", last_trade_date="20261120")
    call, put = (next(row for row in chain if row.right == right and row.strike == 170) for right in "CP")
    all_books.market.set_quote(AAPL, bid="180.00", ask="180.00", last="180.00")
    book(all_books, call, 2, "9.00")
    book(all_books, put, -3, "1.00")
    assert all_books.accounts.start_day(TODAY) == []
    expired = all_books.accounts.start_day(date(2026, 11, 21))
    assert sorted(expired) == sorted([(CODE, call.con_id), (CODE, put.con_id)])
    assert cash_and_equity(all_books) == (1_000_000 - 1_800 + 300 + 2_000,) * 2
    all_books.accounts.start_day(date(2026, 11, 23))
    assert all_books.accounts.by_code[CODE].positions == {}
