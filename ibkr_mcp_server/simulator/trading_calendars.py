"""On which weekdays exchanges are closed, and when they close early.

The US stock exchanges follow a rule that is written here. For the others `library_calendars` asks the package
exchange_calendars (the extra `calendars`; it brings pandas along) about each exchange when its first instrument is
looked at; without it they are taken to be open on every weekday.
"""

from __future__ import annotations

import warnings
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, time, timedelta
from functools import cached_property, lru_cache
from importlib.util import find_spec

ONE_DAY = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Calendar:
    closed: frozenset[date] = frozenset()
    """Weekdays without a session."""
    early: Mapping[date, time]
    """When the regular session ends on days on which it ends early, in the exchange's own time."""

    @cached_property
    def _closed_in_order(self) -> tuple[date, ...]:
        return tuple(sorted(self.closed))

    def is_session(self, day: date) -> bool:
        return day.weekday() < 5 and day not in self.closed

    def ordinal(self, day: date) -> int:
        """How many sessions there were up to and including `day`, from a fixed day long ago."""
        weeks, rest = divmod((day - _A_MONDAY).days, 7)
        return weeks * 5 + min(rest + 1, 5) - bisect_right(self._closed_in_order, day)


Calendars = Callable[[str], Calendar]
"""The calendar of a market identifier code such as XNYS; an empty one has no holidays."""

_A_MONDAY = date(1969, 12, 29)
_YEARS = range(1970, 2100)
NEW_YORK = "XNYS"
CHICAGO = "CMES"
EVERY_WEEKDAY = Calendar(early={})


def built_in_calendars(code: str) -> Calendar:
    """The rules that need no library: New York's, which also stands in for the futures exchanges."""
    if code == NEW_YORK:
        return _new_york()
    return Calendar(closed=us_holidays(), early={}) if code == CHICAGO else EVERY_WEEKDAY


def installed_calendars() -> Calendars:
    """The best that this machine has: the library's calendars if it is there. Nothing is imported yet."""
    return library_calendars if find_spec("exchange_calendars") else built_in_calendars


@lru_cache(maxsize=32)
def library_calendars(code: str) -> Calendar:
    """What exchange_calendars knows: some twenty years back and one ahead, and every weekday beyond."""
    if code in ("", NEW_YORK):  # New York's rule is exact for any year, and most worlds need no more than that
        return built_in_calendars(code)
    from exchange_calendars import get_calendar

    with warnings.catch_warnings():  # what it and pandas have to settle between them is no user's concern
        warnings.simplefilter("ignore")
        calendar = get_calendar(code)
    sessions = {moment.date() for moment in calendar.sessions}
    first, last = min(sessions), max(sessions)
    days = (first + ONE_DAY * offset for offset in range((last - first).days))
    closed = frozenset(day for day in days if day.weekday() < 5 and day not in sessions)
    early = {
        moment.date(): calendar.schedule.at[moment, "close"].tz_convert(calendar.tz).time()
        for moment in calendar.early_closes
    }
    return Calendar(closed=closed, early=early)


@lru_cache(maxsize=1)
def _new_york() -> Calendar:
    return Calendar(closed=us_holidays(), early={day: time(13) for year in _YEARS for day in _us_early_closes_of(year)})


@lru_cache(maxsize=1)
def us_holidays() -> frozenset[date]:
    """Weekdays on which the US stock exchanges are closed by today's rules (NYSE Rule 7.2), 1970 to 2099.

    Juneteenth counts from 2022 on. Days of mourning and storms are not in a rule and not here.
    """
    return frozenset(day for year in _YEARS for day in _us_holidays_of(year))


def is_us_session(day: date) -> bool:
    """Whether the US stock exchanges open on `day`."""
    return _new_york().is_session(day)


def us_session_by(day: date) -> date:
    """`day`, or the last session before it when the US stock exchanges do not open then."""
    while not is_us_session(day):
        day -= ONE_DAY
    return day


def third_friday(month: date) -> date:
    """Of the month that begins on `month`."""
    return month + timedelta(days=(4 - month.weekday()) % 7 + 14)


def _us_early_closes_of(year: int) -> list[date]:
    """The day after Thanksgiving, Christmas Eve and the day before Independence Day, where those are sessions."""
    days = [
        _weekday_of_month(year, 11, weekday=3, number=4) + ONE_DAY,
        date(year, 12, 24),
        date(year, 7, 3),
    ]
    return [day for day in days if day.weekday() < 5 and day not in us_holidays()]


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
