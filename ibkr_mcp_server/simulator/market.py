"""The market of the paper gateway: a quote for every instrument at any moment, and the bars that go with it.

Prices are `price_paths`' and depend on nothing but seed, instrument and position in the replay; `timeline` says which
position a moment shows. On top come a spread, sizes, and what a script pins down: held and withdrawn quotes, halts.
Bars know only the paths: a scripted quote leaves no trace in them.

Outside exchange hours (unless always open) quotes stay as they were at the close. Currency pairs have no last price and
no volume, as at IBKR. Not a matching engine: nothing that is traded here moves a price.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from ibkr_mcp_server.simulator.bars import Bar, historical_bars
from ibkr_mcp_server.simulator.history import shipped_history
from ibkr_mcp_server.simulator.instruments import Catalogue, Listing
from ibkr_mcp_server.simulator.price_paths import PricePaths
from ibkr_mcp_server.simulator.sessions import Sessions, last_us_session
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


class Market:
    """One world of prices. It has no clock: `advance_to` tells it the time."""

    def __init__(
        self,
        catalogue: Catalogue,
        sessions: Sessions,
        *,
        seed: int,
        started: datetime,
        replay_from: date = date(2008, 9, 2),
        speed: float = 1.0,
    ) -> None:
        """Begin at `started` with the first trading day from `replay_from` on, at `speed` replay seconds a second.

        Raises:
            ValueError: there is no history after `replay_from`, or `speed` is not positive.
        """
        if not 0 < speed < float("inf"):
            raise ValueError(f"The speed must be a positive number, not {speed}.")
        self._catalogue = catalogue
        self._sessions = sessions
        self._now = started
        self._quotes: dict[int, MarketQuote] = {}
        self._shown: dict[int, Position] = {}
        self._held: dict[int, tuple[Decimal, Decimal, Decimal | None]] = {}
        self._withdrawn: set[int] = set()
        self._halted: set[int] = set()
        self._touched: set[int] = set()
        """Changed by a script since the last `advance_to`, which has yet to report it."""
        origin = started if sessions.always_open else last_us_session(started).start
        self._begin(seed=seed, origin=origin, replay_from=replay_from, speed=speed)

    def _begin(self, *, seed: int, origin: datetime, replay_from: date, speed: float) -> None:
        history = shipped_history()
        self._seed, self._origin, self._replay_from, self._speed = seed, origin, replay_from, speed
        self._paths = PricePaths(self._catalogue, history, seed=seed, first_index=history.index_of(replay_from))
        self._timeline = Timeline(self._sessions, origin=origin, speed=speed)

    def advance_to(self, now: datetime) -> list[int]:
        """Move the market to `now`; the contract ids whose quote changed since the last call, by script or by time.

        The clock of a gateway may be stepped back: then the market shows the earlier moment again.
        """
        self._now = now
        changed = []
        for listing in self._catalogue:
            before = self._quotes.get(listing.con_id)
            if self._refresh(listing) is not before or listing.con_id in self._touched:
                changed.append(listing.con_id)
        self._touched.clear()
        return changed

    def quote(self, con_id: int) -> MarketQuote:
        """The quote at the moment last advanced to.

        Raises:
            KeyError: no such contract.
        """
        return self._refresh(self._listing(con_id))

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
        listing = self._listing(con_id)
        bid, ask = Decimal(bid), Decimal(ask)
        if last is not None:
            last = Decimal(last)
        elif listing.sec_type != "CASH":
            last = (bid + ask) / 2 // listing.min_tick * listing.min_tick
        self._withdrawn.discard(con_id)
        self._held.pop(con_id, None)
        position = self._position(listing)
        quote = self._scripted(self._path_quote(listing, position), bid, ask, last)
        self._quotes[con_id] = replace(quote, halted=con_id in self._halted)
        self._shown[con_id] = position
        if hold:
            self._held[con_id] = bid, ask, last
        self._touched.add(con_id)

    def withdraw_quote(self, con_id: int) -> None:
        """Leave the instrument without bid, ask and last until `release` or `set_quote`."""
        self._listing(con_id)
        self._held.pop(con_id, None)
        self._withdrawn.add(con_id)
        self._forget(con_id)

    def release(self, con_id: int) -> None:
        """Let the market move again after `set_quote` or `withdraw_quote`."""
        self._listing(con_id)
        self._held.pop(con_id, None)
        self._withdrawn.discard(con_id)
        self._forget(con_id)

    def halt(self, con_id: int, halted: bool = True) -> None:
        """Halt trading: the quote stays where it is and says so. Or resume it, at the price of that moment."""
        quote = self.quote(con_id)
        if halted:
            self._halted.add(con_id)
            self._quotes[con_id] = replace(quote, halted=True, at=self._now)
            self._touched.add(con_id)
        else:
            self._halted.discard(con_id)
            self._forget(con_id)

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
        listing = self._listing(con_id)
        return historical_bars(
            self._paths,
            self._timeline,
            listing,
            end=min(end, now),
            duration=duration,
            bar_size=bar_size,
            what=what,
        )

    def state(self) -> dict[str, Any]:
        """What a restarted gateway needs to continue this world, ready for JSON."""
        return {
            "seed": self._seed,
            "origin": self._origin.isoformat(),
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
            ValueError: the state is of a world with other hours.
        """
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
        known = {listing.con_id for listing in self._catalogue}
        self._held = {}
        for con_id, (bid, ask, last) in state["held"].items():
            if int(con_id) in known:
                self._held[int(con_id)] = Decimal(bid), Decimal(ask), None if last is None else Decimal(last)
        self._withdrawn = known & set(state["withdrawn"])
        self._halted = known & set(state["halted"])
        self._touched.clear()

    def _refresh(self, listing: Listing) -> MarketQuote:
        """The quote at `self._now`: the same object as before unless something in it changed."""
        con_id = listing.con_id
        known = self._quotes.get(con_id)
        if known is not None and con_id in self._halted:
            return known
        position = self._position(listing)
        if known is not None and (con_id in self._held or con_id in self._withdrawn or self._shown[con_id] == position):
            return known
        fresh = self._path_quote(listing, position)
        if con_id in self._withdrawn:
            fresh = replace(fresh, bid=None, ask=None, last=None, bid_size=None, ask_size=None, last_size=None)
        elif con_id in self._held:
            fresh = self._scripted(fresh, *self._held[con_id])
        if con_id in self._halted:
            fresh = replace(fresh, halted=True)
        self._shown[con_id] = position
        if known is not None and replace(fresh, at=known.at) == known:
            return known
        self._quotes[con_id] = fresh
        return fresh

    def _path_quote(self, listing: Listing, position: Position) -> MarketQuote:
        """The quote that seed and position alone decide."""
        con_id, tick = listing.con_id, listing.min_tick
        path = self._paths.path(con_id, position.day, position.minutes)
        minute, second = divmod(position.step, 60)
        price = path.seconds(minute)[second]
        is_currency = listing.sec_type == "CASH"
        bid_size, ask_size, last_size = _sizes(con_id, position, is_currency=is_currency)
        return MarketQuote(
            bid=(price - path.below[minute]) * tick,
            ask=(price + path.above[minute]) * tick,
            last=None if is_currency else price * tick,
            bid_size=bid_size,
            ask_size=ask_size,
            last_size=None if is_currency else last_size,
            volume=None if is_currency else Decimal(path.volume_so_far(position.step)),
            open=path.day.open * tick,
            high=path.high_so_far(position.step) * tick,
            low=path.low_so_far(position.step) * tick,
            close=self._paths.day(con_id, position.day - 1).close * tick,
            halted=False,
            at=self._now,
        )

    def _scripted(self, quote: MarketQuote, bid: Decimal, ask: Decimal, last: Decimal | None) -> MarketQuote:
        """`quote` with other prices, and high and low widened by the new last price."""
        if last is None or quote.high is None or quote.low is None:
            return replace(quote, bid=bid, ask=ask, last=last)
        high, low = max(quote.high, last), min(quote.low, last)
        return replace(quote, bid=bid, ask=ask, last=last, high=high, low=low)

    def _forget(self, con_id: int) -> None:
        self._quotes.pop(con_id, None)
        self._touched.add(con_id)

    def _position(self, listing: Listing) -> Position:
        return self._timeline.position(listing, self._now)

    def _listing(self, con_id: int) -> Listing:
        listing = self._catalogue.by_con_id(con_id)
        if listing is None:
            raise KeyError(con_id)
        return listing


def _sizes(con_id: int, position: Position, *, is_currency: bool) -> tuple[Decimal, Decimal, Decimal]:
    """Bid, ask and last size: 100 to 2,000 shares or 100,000 to 5,000,000 of a currency, anew every few seconds."""
    steps = position.day * 86_400 + position.step
    low, unit, most = (1, 100_000, 50) if is_currency else (1, 100, 20)
    # Three unlike rhythms, so that the sizes seldom change together.
    return (
        Decimal(unit * (low + _mixed(con_id, 1, steps // 2) % most)),
        Decimal(unit * (low + _mixed(con_id, 2, (steps + 1) // 3) % most)),
        Decimal(unit * (low + _mixed(con_id, 3, steps // 4) % most)),
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
