"""Prices and sessions of the past."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from ibkr_mcp_server.domain.history import SCHEDULE, Bar, BarRequest, History, Schedule
from ibkr_mcp_server.domain.instruments import Instrument, InstrumentQuery
from ibkr_mcp_server.domain.operations import Operation
from ibkr_mcp_server.operations.desk import Desk
from ibkr_mcp_server.operations.progress import Progress, silent, told_meanwhile
from ibkr_mcp_server.operations.safe_operation import Access, Answer, safe_trading_operation

BAR_SECONDS = {
    **{f"{n} secs": n for n in (1, 5, 10, 15, 30)},
    "1 min": 60,
    **{f"{n} mins": 60 * n for n in (2, 3, 5, 10, 15, 20, 30)},
    "1 hour": 3_600,
    **{f"{n} hours": 3_600 * n for n in (2, 3, 4, 8)},
}
"""TWS's bar sizes within a day."""
DAY, WEEK, MONTH = "1 day", "1 week", "1 month"
BAR_SIZES = (*BAR_SECONDS, DAY, WEEK, MONTH)


@dataclass(frozen=True, kw_only=True)
class HistoryQuery:
    """What a caller wants to know of an instrument's past."""

    query: InstrumentQuery
    bar_size: str
    duration: str
    what_to_show: str
    regular_hours_only: bool
    end: datetime | None
    with_beginning: bool
    """Also find out when the history begins."""


@dataclass(frozen=True, kw_only=True)
class Past:
    """What the broker keeps: bars or a schedule."""

    instrument: Instrument
    bars: History | None = None
    schedule: Schedule | None = None
    begins_at: datetime | None = None
    newest_may_change: bool | None = None
    """The newest bar's time has not passed, so its figures are not final; None without bars."""


async def history(operation: Operation, asked: HistoryQuery, desk: Desk, progress: Progress = silent) -> Answer[Past]:
    """The bars, or the schedule, that were asked for."""

    async def act(access: Access) -> Past:
        instrument = await access.broker.resolve(asked.query)
        text = f"Waiting for the history of {instrument.label}."
        return await told_meanwhile(_read(access, instrument), progress=progress, clock=desk.clock, text=text)

    async def _read(access: Access, instrument: Instrument) -> Past:
        broker, what = access.broker, asked.what_to_show
        request = BarRequest(
            instrument=instrument,
            bar_size=asked.bar_size,
            duration=asked.duration,
            what_to_show=what,
            regular_hours_only=asked.regular_hours_only,
            end=asked.end,
        )
        begins_at = None
        if asked.with_beginning:
            kind = ("MIDPOINT" if instrument.is_forex else "TRADES") if what == SCHEDULE else what
            begins_at = await broker.history_begins(instrument, kind, regular_hours_only=asked.regular_hours_only)
        if what == SCHEDULE:
            return Past(instrument=instrument, schedule=await broker.schedule(request), begins_at=begins_at)
        bars = await broker.bars(request)
        return Past(
            instrument=instrument,
            bars=bars,
            begins_at=begins_at,
            newest_may_change=_may_change(bars.bars[-1], asked.bar_size, instrument, bars.received_at),
        )

    return await safe_trading_operation(operation, act, desk=desk)


def _may_change(newest: Bar, bar_size: str, instrument: Instrument, now: datetime) -> bool:
    """Whether the time of the newest bar has not passed; the days of an exchange are those of its own clock."""
    if isinstance(newest.start, datetime):
        return now < newest.start + timedelta(seconds=BAR_SECONDS[bar_size])
    zone = ZoneInfo(instrument.time_zone_id) if instrument.time_zone_id and instrument.liquid_hours is not None else UTC
    return _period(newest.start, bar_size) == _period(now.astimezone(zone).date(), bar_size)


def _period(day: date, bar_size: str) -> tuple[int, int]:
    if bar_size == MONTH:
        return day.year, day.month
    if bar_size == WEEK:
        return day.isocalendar()[:2]
    return day.year, day.timetuple().tm_yday
