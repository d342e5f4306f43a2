"""The instrument and market data families of requests (tws-wire guide, sections 5 and 6)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.simulator import option_replies, replies
from ibkr_mcp_server.simulator.faults import Faults
from ibkr_mcp_server.simulator.feeds import Client, MarketFeed
from ibkr_mcp_server.simulator.generic_ticks import NEWS, GenericTicks
from ibkr_mcp_server.simulator.instruments import Catalogue, Listing
from ibkr_mcp_server.simulator.lookup import find_or_tell, refuse
from ibkr_mcp_server.simulator.market import Market, MarketQuote
from ibkr_mcp_server.simulator.news_desk import NewsDesk
from ibkr_mcp_server.simulator.order_rules import NO_SECURITY, find_listings
from ibkr_mcp_server.simulator.requests import (
    CancelMarketData,
    ReqContractDetails,
    ReqMarketData,
    ReqMarketDataType,
    ReqMarketRule,
    ReqMatchingSymbols,
    Request,
)
from ibkr_mcp_server.simulator.sessions import Sessions

MARKET_DATA_LINES = 100
COMPETING_SESSION = "No market data during competing live session"
NOT_SUBSCRIBED = (
    "Requested market data is not subscribed. Check API status by selecting the Account menu then under Management"
    " choose Market Data Subscription Manager and/or availability of delayed data."
)
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
            first = generics.at_first(request.req_id, listing, self._market, self._clock.now())
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
