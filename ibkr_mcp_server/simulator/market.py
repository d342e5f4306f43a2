"""The market of the paper gateway: a quote for every instrument at any moment, and the bars that go with it.

Prices are `price_paths`' and depend on nothing but seed, instrument and position in the replay; `timeline` says which
position a moment shows. On top come a spread, sizes, and what a script pins down: held and withdrawn quotes, halts.
Bars know only the paths: a scripted quote leaves no trace in them.

Outside exchange hours (unless always open) quotes stay as they were at the close. Currency pairs have no last price and
no volume, indices no bid and no ask, as at IBKR. An option's quote follows from its underlying's, also where a script
moved that. Not a matching engine: nothing that is traded here moves a price.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from ibkr_mcp_server.simulator.bars import Bar, EndedBar, historical_bars
from ibkr_mcp_server.simulator.day_paths import SECONDS, Quoting
from ibkr_mcp_server.simulator.derived_bars import (
    VOLATILITY_SESSIONS,
    bid_ask_bars,
    implied_volatility_bars,
    volatility_bars,
)
from ibkr_mcp_server.simulator.history import SHIPPED, History, shipped_history
from ibkr_mcp_server.simulator.instruments import Catalogue, Listing
from ibkr_mcp_server.simulator.market_rules import grid_of
from ibkr_mcp_server.simulator.option_chains import volatility_at_the_money
from ibkr_mcp_server.simulator.option_paths import OptionTerms, open_interest
from ibkr_mcp_server.simulator.option_pricing import Computation, computation, implied_volatility
from ibkr_mcp_server.simulator.price_paths import PricePaths
from ibkr_mcp_server.simulator.sessions import Sessions, SessionsShape, last_us_open
from ibkr_mcp_server.simulator.timeline import Position, Timeline

__all__ = ["Bar", "Market", "MarketQuote"]


@dataclass(frozen=True, kw_only=True)
class MarketQuote:
    """What the market shows for one instrument; None is unknown, never nought."""

    bid: Decimal | None
    ask: Decimal | None
    last: Decimal | None
    bid_size: Decimal | None
    ask_size: Decimal | None
    last_size: Decimal | None
    volume: Decimal | None
    """Traded so far in this replay day."""
    open: Decimal | None
    high: Decimal | None
    low: Decimal | None
    close: Decimal | None
    """Of the replay day before."""
    halted: bool
    at: datetime
    """When it last changed."""


@lru_cache(maxsize=4)
def _ended_bars(
    sessions: SessionsShape, history: History, seed: int, origin: datetime, replay_from: date, speed: float
) -> dict[EndedBar, Bar]:
    """Bars that nothing changes any more: laid out once for all equal worlds of a process, as tests have many."""
    return {}


class Market:
    """One world of prices. It has no clock: `advance_to` tells it the time."""

    def __init__(
        self,
        catalogue: Catalogue,
        sessions: Sessions,
        *,
        seed: int,
        started: datetime,
        history: History | None = None,
        replay_from: date | None = None,
        speed: float = 1.0,
    ) -> None:
        """Begin at `started` with the first trading day from `replay_from` on, at `speed` replay seconds a second.

        `history` falls on the shipped one, and `replay_from` on the day on which that history starts.

        Raises:
            ValueError: there is no history after `replay_from`, or `speed` is not positive.
        """
        if not 0 < speed < float("inf"):
            raise ValueError(f"The speed must be a positive number, not {speed}.")
        self._catalogue = catalogue
        self._sessions = sessions
        self._now = started
        self._quotes: dict[int, MarketQuote] = {}
        self._shown: dict[int, tuple[Position, MarketQuote | None]] = {}
        """What each quote was made from: the position, and the underlying's quote if it has one."""
        self._held: dict[int, tuple[Decimal, Decimal, Decimal | None]] = {}
        self._withdrawn: set[int] = set()
        self._halted: set[int] = set()
        origin = started if sessions.always_open else last_us_open(started)[1]
        self._history = history or shipped_history()
        self._begin(seed=seed, origin=origin, replay_from=replay_from or self._history.starts, speed=speed)

    def _begin(self, *, seed: int, origin: datetime, replay_from: date, speed: float) -> None:
        history = self._history
        self._seed, self._origin, self._replay_from, self._speed = seed, origin, replay_from, speed
        self._paths = PricePaths(self._catalogue, history, seed=seed, first_index=history.index_of(replay_from))
        self._timeline = Timeline(self._sessions, origin=origin, speed=speed)
        self._ended_bars = _ended_bars(self._sessions.shape, history, seed, origin, replay_from, speed)

    @property
    def now(self) -> datetime:
        """The moment last advanced to."""
        return self._now

    def advance_to(self, now: datetime) -> None:
        """Move the market to `now`. Costs nothing: a quote is worked out when somebody asks for it.

        The clock of a gateway may be stepped back: then the market shows the earlier moment again.
        """
        self._now = now

    def quote(self, con_id: int) -> MarketQuote:
        """The quote at the moment last advanced to: the same object as before unless something in it changed.

        Raises:
            KeyError: no such contract.
        """
        return self._refresh(self._catalogue.known(con_id))

    def quote_at(self, con_id: int, at: datetime) -> MarketQuote:
        """The quote of a past moment, as the prices alone decide it: scripts leave no trace in the past.

        Raises:
            KeyError: no such contract.
        """
        listing = self._catalogue.known(con_id)
        underlying = self.quote_at(listing.under_con_id, at) if listing.sec_type == "OPT" else None
        quote = self._path_quote(listing, self._timeline.position(listing, at), underlying)
        return replace(quote, at=at)

    def set_quote(
        self,
        con_id: int,
        *,
        bid: Decimal | str,
        ask: Decimal | str,
        last: Decimal | str | None = None,
        hold: bool = True,
    ) -> None:
        """Set the quote, and hold it there until `release`; without `hold`, until the market next moves.

        `last` falls on the midpoint (rounded down to the price grid) unless given. Absurd quotes are welcome.
        """
        listing = self._catalogue.known(con_id)
        bid, ask = Decimal(bid), Decimal(ask)
        if last is not None:
            last = Decimal(last)
        elif listing.sec_type != "CASH":
            last = (bid + ask) / 2 // listing.min_tick * listing.min_tick
        self._withdrawn.discard(con_id)
        self._held.pop(con_id, None)
        source = self._source(listing)
        quote = self._scripted(self._path_quote(listing, *source), bid, ask, last)
        self._quotes[con_id] = replace(quote, halted=con_id in self._halted)
        self._shown[con_id] = source
        if hold:
            self._held[con_id] = bid, ask, last

    def withdraw_quote(self, con_id: int) -> None:
        """Leave the instrument without bid, ask and last until `release` or `set_quote`."""
        self._catalogue.known(con_id)
        self._held.pop(con_id, None)
        self._withdrawn.add(con_id)
        self._forget(con_id)

    def release(self, con_id: int) -> None:
        """Let the market move again after `set_quote` or `withdraw_quote`."""
        self._catalogue.known(con_id)
        self._held.pop(con_id, None)
        self._withdrawn.discard(con_id)
        self._forget(con_id)

    def halt(self, con_id: int, halted: bool = True) -> None:
        """Halt trading: the quote stays where it is and says so. Or resume it, at the price of that moment."""
        quote = self.quote(con_id)
        if halted:
            self._halted.add(con_id)
            self._quotes[con_id] = replace(quote, halted=True, at=self._now)
        else:
            self._halted.discard(con_id)
            self._forget(con_id)

    def reference_price(self, con_id: int) -> Decimal:
        """The close before the replay day now shown; scripts do not touch it.

        Raises:
            KeyError: no such contract.
        """
        listing = self._catalogue.known(con_id)
        position = self._timeline.position(listing, self._now)
        return self._close_before(listing, position)

    # --- options ---

    def option_computation(self, con_id: int, price: Decimal | None = None) -> Computation | None:
        """Implied volatility and greeks of an option now, at `price` or else at the model's own volatility.

        None if the underlying has no price, or no volatility explains `price`.

        Raises:
            KeyError: no such option.
        """
        listing = self._option(con_id)
        underlying = self.quote(listing.under_con_id).last
        if underlying is None:
            return None
        terms, years = self._terms(listing)
        volatility: float | None = terms.volatility
        if price is not None:
            volatility = implied_volatility(terms.right, float(price), float(underlying), terms.strike, years)
        if volatility is None:
            return None
        return computation(terms.right, float(underlying), terms.strike, years, volatility)

    def open_interest(self, con_id: int) -> int:
        """Contracts of an option that were open after the last settlement.

        Raises:
            KeyError: no such option.
        """
        listing = self._option(con_id)
        _, years = self._terms(listing)
        return open_interest(listing, reference=float(self.reference_price(listing.under_con_id)), years=years)

    def option_price_at(self, con_id: int, *, volatility: float, underlying_price: float) -> Computation:
        """What an option would be worth now (reqCalculateOptionPrice).

        Raises:
            KeyError: no such option.
        """
        terms, years = self._terms(self._option(con_id))
        return computation(terms.right, underlying_price, terms.strike, years, volatility)

    def implied_volatility_at(self, con_id: int, *, price: float, underlying_price: float) -> Computation | None:
        """Which volatility explains a price (reqCalculateImpliedVolatility); None if none does.

        Raises:
            KeyError: no such option.
        """
        terms, years = self._terms(self._option(con_id))
        volatility = implied_volatility(terms.right, price, underlying_price, terms.strike, years)
        return (
            None if volatility is None else computation(terms.right, underlying_price, terms.strike, years, volatility)
        )

    def _terms(self, listing: Listing) -> tuple[OptionTerms, float]:
        """The terms of an option, and its years to expiry at this step of the session."""
        position = self._timeline.position(listing, self._now)
        path = self._paths.option_path(listing.con_id, position.day, position.minutes, position.on)
        return path.terms, path.terms.years(path.block(position.step // SECONDS))

    def _option(self, con_id: int) -> Listing:
        listing = self._catalogue.known(con_id)
        if listing.sec_type != "OPT":
            raise KeyError(con_id)
        return listing

    # --- history ---

    def bars(
        self,
        con_id: int,
        *,
        end: datetime,
        duration: str,
        bar_size: str,
        what: str,
        use_rth: bool,
        now: datetime,
    ) -> list[Bar]:
        """Historical bars up to `end`, but not past `now`; the oldest first.

        `use_rth` makes no difference: nothing trades outside the regular session in this market.

        Raises:
            KeyError: no such contract.
            ValueError: an illegal size, duration or kind; the text says which.
        """
        listing = self._catalogue.known(con_id)

        def of(what: str, duration: str = duration) -> list[Bar]:
            until = min(end, now)
            return historical_bars(
                self._paths,
                self._timeline,
                listing,
                end=until,
                duration=duration,
                bar_size=bar_size,
                what=what,
                ended=self._ended_bars,
            )

        if what == "BID_ASK":
            return bid_ask_bars(of("BID"), of("ASK"))
        if what == "OPTION_IMPLIED_VOLATILITY":
            volatility = volatility_at_the_money(listing)
            return [] if volatility is None else implied_volatility_bars(of("MIDPOINT"), volatility)
        if what == "HISTORICAL_VOLATILITY":
            if bar_size != "1 day":
                raise ValueError(f"Historical data bar size setting is invalid for {what}: '{bar_size}'")
            base = "MIDPOINT" if listing.sec_type == "CASH" else "TRADES"
            count = len(of(base))
            # A few more than needed: a session that has only just begun counts and has no bar.
            return volatility_bars(of(base, f"{count + VOLATILITY_SESSIONS + 5} D"), count=count)
        return of(what)

    def state(self) -> dict[str, Any]:
        """What a restarted gateway needs to continue this world, ready for JSON."""
        return {
            "seed": self._seed,
            "origin": self._origin.isoformat(),
            "history": self._history.name,
            "replay_from": self._replay_from.isoformat(),
            "speed": self._speed,
            "always_open": self._sessions.always_open,
            "held": {
                str(con_id): [None if price is None else str(price) for price in prices]
                for con_id, prices in self._held.items()
            },
            "withdrawn": sorted(self._withdrawn),
            "halted": sorted(self._halted),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue the world of `state` at the present moment; its seed and speed replace this market's.

        Time went on meanwhile: prices are those of now, not of the moment of saving. A halted instrument stays at
        the price of now.

        Raises:
            ValueError: the state is of a world with other hours, or another history.
        """
        if state.get("history", SHIPPED) != self._history.name:
            raise ValueError("The saved market replays another price history than this gateway.")
        if state["always_open"] != self._sessions.always_open:
            raise ValueError("The saved market has other trading hours (always open or not) than this gateway.")
        self._begin(
            seed=state["seed"],
            origin=datetime.fromisoformat(state["origin"]).astimezone(UTC),
            replay_from=date.fromisoformat(state["replay_from"]),
            speed=state["speed"],
        )
        self._quotes.clear()
        self._shown.clear()
        self._held = {}
        for con_id, (bid, ask, last) in state["held"].items():
            if self._catalogue.by_con_id(int(con_id)):
                self._held[int(con_id)] = Decimal(bid), Decimal(ask), None if last is None else Decimal(last)
        self._withdrawn = {con_id for con_id in state["withdrawn"] if self._catalogue.by_con_id(con_id)}
        self._halted = {con_id for con_id in state["halted"] if self._catalogue.by_con_id(con_id)}

    def _refresh(self, listing: Listing) -> MarketQuote:
        """The quote at `self._now`: the same object as before unless something in it changed."""
        con_id = listing.con_id
        known = self._quotes.get(con_id)
        if known is not None and (con_id in self._halted or con_id in self._held or con_id in self._withdrawn):
            return known
        source = self._source(listing)
        if known is not None and self._shown[con_id] == source:
            return known
        fresh = self._path_quote(listing, *source)
        if con_id in self._withdrawn:
            fresh = _without_prices(fresh)
        elif con_id in self._held:
            fresh = self._scripted(fresh, *self._held[con_id])
        if con_id in self._halted:
            fresh = replace(fresh, halted=True)
        if len(self._quotes) >= REMEMBERED_QUOTES:
            for other in [other for other in self._quotes if other not in self._halted]:
                self._forget(other)
        self._shown[con_id] = source
        if known is not None and replace(fresh, at=known.at) == known:
            self._quotes[con_id] = known
            return known
        self._quotes[con_id] = fresh
        return fresh

    def _source(self, listing: Listing) -> tuple[Position, MarketQuote | None]:
        underlying = self.quote(listing.under_con_id) if listing.sec_type == "OPT" else None
        return self._timeline.position(listing, self._now), underlying

    def _path_quote(self, listing: Listing, position: Position, underlying: MarketQuote | None) -> MarketQuote:
        """The quote that seed and position decide; of an option, the underlying's price too."""
        con_id, tick, step = listing.con_id, listing.min_tick, position.step
        path = self._paths.path(con_id, position.day, position.minutes, position.on)
        quoting = Quoting(grid_of(listing.market_rule_id))
        price = path.at(step)
        if underlying is not None and underlying.last is not None:
            option = self._paths.option_path(con_id, position.day, position.minutes, position.on)
            price = option.at_underlying(underlying.last, step)
        below, above = path.spread(step // SECONDS)
        low, high = path.extremes(0, step)
        bid, last, ask = quoting.bid(price, below), quoting.last(price), quoting.ask(price, above)
        bid_size, ask_size, last_size = _sizes(listing, position)
        traded = listing.sec_type not in ("CASH", "IND")
        quoted = listing.sec_type != "IND"
        quote = MarketQuote(
            bid=bid * tick if bid and quoted else None,
            ask=ask * tick if quoted else None,
            last=None if listing.sec_type == "CASH" else last * tick,
            bid_size=bid_size if bid and quoted else None,
            ask_size=ask_size if quoted else None,
            last_size=last_size if traded else None,
            volume=Decimal(path.volume_so_far(step)) if traded else None,
            open=quoting.last(path.at(0)) * tick,
            high=max(quoting.last(high), last) * tick,
            low=min(quoting.last(low), last) * tick,
            close=self._close_before(listing, position),
            halted=underlying is not None and underlying.halted,
            at=self._now,
        )
        return _without_prices(quote) if underlying is not None and underlying.last is None else quote

    def _close_before(self, listing: Listing, position: Position) -> Decimal:
        close = self._paths.close_before(listing.con_id, position.day, position.minutes, position.on)
        return Quoting(grid_of(listing.market_rule_id)).last(close) * listing.min_tick

    def _scripted(self, quote: MarketQuote, bid: Decimal, ask: Decimal, last: Decimal | None) -> MarketQuote:
        """`quote` with other prices, and high and low widened by the new last price."""
        if last is None or quote.high is None or quote.low is None:
            return replace(quote, bid=bid, ask=ask, last=last)
        high, low = max(quote.high, last), min(quote.low, last)
        return replace(quote, bid=bid, ask=ask, last=last, high=high, low=low)

    def _forget(self, con_id: int) -> None:
        self._quotes.pop(con_id, None)
        self._shown.pop(con_id, None)


REMEMBERED_QUOTES = 1_000
"""A look at a whole option chain must not stay in memory for good."""


def _without_prices(quote: MarketQuote) -> MarketQuote:
    return replace(quote, bid=None, ask=None, last=None, bid_size=None, ask_size=None, last_size=None)


SIZES = {
    "CASH": (Decimal(100_000), 50),
    "OPT": (Decimal(1), 90),
    "FUT": (Decimal(1), 60),
    "CRYPTO": (Decimal("0.01"), 400),
}
"""The unit of displayed sizes and how many of them there are at most."""
STOCK_SIZES = Decimal(100), 20


def _sizes(listing: Listing, position: Position) -> tuple[Decimal, Decimal, Decimal]:
    """Bid, ask and last size, anew every few seconds: 100 to 2,000 shares, 100,000 to 5,000,000 of a currency."""
    steps = position.day * 86_400 + position.step
    unit, most = SIZES.get(listing.sec_type, STOCK_SIZES)
    # Three unlike rhythms, so that the sizes seldom change together.
    return (
        unit * (1 + _mixed(listing.con_id, 1, steps // 2) % most),
        unit * (1 + _mixed(listing.con_id, 2, (steps + 1) // 3) % most),
        unit * (1 + _mixed(listing.con_id, 3, steps // 4) % most),
    )


def _mixed(*numbers: int) -> int:
    """Well scattered bits of `numbers`: a cheap and repeatable die (the finaliser of MurmurHash3, per number)."""
    value = 0
    for number in numbers:
        value = (value ^ number) & 0xFFFFFFFF
        value = (value ^ (value >> 16)) * 0x85EBCA6B & 0xFFFFFFFF
        value = (value ^ (value >> 13)) * 0xC2B2AE35 & 0xFFFFFFFF
        value ^= value >> 16
    return value
