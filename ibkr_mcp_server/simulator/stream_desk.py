"""The streams beside quotes: depth, single ticks and five-second bars (tws-wire guide, section 6)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.simulator import replies, stream_replies
from ibkr_mcp_server.simulator.bars import KINDS, TRADED
from ibkr_mcp_server.simulator.faults import Faults
from ibkr_mcp_server.simulator.feeds import Client
from ibkr_mcp_server.simulator.instruments import Catalogue, Listing
from ibkr_mcp_server.simulator.lookup import find_or_tell, refuse
from ibkr_mcp_server.simulator.market import Market
from ibkr_mcp_server.simulator.market_depth import DEPTH_TYPES, venues_of
from ibkr_mcp_server.simulator.requests import ContractQuery, Request
from ibkr_mcp_server.simulator.stream_feeds import DepthFeed, RealTimeBarFeed, TickByTickFeed
from ibkr_mcp_server.simulator.stream_requests import (
    CancelMarketDepth,
    CancelRealTimeBars,
    CancelTickByTick,
    ReqMarketDepth,
    ReqMarketDepthExchanges,
    ReqRealTimeBars,
    ReqSmartComponents,
    ReqTickByTick,
)
from ibkr_mcp_server.simulator.tape_desk import TapeDesk

DEPTH_REQUESTS = 3
TICK_BY_TICK_REQUESTS = 5
"""TWS allows five single-tick streams and three books with a hundred market data lines."""
MOST_DEPTH_ROWS = 50
REAL_TIME_BAR = timedelta(seconds=5)
MOST_BARS_AT_ONCE = 12
"""What a subscriber is told of a time in which the market did not tick; older bars are history."""
BBO_EXCHANGE = "9c0001"
"""The exchange map that tickReqParams names for US stocks."""
_TRADE_KINDS = ("Last", "AllLast")


class StreamDesk:
    """Answers requests for these streams, and keeps them going."""

    def __init__(self, *, clock: Clock, catalogue: Catalogue, market: Market, faults: Faults, tape: TapeDesk) -> None:
        self._clock = clock
        self._catalogue = catalogue
        self._market = market
        self._faults = faults
        self._tape = tape
        # The handlers' second parameter is the request type that is their key, which `Any` stands for.
        self.handlers: dict[type[Request], Callable[[Client, Any], None]] = {
            ReqMarketDepth: self._depth,
            CancelMarketDepth: self._cancel_depth,
            ReqMarketDepthExchanges: self._depth_exchanges,
            ReqSmartComponents: self._smart_components,
            ReqTickByTick: self._tick_by_tick,
            CancelTickByTick: self._cancel_tick_by_tick,
            ReqRealTimeBars: self._real_time_bars,
            CancelRealTimeBars: self._cancel_real_time_bars,
        }

    def push(self, client: Client) -> None:
        """Tell the client what is new in its streams."""
        if self._faults.competing or "market" in self._faults.broken_farms:
            return
        feeds: list[DepthFeed | TickByTickFeed] = [*client.depth_feeds.values(), *client.tick_by_tick.values()]
        for feed in feeds:
            _send_all(client, feed.messages(self._market.quote(feed.listing.con_id)))
        for bars in client.real_time_bars.values():
            self._push_bars(client, bars)

    # --- depth ---

    def _depth(self, client: Client, request: ReqMarketDepth) -> None:
        listing = self._subscribable(client, request.req_id, request.contract, client.depth_feeds)
        if listing is None:
            return
        if listing.sec_type not in DEPTH_TYPES:
            text = "Deep market data is not supported for this combination of security type/exchange"
            client.send(replies.error(request.req_id, 10092, text))
            return
        if self._lacks_live_data(listing):
            client.send(replies.error(request.req_id, 354, NOT_SUBSCRIBED))
            return
        if len(client.depth_feeds) >= DEPTH_REQUESTS:
            text = f"Max number ({DEPTH_REQUESTS}) of market depth requests has been reached"
            client.send(replies.error(request.req_id, 309, text))
            return
        rows = min(request.rows, MOST_DEPTH_ROWS)
        if rows < 1:
            refuse(client, request.req_id, f"Invalid number of rows: {request.rows}")
            return
        feed = DepthFeed(req_id=request.req_id, listing=listing, rows=rows, smart=request.smart)
        client.depth_feeds[request.req_id] = feed
        _send_all(client, feed.messages(self._market.quote(listing.con_id)))

    def _cancel_depth(self, client: Client, request: CancelMarketDepth) -> None:
        if client.depth_feeds.pop(request.req_id, None) is None:
            text = f"Can't find the subscribed market depth with tickerId:{request.req_id}"
            client.send(replies.error(request.req_id, 310, text))

    def _depth_exchanges(self, client: Client, request: ReqMarketDepthExchanges) -> None:
        rows = sorted(
            {
                (venue, listing.sec_type)
                for listing in self._catalogue
                if listing.sec_type in DEPTH_TYPES
                for venue in venues_of(listing)
            }
        )
        client.send(stream_replies.depth_exchanges(rows))

    def _smart_components(self, client: Client, request: ReqSmartComponents) -> None:
        if request.bbo_exchange != BBO_EXCHANGE:
            refuse(client, request.req_id, f"Unknown exchange map '{request.bbo_exchange}'")
            return
        client.send(stream_replies.smart_components(request.req_id, US_VENUE_LETTERS))

    # --- single ticks ---

    def _tick_by_tick(self, client: Client, request: ReqTickByTick) -> None:
        listing = self._subscribable(client, request.req_id, request.contract, client.tick_by_tick)
        if listing is None:
            return
        if request.kind not in stream_replies.TICK_BY_TICK_TYPES:
            refuse(client, request.req_id, f"Invalid tick type '{request.kind}'")
            return
        lacking = self._lacks_ticks(listing, request.kind)
        if lacking:
            client.send(replies.error(request.req_id, 10189, f"Failed to request tick-by-tick data:{lacking}"))
            return
        if len(client.tick_by_tick) >= TICK_BY_TICK_REQUESTS:
            text = "Max number of tick-by-tick requests has been reached."
            client.send(replies.error(request.req_id, 10190, text))
            return
        if request.count > 0:
            self._tape.send_latest(client, request.req_id, listing, kind=request.kind, count=request.count)
        quote = self._market.quote(listing.con_id)
        feed = TickByTickFeed(req_id=request.req_id, listing=listing, kind=request.kind, told=quote)
        client.tick_by_tick[request.req_id] = feed

    def _lacks_ticks(self, listing: Listing, kind: str) -> str:
        if self._lacks_live_data(listing):
            return f"No market data permissions for {listing.exchange} {listing.sec_type}"
        quote = self._market.quote(listing.con_id)
        if kind in _TRADE_KINDS and quote.volume is None:
            return f"{kind} tick-by-tick data is not available for {listing.sec_type}"
        return ""

    def _cancel_tick_by_tick(self, client: Client, request: CancelTickByTick) -> None:
        if client.tick_by_tick.pop(request.req_id, None) is None:
            _unknown_ticker(client, request.req_id)

    # --- five-second bars ---

    def _real_time_bars(self, client: Client, request: ReqRealTimeBars) -> None:
        listing = self._subscribable(client, request.req_id, request.contract, client.real_time_bars)
        if listing is None:
            return
        if request.what not in KINDS:
            refuse(client, request.req_id, f"Invalid whatToShow '{request.what}'")
            return
        if self._lacks_live_data(listing) or (request.what in TRADED and listing.sec_type == "CASH"):
            text = f"Invalid Real-time Query:No market data permissions for {listing.exchange} {listing.sec_type}"
            client.send(replies.error(request.req_id, 420, text))
            return
        client.real_time_bars[request.req_id] = RealTimeBarFeed(
            req_id=request.req_id, listing=listing, what=request.what, told_until=_bar_edge(self._clock.now())
        )

    def _push_bars(self, client: Client, feed: RealTimeBarFeed) -> None:
        edge = _bar_edge(self._clock.now())
        first = max(feed.told_until, edge - MOST_BARS_AT_ONCE * REAL_TIME_BAR)
        if edge <= first:
            return
        feed.told_until = edge
        bars = self._market.bars(
            feed.listing.con_id,
            end=edge,
            duration=f"{int((edge - first).total_seconds())} S",
            bar_size="5 secs",
            what=feed.what,
            use_rth=True,
            now=edge,
        )
        for bar in bars:
            if isinstance(bar.start, datetime) and bar.start >= first:  # while closed, the last bars are old ones
                client.send(stream_replies.real_time_bar(feed.req_id, bar))

    def _cancel_real_time_bars(self, client: Client, request: CancelRealTimeBars) -> None:
        if client.real_time_bars.pop(request.req_id, None) is None:
            _unknown_ticker(client, request.req_id)

    # --- all of them ---

    def _lacks_live_data(self, listing: Listing) -> bool:
        """These streams have no delayed kind."""
        return self._faults.live_data_denied or listing.data != "live"

    def _subscribable(
        self, client: Client, req_id: int, contract: ContractQuery, taken: dict[int, Any]
    ) -> Listing | None:
        """The instrument of a new subscription; None after the client was told why there is none."""
        if req_id in taken:
            text = "Error processing request.-'bH' : cause - Duplicate ticker id"
            client.send(replies.error(req_id, 322, text))
            return None
        return find_or_tell(self._catalogue, client, req_id, contract)


NOT_SUBSCRIBED = "Requested market data is not subscribed."
US_VENUE_LETTERS = (
    ("AMEX", "A"),
    ("NYSE", "N"),
    ("CBOE", "W"),
    ("ISE", "I"),
    ("ARCA", "P"),
    ("NASDAQ", "Q"),
    ("BATS", "Z"),
    ("IEX", "V"),
)
"""The letters of the consolidated tape."""


def _bar_edge(moment: datetime) -> datetime:
    seconds = int(moment.timestamp()) // 5 * 5
    return datetime.fromtimestamp(seconds, UTC)


def _unknown_ticker(client: Client, req_id: int) -> None:
    client.send(replies.error(req_id, 300, f"Can't find EId with tickerId:{req_id}"))


def _send_all(client: Client, messages: Iterable[replies.Message]) -> None:
    for message in messages:
        client.send(message)
