"""When each exchange is open.

Hours are the exchanges' ordinary ones. Known and left out: early closes (the day after Thanksgiving and the like),
and the holidays of exchanges other than the US stock exchanges, which are taken to be open on every weekday.

With `always_open` every instrument trades around the clock, weekends too, so that a demonstration or a test does not
depend on the hour at which someone runs it.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from ibkr_mcp_server.simulator.instruments import Listing

ONE_DAY = timedelta(days=1)
US_EASTERN = ZoneInfo("US/Eastern")
DAYS_SHOWN = 6
"""TWS describes about a week of hours in contractData; six days always reach over a weekend."""


@dataclass(frozen=True, kw_only=True)
class Hours:
    """The hours of one exchange in its own time zone. A session is named after the date on which it ends."""

    regular: tuple[time, time]
    extended: tuple[time, time]
    liquid: tuple[time, time] | None = None
    """What contractData calls liquid hours, where that is only a part of the regular session."""
    opens_the_evening_before: bool = False
    us_holidays: bool = False
    around_the_clock: bool = False
    """Every day from midnight to midnight, weekends too."""

    def is_session(self, day: date) -> bool:
        if self.around_the_clock:
            return True
        return day.weekday() < 5 and not (self.us_holidays and day in us_holidays())

    @property
    def session_seconds(self) -> int:
        """The length of the regular session."""
        if self.around_the_clock:
            return 86_400
        opens, closes = ((moment.hour * 60 + moment.minute) * 60 for moment in self.regular)
        return closes - opens + (86_400 if self.opens_the_evening_before else 0)

    def ordinal(self, day: date) -> int:
        """How many sessions there were up to and including `day`, from a fixed day long ago."""
        if self.around_the_clock:
            return day.toordinal()
        weeks, rest = divmod((day - _A_MONDAY).days, 7)
        closed = bisect_right(us_holidays_in_order(), day) if self.us_holidays else 0
        return weeks * 5 + min(rest + 1, 5) - closed


class Session(NamedTuple):
    """One session in UTC: open from `start`, closed again at `end`."""

    day: date
    start: datetime
    end: datetime


def _day_session(opens: str, closes: str) -> Hours:
    hours = time.fromisoformat(opens), time.fromisoformat(closes)
    return Hours(regular=hours, extended=hours)


def _overnight(opens: str, closes: str, *, liquid: tuple[str, str] | None = None, us_holidays: bool = False) -> Hours:
    hours = time.fromisoformat(opens), time.fromisoformat(closes)
    most = (time.fromisoformat(liquid[0]), time.fromisoformat(liquid[1])) if liquid else None
    return Hours(regular=hours, extended=hours, liquid=most, opens_the_evening_before=True, us_holidays=us_holidays)


US_STOCKS = Hours(regular=(time(9, 30), time(16)), extended=(time(4), time(20)), us_holidays=True)
US_OPTIONS = Hours(regular=(time(9, 30), time(16)), extended=(time(9, 30), time(16)), us_holidays=True)
EURONEXT_AND_XETRA = _day_session("09:00", "17:30")
FOREX = _overnight("17:15", "17:00")
MIDNIGHT = time(0)

HOURS = {
    "NASDAQ": US_STOCKS,
    "NYSE": US_STOCKS,
    "ARCA": US_STOCKS,
    "CBOE": US_OPTIONS,
    "LSE": _day_session("08:00", "16:30"),
    "AEB": EURONEXT_AND_XETRA,
    "SBF": EURONEXT_AND_XETRA,
    "IBIS": EURONEXT_AND_XETRA,
    "EBS": _day_session("09:00", "17:30"),
    "KFX": _day_session("09:00", "17:00"),
    "ASX": _day_session("10:00", "16:00"),
    "TSEJ": _day_session("09:00", "15:30"),
    "SEHK": _day_session("09:30", "16:00"),
    "KSE": _day_session("09:00", "15:30"),
    "TSE": _day_session("09:30", "16:00"),
    "IDEALPRO": FOREX,
    "CME": _overnight("17:00", "16:00", liquid=("08:30", "16:00"), us_holidays=True),  # Chicago time
    "NYMEX": _overnight("18:00", "17:00", liquid=("09:00", "14:30"), us_holidays=True),
    "COMEX": _overnight("18:00", "17:00", liquid=("08:20", "13:30"), us_holidays=True),
    "PAXOS": Hours(regular=(MIDNIGHT, MIDNIGHT), extended=(MIDNIGHT, MIDNIGHT), around_the_clock=True),
}
"""By primary exchange, or by exchange where there is no primary one."""


def hours_of(listing: Listing) -> Hours:
    if listing.sec_type == "OPT":
        return US_OPTIONS
    return HOURS[listing.primary_exchange or listing.exchange]


def is_us_session(day: date) -> bool:
    """Whether the US stock exchanges open on `day`."""
    return US_STOCKS.is_session(day)


class Sessions:
    """Answers when a listing trades; every moment in and out is aware, and UTC on the way out."""

    def __init__(self, *, always_open: bool) -> None:
        self.always_open = always_open

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
        return scheduled_session(listing, day, extended=extended)

    def _is_open(self, listing: Listing, at: datetime, *, extended: bool) -> bool:
        today = local_date(listing, at)
        for day in (today, today + ONE_DAY):  # a currency session begins on the evening before its day
            session = scheduled_session(listing, day, extended=extended)
            if session is not None and session.start <= at < session.end:
                return True
        return False

    def _hours_text(self, listing: Listing, at: datetime, *, extended: bool) -> str:
        today = local_date(listing, at)
        overnight = hours_of(listing).opens_the_evening_before and not self.always_open
        texts = []
        for day in (today + ONE_DAY * offset for offset in range(DAYS_SHOWN)):
            session = self.session(listing, day, extended=extended)
            if session is not None:
                zone, liquid = zone_of(listing), hours_of(listing).liquid
                if liquid and not extended and not self.always_open:
                    start, end = (datetime.combine(day, moment, tzinfo=zone) for moment in liquid)
                    session = Session(day, start, end)
                texts.append("-".join(f"{moment.astimezone(zone):%Y%m%d:%H%M}" for moment in session[1:]))
            elif not (overnight and self.session(listing, day + ONE_DAY)):  # Sunday, which Monday's session names
                texts.append(f"{day:%Y%m%d}:CLOSED")
        return ";".join(texts)


@lru_cache(maxsize=4096)
def _session(hours: Hours, zone: ZoneInfo, day: date, extended: bool) -> Session | None:
    if hours.around_the_clock:
        return _around_the_clock(zone, day)
    if not hours.is_session(day):
        return None
    opens, closes = hours.extended if extended else hours.regular
    first = day - ONE_DAY if hours.opens_the_evening_before else day
    start = datetime.combine(first, opens, tzinfo=zone).astimezone(UTC)
    return Session(day, start, datetime.combine(day, closes, tzinfo=zone).astimezone(UTC))


@lru_cache(maxsize=256)
def _around_the_clock(zone: ZoneInfo, day: date) -> Session:
    midnight = datetime.combine(day, time(0), tzinfo=zone).astimezone(UTC)
    return Session(day, midnight, datetime.combine(day + ONE_DAY, time(0), tzinfo=zone).astimezone(UTC))


def scheduled_session(listing: Listing, day: date, *, extended: bool = False) -> Session | None:
    """The exchange's own session of `day`, also where the gateway is told to be always open."""
    return _session(hours_of(listing), zone_of(listing), day, extended)


def last_us_session(at: datetime) -> Session:
    """The regular session of the US stock exchanges that `at` lies in, else the one before it."""
    day = at.astimezone(US_EASTERN).date()
    while (session := _session(US_STOCKS, US_EASTERN, day, False)) is None or session.start > at:
        day -= ONE_DAY
    return session


def zone_of(listing: Listing) -> ZoneInfo:
    return ZoneInfo(listing.time_zone_id)


def local_date(listing: Listing, at: datetime) -> date:
    """The calendar date at the exchange."""
    return at.astimezone(zone_of(listing)).date()


_A_MONDAY = date(1969, 12, 29)
_HOLIDAY_YEARS = range(1970, 2100)


@lru_cache(maxsize=1)
def us_holidays() -> frozenset[date]:
    """Weekdays on which the US stock exchanges are closed by today's rules (NYSE Rule 7.2), 1970 to 2099.

    Juneteenth counts from 2022 on. Days of mourning and storms are not in a rule and not here.
    """
    return frozenset(day for year in _HOLIDAY_YEARS for day in _us_holidays_of(year))


@lru_cache(maxsize=1)
def us_holidays_in_order() -> tuple[date, ...]:
    return tuple(sorted(us_holidays()))


def _us_holidays_of(year: int) -> list[date]:
    fixed = [date(year, 7, 4), date(year, 12, 25)]
    if year >= 2022:
        fixed.append(date(year, 6, 19))
    # A holiday on Saturday is kept on Friday, one on Sunday on Monday; but New Year's Day on a Saturday is not kept
    # at all, since the Friday is the last day of an accounting year.
    moved = [day + ONE_DAY * {5: -1, 6: 1}.get(day.weekday(), 0) for day in fixed]
    new_year = date(year, 1, 1)
    if new_year.weekday() != 5:
        moved.append(new_year + ONE_DAY * (new_year.weekday() == 6))
    return [
        *moved,
        _weekday_of_month(year, 1, weekday=0, number=3),  # Martin Luther King
        _weekday_of_month(year, 2, weekday=0, number=3),  # Washington
        _easter(year) - 2 * ONE_DAY,  # Good Friday
        _weekday_of_month(year, 6, weekday=0, number=1) - 7 * ONE_DAY,  # Memorial Day, the last Monday of May
        _weekday_of_month(year, 9, weekday=0, number=1),  # Labor Day
        _weekday_of_month(year, 11, weekday=3, number=4),  # Thanksgiving
    ]


def _weekday_of_month(year: int, month: int, *, weekday: int, number: int) -> date:
    first = date(year, month, 1)
    return first + ONE_DAY * ((weekday - first.weekday()) % 7 + 7 * (number - 1))


def _easter(year: int) -> date:
    """Easter Sunday by the Gregorian computus in its short form, exact for 1900 to 2099."""
    full_moon = (19 * (year % 19) + 24) % 30
    sunday = (2 * (year % 4) + 4 * (year % 7) + 6 * full_moon + 5) % 7
    offset = full_moon + sunday
    if offset == 35 or (offset == 34 and full_moon == 28 and year % 19 > 10):
        offset -= 7
    return date(year, 3, 22) + ONE_DAY * offset
