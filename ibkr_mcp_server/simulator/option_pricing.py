"""Black and Scholes: prices, greeks and implied volatility, and the smile of this world. Pure functions over floats.

Interest and dividends are nought here. Then nothing is gained by exercising early, so that the formula for European
options is also exact for the American ones on AAPL and SPY, and calls less puts are worth the underlying less the
strike to the last digit. (F. Black and M. Scholes, The Pricing of Options and Corporate Liabilities, 1973.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Right = Literal["C", "P"]
DAYS_A_YEAR = 365.0
VOLATILITY_RANGE = (0.01, 5.0)
"""What an implied volatility is looked for in."""


@dataclass(frozen=True, kw_only=True)
class Computation:
    """What a tickOptionComputation tells. Prices are in the option's currency, per share."""

    implied_volatility: float
    """A year's, 0.25 for 25 %."""
    price: float
    delta: float
    gamma: float
    vega: float
    """The price's change for one point of volatility, from 25 % to 26 %."""
    theta: float
    """The price's change over a calendar day; negative."""
    underlying_price: float
    dividends: float = 0.0
    """Present value of the dividends until expiry."""


def option_price(right: Right, underlying: float, strike: float, years: float, volatility: float) -> float:
    """The price per share; `years` of nought or less leave what exercise is worth."""
    spread = volatility * math.sqrt(years) if years > 0 else 0.0
    if spread <= 0:
        return intrinsic_value(right, underlying, strike)
    first = math.log(underlying / strike) / spread + spread / 2
    call = underlying * _below(first) - strike * _below(first - spread)
    # Put-call parity without interest. A deep option's value can come out a hair below nought.
    return max(call if right == "C" else call - underlying + strike, 0.0)


def intrinsic_value(right: Right, underlying: float, strike: float) -> float:
    return max(underlying - strike if right == "C" else strike - underlying, 0.0)


def computation(right: Right, underlying: float, strike: float, years: float, volatility: float) -> Computation:
    """Price and greeks together."""
    price = option_price(right, underlying, strike, years, volatility)
    spread = volatility * math.sqrt(years) if years > 0 else 0.0
    if spread <= 0:
        delta = (1.0 if right == "C" else -1.0) if intrinsic_value(right, underlying, strike) else 0.0
        gamma = vega = theta = 0.0
    else:
        first = math.log(underlying / strike) / spread + spread / 2
        density = math.exp(-first * first / 2) / math.sqrt(2 * math.pi)
        delta = _below(first) - (0.0 if right == "C" else 1.0)
        gamma = density / (underlying * spread)
        vega = underlying * density * math.sqrt(years) / 100
        theta = -underlying * density * volatility / (2 * math.sqrt(years)) / DAYS_A_YEAR
    return Computation(
        implied_volatility=volatility,
        price=price,
        delta=delta,
        gamma=gamma,
        vega=vega,
        theta=theta,
        underlying_price=underlying,
    )


def implied_volatility(right: Right, price: float, underlying: float, strike: float, years: float) -> float | None:
    """The volatility at which the option is worth `price`; None if there is none within `VOLATILITY_RANGE`."""
    low, high = VOLATILITY_RANGE
    if years <= 0 or not (
        option_price(right, underlying, strike, years, low)
        <= price
        <= option_price(right, underlying, strike, years, high)
    ):
        return None
    for _ in range(50):  # halving fifty times leaves less than a float can tell
        middle = (low + high) / 2
        if option_price(right, underlying, strike, years, middle) < price:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def smile(at_the_money: float, underlying: float, strike: float, years: float) -> float:
    """The volatility of one strike: higher below the money, as stocks have it, and flatter the longer the time."""
    distance = math.log(strike / underlying) / math.sqrt(max(years, 7 / DAYS_A_YEAR) + 0.1)
    factor = 1.0 - 0.45 * distance + 0.35 * distance * distance
    return at_the_money * min(max(factor, 0.6), 2.5)


def _below(value: float) -> float:
    """The share of the normal distribution below `value`."""
    return 0.5 * math.erfc(-value / math.sqrt(2))
