"""When each instrument can be traded, from its exchange's hours and calendar.

With `always_open` every instrument trades around the clock, weekends too, so that a demonstration or a test does not
depend on the hour at which someone runs it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from ibkr_mcp_server.simulator.exchange_hours import US_STOCKS, Hours, hours_of
from ibkr_mcp_server.simulator.instruments import Listing
from ibkr_mcp_server.simulator.trading_calendars import ONE_DAY, Calendars, built_in_calendars, is_us_session

US_EASTERN = ZoneInfo("US/Eastern")
DAYS_SHOWN = 6
"""TWS describes about a week of hours in contractData; six days always reach over a weekend."""


class Session(NamedTuple):
    """One session in UTC: open from `start`, closed again at `end`, and at rest in `pause`."""

    day: date
    start: datetime
    end: datetime
    pause: tuple[datetime, datetime] | None = None

    def is_open(self, at: datetime) -> bool:
        rests = self.pause is not None and self.pause[0] <= at < self.pause[1]
        return self.start <= at < self.end and not rests

    def parts(self) -> Iterator[tuple[datetime, datetime]]:
        """The stretches without a pause."""
        if self.pause is None:
            yield self.start, self.end
        else:
            yield self.start, self.pause[0]
            yield self.pause[1], self.end

    def elapsed(self, at: datetime) -> float:
        """Seconds of trading from the start up to `at`, which lies in the session."""
        seconds = (at - self.start).total_seconds()
        if self.pause is not None and at > self.pause[0]:
            seconds -= (min(at, self.pause[1]) - self.pause[0]).total_seconds()
        return seconds

    def before(self, at: datetime, trading: timedelta) -> datetime:
        """The moment that lies so much trading before `at`, but not before the start."""
        moment = at - trading
        if self.pause is not None and moment < self.pause[1] <= at:
            moment -= self.pause[1] - self.pause[0]
        return max(moment, self.start)


SessionsShape = tuple[bool, Calendars]
"""Whether the market is always open, and where its holidays come from."""


class Sessions:
    """Answers when a listing trades; every moment in and out is aware, and UTC on the way out."""

    def __init__(self, *, always_open: bool, calendars: Calendars = built_in_calendars) -> None:
        self.always_open = always_open
        self.shape: SessionsShape = (always_open, calendars)
        """Two with the same shape have the same sessions."""
        self._calendars = calendars
        self._scheduled = lru_cache(maxsize=4096)(self._work_out)

    def is_regular(self, listing: Listing, at: datetime) -> bool:
        """Whether `at` lies in the regular session; its end does not."""
        return self.always_open or self._is_open(listing, at, extended=False)

    def is_extended(self, listing: Listing, at: datetime) -> bool:
        """Whether `at` lies in trading hours at all: before, in or after the regular session."""
        return self.always_open or self._is_open(listing, at, extended=True)

    def trading_hours(self, listing: Listing, at: datetime) -> str:
        """The coming days with extended hours, as TWS writes them, in the listing's time zone."""
        return self._hours_text(listing, at, extended=True)

    def liquid_hours(self, listing: Listing, at: datetime) -> str:
        """The coming days with the busiest hours, as TWS writes them, in the listing's time zone."""
        return self._hours_text(listing, at, extended=False)

    def next_close(self, listing: Listing, at: datetime) -> datetime:
        """The end of the regular session that is open at `at` or opens next; always open: the end of the local day."""
        day = local_date(listing, at)
        while (session := self.session(listing, day)) is None or session.end <= at:
            day += ONE_DAY
        return session.end

    def session(self, listing: Listing, day: date, *, extended: bool = False) -> Session | None:
        """The session that bears the name of `day`, or None if there is none."""
        if self.always_open:
            return _around_the_clock(zone_of(listing), day)
        return self.scheduled(listing, day, extended=extended)

    def scheduled(self, listing: Listing, day: date, *, extended: bool = False) -> Session | None:
        """The exchange's own session of `day`, also where the gateway is told to be always open."""
        return self._scheduled(hours_of(listing), zone_of(listing), day, extended)

    def ordinal(self, listing: Listing, day: date) -> int:
        """How many sessions the exchange had up to and including `day`, from a fixed day long ago."""
        return hours_of(listing).ordinal(day, self._calendars)

    def _is_open(self, listing: Listing, at: datetime, *, extended: bool) -> bool:
        today = local_date(listing, at)
        for day in (today, today + ONE_DAY):  # a currency session begins on the evening before its day
            session = self.scheduled(listing, day, extended=extended)
            if session is not None and session.is_open(at):
                return True
        return False

    def _hours_text(self, listing: Listing, at: datetime, *, extended: bool) -> str:
        today, zone = local_date(listing, at), zone_of(listing)
        overnight = hours_of(listing).opens_the_evening_before and not self.always_open
        texts = []
        for day in (today + ONE_DAY * offset for offset in range(DAYS_SHOWN)):
            session = self.session(listing, day, extended=extended)
            if session is not None:
                if not extended and not self.always_open:
                    session = _busiest(hours_of(listing), zone, session)
                for part in session.parts():
                    texts.append("-".join(f"{moment.astimezone(zone):%Y%m%d:%H%M}" for moment in part))
            elif not (overnight and self.session(listing, day + ONE_DAY)):  # Sunday, which Monday's session names
                texts.append(f"{day:%Y%m%d}:CLOSED")
        return ";".join(texts)

    def _work_out(self, hours: Hours, zone: ZoneInfo, day: date, extended: bool) -> Session | None:
        if hours.around_the_clock:
            return _around_the_clock(zone, day)
        if not hours.is_session(day, self._calendars):
            return None
        opens, closes = hours.extended if extended else hours.regular
        first = day - ONE_DAY if hours.opens_the_evening_before else day
        start, end = _utc(first, opens, zone), _utc(day, closes, zone)
        early = self._calendars(hours.calendar).early.get(day)
        if early is not None:
            end -= max(_utc(day, hours.regular[1], zone) - _utc(day, early, zone), ONE_DAY * 0)
        if hours.pause is None:
            return Session(day, start, end)
        pause = _utc(day, hours.pause[0], zone), _utc(day, hours.pause[1], zone)
        return Session(day, start, end, pause) if end > pause[1] else Session(day, start, min(end, pause[0]))


def _utc(day: date, moment: time, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, moment, tzinfo=zone).astimezone(UTC)


def _busiest(hours: Hours, zone: ZoneInfo, session: Session) -> Session:
    if hours.liquid is None:
        return session
    start, end = (_utc(session.day, moment, zone) for moment in hours.liquid)
    return Session(session.day, start, min(end, session.end))


@lru_cache(maxsize=256)
def _around_the_clock(zone: ZoneInfo, day: date) -> Session:
    return Session(day, _utc(day, time(0), zone), _utc(day + ONE_DAY, time(0), zone))


def last_us_open(at: datetime) -> tuple[date, datetime]:
    """Date and beginning of the session of the US stock exchanges that `at` lies in, else of the one before it."""
    day = at.astimezone(US_EASTERN).date()
    while True:
        start = _utc(day, US_STOCKS.regular[0], US_EASTERN)
        if is_us_session(day) and start <= at:
            return day, start
        day -= ONE_DAY


def zone_of(listing: Listing) -> ZoneInfo:
    return ZoneInfo(listing.time_zone_id)


def local_date(listing: Listing, at: datetime) -> date:
    """The calendar date at the exchange."""
    return at.astimezone(zone_of(listing)).date()
