"""Which second of which replay day a moment shows.

The world began at its origin. From then on time is *live*: replay day 0, then 1, and so on, `speed` steps for each
second in which the exchange is open. What lies before is *past*, and there it is always one replay day per session
of the exchange, numbered backwards from -1, whatever the speed: charts reach back over ordinary trading days.

- With exchange hours the origin is the beginning of the US session last begun when the world was made, so at speed 1
  replay day 0 is that session, second by second. A session at speed 60 shows sixty replay days.
- Always open, the origin is the moment itself, and one replay day of 23,400 steps follows the other day and night.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import date, datetime
from typing import NamedTuple

from ibkr_mcp_server.simulator.day_paths import SECONDS
from ibkr_mcp_server.simulator.exchange_hours import hours_of
from ibkr_mcp_server.simulator.instruments import Listing
from ibkr_mcp_server.simulator.price_paths import MARKET_MINUTES
from ibkr_mcp_server.simulator.sessions import (
    Session,
    Sessions,
    last_us_open,
    local_date,
)
from ibkr_mcp_server.simulator.trading_calendars import ONE_DAY


class Position(NamedTuple):
    """Second `step` of replay day `day`, which lasts `minutes` minutes, as shown by the session of a date."""

    day: int
    minutes: int
    step: int
    on: date


class Span(NamedTuple):
    """The steps from `first` to `last`, both included, of one replay day."""

    day: int
    minutes: int
    first: int
    last: int


class Timeline:
    def __init__(self, sessions: Sessions, *, origin: datetime, speed: float) -> None:
        self._sessions = sessions
        self._origin = origin
        self._speed = speed
        self._first_us_day = last_us_open(origin)[0]

    def position(self, listing: Listing, at: datetime) -> Position:
        """What `at` shows: a step of the session then open, else the last step of the session before."""
        session = next(self.sessions_until(listing, at))
        seconds = self._seconds(listing, session.day)
        day, step = divmod(self._steps_until(listing, session, at, inclusive=True), seconds)
        return Position(day, seconds // SECONDS, step, session.day)

    def spans(self, listing: Listing, session: Session, start: datetime, end: datetime) -> list[Span]:
        """Every step shown at any moment from `start` up to, not including, `end`, within one session."""
        seconds = self._seconds(listing, session.day)
        first = self._steps_until(listing, session, start, inclusive=True)
        last = max(first, self._steps_until(listing, session, end, inclusive=False))
        spans = []
        for day in range(first // seconds, last // seconds + 1):
            low, high = max(first - day * seconds, 0), min(last - day * seconds, seconds - 1)
            spans.append(Span(day, seconds // SECONDS, low, high))
        return spans

    def sessions_until(self, listing: Listing, at: datetime) -> Iterator[Session]:
        """The sessions that have begun by `at`, the latest first, without end."""
        day = local_date(listing, at) + ONE_DAY  # a currency session begins on the evening before its day
        while True:
            session = self._session(listing, day)
            if session is not None and session.start <= at:
                yield session
            day -= ONE_DAY

    def _session(self, listing: Listing, day: date) -> Session | None:
        if not self._sessions.always_open:
            return self._sessions.scheduled(listing, day)
        if not self._is_live(listing, day):
            session = self._sessions.scheduled(listing, day)
            return session if session is None or session.end <= self._origin else None
        session = self._sessions.session(listing, day)
        return session and session._replace(start=max(session.start, self._origin))

    def _is_live(self, listing: Listing, day: date) -> bool:
        return day >= self._first_day(listing)

    def _seconds(self, listing: Listing, day: date) -> int:
        """The steps in a replay day, as the session of `day` shows it."""
        if self._sessions.always_open and self._is_live(listing, day):
            return MARKET_MINUTES * SECONDS
        return hours_of(listing).session_seconds

    def _steps_until(self, listing: Listing, session: Session, at: datetime, *, inclusive: bool) -> int:
        """The number of the step shown at `at` (or just before it), counted from the beginning of replay day 0."""
        seconds = self._seconds(listing, session.day)
        # At a session's end its last step still shows, and so it does in a pause.
        to_step = math.floor if inclusive and session.is_open(at) else _last_before
        at = min(at, session.end)
        # A session that ends early shows its replay day faster, so that it reaches the close.
        elapsed = session.elapsed(at) * hours_of(listing).session_seconds / session.elapsed(session.end)
        before = self._sessions.ordinal(listing, self._first_day(listing) - ONE_DAY)
        ahead = self._sessions.ordinal(listing, session.day) - before - 1
        if not self._is_live(listing, session.day):
            return ahead * seconds + to_step(elapsed)
        if self._sessions.always_open:
            return to_step((at - self._origin).total_seconds() * self._speed)
        return to_step((ahead * seconds + elapsed) * self._speed)

    def _first_day(self, listing: Listing) -> date:
        """The exchange's first live day."""
        return local_date(listing, self._origin) if self._sessions.always_open else self._first_us_day


def _last_before(steps: float) -> int:
    """The last whole step that begins before `steps`."""
    return math.ceil(steps) - 1
