"""Exchange rates: no trip through three pairs earns anything, at any second, and bars agree with the quotes."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from itertools import permutations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.simulator.worlds import FRIDAY_OPEN, TestWorld, world

LARGE = ("EUR", "GBP", "AUD", "NZD", "USD", "CAD", "CHF", "JPY")
PAIRS = {(row.symbol, row.currency): row for row in world().catalogue if row.sec_type == "CASH"}
TRIANGLES = [
    (first, second, third)
    for first, second, third in permutations([*LARGE, "DKK"], 3)
    if {(first, second), (second, third), (first, third)} <= set(PAIRS)
]
WORLDS = [world(), world(always_open=True, seed=3)]
moments = st.integers(0, 21 * 86_400).map(lambda seconds: FRIDAY_OPEN + timedelta(seconds=seconds))
generous = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])


def middle(shown: TestWorld, base: str, quoted: str) -> tuple[Decimal, Decimal]:
    """The price of one `base`, and how far rounding and spread may put it off."""
    pair = PAIRS[base, quoted]
    quote = shown.market.quote(pair.con_id)
    assert quote.bid is not None
    assert quote.ask is not None
    return (quote.bid + quote.ask) / 2, pair.min_tick


def test_every_pair_of_the_eight_large_currencies_is_listed_once() -> None:
    for one in LARGE:
        for other in LARGE:
            assert one == other or ((one, other) in PAIRS) != ((other, one) in PAIRS)


@generous
@given(shown=st.sampled_from(WORLDS), triangle=st.sampled_from(TRIANGLES), at=moments)
def test_a_cross_is_the_quotient_of_its_legs_at_every_instant(
    shown: TestWorld, triangle: tuple[str, str, str], at: datetime
) -> None:
    shown.market.advance_to(at)
    first, second, third = triangle

    direct, off = middle(shown, first, third)
    there, off_there = middle(shown, first, second)
    onwards, off_onwards = middle(shown, second, third)

    # Each of the three is rounded to its grid, by half an increment, and its middle lies at most half one aside.
    allowed = off + there * off_onwards + onwards * off_there
    assert abs(there * onwards - direct) <= allowed


@generous
@given(triangle=st.sampled_from(TRIANGLES), at=moments)
def test_going_round_in_a_circle_never_earns_money(triangle: tuple[str, str, str], at: datetime) -> None:
    shown = WORLDS[0]
    shown.market.advance_to(at)
    first, second, third = triangle
    quotes = [shown.market.quote(PAIRS[pair].con_id) for pair in ((first, second), (second, third), (first, third))]
    asks, bids = [quote.ask for quote in quotes], [quote.bid for quote in quotes]
    assert asks[2] is not None
    assert bids[0] is not None
    assert bids[1] is not None
    grid = PAIRS[first, third].min_tick

    # Sell one for the other, that for the third, and buy the first back.
    assert bids[0] * bids[1] <= asks[2] + grid


@pytest.mark.parametrize("pair", ["EUR.USD", "USD.JPY", "EUR.GBP", "CAD.JPY"])
def test_pairs_move_in_half_pips(pair: str) -> None:
    shown = WORLDS[0]
    listing = shown.one(pair)
    bids = {shown.quote(listing, FRIDAY_OPEN + timedelta(seconds=second)).bid for second in range(0, 6 * 3_600, 47)}

    half_pip = Decimal("0.005") if pair.endswith("JPY") else Decimal("0.00005")
    assert listing.min_tick == half_pip
    assert all(bid is not None and bid % half_pip == 0 for bid in bids)
    assert any(bid is not None and bid % (2 * half_pip) for bid in bids)
    assert len(bids) > 20


def test_a_day_of_a_cross_is_exactly_its_minutes() -> None:
    shown = WORLDS[0]
    con_id = shown.one("EUR.GBP").con_id
    end = FRIDAY_OPEN + timedelta(hours=7, minutes=30)

    def bars(size: str) -> list[tuple[Decimal, ...]]:
        found = shown.market.bars(
            con_id, end=end, duration="1 D", bar_size=size, what="MIDPOINT", use_rth=True, now=end
        )
        return [(bar.open, bar.high, bar.low, bar.close) for bar in found]

    [day], minutes = bars("1 day"), bars("1 min")

    assert len(minutes) == 1425
    assert day == (
        minutes[0][0],
        max(minute[1] for minute in minutes),
        min(minute[2] for minute in minutes),
        minutes[-1][3],
    )


def test_the_krone_is_tied_to_the_euro() -> None:
    shown = WORLDS[0]
    rates = []
    for days in range(0, 60, 7):
        quote = shown.quote(shown.one("EUR.DKK"), FRIDAY_OPEN + timedelta(days=days))
        rates.append(quote.bid)

    assert len(set(rates)) == 1
