"""What was quoted and traded, second by second: the market's own prices at past moments.

A tick here is the quote of one second of trading. So the tape, the bars and the live stream can never disagree.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from ibkr_mcp_server.simulator.instruments import Listing
from ibkr_mcp_server.simulator.market import Market, MarketQuote
from ibkr_mcp_server.simulator.sessions import Sessions, local_date
from ibkr_mcp_server.simulator.trading_calendars import ONE_DAY

ONE_SECOND = timedelta(seconds=1)
LONGEST_GAP_DAYS = 14
"""Longer than any stretch of closed days; the search for the next open second ends there."""


class Tape:
    def __init__(self, market: Market, sessions: Sessions) -> None:
        self._market = market
        self._sessions = sessions

    def from_moment(self, listing: Listing, start: datetime, *, count: int, now: datetime) -> list[MarketQuote]:
        """Up to `count` ticks from `start` on, the oldest first; none after `now`."""
        return self._quotes(listing, self._forwards(listing, start, now), count)

    def up_to_moment(self, listing: Listing, end: datetime, *, count: int) -> list[MarketQuote]:
        """The last `count` ticks before `end`, the oldest first."""
        return self._quotes(listing, self._backwards(listing, end), count)[::-1]

    def _quotes(self, listing: Listing, moments: Iterator[datetime], count: int) -> list[MarketQuote]:
        return [self._market.quote_at(listing.con_id, at) for at, _ in zip(moments, range(count), strict=False)]

    def _forwards(self, listing: Listing, start: datetime, now: datetime) -> Iterator[datetime]:
        at = start.replace(microsecond=0)
        for offset in range(-1, LONGEST_GAP_DAYS):
            session = self._sessions.session(listing, local_date(listing, start) + ONE_DAY * offset)
            if session is None:
                continue
            at = max(at, session.start)
            while at < session.end and at <= now:
                yield at
                at += ONE_SECOND

    def _backwards(self, listing: Listing, end: datetime) -> Iterator[datetime]:
        at = end.replace(microsecond=0) - ONE_SECOND
        for offset in range(1, -LONGEST_GAP_DAYS, -1):
            session = self._sessions.session(listing, local_date(listing, end) + ONE_DAY * offset)
            if session is None:
                continue
            at = min(at, session.end - ONE_SECOND)
            while at >= session.start:
                yield at
                at -= ONE_SECOND
