"""Bars, schedules and the beginning of a history, from the historical data service.

It is slower than the rest of a gateway and counts requests by rules of its own (code 162 with "pacing violation"), so
it is waited for longer, and a request that nobody waits for any more is withdrawn.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ibkr_mcp_server.broker import translate
from ibkr_mcp_server.broker.library import ib_async
from ibkr_mcp_server.broker.session import Session
from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.domain.history import SCHEDULE, Bar, BarRequest, History, Schedule, ScheduledSession
from ibkr_mcp_server.domain.instruments import Instrument, TradingSession
from ibkr_mcp_server.domain.moments import tws_moment
from ibkr_mcp_server.errors import Unavailable

DEADLINE_SECONDS = 30.0
"""Large charts take TWS many seconds."""
AS_EPOCH = 2
"""formatDate: seconds since 1970, so that no time zone has to be guessed; dates of days stay dates."""


class Histories:
    """What one connection asks of the historical data service."""

    def __init__(self, session: Session, *, clock: Clock) -> None:
        self._session = session
        self._clock = clock

    async def bars(self, request: BarRequest) -> History:
        """See `BrokerReads.bars`."""
        rows = await self._rows(request, f"bars of {request.instrument.label}")
        return History(bars=tuple(_bar(row) for row in rows), received_at=self._clock.now())

    async def schedule(self, request: BarRequest) -> Schedule:
        """See `BrokerReads.schedule`."""
        what = f"the trading schedule of {request.instrument.label}"
        [(zone_id, sessions)] = await self._rows(request, what)
        return Schedule(
            time_zone_id=zone_id,
            sessions=tuple(_session(session, zone_id, what) for session in sessions),
            received_at=self._clock.now(),
        )

    async def _rows(self, request: BarRequest, what: str) -> list[Any]:
        client, contract = self._session.client, translate.contract_for(request.instrument)
        end = "" if request.end is None else tws_moment(request.end)
        return await self._session.numbered(
            what,
            lambda req_id: client.reqHistoricalData(
                req_id,
                contract,
                end,
                request.duration,
                "1 day" if request.what_to_show == SCHEDULE else request.bar_size,
                request.what_to_show,
                int(request.regular_hours_only),
                AS_EPOCH,
                False,
                [],
            ),
            withdraw=client.cancelHistoricalData,
            deadline_seconds=DEADLINE_SECONDS,
        )

    async def beginning(self, instrument: Instrument, what_to_show: str, *, regular_hours_only: bool) -> datetime:
        """See `BrokerReads.history_begins`."""
        client, contract = self._session.client, translate.contract_for(instrument)
        what = f"the beginning of the history of {instrument.label}"
        [told] = await self._session.numbered(
            what,
            lambda req_id: client.reqHeadTimeStamp(req_id, contract, what_to_show, int(regular_hours_only), AS_EPOCH),
            withdraw=client.cancelHeadTimeStamp,
            deadline_seconds=DEADLINE_SECONDS,
        )
        return _epoch(told, what)


def _bar(row: ib_async.BarData) -> Bar:
    traded = row.volume >= 0  # -1 for bars of quotes
    return Bar(
        start=_start(str(row.date)),
        open=translate.quantity(row.open),
        high=translate.quantity(row.high),
        low=translate.quantity(row.low),
        close=translate.quantity(row.close),
        volume=translate.number(row.volume) if traded else None,
        average=translate.price(row.average) if traded else None,
        trades=row.barCount if traded else None,
    )


def _start(text: str) -> datetime | date:
    """`20261120` is a day, everything else seconds since 1970."""
    if len(text) == 8:
        return datetime.strptime(text, "%Y%m%d").replace(tzinfo=UTC).date()
    return _epoch(text, "bars")


def _epoch(text: str, what: str) -> datetime:
    try:
        return datetime.fromtimestamp(int(text), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise _unreadable(what) from error


def _session(told: ib_async.HistoricalSession, zone_id: str, what: str) -> ScheduledSession:
    """Times as `20261120-09:30:00` in the zone of the schedule."""
    try:
        zone = ZoneInfo(zone_id)
        start, end = (
            datetime.strptime(text, "%Y%m%d-%H:%M:%S").replace(tzinfo=zone).astimezone(UTC)
            for text in (told.startDateTime, told.endDateTime)
        )
        day = datetime.strptime(told.refDate, "%Y%m%d").replace(tzinfo=zone).date()
    except (ValueError, ZoneInfoNotFoundError) as error:
        raise _unreadable(what) from error
    return ScheduledSession(day=day, hours=TradingSession(start=start, end=end))


def _unreadable(what: str) -> Unavailable:
    return Unavailable(
        "BROKER_UNAVAILABLE",
        f"The broker's answer to the request for {what} could not be read.",
        next_step="Report it, with the version of the gateway.",
    )
