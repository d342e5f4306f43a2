"""Exchange rates: each currency has one path against the dollar, and every pair is the quotient of two of them.

So EUR.GBP is EUR.USD divided by GBP.USD at every second, and no trip through three pairs earns or costs anything but
the spread. Between two minutes the logarithm of a rate goes in a straight line; so does that of a quotient, and the
extremes of any pair lie at the minutes' ends.
"""

from __future__ import annotations

import math
from array import array
from functools import lru_cache
from itertools import accumulate
from random import Random

from ibkr_mcp_server.simulator.day_paths import SECONDS, Prices
from ibkr_mcp_server.simulator.history import DayBar
from ibkr_mcp_server.simulator.noise import Noise
from ibkr_mcp_server.simulator.walks import CURRENCIES

DOLLAR = "USD"
MAJORS = frozenset({"EUR", "GBP", "JPY"})


class CurrencyRates:
    """What currencies are worth in dollars: logarithms, a function of seed, currency and replay day."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._noises: dict[str, Noise] = {}
        self.minutes = lru_cache(maxsize=32)(self._minutes)

    def at_close(self, currency: str, day: int) -> float:
        if currency == DOLLAR:
            return 0.0
        walk = CURRENCIES[currency]
        key = self._key(currency)
        noise = self._noises.setdefault(key, Noise(key))
        return math.log(walk.dollars) + walk.noise * noise.at_close(day)

    def _minutes(self, currency: str, day: int, minutes: int) -> array[float]:
        """The level at each minute's beginning, and at the end of the last."""
        if currency == DOLLAR:
            return array("d", bytes(8 * (minutes + 1)))
        rng = Random(f"{self._key(currency)}:{day}:{minutes}")
        opening, closing = self.at_close(currency, day - 1), self.at_close(currency, day)
        # The difference of two even numbers from 0 to 1 has a standard deviation of 0.41.
        size = CURRENCIES[currency].noise / math.sqrt(minutes) / 0.41
        walk = list(accumulate((size * (rng.random() - rng.random()) for _ in range(minutes)), initial=0.0))
        drift = (closing - opening - walk[-1]) / minutes
        return array("d", [opening + walk[i] + drift * i for i in range(minutes + 1)])

    def _key(self, currency: str) -> str:
        return f"{self._seed}:{CURRENCIES[currency].kin or currency}"


class PairPath:
    """A replay day of one pair; see `day_paths.Path`. There are no trades, so no volume."""

    def __init__(self, *, base: array[float], quoted: array[float], increment: float, spread: tuple[int, int]) -> None:
        self._logs = array("d", [ours - theirs for ours, theirs in zip(base, quoted, strict=True)])
        self._increment = increment
        self._spread = spread
        self.minutes = len(base) - 1
        self._points = array("q", [round(math.exp(level) / increment) for level in self._logs])

    @property
    def day(self) -> DayBar:
        return DayBar(self._points[0], max(self._points), min(self._points), self._points[-1], 0)

    def at(self, step: int) -> int:
        minute, second = divmod(step, SECONDS)
        if second == SECONDS - 1:
            return self._points[minute + 1]
        start, end = self._logs[minute], self._logs[minute + 1]
        return round(math.exp(start + (end - start) * second / (SECONDS - 1)) / self._increment)

    def within(self, minute: int, first: int, last: int) -> Prices:
        opening, closing = self.at(minute * SECONDS + first), self.at(minute * SECONDS + last)
        return Prices(opening, max(opening, closing), min(opening, closing), closing)

    def extremes(self, first_minute: int, last: int) -> tuple[int, int]:
        ends = [*self._points[first_minute : last // SECONDS + 1], self.at(last)]
        return min(ends), max(ends)

    def volume_so_far(self, step: int) -> int:
        return 0

    def spread(self, minute: int) -> tuple[int, int]:
        return self._spread


def spread_of(base: str, quoted: str) -> tuple[int, int]:
    """Half a pip between the largest currencies, else a whole one around the price."""
    return (0, 1) if {base, quoted} <= MAJORS | {DOLLAR} and DOLLAR in (base, quoted) else (1, 1)
