"""Where every price comes from: a function of seed, instrument, replay day and second, and of nothing else.

A replay day is a whole number: 0 is the first day replayed, 1 the next trading day, -1 the one before. When the
history ends it runs backwards from there, and forwards again from its beginning: so there is always a next day, and
none opens far from the close before it.

- Instruments with a history have the real open, high, low, close and volume of that day.
- The others walk: they follow the mean of those with a history, `Walk.beta` for one, and add noise of their own.
- Inside a day, minutes are a random walk pinned to the day's open and close and stretched so that it touches high and
  low and never passes them; inside a minute, seconds are the same thing once more. So a price costs nothing but
  its own day and minute, and bars need no ticks to agree with them.

Prices in here are whole multiples of the instrument's smallest increment.
"""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from itertools import accumulate
from random import Random

from ibkr_mcp_server.simulator.history import DayBar, History
from ibkr_mcp_server.simulator.instruments import Catalogue, Listing

SECONDS = 60  # in a minute
MARKET_MINUTES = 390  # of a US stock session, the pace at which the common market factor is laid out
NOISE_KEPT = 0.998
"""Of a walk's own noise, per day: it fades over a year or two, so that no price wanders off to zero or infinity."""


@dataclass(frozen=True, kw_only=True)
class Walk:
    """How an instrument without a history moves."""

    base: Decimal
    """The price at which replay day 0 opens."""
    beta: float
    """The part that it takes in the market's moves."""
    noise: float
    """The standard deviation of a day's own move, 0.01 for 1 %."""
    volume: int
    """Of an average day; unused for currencies."""
    kin: str = ""
    """Walks of the same kin share their noise: one company's listings on two exchanges."""


WALKS = {
    4815747: Walk(base=Decimal("12.60"), beta=1.3, noise=0.020, volume=15_000_000),  # NVDA
    76792991: Walk(base=Decimal("24.00"), beta=1.2, noise=0.025, volume=4_000_000),  # TSLA
    756733: Walk(base=Decimal("128.00"), beta=0.8, noise=0.003, volume=200_000_000),  # SPY
    320227571: Walk(base=Decimal("46.00"), beta=0.95, noise=0.003, volume=120_000_000),  # QQQ
    117589399: Walk(base=Decimal("24.00"), beta=0.9, noise=0.015, volume=2_000_000, kin="ASML"),
    117902840: Walk(base=Decimal("16.50"), beta=0.9, noise=0.015, volume=6_000_000, kin="ASML"),
    14204: Walk(base=Decimal("38.00"), beta=0.8, noise=0.010, volume=5_000_000),  # SAP
    29612142: Walk(base=Decimal("350.00"), beta=1.1, noise=0.020, volume=60_000_000),  # BARC, in pence
    12087792: Walk(base=Decimal("1.45000"), beta=0.0, noise=0.006, volume=0),  # EUR.USD
    12087797: Walk(base=Decimal("1.79000"), beta=0.0, noise=0.006, volume=0),  # GBP.USD
    15016059: Walk(base=Decimal("108.500"), beta=0.0, noise=0.006, volume=0),  # USD.JPY
}
"""By contract id; the levels are roughly those of September 2008, the default beginning of the replay."""

DEFAULT_WALK = Walk(base=Decimal(100), beta=0.8, noise=0.012, volume=1_000_000)


class DayPath:
    """One instrument's replay day, minute by minute, each minute's seconds on demand."""

    def __init__(self, *, key: str, day: DayBar, points: array[int], spread: tuple[int, int] | None) -> None:
        """`spread` is that of the whole day, if it has one; otherwise each minute has its own."""
        die = Random(f"{key}:minutes").random
        minutes = len(points) - 1
        usual_move = sum(abs(points[i + 1] - points[i]) for i in range(minutes)) / minutes
        highs, lows, weights, spreads = [], [], [], []
        for i in range(minutes):
            bottom, top = points[i], points[i + 1]
            if bottom > top:
                bottom, top = top, bottom
            highs.append(min(day.high, top + int(die() ** 2 * 3.0 * usual_move)))
            lows.append(max(day.low, bottom - int(die() ** 2 * 3.0 * usual_move)))
            from_noon = 2.0 * i / minutes - 1.0
            weights.append((0.5 + die()) * (1.0 + 2.0 * from_noon * from_noon))  # busiest at open and close
            spreads.append(spread or SPREADS[int(die() * len(SPREADS))])
        scale = day.volume / sum(weights)
        volume_before = [int(so_far * scale) for so_far in accumulate(weights, initial=0.0)]
        volume_before[minutes] = day.volume

        self._key = key
        self._seconds: dict[int, tuple[int, ...]] = {}
        self._highest_so_far = array("q", accumulate(highs, max))
        self._lowest_so_far = array("q", accumulate(lows, min))
        self.day = day
        self.minutes = minutes
        self.points = points
        """The price at each minute's beginning, and at the end of the last."""
        self.highs = array("q", highs)
        self.lows = array("q", lows)
        self.volume_before = array("q", volume_before)
        """The volume traded before each minute; the last entry is the day's."""
        self.below = bytes(below for below, _ in spreads)
        """Per minute, how far the bid lies below the price."""
        self.above = bytes(above for _, above in spreads)
        """Per minute, how far the ask lies above the price."""

    def seconds(self, minute: int) -> tuple[int, ...]:
        """The sixty prices of a minute: the first is its open, the last its close."""
        known = self._seconds.get(minute)
        if known is None:
            opening, closing = self.points[minute], self.points[minute + 1]
            high, low = self.highs[minute], self.lows[minute]
            rng = Random(f"{self._key}:{minute}")
            noise = _bridge(rng, SECONDS)
            raw = [opening + (closing - opening) * i / (SECONDS - 1) + (high - low) * noise[i] for i in range(SECONDS)]
            known = tuple(_stretched(raw, opening, high, low, closing, rng))
            if len(self._seconds) >= 4:
                self._seconds.clear()  # time mostly moves on, and a day of seconds would be large
            self._seconds[minute] = known
        return known

    def high_so_far(self, step: int) -> int:
        minute, second = divmod(step, SECONDS)
        current = max(self.seconds(minute)[: second + 1])
        return max(current, self._highest_so_far[minute - 1]) if minute else current

    def low_so_far(self, step: int) -> int:
        minute, second = divmod(step, SECONDS)
        current = min(self.seconds(minute)[: second + 1])
        return min(current, self._lowest_so_far[minute - 1]) if minute else current

    def volume_so_far(self, step: int) -> int:
        """The volume traded up to and including `step`."""
        minute, second = divmod(step, SECONDS)
        before, after = self.volume_before[minute], self.volume_before[minute + 1]
        return before + (after - before) * (second + 1) // SECONDS


SPREADS = ((0, 1), (1, 0), (0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (1, 2), (2, 1))
"""(increments below the price, increments above it): one to three apart, mostly one."""


class PricePaths:
    """All prices of one world. Cheap to make; everything is computed when asked for and then kept for a while."""

    def __init__(self, catalogue: Catalogue, history: History, *, seed: int, first_index: int) -> None:
        """`first_index` is the trading day of the history that becomes replay day 0."""
        self._catalogue = catalogue
        self._history = history
        self._seed = seed
        self._first_index = first_index
        self._noises: dict[str, _Noise] = {}
        # Per world, not per class: the caches go when the world goes.
        self.day = lru_cache(maxsize=16_384)(self._day)
        self.path = lru_cache(maxsize=256)(self._path)
        self._market_level = lru_cache(maxsize=16_384)(self._compute_market_level)
        self._market_minutes = lru_cache(maxsize=64)(self._compute_market_minutes)

    def _day(self, con_id: int, day: int) -> DayBar:
        """The bar of a whole replay day."""
        listing = self._listing(con_id)
        if self._has_history(listing):
            return self._historical_day(listing.symbol, day)
        return self._walked_day(listing, day)

    def _path(self, con_id: int, day: int, minutes: int) -> DayPath:
        """A replay day laid out over a session of `minutes`."""
        listing = self._listing(con_id)
        bar = self.day(con_id, day)
        key = f"{self._key(listing)}:{day}:{minutes}"
        rng = Random(key)
        noise = _bridge(rng, minutes + 1)
        if self._has_history(listing) or not _walk_of(listing).beta:
            size = (bar.high - bar.low) or 1
            raw = [bar.open + (bar.close - bar.open) * i / minutes + size * noise[i] for i in range(minutes + 1)]
        else:
            raw = self._following_the_market(listing, bar, day, noise)
        points = array("q", _stretched(raw, bar.open, bar.high, bar.low, bar.close, rng))
        return DayPath(key=key, day=bar, points=points, spread=self.steady_spread(con_id, day))

    def steady_spread(self, con_id: int, day: int) -> tuple[int, int] | None:
        """How far bid and ask lie from the price all day; None if that changes by the minute, as it does for stocks.

        The steady spread of currencies makes a day's bar of bids, asks or midpoints as cheap as one of prices.
        """
        listing = self._listing(con_id)
        if listing.sec_type != "CASH":
            return None
        return Random(f"{self._key(listing)}:{day}:spread").choice(SPREADS)

    def _following_the_market(self, listing: Listing, bar: DayBar, day: int, noise: list[float]) -> list[float]:
        walk, minutes = _walk_of(listing), len(noise) - 1
        market = self._market_minutes(day)
        start, end = math.log(bar.open), math.log(bar.close)
        moved = [walk.beta * market[i * MARKET_MINUTES // minutes] for i in range(minutes + 1)]
        own = end - start - moved[-1]
        return [math.exp(start + moved[i] + own * i / minutes + walk.noise * noise[i]) for i in range(minutes + 1)]

    def _historical_day(self, symbol: str, day: int) -> DayBar:
        there_and_back = divmod(self._first_index + day, 2 * len(self._history))[1]
        if there_and_back < len(self._history):
            return self._history.bar(symbol, there_and_back)
        bar = self._history.bar(symbol, 2 * len(self._history) - 1 - there_and_back)
        return bar._replace(open=bar.close, close=bar.open)

    def _walked_day(self, listing: Listing, day: int) -> DayBar:
        walk = _walk_of(listing)
        key = self._key(listing)
        noise = self._noises.setdefault(key, _Noise(key, walk.noise))
        rng = Random(f"{key}:{day}")
        gap, up, down, activity = (rng.gauss(0.0, 1.0) for _ in range(4))
        if day == 0:
            gap = 0.0
        market_open, market_close = self._market_level(day)
        base = float(walk.base / listing.min_tick)
        opening = base * math.exp(walk.beta * market_open + noise.at_close(day - 1) + 0.3 * walk.noise * gap)
        closing = base * math.exp(walk.beta * market_close + noise.at_close(day))
        reach = 0.4 * (walk.noise + walk.beta * 0.015)
        high = max(opening, closing) * math.exp(abs(up) * reach)
        low = min(opening, closing) * math.exp(-abs(down) * reach)
        # Four increments leave room for a bid below the lowest price.
        opening, high, low, closing = (max(4, round(price)) for price in (opening, high, low, closing))
        return DayBar(opening, high, low, closing, int(walk.volume * math.exp(0.3 * activity)))

    def _compute_market_level(self, day: int) -> tuple[float, float]:
        """The mean of all histories at open and at close: logarithms, relative to the open of replay day 0."""
        at_open = at_close = 0.0
        for symbol in self._history.symbols:
            bar, first = self._historical_day(symbol, day), self._historical_day(symbol, 0)
            at_open += math.log(bar.open / first.open)
            at_close += math.log(bar.close / first.open)
        return at_open / len(self._history.symbols), at_close / len(self._history.symbols)

    def _compute_market_minutes(self, day: int) -> list[float]:
        """The common factor: the mean logarithmic move since the open of that day, minute by minute."""
        paths = [
            self.path(listing.con_id, day, MARKET_MINUTES) for listing in self._catalogue if self._has_history(listing)
        ]
        return [
            sum(math.log(path.points[i] / path.points[0]) for path in paths) / len(paths)
            for i in range(MARKET_MINUTES + 1)
        ]

    def _has_history(self, listing: Listing) -> bool:
        return listing.symbol in self._history.symbols and listing.sec_type == "STK" and listing.currency == "USD"

    def _key(self, listing: Listing) -> str:
        name = "" if self._has_history(listing) else _walk_of(listing).kin
        return f"{self._seed}:{name or listing.con_id}"

    def _listing(self, con_id: int) -> Listing:
        listing = self._catalogue.by_con_id(con_id)
        if listing is None:
            raise KeyError(con_id)
        return listing


class _Noise:
    """A walk's own noise at each day's close: nought on day -1; both directions grow as they are asked for."""

    def __init__(self, key: str, size: float) -> None:
        self._size = size
        self._forward = [0.0]
        self._backward = [0.0]
        self._forward_rng = Random(f"{key}:forward")
        self._backward_rng = Random(f"{key}:backward")

    def at_close(self, day: int) -> float:
        steps = abs(day + 1)
        known, rng = (self._forward, self._forward_rng) if day >= 0 else (self._backward, self._backward_rng)
        while len(known) <= steps:
            known.append(NOISE_KEPT * known[-1] + rng.gauss(0.0, self._size))
        return known[steps]


def _walk_of(listing: Listing) -> Walk:
    return WALKS.get(listing.con_id, DEFAULT_WALK)


def _bridge(rng: Random, count: int) -> list[float]:
    """`count` values of a random walk that begins and ends at nought; its spread from low to high is about one."""
    size = 0.8 / math.sqrt(count)
    values, value = [0.0], 0.0
    for _ in range(count - 1):
        value += rng.gauss(0.0, size)
        values.append(value)
    return [values[i] - value * i / (count - 1) for i in range(count)]


def _stretched(raw: list[float], opening: int, high: int, low: int, closing: int, rng: Random) -> list[int]:
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
