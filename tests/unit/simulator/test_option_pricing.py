"""The pricing formula: parity, greeks that are the derivatives they claim to be, volatility found again."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ibkr_mcp_server.simulator.option_pricing import (
    Right,
    computation,
    implied_volatility,
    intrinsic_value,
    option_price,
    smile,
)

rights = st.sampled_from(["C", "P"])
prices = st.floats(5, 2000)
moneyness = st.floats(0.5, 2.0)
years = st.floats(0.002, 2.0)
volatilities = st.floats(0.08, 1.2)


def test_a_known_value() -> None:
    """J. Hull, Options, Futures and Other Derivatives, table of N(x): at the money N(d1) - N(d2) is 2 N(s/2) - 1."""
    call = option_price("C", 100, 100, 1.0, 0.2)

    assert call == pytest.approx(100 * math.erf(0.1 / math.sqrt(2)))
    assert call == pytest.approx(7.9656, abs=1e-4)


@given(underlying=prices, away=moneyness, time=years, volatility=volatilities)
def test_a_call_less_a_put_is_worth_the_underlying_less_the_strike(
    underlying: float, away: float, time: float, volatility: float
) -> None:
    strike = underlying * away

    call, put = (option_price(right, underlying, strike, time, volatility) for right in ("C", "P"))

    assert call - put == pytest.approx(underlying - strike, abs=1e-6 * underlying)


@given(right=rights, underlying=prices, away=moneyness, time=years, volatility=volatilities)
def test_no_option_is_worth_less_than_exercising_it(
    right: Right, underlying: float, away: float, time: float, volatility: float
) -> None:
    strike = underlying * away

    price = option_price(right, underlying, strike, time, volatility)

    assert price >= intrinsic_value(right, underlying, strike) - 1e-9 * underlying


@given(right=rights, underlying=prices, away=st.floats(0.8, 1.25), time=st.floats(0.02, 2.0), volatility=volatilities)
def test_greeks_are_the_price_s_own_slopes(
    right: Right, underlying: float, away: float, time: float, volatility: float
) -> None:
    strike = underlying * away
    step = underlying * 1e-4

    def price(s: float = underlying, t: float = time, v: float = volatility) -> float:
        return option_price(right, s, strike, t, v)

    found = computation(right, underlying, strike, time, volatility)

    assert found.delta == pytest.approx((price(underlying + step) - price(underlying - step)) / (2 * step), abs=1e-4)
    curve = (price(underlying + step) - 2 * price() + price(underlying - step)) / step**2
    assert found.gamma == pytest.approx(curve, abs=2e-3 / underlying + 1e-3 * found.gamma)
    assert found.vega == pytest.approx(
        (price(v=volatility + 1e-4) - price(v=volatility - 1e-4)) / 0.02, rel=1e-2, abs=1e-7 * underlying
    )
    slope = (price(t=time - 1e-5) - price(t=time + 1e-5)) / 2e-5 / 365
    assert found.theta == pytest.approx(slope, rel=1e-2, abs=1e-7 * underlying)


@given(right=rights, underlying=prices, away=st.floats(0.9, 1.1), time=st.floats(0.05, 2.0), volatility=volatilities)
def test_the_volatility_in_a_price_is_found_again(
    right: Right, underlying: float, away: float, time: float, volatility: float
) -> None:
    strike = underlying * away
    price = option_price(right, underlying, strike, time, volatility)
    assume(computation(right, underlying, strike, time, volatility).vega > 1e-4 * underlying)

    assert implied_volatility(right, price, underlying, strike, time) == pytest.approx(volatility, rel=1e-4)


@pytest.mark.parametrize(("price", "time"), [(4.0, 0.5), (120.0, 0.5), (12.0, 0.0)])
def test_a_price_that_no_volatility_explains_has_none(price: float, time: float) -> None:
    assert implied_volatility("C", price, 100, 90, time) is None


def test_at_expiry_only_the_intrinsic_value_is_left() -> None:
    found = computation("P", 90, 100, 0.0, 0.3)

    assert (found.price, found.delta, found.gamma, found.vega, found.theta) == (10, -1, 0, 0, 0)


def test_lower_strikes_have_higher_volatility_and_short_times_a_steeper_smile() -> None:
    month, year = ([smile(0.2, 100, strike, time) for strike in (80, 100, 110)] for time in (1 / 12, 1.0))

    assert month[0] > month[1] == pytest.approx(0.2)
    assert month[1] > month[2]
    assert month[0] > year[0]
