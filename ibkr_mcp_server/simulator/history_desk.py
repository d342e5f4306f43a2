"""The history family of requests: bars, bars kept up to date, schedules, beginnings (tws-wire guide, section 7)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.simulator import replies
from ibkr_mcp_server.simulator.faults import Faults
from ibkr_mcp_server.simulator.feeds import BarFeed, Client
from ibkr_mcp_server.simulator.instruments import Catalogue, Listing
from ibkr_mcp_server.simulator.lookup import find_or_tell, refuse
from ibkr_mcp_server.simulator.market import Bar, Market
from ibkr_mcp_server.simulator.requests import CancelHistoricalData, ReqHeadTimestamp, ReqHistoricalData, Request
from ibkr_mcp_server.simulator.sessions import Sessions, local_date, zone_of
from ibkr_mcp_server.simulator.trading_calendars import ONE_DAY
from ibkr_mcp_server.simulator.tws_time import parse_moment

SERVICE_ERROR = "Historical Market Data Service error message:"
HISTORY_LOST = "HMDS server disconnect occurred. Attempting reconnection"
HISTORY_PACED = "API historical data query pacing violation"
LONGEST_SCHEDULE_DAYS = 366 * 5
HISTORY_REACH = timedelta(days=365 * 20)
_DAYS_PER_UNIT = {"D": 1, "W": 7, "M": 30, "Y": 365}


class HistoryDesk:
    """Answers about the past, and keeps charts current."""

    def __init__(
        self, *, clock: Clock, catalogue: Catalogue, sessions: Sessions, market: Market, faults: Faults
    ) -> None:
        self._clock = clock
        self._catalogue = catalogue
        self._sessions = sessions
        self._market = market
        self._faults = faults
        # The handlers' second parameter is the request type that is their key, which `Any` stands for.
        self.handlers: dict[type[Request], Callable[[Client, Any], None]] = {
            ReqHistoricalData: self._historical_data,
            CancelHistoricalData: self._cancel_historical_data,
            ReqHeadTimestamp: self._head_timestamp,
        }

    def _historical_data(self, client: Client, request: ReqHistoricalData) -> None:
        listing = find_or_tell(self._catalogue, client, request.req_id, request.contract)
        if listing is None:
            return
        if self.fails(client, request.req_id, listing):
            return
        try:
            self._send_history(client, listing, request)
        except ValueError as error:
            refuse(client, request.req_id, str(error))

    def fails(self, client: Client, req_id: int, listing: Listing) -> bool:
        """Tell a client whom history cannot be served to why; False if it can be."""
        if "history" in self._faults.broken_farms:
            cause = HISTORY_LOST
        elif self._faults.take("pace_next_history"):
            cause = HISTORY_PACED
        elif listing.data == "none":
            cause = f"No market data permissions for {listing.primary_exchange} {listing.sec_type}"
        else:
            return False
        client.send(replies.error(req_id, 162, f"{SERVICE_ERROR}{cause}"))
        return True

    def _send_history(self, client: Client, listing: Listing, request: ReqHistoricalData) -> None:
        now = self._clock.now()
        if request.end and request.keep_up_to_date:
            raise ValueError("An end date cannot be given with keepUpToDate")
        end = parse_moment(request.end) if request.end else now
        if request.what == "SCHEDULE":
            days = self._schedule(listing, end, request.duration)
            client.send(replies.historical_schedule(request.req_id, listing.time_zone_id, days))
            return
        bars = self._bars(listing, request, end)
        if not bars:
            text = f"HMDS query returned no data: {listing.symbol}@{listing.exchange} {request.what}"
            client.send(replies.error(request.req_id, 162, f"{SERVICE_ERROR}{text}"))
            return
        first = bars[0].start
        start = first if isinstance(first, datetime) else datetime.combine(first, end.timetz())
        client.send(
            replies.historical_data(request.req_id, bars, start=start, end=end, format_date=request.format_date)
        )
        if request.keep_up_to_date:
            client.bar_feeds[request.req_id] = BarFeed(request=request, listing=listing)

    def _bars(self, listing: Listing, request: ReqHistoricalData, end: datetime) -> list[Bar]:
        return self._market.bars(
            listing.con_id,
            end=end,
            duration=request.duration,
            bar_size=request.bar_size,
            what=request.what,
            use_rth=request.use_rth,
            now=self._clock.now(),
        )

    def push_bars(self, client: Client) -> None:
        now = self._clock.now()
        for req_id, feed in client.bar_feeds.items():
            bars = self._bars(feed.listing, feed.request, now)
            if bars:
                client.send(replies.historical_data_update(req_id, bars[-1], format_date=feed.request.format_date))

    def _schedule(self, listing: Listing, end: datetime, duration: str) -> list[tuple[datetime, datetime, date]]:
        number, _, unit = duration.partition(" ")
        if not number.isdigit() or unit not in _DAYS_PER_UNIT:
            raise ValueError(f"Invalid duration '{duration}'")
        days = min(int(number) * _DAYS_PER_UNIT[unit], LONGEST_SCHEDULE_DAYS)
        zone, last = zone_of(listing), local_date(listing, end)
        rows = []
        for offset in range(days - 1, -1, -1):
            session = self._sessions.session(listing, last - ONE_DAY * offset)
            if session is not None:
                rows.append((session.start.astimezone(zone), session.end.astimezone(zone), session.day))
        return rows

    def _cancel_historical_data(self, client: Client, request: CancelHistoricalData) -> None:
        if client.bar_feeds.pop(request.req_id, None) is None:
            client.send(
                replies.error(request.req_id, 366, f"No historical data query found for ticker id:{request.req_id}")
            )

    def _head_timestamp(self, client: Client, request: ReqHeadTimestamp) -> None:
        listing = find_or_tell(self._catalogue, client, request.req_id, request.contract)
        if listing is not None and not self.fails(client, request.req_id, listing):
            client.send(replies.head_timestamp(request.req_id, self._first_moment(listing), request.format_date))

    def _first_moment(self, listing: Listing) -> datetime:
        """The opening of the session with which history is said to begin."""
        day = local_date(listing, self._clock.now()) - HISTORY_REACH
        while (session := self._sessions.session(listing, day)) is None:
            day += ONE_DAY
        return session.start
