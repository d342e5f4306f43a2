"""One replay day of one instrument, laid out in time.

Minutes are a random walk pinned to the day's open and close and stretched so that it touches high and low and never
passes them; inside a minute, seconds are the same thing once more. So a price costs nothing but its own day and minute,
and bars need no ticks to agree with them.

Prices in here are whole multiples of the instrument's smallest increment, not yet on the price grid of their level:
`Quoting` puts them there. All it does is monotonic, so the highest price makes the highest quote.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from itertools import accumulate
from random import Random
from typing import NamedTuple, Protocol

from ibkr_mcp_server.simulator.history import DayBar
from ibkr_mcp_server.simulator.market_rules import PriceGrid

SECONDS = 60  # in a minute


class Prices(NamedTuple):
    open: int
    high: int
    low: int
    close: int


class Path(Protocol):
    """A replay day. A step is a second of it, numbered from 0."""

    @property
    def day(self) -> DayBar:
        """The day as a whole."""
        ...

    @property
    def minutes(self) -> int: ...

    def at(self, step: int) -> int:
        """The price at a step."""
        ...

    def within(self, minute: int, first: int, last: int) -> Prices:
        """What the seconds `first` to `last`, both included, of a minute show."""
        ...

    def extremes(self, first_minute: int, last: int) -> tuple[int, int]:
        """The lowest and the highest price from the beginning of a minute up to and including step `last`."""
        ...

    def volume_so_far(self, step: int) -> int:
        """The volume traded up to and including `step`."""
        ...

    def spread(self, minute: int) -> tuple[int, int]:
        """How many steps of the price grid bid and ask lie below and above the price."""
        ...


class Quoting:
    """What bid, ask and last are when the path stands at a price."""

    def __init__(self, grid: PriceGrid) -> None:
        self._grid = grid

    def last(self, price: int) -> int:
        return self._grid.floor(price)

    def bid(self, price: int, below: int) -> int:
        """Nought if there is no room for one."""
        return self._grid.down(self._grid.floor(price), below)

    def ask(self, price: int, above: int) -> int:
        return self._grid.up(self._grid.floor(price), above)


SPREADS = ((0, 1), (1, 0), (0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (1, 2), (2, 1))
"""(steps below the price, steps above it): one to three apart, mostly one."""


class DayPath:
    """The path of a stock, an index, a coin: each minute's seconds are worked out on demand."""

    def __init__(self, *, key: str, day: DayBar, points: array[int]) -> None:
        """`points` are the price at each minute's beginning, and at the end of the last."""
        die = Random(f"{key}:minutes").random
        minutes = len(points) - 1
        usual_move = sum(abs(points[i + 1] - points[i]) for i in range(minutes)) / minutes
        highs, lows, weights, spreads = [], [], [], bytearray()
        for i in range(minutes):
            bottom, top = points[i], points[i + 1]
            if bottom > top:
                bottom, top = top, bottom
            highs.append(min(day.high, top + int(die() ** 2 * 3.0 * usual_move)))
            lows.append(max(day.low, bottom - int(die() ** 2 * 3.0 * usual_move)))
            from_noon = 2.0 * i / minutes - 1.0
            weights.append((0.5 + die()) * (1.0 + 2.0 * from_noon * from_noon))  # busiest at open and close
            spreads.append(int(die() * len(SPREADS)))
        scale = day.volume / sum(weights)
        volume_before = [int(so_far * scale) for so_far in accumulate(weights, initial=0.0)]
        volume_before[minutes] = day.volume

        self._key = key
        self._seconds: dict[int, tuple[int, ...]] = {}
        self._volume_before = array("q", volume_before)
        self._spreads = bytes(spreads)
        self._highs = array("q", highs)
        self._lows = array("q", lows)
        self.points = points
        self.day = day
        self.minutes = minutes

    def at(self, step: int) -> int:
        minute, second = divmod(step, SECONDS)
        return self._seconds_of(minute)[second]

    def within(self, minute: int, first: int, last: int) -> Prices:
        if (first, last) == (0, SECONDS - 1):
            return Prices(self.points[minute], self._highs[minute], self._lows[minute], self.points[minute + 1])
        seconds = self._seconds_of(minute)[first : last + 1]
        return Prices(seconds[0], max(seconds), min(seconds), seconds[-1])

    def extremes(self, first_minute: int, last: int) -> tuple[int, int]:
        minute, second = divmod(last, SECONDS)
        running = self._seconds_of(minute)[: second + 1]
        low, high = min(running), max(running)
        if first_minute < minute:
            low = min(low, *self._lows[first_minute:minute])
            high = max(high, *self._highs[first_minute:minute])
        return low, high

    def volume_so_far(self, step: int) -> int:
        minute, second = divmod(step, SECONDS)
        before, after = self._volume_before[minute], self._volume_before[minute + 1]
        return before + (after - before) * (second + 1) // SECONDS

    def spread(self, minute: int) -> tuple[int, int]:
        return SPREADS[self._spreads[minute]]

    def _seconds_of(self, minute: int) -> Sequence[int]:
        """The sixty prices of a minute: the first is its open, the last its close."""
        known = self._seconds.get(minute)
        if known is None:
            opening, closing = self.points[minute], self.points[minute + 1]
            high, low = self._highs[minute], self._lows[minute]
            rng = Random(f"{self._key}:{minute}")
            noise = bridge(rng, SECONDS)
            raw = [opening + (closing - opening) * i / (SECONDS - 1) + (high - low) * noise[i] for i in range(SECONDS)]
            known = tuple(stretched(raw, opening, high, low, closing, rng))
            if len(self._seconds) >= 4:
                self._seconds.clear()  # time mostly moves on, and a day of seconds would be large
            self._seconds[minute] = known
        return known


class ScaledPath:
    """Another path at a fixed distance, for a futures month beside its continuous contract."""

    def __init__(self, path: Path, factor: float, *, volume: float) -> None:
        """Prices are multiplied by `factor`; the share `volume` of the trades happens here."""
        self._path = path
        self._factor = factor
        self._share = volume
        self.minutes = path.minutes

    @property
    def day(self) -> DayBar:
        day = self._path.day
        opening, high, low, closing = map(self._scaled, day[:4])
        return DayBar(opening, high, low, closing, int(day.volume * self._share))

    def at(self, step: int) -> int:
        return self._scaled(self._path.at(step))

    def within(self, minute: int, first: int, last: int) -> Prices:
        return Prices(*map(self._scaled, self._path.within(minute, first, last)))

    def extremes(self, first_minute: int, last: int) -> tuple[int, int]:
        low, high = self._path.extremes(first_minute, last)
        return self._scaled(low), self._scaled(high)

    def volume_so_far(self, step: int) -> int:
        return int(self._path.volume_so_far(step) * self._share)

    def spread(self, minute: int) -> tuple[int, int]:
        return self._path.spread(minute)

    def _scaled(self, price: int) -> int:
        return round(price * self._factor)


def bridge(rng: Random, count: int) -> list[float]:
    """`count` values of a random walk that begins and ends at nought; its spread from low to high is about one."""
    size = 0.8 / math.sqrt(count)
    values, value = [0.0], 0.0
    for _ in range(count - 1):
        value += rng.gauss(0.0, size)
        values.append(value)
    return [values[i] - value * i / (count - 1) for i in range(count)]


def stretched(raw: list[float], opening: int, high: int, low: int, closing: int, rng: Random) -> list[int]:
    """The walk `raw` in whole increments, made to begin at `opening`, touch `high` and `low`, and end at `closing`.

    What rises above open and close is scaled to end at `high`, what falls below them to end at `low`; the order of
    values stays, so the walk keeps its shape.
    """
    top, bottom = max(opening, closing), min(opening, closing)
    highest, lowest = max(raw), min(raw)
    upward = (high - top) / (highest - top) if highest > top else 0.0
    downward = (bottom - low) / (bottom - lowest) if lowest < bottom else 0.0
    values = []
    for value in raw:
        if value > top:
            value = top + (value - top) * upward
        elif value < bottom:
            value = bottom - (bottom - value) * downward
        values.append(min(high, max(low, round(value))))
    values[0], values[-1] = opening, closing
    # A walk that never left the span between open and close had nothing to stretch: it gets a spike instead.
    inside = range(1, len(values) - 1)
    if max(values) < high:
        values[rng.choice(inside)] = high
    if min(values) > low:
        where = rng.choice(inside)
        if values[where] == high:  # perhaps the only one
            where = where % len(inside) + 1
        values[where] = low
    return values
