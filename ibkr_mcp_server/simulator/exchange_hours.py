"""The ordinary hours of each exchange, in its own time zone, and the calendar that says on which days they hold."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, time
from functools import cached_property

from ibkr_mcp_server.simulator.instruments import Listing
from ibkr_mcp_server.simulator.trading_calendars import CHICAGO, NEW_YORK, Calendars

A_DAY_SECONDS = 86_400
Span = tuple[time, time]


@dataclass(frozen=True, kw_only=True)
class Hours:
    """A session is named after the date on which it ends."""

    regular: Span
    extended: Span
    pause: Span | None = None
    """The hour around noon in which some exchanges of Asia rest."""
    liquid: Span | None = None
    """What contractData calls liquid hours, where that is only a part of the regular session."""
    opens_the_evening_before: bool = False
    calendar: str = ""
    """The exchange's market identifier code; without one every weekday is a session."""
    around_the_clock: bool = False
    """Every day from midnight to midnight, weekends too."""

    def is_session(self, day: date, calendars: Calendars) -> bool:
        return self.around_the_clock or calendars(self.calendar).is_session(day)

    def ordinal(self, day: date, calendars: Calendars) -> int:
        """How many sessions there were up to and including `day`, from a fixed day long ago."""
        return day.toordinal() if self.around_the_clock else calendars(self.calendar).ordinal(day)

    @cached_property
    def session_seconds(self) -> int:
        """How long the regular session is on an ordinary day."""
        if self.around_the_clock:
            return A_DAY_SECONDS
        whole = _seconds(self.regular) + (A_DAY_SECONDS if self.opens_the_evening_before else 0)
        return whole - (_seconds(self.pause) if self.pause else 0)


def _seconds(span: Span) -> int:
    opens, closes = ((moment.hour * 60 + moment.minute) * 60 for moment in span)
    return closes - opens


def _span(text: str) -> Span:
    opens, _, closes = text.partition("-")
    return time.fromisoformat(opens), time.fromisoformat(closes)


def _by_day(regular: str, calendar: str, *, extended: str = "", pause: str = "") -> Hours:
    return Hours(
        regular=_span(regular),
        extended=_span(extended or regular),
        pause=_span(pause) if pause else None,
        calendar=calendar,
    )


def _overnight(regular: str, calendar: str, *, liquid: str = "") -> Hours:
    return Hours(
        regular=_span(regular),
        extended=_span(regular),
        liquid=_span(liquid) if liquid else None,
        opens_the_evening_before=True,
        calendar=calendar,
    )


US_STOCKS = _by_day("09:30-16:00", NEW_YORK, extended="04:00-20:00")
US_OPTIONS = _by_day("09:30-16:00", NEW_YORK)
_MIDNIGHT = _span("00:00-00:00")

HOURS = {
    "NASDAQ": US_STOCKS,
    "NYSE": US_STOCKS,
    "ARCA": US_STOCKS,
    "CBOE": US_OPTIONS,
    "TSE": _by_day("09:30-16:00", "XTSE"),
    "LSE": _by_day("08:00-16:30", "XLON"),
    "AEB": _by_day("09:00-17:30", "XAMS"),
    "SBF": _by_day("09:00-17:30", "XPAR"),
    "IBIS": _by_day("09:00-17:30", "XETR"),
    "EBS": _by_day("09:00-17:30", "XSWX"),
    "KFX": _by_day("09:00-17:00", "XCSE"),
    "ASX": _by_day("10:00-16:00", "XASX"),
    "TSEJ": _by_day("09:00-15:30", "XTKS", pause="11:30-12:30"),
    "SEHK": _by_day("09:30-16:00", "XHKG", pause="12:00-13:00"),
    "KSE": _by_day("09:00-15:30", "XKRX"),
    "IDEALPRO": _overnight("17:15-17:00", ""),
    "CME": _overnight("17:00-16:00", CHICAGO, liquid="08:30-16:00"),  # Chicago time, the other two New York's
    "NYMEX": _overnight("18:00-17:00", CHICAGO, liquid="09:00-14:30"),
    "COMEX": _overnight("18:00-17:00", CHICAGO, liquid="08:20-13:30"),
    "PAXOS": Hours(regular=_MIDNIGHT, extended=_MIDNIGHT, around_the_clock=True),
}
"""By primary exchange, or by exchange where there is no primary one."""


def hours_of(listing: Listing) -> Hours:
    if listing.sec_type == "OPT":
        return US_OPTIONS
    return HOURS[listing.primary_exchange or listing.exchange]
