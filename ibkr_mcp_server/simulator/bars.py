"""Historical bars: the sizes, durations and kinds that TWS takes, and how a bar is put together from price paths."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import groupby
from typing import NamedTuple

from ibkr_mcp_server.simulator.day_paths import SECONDS, Quoting
from ibkr_mcp_server.simulator.instruments import Listing
from ibkr_mcp_server.simulator.market_rules import grid_of
from ibkr_mcp_server.simulator.price_paths import PricePaths
from ibkr_mcp_server.simulator.sessions import Session, zone_of
from ibkr_mcp_server.simulator.timeline import Span, Timeline

INTRADAY_SIZES = {
    **{f"{n} secs": n for n in (1, 5, 10, 15, 30)},
    "1 min": 60,
    **{f"{n} mins": n * 60 for n in (2, 3, 5, 10, 15, 20, 30)},
    "1 hour": 3_600,
    **{f"{n} hours": n * 3_600 for n in (2, 3, 4, 8)},
}
"""In seconds."""
DAILY_SIZES = ("1 day", "1 week", "1 month")
TRADED = ("TRADES", "ADJUSTED_LAST")
KINDS = (*TRADED, "MIDPOINT", "BID", "ASK")
MOST_BARS = 25_000
"""A day of one-second bars fits. TWS, too, refuses what would be too large, by limits that it does not publish."""
MOST_YEARS = 50
NOT_TRADED = Decimal(-1)
"""What TWS writes for volume, average price and count of bars that are not made of trades."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    start: datetime | date
    """Intraday: the bar's beginning, UTC. A day: its date. A week or a month: the date of its last session so far."""
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    wap: Decimal
    count: int


class Part(NamedTuple):
    """A stretch of prices in half increments (a midpoint may lie between two), with its volume."""

    open: int
    high: int
    low: int
    close: int
    volume: int


EndedBar = tuple[int, datetime | date, datetime, str]
"""Contract id, the bar's start as it is told, the end of what it covers, kind of bar."""
MOST_ENDED = 100_000
"""So many bars are kept; a day of minutes for fifty instruments is a fifth of it."""


class Stretch(NamedTuple):
    """What one bar covers: moments from `start` up to `end` within one session."""

    session: Session
    start: datetime
    end: datetime


def historical_bars(
    paths: PricePaths,
    timeline: Timeline,
    listing: Listing,
    *,
    end: datetime,
    duration: str,
    bar_size: str,
    what: str,
    ended: dict[EndedBar, Bar],
) -> list[Bar]:
    """The bars of `duration` up to `end`, the oldest first; the last one may be incomplete.

    `ended` keeps the bars of this world that nothing changes any more: a year of days takes seconds to lay out.

    Raises:
        ValueError: an illegal size, duration or kind, or more bars than `MOST_BARS`; the text says which.
    """
    if what not in KINDS:
        raise ValueError(f"Unknown whatToShow '{what}'")
    if listing.sec_type == "CASH" and what in TRADED:
        raise ValueError(f"No data of type Trades is available for the exchange '{listing.exchange}'")
    if listing.sec_type == "IND" and what not in TRADED:
        raise ValueError(f"No data of type {what.title()} is available for the exchange '{listing.exchange}'")
    if bar_size not in INTRADAY_SIZES and bar_size not in DAILY_SIZES:
        raise ValueError(f"Historical data bar size setting is invalid: '{bar_size}'")
    covered = list(_covered(timeline, listing, end=end, duration=duration))
    covered.reverse()
    if bar_size in INTRADAY_SIZES:
        size = INTRADAY_SIZES[bar_size]
        if sum((stretch.end - stretch.start).total_seconds() for stretch in covered) / size > MOST_BARS:
            raise ValueError(f"Time length exceeds max: more than {MOST_BARS} bars of '{bar_size}'")
        groups = [[piece] for stretch in covered for piece in _cut(listing, stretch, size)]
    elif bar_size == "1 day":
        groups = [[stretch] for stretch in covered]
    else:
        period = _week if bar_size == "1 week" else _month
        groups = [list(group) for _, group in groupby(covered, key=period)]
    bars = []
    for group in groups:
        start = group[0].start if bar_size in INTRADAY_SIZES else group[-1].session.day
        # Weeks and months are put together of several sessions; the newest bar may go on.
        is_over = len(group) == 1 and group[0].end < end
        key = (listing.con_id, start, group[0].end, what) if is_over else None
        if key is not None and key in ended:
            bars.append(ended[key])
            continue
        parts = [
            part
            for stretch in group
            for span in timeline.spans(listing, stretch.session, stretch.start, stretch.end)
            for part in _parts(paths, listing, span, what, stretch.session.day)
        ]
        bars.append(_bar(parts, start=start, listing=listing, traded=what in TRADED))
        if key is not None:
            if len(ended) >= MOST_ENDED:
                ended.clear()
            ended[key] = bars[-1]
    return bars


def _covered(timeline: Timeline, listing: Listing, *, end: datetime, duration: str) -> Iterator[Stretch]:
    """The sessions, the latest first, that `duration` reaches back to; the outermost ones cut.

    Seconds count only while the exchange is open and days are sessions, so a chart asked for on a Sunday is not empty;
    weeks, months and years are the calendar's.
    """
    count, unit = _parsed(duration)
    last_day = end.astimezone(zone_of(listing)).date()
    first_day = _back(last_day, count, unit)
    left = timedelta(seconds=count)
    for number, session in enumerate(timeline.sessions_until(listing, end)):
        start, stop = session.start, min(session.end, end)
        if unit == "S":
            if not left:
                return
            start = session.before(stop, left)
            left -= timedelta(seconds=session.elapsed(stop) - session.elapsed(start))
        elif number >= count if unit == "D" else session.day <= first_day:
            return
        if start < stop:
            yield Stretch(session, start, stop)


def _parsed(duration: str) -> tuple[int, str]:
    count, _, unit = duration.partition(" ")
    if not (count.isascii() and count.isdigit() and len(count) <= 6 and int(count) and unit in UNIT_DAYS):
        raise ValueError(f"Historical data query duration is invalid: '{duration}'")
    if int(count) * UNIT_DAYS[unit] > MOST_YEARS * 366:
        raise ValueError(f"Historical data query duration exceeds {MOST_YEARS} years: '{duration}'")
    return int(count), unit


UNIT_DAYS = {"S": 1 / 86_400, "D": 1.4, "W": 7, "M": 31, "Y": 366}
"""Roughly, to tell what is too long; a D is a session."""


def _back(day: date, count: int, unit: str) -> date:
    """The last calendar day that `duration` does not reach."""
    if unit == "W":
        return day - timedelta(weeks=count)
    if unit not in "MY":
        return day
    months = day.year * 12 + day.month - 1 - count * (12 if unit == "Y" else 1)
    first_of_next = date((months + 1) // 12, (months + 1) % 12 + 1, 1)
    return min(date(months // 12, months % 12 + 1, 1) + timedelta(days=day.day - 1), first_of_next - timedelta(days=1))


def _cut(listing: Listing, stretch: Stretch, size: int) -> Iterator[Stretch]:
    """Bars begin at whole multiples of their size after local midnight, and with the session."""
    zone = zone_of(listing)
    midnight = datetime.combine(stretch.start.astimezone(zone).date(), time(0), tzinfo=zone)
    for opens, closes in stretch.session.parts():
        start, end = max(opens, stretch.start), min(closes, stretch.end)
        while start < end:
            number = int((start - midnight).total_seconds()) // size + 1
            following = min(midnight.astimezone(start.tzinfo) + timedelta(seconds=number * size), end)
            yield Stretch(stretch.session, start, following)
            start = following


def _week(stretch: Stretch) -> tuple[int, int]:
    return stretch.session.day.isocalendar()[:2]


def _month(stretch: Stretch) -> tuple[int, int]:
    return stretch.session.day.year, stretch.session.day.month


def _parts(paths: PricePaths, listing: Listing, span: Span, what: str, on: date) -> Iterator[Part]:
    """The pieces of one replay day: the day as a whole if that is exact, else whole minutes and the odd seconds."""
    kind = _Kind(Quoting(grid_of(listing.market_rule_id)), what)
    spread = (0, 0) if what in TRADED else paths.steady_spread(listing.con_id)
    if spread and (span.first, span.last) == (0, span.minutes * SECONDS - 1):
        day = paths.day(listing.con_id, span.day, span.minutes, on)
        opening, high, low, closing = (kind.halves(price, *spread) for price in day[:4])
        yield Part(opening, high, low, closing, day.volume)
        return
    path = paths.path(listing.con_id, span.day, span.minutes, on)
    for minute in range(span.first // SECONDS, span.last // SECONDS + 1):
        first = max(span.first - minute * SECONDS, 0)
        last = min(span.last - minute * SECONDS, SECONDS - 1)
        spread = path.spread(minute)
        prices = path.within(minute, first, last)
        opening, high, low, closing = (kind.halves(price, *spread) for price in prices)
        step = minute * SECONDS
        volume = path.volume_so_far(step + last) - (path.volume_so_far(step + first - 1) if step + first else 0)
        yield Part(opening, high, low, closing, volume)


class _Kind:
    """What a bar shows when the path stands at a price: its trades, its bids, its asks or its midpoints."""

    def __init__(self, quoting: Quoting, what: str) -> None:
        self._quoting = quoting
        self._what = what

    def halves(self, price: int, below: int, above: int) -> int:
        """In half increments; monotonic in `price`, so that a bar's extremes are its prices' extremes."""
        match self._what:
            case "BID":
                return 2 * self._quoting.bid(price, below)
            case "ASK":
                return 2 * self._quoting.ask(price, above)
            case "MIDPOINT":
                return self._quoting.bid(price, below) + self._quoting.ask(price, above)
            case _:
                return 2 * self._quoting.last(price)


def _bar(parts: list[Part], *, start: datetime | date, listing: Listing, traded: bool) -> Bar:
    def price(halves: int) -> Decimal:
        return halves // 2 * listing.min_tick if halves % 2 == 0 else halves * half

    half = listing.min_tick / 2
    volume = sum(part.volume for part in parts)
    # Each part's mean stands for its trades; the parts are minutes or, at the longest, days.
    weights = [part.volume if volume else 1 for part in parts]
    worth = sum(weight * (p.open + p.high + p.low + p.close) for weight, p in zip(weights, parts, strict=True))
    return Bar(
        start=start,
        open=price(parts[0].open),
        high=price(max(part.high for part in parts)),
        low=price(min(part.low for part in parts)),
        close=price(parts[-1].close),
        volume=Decimal(volume) if traded else NOT_TRADED,
        wap=round(worth * half / (4 * sum(weights)), 6) if traded else NOT_TRADED,
        count=max(1, volume // SHARES_A_TRADE) if traded else -1,
    )


SHARES_A_TRADE = 200
