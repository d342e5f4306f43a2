"""Option prices: whatever the underlying's path shows, put through the pricing formula.

Time to expiry runs down in `BLOCKS` steps a session, so that within a block a call only rises and a put only falls with
the underlying, and the day's extremes need a few prices instead of one for each second. Volatility is the strike's own
and stays for the day: it is read off the smile around the underlying's close of the day before.
"""

from __future__ import annotations

import math
from datetime import date
from decimal import Decimal
from functools import cached_property
from random import Random

from ibkr_mcp_server.simulator.day_paths import SECONDS, Path, Prices
from ibkr_mcp_server.simulator.history import DayBar
from ibkr_mcp_server.simulator.instruments import Listing
from ibkr_mcp_server.simulator.option_chains import class_of
from ibkr_mcp_server.simulator.option_pricing import DAYS_A_YEAR, Right, option_price, smile

BLOCKS = 13
"""Half hours of a stock session."""
SESSION_DAYS = 0.27
"""A stock session as a part of a calendar day; the rest of the time to expiry runs down overnight."""


class OptionTerms:
    """What the price of one option depends on, on one day, besides the underlying's price."""

    def __init__(self, listing: Listing, *, on: date, reference: float) -> None:
        """`on` is the session's date and `reference` the underlying's close before it."""
        assert listing.strike is not None
        self.right: Right = "C" if listing.right == "C" else "P"
        self.strike = float(listing.strike)
        self._days = (listing.expiry - on).days
        self.volatility = smile(class_of(listing).volatility, reference, self.strike, self._days / DAYS_A_YEAR)

    def years(self, block: int) -> float:
        """Time to expiry in the middle of a block; nought once the expiry is past."""
        left = self._days + SESSION_DAYS * (1.0 - (block + 0.5) / BLOCKS)
        return max(left, 0.0) / DAYS_A_YEAR if self._days >= 0 else 0.0

    def price(self, underlying: float, block: int) -> float:
        return option_price(self.right, underlying, self.strike, self.years(block), self.volatility)


def open_interest(listing: Listing, *, reference: float, years: float) -> int:
    """Contracts open after the last settlement; fixed for the day. Most are open where most is traded."""
    assert listing.strike is not None
    days_of_trading = Random(f"{listing.con_id}:open interest").uniform(5.0, 20.0)
    return int(class_of(listing).volume * days_of_trading * _liveliness(float(listing.strike), reference, years))


def _liveliness(strike: float, price: float, years: float) -> float:
    """The part of a class's trading that one option has: the most at the money and in the nearest expiries."""
    away = math.log(strike / price) / 0.08
    return math.exp(-away * away / 2) / (1.0 + 8.0 * years)


class OptionPath:
    """A replay day of one option; see `day_paths.Path`. It is cheap: nothing is worked out before it is asked for."""

    def __init__(
        self, listing: Listing, terms: OptionTerms, underlying: Path, *, underlying_tick: Decimal, key: str
    ) -> None:
        self._terms = terms
        self._underlying = underlying
        self._underlying_tick = float(underlying_tick)
        self._tick = float(listing.min_tick)
        self._busy = class_of(listing).volume
        self._key = key
        self._blocks: dict[int, tuple[int, int]] = {}
        self.terms = terms
        self.minutes = underlying.minutes

    @cached_property
    def day(self) -> DayBar:
        steps = self.minutes * SECONDS
        low, high = self.extremes(0, steps - 1)
        return DayBar(self.at(0), high, low, self.at(steps - 1), self._volume)

    def at(self, step: int) -> int:
        return self._priced(self._underlying.at(step), self.block(step // SECONDS))

    def at_underlying(self, price: Decimal, step: int) -> int:
        """The price if the underlying stood at `price`."""
        return self._in_ticks(self._terms.price(float(price), self.block(step // SECONDS)))

    def within(self, minute: int, first: int, last: int) -> Prices:
        block = self.block(minute)
        opening, high, low, closing = (
            self._priced(price, block) for price in self._underlying.within(minute, first, last)
        )
        return Prices(opening, max(high, low), min(high, low), closing)

    def extremes(self, first_minute: int, last: int) -> tuple[int, int]:
        ends: list[int] = []
        for block in range(self.block(first_minute), self.block(last // SECONDS) + 1):
            start, end = self._first_minute(block), self._first_minute(block + 1) * SECONDS - 1
            if first_minute <= start and end <= last:
                ends += self._whole_block(block)
            else:
                ends += self._block(block, max(first_minute, start), min(last, end))
        return min(ends), max(ends)

    def _whole_block(self, block: int) -> tuple[int, int]:
        """Kept: a stream asks for the extremes of the day so far every second."""
        known = self._blocks.get(block)
        if known is None:
            end = self._first_minute(block + 1) * SECONDS - 1
            known = self._blocks[block] = self._block(block, self._first_minute(block), end)
        return known

    def _block(self, block: int, first_minute: int, last: int) -> tuple[int, int]:
        one, other = (self._priced(price, block) for price in self._underlying.extremes(first_minute, last))
        return min(one, other), max(one, other)

    def volume_so_far(self, step: int) -> int:
        return self._volume * (step + 1) // (self.minutes * SECONDS)

    def spread(self, minute: int) -> tuple[int, int]:
        return 1, 1

    def block(self, minute: int) -> int:
        return minute * BLOCKS // self.minutes

    def _first_minute(self, block: int) -> int:
        return -(-block * self.minutes // BLOCKS)

    @cached_property
    def _volume(self) -> int:
        opening = self._underlying.at(0) * self._underlying_tick
        part = _liveliness(self._terms.strike, opening, self._terms.years(0))
        return int(self._busy * part * Random(self._key).uniform(0.3, 1.7))

    def _priced(self, underlying: int, block: int) -> int:
        return self._in_ticks(self._terms.price(underlying * self._underlying_tick, block))

    def _in_ticks(self, price: float) -> int:
        """One at least: an option that is worth nothing still was traded for something."""
        return max(1, round(price / self._tick))
