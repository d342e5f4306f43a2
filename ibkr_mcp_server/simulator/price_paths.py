"""Where every price comes from: a function of seed, instrument, replay day and second, and of nothing else.

A replay day is a whole number: 0 is the first day replayed, 1 the next trading day, -1 the one before. When the
history ends it runs backwards from there, and forwards again from its beginning: so there is always a next day, and
none opens far from the close before it.

- Instruments with a history have the real open, high, low, close and volume of that day.
- The others walk: they follow the mean of those with a history, `Walk.beta` for one, and add noise of their own.
- Currency pairs are quotients of their two currencies, options follow their underlying and futures their continuous
  contract. The latter two also depend on the date: how long there is to go.

Prices in here are whole multiples of the instrument's smallest increment.
"""

from __future__ import annotations

import math
from array import array
from datetime import date, timedelta
from functools import lru_cache
from random import Random

from ibkr_mcp_server.simulator.currency_paths import CurrencyRates, PairPath, spread_of
from ibkr_mcp_server.simulator.day_paths import DayPath, Path, ScaledPath, bridge, stretched
from ibkr_mcp_server.simulator.futures import continuous_con_id, root_of
from ibkr_mcp_server.simulator.history import DayBar, History
from ibkr_mcp_server.simulator.instruments import Catalogue, Listing
from ibkr_mcp_server.simulator.noise import Noise
from ibkr_mcp_server.simulator.option_paths import OptionPath, OptionTerms
from ibkr_mcp_server.simulator.option_pricing import DAYS_A_YEAR
from ibkr_mcp_server.simulator.walks import DEFAULT_WALK, WALKS, Walk

MARKET_MINUTES = 390  # of a US stock session, the pace at which the common market factor is laid out
FOREX_MINUTES = 1425  # of a currency session


class PricePaths:
    """All prices of one world. Cheap to make; everything is computed when asked for and then kept for a while."""

    def __init__(self, catalogue: Catalogue, history: History, *, seed: int, first_index: int) -> None:
        """`first_index` is the trading day of the history that becomes replay day 0."""
        self._catalogue = catalogue
        self._history = history
        self._seed = seed
        self._first_index = first_index
        self._noises: dict[str, Noise] = {}
        self._currencies = CurrencyRates(seed)
        # Per world, not per class: the caches go when the world goes.
        self._day = lru_cache(maxsize=16_384)(self._compute_day)
        self._day_path = lru_cache(maxsize=256)(self._compute_day_path)
        self._pair_path = lru_cache(maxsize=64)(self._compute_pair_path)
        self._option_path = lru_cache(maxsize=256)(self._compute_option_path)
        self._market_level = lru_cache(maxsize=16_384)(self._compute_market_level)
        self._market_minutes = lru_cache(maxsize=64)(self._compute_market_minutes)

    def path(self, con_id: int, day: int, minutes: int, on: date) -> Path:
        """A replay day laid out over a session of `minutes` on the date `on`."""
        listing = self._catalogue.known(con_id)
        match listing.sec_type:
            case "CASH":
                return self._pair_path(con_id, day, minutes)
            case "OPT":
                return self._option_path(con_id, day, minutes, on)
            case "FUT":
                continuous = self._day_path(continuous_con_id(listing), day, minutes)
                factor, volume = _term(listing, on)
                return ScaledPath(continuous, factor, volume=volume)
            case _:
                return self._day_path(con_id, day, minutes)

    def option_path(self, con_id: int, day: int, minutes: int, on: date) -> OptionPath:
        """`path` of what is known to be an option."""
        return self._option_path(con_id, day, minutes, on)

    def day(self, con_id: int, day: int, minutes: int, on: date) -> DayBar:
        """The bar of a whole replay day; for most instruments without laying the day out."""
        listing = self._catalogue.known(con_id)
        if listing.sec_type in ("CASH", "OPT", "FUT"):
            return self.path(con_id, day, minutes, on).day
        return self._day(con_id, day)

    def close_before(self, con_id: int, day: int, minutes: int, on: date) -> int:
        """Where the replay day before `day`, which is shown on the date `on`, ended."""
        listing = self._catalogue.known(con_id)
        if listing.sec_type == "CASH":
            rate = self._currencies.at_close(listing.symbol, day - 1) - self._currencies.at_close(
                listing.currency, day - 1
            )
            return round(math.exp(rate) / float(listing.min_tick))
        return self.day(con_id, day - 1, minutes, _weekday_before(on)).close

    def steady_spread(self, con_id: int) -> tuple[int, int] | None:
        """How far bid and ask lie from the price at all times; None if that changes by the minute.

        A steady spread makes a day's bar of bids, asks or midpoints as cheap as one of prices.
        """
        listing = self._catalogue.known(con_id)
        return spread_of(listing.symbol, listing.currency) if listing.sec_type == "CASH" else None

    # --- stocks, funds, indices, coins, continuous contracts ---

    def _compute_day(self, con_id: int, day: int) -> DayBar:
        listing = self._catalogue.known(con_id)
        if self._has_history(listing):
            return self._historical_day(listing.symbol, day)
        return self._walked_day(listing, day)

    def _compute_day_path(self, con_id: int, day: int, minutes: int) -> DayPath:
        listing = self._catalogue.known(con_id)
        follows = not self._has_history(listing) and _walk_of(listing).beta
        return _laid_out(
            f"{self._key(listing)}:{day}:{minutes}",
            self._day(con_id, day),
            minutes,
            _walk_of(listing) if follows else None,
            self._market_minutes(day) if follows else (),
        )

    def _historical_day(self, symbol: str, day: int) -> DayBar:
        there_and_back = divmod(self._first_index + day, 2 * len(self._history))[1]
        if there_and_back < len(self._history):
            return self._history.bar(symbol, there_and_back)
        bar = self._history.bar(symbol, 2 * len(self._history) - 1 - there_and_back)
        return bar._replace(open=bar.close, close=bar.open)

    def _walked_day(self, listing: Listing, day: int) -> DayBar:
        walk = _walk_of(listing)
        key = self._key(listing)
        noise = self._noises.setdefault(key, Noise(key))
        rng = Random(f"{key}:{day}")
        gap, up, down, activity = (rng.gauss(0.0, 1.0) for _ in range(4))
        if day == 0:
            gap = 0.0
        market_open, market_close = self._market_level(day)
        base = float(walk.base / listing.min_tick)
        opening = base * math.exp(walk.beta * market_open + walk.noise * (noise.at_close(day - 1) + 0.3 * gap))
        closing = base * math.exp(walk.beta * market_close + walk.noise * noise.at_close(day))
        reach = 0.4 * (walk.noise + abs(walk.beta) * 0.015)
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

    def _compute_market_minutes(self, day: int) -> tuple[float, ...]:
        """The common factor: the mean logarithmic move since the open of that day, minute by minute."""
        return _common_move(
            tuple(
                self._day_path(listing.con_id, day, MARKET_MINUTES)
                for listing in self._catalogue
                if self._has_history(listing)
            )
        )

    def _has_history(self, listing: Listing) -> bool:
        return listing.symbol in self._history.symbols and listing.sec_type == "STK" and listing.currency == "USD"

    def _key(self, listing: Listing) -> str:
        name = "" if self._has_history(listing) else _walk_of(listing).kin
        return f"{self._seed}:{name or listing.con_id}"

    # --- what follows something else ---

    def _compute_pair_path(self, con_id: int, day: int, minutes: int) -> PairPath:
        listing = self._catalogue.known(con_id)
        return PairPath(
            base=self._currencies.minutes(listing.symbol, day, minutes),
            quoted=self._currencies.minutes(listing.currency, day, minutes),
            increment=float(listing.min_tick),
            spread=spread_of(listing.symbol, listing.currency),
        )

    def _compute_option_path(self, con_id: int, day: int, minutes: int, on: date) -> OptionPath:
        listing = self._catalogue.known(con_id)
        underlying = self._catalogue.known(listing.under_con_id)
        reference = self._day(underlying.con_id, day - 1).close * float(underlying.min_tick)
        return OptionPath(
            listing,
            OptionTerms(listing, on=on, reference=reference),
            self._day_path(underlying.con_id, day, minutes),
            underlying_tick=underlying.min_tick,
            key=f"{self._seed}:{con_id}:{day}",
        )


# Equal worlds have equal prices: a day is laid out once for all worlds of a process, as tests have many.


@lru_cache(maxsize=256)
def _laid_out(key: str, bar: DayBar, minutes: int, walk: Walk | None, market: tuple[float, ...]) -> DayPath:
    """The day `bar` minute by minute; one with a `walk` follows the market."""
    rng = Random(key)
    noise = bridge(rng, minutes + 1)
    if walk is None:
        size = (bar.high - bar.low) or 1
        raw = [bar.open + (bar.close - bar.open) * i / minutes + size * noise[i] for i in range(minutes + 1)]
    else:
        raw = _following_the_market(walk, bar, market, noise)
    points = array("q", stretched(raw, bar.open, bar.high, bar.low, bar.close, rng))
    return DayPath(key=key, day=bar, points=points)


def _following_the_market(walk: Walk, bar: DayBar, market: tuple[float, ...], noise: list[float]) -> list[float]:
    minutes = len(noise) - 1
    start, end = math.log(bar.open), math.log(bar.close)
    moved = [walk.beta * market[i * MARKET_MINUTES // minutes] for i in range(minutes + 1)]
    own = end - start - moved[-1]
    return [math.exp(start + moved[i] + own * i / minutes + walk.noise * noise[i]) for i in range(minutes + 1)]


@lru_cache(maxsize=64)
def _common_move(paths: tuple[DayPath, ...]) -> tuple[float, ...]:
    return tuple(
        sum(math.log(path.points[i] / path.points[0]) for path in paths) / len(paths) for i in range(MARKET_MINUTES + 1)
    )


def _walk_of(listing: Listing) -> Walk:
    return WALKS.get(listing.con_id, DEFAULT_WALK)


def _term(listing: Listing, on: date) -> tuple[float, float]:
    """How much dearer a futures month is than the continuous contract, and its share of the trades, on a date."""
    root = root_of(listing)
    years = max((listing.expiry - on).days, 0) / DAYS_A_YEAR
    return math.exp(root.carry * years), math.exp(-6.0 * years)


def _weekday_before(day: date) -> date:
    """Close enough to the session before: a price for one holiday more or less differs by next to nothing."""
    return day - timedelta(days=3 if day.weekday() == 0 else 1)
