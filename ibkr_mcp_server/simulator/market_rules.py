"""Price grids: the increments that prices keep at each level, under the numbers by which reqMarketRule asks for them.

Rules 26 (US stocks) and 239 (currency pairs) are IBKR's own. The numbers above 90000 are ours, for steps taken from
the exchanges' published tables: TWS has the same steps under numbers that differ by listing.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache

Steps = tuple[tuple[Decimal, Decimal], ...]
"""(low edge, increment), lowest first. An edge is a multiple of the increments on both sides of it."""


def _steps(text: str) -> Steps:
    pairs = (part.split(":") for part in text.split())
    return tuple((Decimal(edge), Decimal(increment)) for edge, increment in pairs)


US_STOCKS = 26
HALF_PIPS = 239
YEN_HALF_PIPS = 90001
CENTS_OF_A_WON = 90002
EUROPE = 90003
AUSTRALIA = 90004
TOKYO = 90005
HONG_KONG = 90006
KOREA = 90007
TORONTO = 90008
PENNY_OPTIONS = 90009
OPTIONS = 90010
INDEX_OPTIONS = 90011
QUARTERS = 90012
DIMES = 90013

MARKET_RULES: dict[int, Steps] = {
    US_STOCKS: _steps("0:0.01"),
    HALF_PIPS: _steps("0:0.00005"),
    YEN_HALF_PIPS: _steps("0:0.005"),
    CENTS_OF_A_WON: _steps("0:0.01"),
    # MiFID II, Commission Delegated Regulation (EU) 2017/588, the most liquid shares. London applies it to pence and
    # Zurich and Copenhagen to their own currencies.
    EUROPE: _steps(
        "0:0.0001 1:0.0002 2:0.0005 5:0.001 10:0.002 20:0.005 50:0.01 100:0.02 200:0.05 500:0.1 1000:0.2 2000:0.5"
        " 5000:1 10000:2 20000:5"
    ),
    AUSTRALIA: _steps("0:0.001 0.1:0.005 2:0.01"),  # ASX Operating Rules Procedures, 4020
    TOKYO: _steps("0:0.1 1000:0.5 3000:1 10000:5 30000:10 100000:50"),  # the table for TOPIX 500 shares
    HONG_KONG: _steps("0:0.001 0.25:0.005 0.5:0.01 20:0.02 50:0.05 100:0.1 200:0.2 500:0.5 1000:1 2000:2"),
    KOREA: _steps("0:1 2000:5 5000:10 20000:50 50000:100 200000:500 500000:1000"),
    TORONTO: _steps("0:0.005 0.5:0.01"),
    PENNY_OPTIONS: _steps("0:0.01"),
    OPTIONS: _steps("0:0.01 3:0.05"),
    INDEX_OPTIONS: _steps("0:0.05 3:0.1"),
    QUARTERS: _steps("0:0.25"),
    DIMES: _steps("0:0.1"),
}


class PriceGrid:
    """The steps of one rule, in whole multiples of its smallest increment; every method is monotonic in the price."""

    def __init__(self, steps: Sequence[tuple[Decimal, Decimal]]) -> None:
        self.increment = min(increment for _, increment in steps)
        self._edges = [int(edge / self.increment) for edge, _ in steps]
        self._sizes = [int(increment / self.increment) for _, increment in steps]

    def floor(self, price: int) -> int:
        """The highest price of the grid that is not above `price`."""
        size = self._sizes[bisect_right(self._edges, price) - 1] if price >= 0 else self._sizes[0]
        return price - price % size

    def up(self, price: int, steps: int = 1) -> int:
        """The grid's price `steps` above `price`, which is on the grid."""
        for _ in range(steps):
            price += self._sizes[bisect_right(self._edges, price) - 1]
        return price

    def down(self, price: int, steps: int = 1) -> int:
        """The grid's price `steps` below `price`, which is on the grid; nought at the lowest."""
        for _ in range(steps):
            price = self.floor(max(price - 1, 0))
        return price


@lru_cache(maxsize=64)
def grid_of(rule_id: int) -> PriceGrid:
    return PriceGrid(MARKET_RULES[rule_id])
