"""The instrument and market data families of requests (tws-wire guide, sections 5 to 7)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, timedelta
from typing import Any

from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.simulator import option_replies, replies
from ibkr_mcp_server.simulator.faults import Faults
from ibkr_mcp_server.simulator.feeds import BarFeed, Client, MarketFeed
from ibkr_mcp_server.simulator.generic_ticks import NEWS, GenericTicks
from ibkr_mcp_server.simulator.instruments import Catalogue, Listing
from ibkr_mcp_server.simulator.lookup import find_or_tell, refuse
from ibkr_mcp_server.simulator.market import Bar, Market, MarketQuote
from ibkr_mcp_server.simulator.news_desk import NewsDesk
from ibkr_mcp_server.simulator.order_rules import NO_SECURITY, find_listings
from ibkr_mcp_server.simulator.requests import (
    CancelHistoricalData,
    CancelMarketData,
    ReqContractDetails,
    ReqHeadTimestamp,
    ReqHistoricalData,
    ReqMarketData,
    ReqMarketDataType,
    ReqMarketRule,
    ReqMatchingSymbols,
    Request,
)
from ibkr_mcp_server.simulator.sessions import Sessions, local_date, zone_of
from ibkr_mcp_server.simulator.trading_calendars import ONE_DAY
from ibkr_mcp_server.simulator.tws_time import parse_moment

MARKET_DATA_LINES = 100
COMPETING_SESSION = "No market data during competing live session"
NOT_SUBSCRIBED = (
    "Requested market data is not subscribed. Check API status by selecting the Account menu then under Management"
    " choose Market Data Subscription Manager and/or availability of delayed data."
)
HISTORY_LOST = "Historical Market Data Service error message:HMDS server disconnect occurred. Attempting reconnection"
HISTORY_PACED = "Historical Market Data Service error message:API historical data query pacing violation"
LONGEST_SCHEDULE_DAYS = 366 * 5
HISTORY_REACH = timedelta(days=365 * 20)
_DAYS_PER_UNIT = {"D": 1, "W": 7, "M": 30, "Y": 365}
_LIVE_TYPES = frozenset({1, 2})
_FROZEN_TYPES = frozenset({2, 4})


class DataDesk:
    """Answers about instruments and prices, and the streams that clients subscribed to."""

    def __init__(
        self,
        *,
        clock: Clock,
        catalogue: Catalogue,
        sessions: Sessions,
        market: Market,
        faults: Faults,
        news: NewsDesk,
    ) -> None:
        self._clock = clock
        self._catalogue = catalogue
        self._sessions = sessions
        self._market = market
        self._faults = faults
        self._news = news
        # The handlers' second parameter is the request type that is their key, which `Any` stands for.
        self.handlers: dict[type[Request], Callable[[Client, Any], None]] = {
            ReqContractDetails: self._contract_details,
            ReqMatchingSymbols: self._matching_symbols,
            ReqMarketRule: self._market_rule,
            ReqMarketDataType: self._market_data_type,
            ReqMarketData: self._market_data,
            CancelMarketData: self._cancel_market_data,
            ReqHistoricalData: self._historical_data,
            CancelHistoricalData: self._cancel_historical_data,
            ReqHeadTimestamp: self._head_timestamp,
        }

    def push_ticks(self, client: Client) -> None:
        """Bring every stream to where its instrument stands now."""
        if self._faults.competing or "market" in self._faults.broken_farms:
            return
        for feed in client.market_feeds.values():
            quote = self._market.quote(feed.listing.con_id)
            if quote is not feed.told:
                self._send_all(client, self._ticks(feed, quote))

    def _ticks(self, feed: MarketFeed, quote: MarketQuote) -> Iterator[replies.Message]:
        yield from feed.ticks(quote)
        if feed.listing.sec_type == "OPT":
            yield from self._greeks(feed, quote)

    def _greeks(self, feed: MarketFeed, quote: MarketQuote) -> Iterator[replies.Message]:
        """What bid, ask, last and the model's price mean; the model's is without a price of the market."""
        types = option_replies.BID, option_replies.ASK, option_replies.LAST, option_replies.MODEL
        for tick_type, price in zip(types, (quote.bid, quote.ask, quote.last, None), strict=True):
            told_as = option_replies.DELAYED[tick_type] if feed.delayed else tick_type
            found = None
            if price is not None or tick_type == option_replies.MODEL:
                found = self._market.option_computation(feed.listing.con_id, price)
            if found is None:
                yield option_replies.no_option_computation(feed.req_id, told_as)
            else:
                yield option_replies.option_computation(feed.req_id, told_as, found)

    def announce_competing_session(self, client: Client) -> None:
        for req_id in client.market_feeds:
            client.send(replies.error(req_id, 10197, COMPETING_SESSION))

    # --- reference data ---

    def _contract_details(self, client: Client, request: ReqContractDetails) -> None:
        found = find_listings(self._catalogue, request.contract)
        if not found:
            client.send(replies.error(request.req_id, 200, NO_SECURITY))
            return
        now = self._clock.now()
        for listing in found:
            message = replies.contract_data(
                request.req_id,
                listing,
                exchange=request.contract.exchange,
                trading_hours=self._sessions.trading_hours(listing, now),
                liquid_hours=self._sessions.liquid_hours(listing, now),
            )
            client.send(message)
        client.send(replies.contract_data_end(request.req_id))

    def _matching_symbols(self, client: Client, request: ReqMatchingSymbols) -> None:
        client.send(replies.symbol_samples(request.req_id, self._catalogue.search(request.pattern)))

    def _market_rule(self, client: Client, request: ReqMarketRule) -> None:
        steps = self._catalogue.market_rule(request.rule_id)
        if steps is None:
            refuse(client, -1, f"Unknown market rule {request.rule_id}")
        else:
            client.send(replies.market_rule(request.rule_id, steps))

    # --- market data ---

    def _market_data_type(self, client: Client, request: ReqMarketDataType) -> None:
        client.market_data_type = request.market_data_type if request.market_data_type in range(1, 5) else 1

    def _market_data(self, client: Client, request: ReqMarketData) -> None:
        listing = find_or_tell(self._catalogue, client, request.req_id, request.contract)
        if listing is None:
            return
        if request.req_id in client.market_feeds:
            client.send(
                replies.error(request.req_id, 322, "Error processing request.-'bH' : cause - Duplicate ticker id")
            )
            return
        if len(client.market_feeds) >= MARKET_DATA_LINES:
            client.send(replies.error(request.req_id, 101, "Max number of tickers has been reached"))
            return
        if self._faults.competing:
            client.send(replies.error(request.req_id, 10197, COMPETING_SESSION))
            return
        if listing.data == "none":
            client.send(replies.error(request.req_id, 354, NOT_SUBSCRIBED))
            return
        try:
            generics = GenericTicks.of(request.generic_ticks, listing.sec_type)
        except ValueError as error:
            refuse(client, request.req_id, str(error))
            return
        if generics.wanted and request.snapshot:
            refuse(client, request.req_id, "Snapshot market data subscription is not applicable to generic ticks")
            return
        # Types 3 and 4 allow delayed data; an account with live data gets live data all the same.
        delayed = self._faults.live_data_denied or listing.data == "delayed"
        if delayed:
            if client.market_data_type in _LIVE_TYPES:
                text = (
                    "Requested market data requires additional subscription for API. See link in 'Market Data"
                    " Connections' dialog for more details. Delayed market data is available."
                )
                client.send(replies.error(request.req_id, 10089, text))
                return
            text = "Requested market data is not subscribed. Displaying delayed market data."
            client.send(replies.error(request.req_id, 10167, text))
        feed = MarketFeed(req_id=request.req_id, listing=listing, delayed=delayed, generics=generics)
        client.send(replies.tick_request_parameters(request.req_id, listing))
        client.send(replies.market_data_type(request.req_id, self._announced_type(client, listing, delayed=delayed)))
        if "market" not in self._faults.broken_farms:
            self._send_all(client, self._ticks(feed, self._market.quote(listing.con_id)))
            first = generics.at_first(request.req_id, listing.con_id, self._market, self._clock.now())
            self._send_all(client, first)
        if request.snapshot:
            client.send(replies.tick_snapshot_end(request.req_id))
        else:
            client.market_feeds[request.req_id] = feed
            if NEWS in generics.wanted:
                self._news.subscribe(client, request.req_id, listing, generics.news_providers)

    def _announced_type(self, client: Client, listing: Listing, *, delayed: bool) -> int:
        """The frozen types are what the plain ones become while the exchange is closed, if the client allows them."""
        closed = not self._sessions.is_regular(listing, self._clock.now())
        frozen = closed and client.market_data_type in _FROZEN_TYPES
        if delayed:
            return 4 if frozen else 3
        return 2 if frozen else 1

    def _cancel_market_data(self, client: Client, request: CancelMarketData) -> None:
        client.news.pop(request.req_id, None)
        if client.market_feeds.pop(request.req_id, None) is None:
            client.send(replies.error(request.req_id, 300, f"Can't find EId with tickerId:{request.req_id}"))

    def _send_all(self, client: Client, messages: Iterable[replies.Message]) -> None:
        for message in messages:
            client.send(message)

    # --- history ---

    def _historical_data(self, client: Client, request: ReqHistoricalData) -> None:
        listing = find_or_tell(self._catalogue, client, request.req_id, request.contract)
        if listing is None:
            return
        if self._history_fails(client, request.req_id):
            return
        if listing.data == "none":
            text = f"No market data permissions for {listing.primary_exchange} {listing.sec_type}"
            client.send(replies.error(request.req_id, 162, f"Historical Market Data Service error message:{text}"))
            return
        try:
            self._send_history(client, listing, request)
        except ValueError as error:
            refuse(client, request.req_id, str(error))

    def _history_fails(self, client: Client, req_id: int) -> bool:
        text = HISTORY_LOST if "history" in self._faults.broken_farms else ""
        if not text and self._faults.take("pace_next_history"):
            text = HISTORY_PACED
        if text:
            client.send(replies.error(req_id, 162, text))
        return bool(text)

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
            client.send(replies.error(request.req_id, 162, f"Historical Market Data Service error message:{text}"))
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
        if listing is not None:
            client.send(replies.head_timestamp(request.req_id, self._first_moment(listing), request.format_date))

    def _first_moment(self, listing: Listing) -> datetime:
        """The opening of the session with which history is said to begin."""
        day = local_date(listing, self._clock.now()) - HISTORY_REACH
        while (session := self._sessions.session(listing, day)) is None:
            day += ONE_DAY
        return session.start
