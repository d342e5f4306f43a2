"""Answers what clients ask and tells them what they subscribed to; no socket in sight.

One method per request family, found through the table in `Desk.__init__`. Each family that has an end marker sends it,
also when it has nothing to list (tws-wire guide, sections 4 to 12).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from ibkr_mcp_server.clock import NEW_YORK, Clock
from ibkr_mcp_server.simulator import replies
from ibkr_mcp_server.simulator.accounts import Accounts, AccountValue, HoldingValue
from ibkr_mcp_server.simulator.exchange import Exchange
from ibkr_mcp_server.simulator.faults import Faults
from ibkr_mcp_server.simulator.feeds import BarFeed, Client, MarketFeed, SummaryFeed, ValuesFeed
from ibkr_mcp_server.simulator.instruments import Catalogue, Listing
from ibkr_mcp_server.simulator.market import Bar, Market
from ibkr_mcp_server.simulator.order_rules import NO_SECURITY, OrderRefusal, find_listing, find_listings, invalid
from ibkr_mcp_server.simulator.orders import (
    Charged,
    Executed,
    Execution,
    Order,
    OrderEvent,
    OrderMessage,
    OrderUpdated,
    PositionChanged,
    WhatIfAnswered,
)
from ibkr_mcp_server.simulator.requests import (
    CancelAccountSummary,
    CancelAccountUpdatesMulti,
    CancelHistoricalData,
    CancelMarketData,
    CancelOrder,
    CancelPnl,
    CancelPnlSingle,
    CancelPositions,
    CancelPositionsMulti,
    ContractQuery,
    GlobalCancel,
    PlaceOrder,
    ReqAccountSummary,
    ReqAccountUpdates,
    ReqAccountUpdatesMulti,
    ReqAllOpenOrders,
    ReqCompletedOrders,
    ReqContractDetails,
    ReqCurrentTime,
    ReqExecutions,
    ReqHeadTimestamp,
    ReqHistoricalData,
    ReqIds,
    ReqManagedAccounts,
    ReqMarketData,
    ReqMarketDataType,
    ReqMarketRule,
    ReqMatchingSymbols,
    ReqOpenOrders,
    ReqOptionParameters,
    ReqPnl,
    ReqPnlSingle,
    ReqPositions,
    ReqPositionsMulti,
    Request,
    ReqUserInfo,
    Unanswered,
    UnknownRequest,
    UnreadableRequest,
)
from ibkr_mcp_server.simulator.sessions import ONE_DAY, Sessions, local_date, zone_of
from ibkr_mcp_server.simulator.tws_time import parse_moment

FARM_STATES = (
    (2104, "Market data farm connection is OK:usfarm"),
    (2106, "HMDS data farm connection is OK:ushmds"),
    (2158, "Sec-def data farm connection is OK:secdefnj"),
)
MARKET_DATA_LINES = 100
ACCOUNT_SUMMARIES = 2
SLOW_PUSH_SECONDS = 180.0
"""Account values and summaries are told anew this often, and when a position changes (section 4)."""
BAR_PUSH_SECONDS = 5.0
LONGEST_SCHEDULE_DAYS = 366 * 5
HISTORY_REACH = timedelta(days=365 * 20)
_DAYS_PER_UNIT = {"D": 1, "W": 7, "M": 30, "Y": 365}
_LIVE_TYPES = frozenset({1, 2})
_FROZEN_TYPES = frozenset({2, 4})


class Desk:
    """All request handlers of one gateway."""

    def __init__(
        self,
        *,
        clock: Clock,
        catalogue: Catalogue,
        sessions: Sessions,
        market: Market,
        accounts: Accounts,
        exchange: Exchange,
        faults: Faults,
    ) -> None:
        self._clock = clock
        self._catalogue = catalogue
        self._sessions = sessions
        self._market = market
        self._accounts = accounts
        self._exchange = exchange
        self._faults = faults
        self.clients: dict[int, Client] = {}
        self._values_told = self._bars_told = clock.monotonic()
        # The handlers' second parameter is the request type that is their key, which `Any` stands for.
        self._handlers: dict[type[Request], Callable[[Client, Any], None]] = {
            ReqIds: self._ids,
            ReqManagedAccounts: self._managed_accounts,
            ReqCurrentTime: self._current_time,
            ReqUserInfo: self._user_info,
            Unanswered: self._nothing,
            UnknownRequest: self._unknown,
            UnreadableRequest: self._unreadable,
            ReqAccountUpdates: self._account_updates,
            ReqAccountSummary: self._account_summary,
            CancelAccountSummary: self._cancel_account_summary,
            ReqPositions: self._positions,
            CancelPositions: self._cancel_positions,
            ReqPositionsMulti: self._positions_multi,
            CancelPositionsMulti: self._cancel_positions_multi,
            ReqAccountUpdatesMulti: self._account_updates_multi,
            CancelAccountUpdatesMulti: self._cancel_account_updates_multi,
            ReqPnl: self._pnl,
            CancelPnl: self._cancel_pnl,
            ReqPnlSingle: self._pnl_single,
            CancelPnlSingle: self._cancel_pnl_single,
            ReqContractDetails: self._contract_details,
            ReqMatchingSymbols: self._matching_symbols,
            ReqMarketRule: self._market_rule,
            ReqOptionParameters: self._option_parameters,
            ReqMarketData: self._market_data,
            CancelMarketData: self._cancel_market_data,
            ReqMarketDataType: self._market_data_type,
            ReqHistoricalData: self._historical_data,
            CancelHistoricalData: self._cancel_historical_data,
            ReqHeadTimestamp: self._head_timestamp,
            ReqOpenOrders: self._open_orders,
            ReqAllOpenOrders: self._all_open_orders,
            ReqCompletedOrders: self._completed_orders,
            ReqExecutions: self._executions,
        }

    # --- sessions ---

    def open(self, client: Client) -> None:
        """A client started the API: its open orders first, as current gateways do, then accounts and the next id."""
        self.clients[client.client_id] = client
        own = self._exchange.open_orders(client.client_id)
        if own:
            self._list_open_orders(client, own)
        client.send(replies.managed_accounts(self._accounts.served))
        client.send(replies.next_valid_id(self._exchange.next_valid_id(client.client_id)))
        for code, text in FARM_STATES:
            client.send(replies.error(-1, code, text))

    def close(self, client: Client) -> None:
        """The connection is gone. Its orders stay."""
        if self.clients.get(client.client_id) is client:
            del self.clients[client.client_id]

    def handle(self, client: Client, request: Request) -> None:
        """Answer anything but a trading request, which goes through `trade`."""
        handler = self._handlers.get(type(request))
        if handler is not None:
            handler(client, request)

    def trade(self, client: Client, request: Request) -> list[OrderEvent]:
        """Carry out a placement or cancel; the events are the caller's to deliver, or to lose."""
        if isinstance(request, PlaceOrder):
            rejection = None if request.terms.what_if else self._faults.take_rejection()
            if rejection is not None:
                return self._exchange.reject(
                    *(client.client_id, request.order_id, request.contract, request.terms),
                    code=rejection.code,
                    text=rejection.text,
                )
            return self._exchange.place(client.client_id, request.order_id, request.contract, request.terms)
        if isinstance(request, CancelOrder):
            return self._exchange.cancel(client.client_id, request.order_id)
        if isinstance(request, GlobalCancel):
            return self._exchange.cancel_all()
        raise TypeError(f"{type(request).__name__} does not trade")

    def deliver(self, events: Iterable[OrderEvent]) -> None:
        """Tell the owners what became of their orders, and everybody what became of the positions."""
        moved: dict[tuple[str, int], None] = {}
        for event in events:
            if isinstance(event, PositionChanged):
                moved[event.account, event.con_id] = None
                continue
            owner = self.clients.get(_owner_of(event))
            if owner is not None:
                self._tell_owner(owner, event)
        for account, con_id in moved:
            self._position_changed(account, con_id)

    def _tell_owner(self, owner: Client, event: OrderEvent) -> None:
        match event:
            case OrderUpdated(order=order, status_only=status_only):
                if not status_only:
                    owner.send(self._open_order(owner, order))
                owner.send(self._order_status(order))
            case Executed(execution=execution):
                owner.send(self._execution(owner, -1, execution))
            case Charged(execution=execution):
                owner.send(replies.commission_report(execution))
            case OrderMessage(order_id=order_id, code=code, text=text):
                owner.send(replies.error(order_id, code, text))
            case WhatIfAnswered(order=order, change=change):
                listing = self._listing(order.con_id)
                parent_id = self._parent_id(order)
                owner.send(replies.open_order(order, listing, owner.version, parent_id=parent_id, what_if=change))
            case PositionChanged():
                pass

    # --- time ---

    def tick(self, changed: Iterable[int]) -> None:
        """The market moved: stream the changed quotes, profits each time, slower things when they are due."""
        moved = set(changed)
        elapsed = self._clock.monotonic()
        values_due = elapsed - self._values_told >= SLOW_PUSH_SECONDS
        bars_due = elapsed - self._bars_told >= BAR_PUSH_SECONDS
        for client in self.clients.values():
            for feed in client.market_feeds.values():
                if feed.listing.con_id in moved:
                    self._send_all(client, feed.ticks(self._market.quote(feed.listing.con_id)))
            self._push_pnl(client)
            if values_due:
                for account in self._accounts.served:
                    self._push_values(client, account)
            if bars_due:
                self._push_bars(client)
        self._values_told = elapsed if values_due else self._values_told
        self._bars_told = elapsed if bars_due else self._bars_told

    def drop_data_subscriptions(self) -> None:
        """1101: market data is lost and must be asked for again."""
        for client in self.clients.values():
            client.market_feeds.clear()
            client.bar_feeds.clear()

    def broadcast(self, code: int, text: str) -> None:
        for client in self.clients.values():
            client.send(replies.error(-1, code, text))

    def accounts_changed(self) -> None:
        """managedAccounts tells another list from now on."""
        for client in self.clients.values():
            client.send(replies.managed_accounts(self._accounts.served))

    # --- session requests ---

    def _ids(self, client: Client, request: ReqIds) -> None:
        client.send(replies.next_valid_id(self._exchange.next_valid_id(client.client_id)))

    def _managed_accounts(self, client: Client, request: ReqManagedAccounts) -> None:
        client.send(replies.managed_accounts(self._accounts.served))

    def _current_time(self, client: Client, request: ReqCurrentTime) -> None:
        client.send(replies.current_time(self._clock.now()))

    def _user_info(self, client: Client, request: ReqUserInfo) -> None:
        client.send(replies.user_info(request.req_id))

    def _nothing(self, client: Client, request: Unanswered) -> None:
        pass

    def _unknown(self, client: Client, request: UnknownRequest) -> None:
        client.send(replies.error(-1, 320, f"Error reading request. Unknown message id {request.message_id}."))

    def _unreadable(self, client: Client, request: UnreadableRequest) -> None:
        text = f"Error reading request. Message id {request.message_id}: {request.reason}."
        client.send(replies.error(request.about, 320, text))

    # --- accounts ---

    def _account_updates(self, client: Client, request: ReqAccountUpdates) -> None:
        if not request.subscribe:
            client.account_updates = None
            return
        account = request.account or self._accounts.served[0]
        if not self._serves(client, -1, account):
            return
        client.account_updates = ValuesFeed(account=account)
        self._push_account_values(client, client.account_updates)
        for row in self._accounts.holdings(account):
            client.send(replies.portfolio_value(row, account))
        client.send(replies.account_time(self._time_of_day()))
        client.send(replies.account_download_end(account))

    def _push_account_values(self, client: Client, feed: ValuesFeed) -> None:
        for row in _news(feed, self._accounts.values(feed.account)):
            client.send(replies.account_value(row, feed.account))

    def _account_updates_multi(self, client: Client, request: ReqAccountUpdatesMulti) -> None:
        for account in self._accounts_of(request.account):
            feed = ValuesFeed(account=account, model_code=request.model_code)
            client.multi_updates[request.req_id, account] = feed
            for row in _news(feed, self._accounts.values(account)):
                client.send(replies.account_value_multi(request.req_id, row, account, request.model_code))
        client.send(replies.account_values_multi_end(request.req_id))

    def _cancel_account_updates_multi(self, client: Client, request: CancelAccountUpdatesMulti) -> None:
        _forget(client.multi_updates, request.req_id)

    def _account_summary(self, client: Client, request: ReqAccountSummary) -> None:
        if len(client.summaries) >= ACCOUNT_SUMMARIES or request.req_id in client.summaries:
            text = "Error processing request.-'bO' : cause - Maximum number of account summary requests exceeded"
            client.send(replies.error(request.req_id, 322, text))
            return
        feed = SummaryFeed(accounts=self._accounts.served, tags=request.tags)
        client.summaries[request.req_id] = feed
        for account in feed.accounts:
            self._push_summary(client, request.req_id, feed, account)
        client.send(replies.account_summary_end(request.req_id))

    def _push_summary(self, client: Client, req_id: int, feed: SummaryFeed, account: str) -> None:
        for row in self._summary_rows(account, feed.tags):
            key = account, row.tag, row.currency
            if feed.told.get(key) != row.value:
                feed.told[key] = row.value
                client.send(replies.account_summary(req_id, account, row))

    def _summary_rows(self, account: str, tags: tuple[str, ...]) -> list[AccountValue]:
        """The rows of the tags asked for, alphabetical; `$LEDGER` is the base currency's cash, `:ALL` every one's."""
        ledger = self._accounts.ledger(account)
        ledger_tags = {row.tag for row in ledger}
        rows = [row for row in self._accounts.values(account) if row.tag in tags and row.tag not in ledger_tags]
        currencies = {tag.partition(":")[2] or "BASE" for tag in tags if tag.startswith("$LEDGER")}
        rows += [row for row in ledger if "ALL" in currencies or row.currency in currencies]
        return sorted(rows, key=lambda row: row.tag)

    def _cancel_account_summary(self, client: Client, request: CancelAccountSummary) -> None:
        client.summaries.pop(request.req_id, None)

    def _positions(self, client: Client, request: ReqPositions) -> None:
        client.positions = True
        for account in self._accounts.served:
            for row in self._held(account):
                client.send(replies.position(row.listing, account, row.quantity, row.average_cost))
        client.send(replies.positions_end())

    def _cancel_positions(self, client: Client, request: CancelPositions) -> None:
        client.positions = False

    def _positions_multi(self, client: Client, request: ReqPositionsMulti) -> None:
        for account in self._accounts_of(request.account):
            feed = ValuesFeed(account=account, model_code=request.model_code)
            client.multi_positions[request.req_id, account] = feed
            for row in self._held(account):
                client.send(self._position_multi(request.req_id, row, account, request.model_code))
        client.send(replies.positions_multi_end(request.req_id))

    def _position_multi(self, req_id: int, row: HoldingValue, account: str, model_code: str) -> replies.Message:
        return replies.position_multi(req_id, row.listing, account, model_code, row.quantity, row.average_cost)

    def _cancel_positions_multi(self, client: Client, request: CancelPositionsMulti) -> None:
        _forget(client.multi_positions, request.req_id)

    def _pnl(self, client: Client, request: ReqPnl) -> None:
        if self._serves(client, request.req_id, request.account):
            client.pnl[request.req_id] = request.account
            self._push_pnl(client)

    def _cancel_pnl(self, client: Client, request: CancelPnl) -> None:
        client.pnl.pop(request.req_id, None)

    def _pnl_single(self, client: Client, request: ReqPnlSingle) -> None:
        if self._serves(client, request.req_id, request.account):
            client.pnl_single[request.req_id] = request.account, request.con_id
            self._push_pnl(client)

    def _cancel_pnl_single(self, client: Client, request: CancelPnlSingle) -> None:
        client.pnl_single.pop(request.req_id, None)

    def _push_pnl(self, client: Client) -> None:
        for req_id, account in client.pnl.items():
            daily, unrealized = self._accounts.daily_pnl(account), self._accounts.unrealized_pnl(account)
            realized = self._accounts.realized_pnl(account)
            client.send(replies.pnl(req_id, daily=daily, unrealized=unrealized, realized=realized))
        for req_id, (account, con_id) in client.pnl_single.items():
            position = self._accounts.by_code[account].positions.get(con_id)
            row = self._accounts.holding(position) if position is not None else None
            client.send(replies.pnl_single(req_id, row))

    def _position_changed(self, account: str, con_id: int) -> None:
        if account not in self._accounts.served:
            return
        row = self._accounts.holding(self._accounts.by_code[account].positions[con_id])
        for client in self.clients.values():
            if client.positions:
                client.send(replies.position(row.listing, account, row.quantity, row.average_cost))
            for (req_id, _), multi in client.multi_positions.items():
                if multi.account == account:
                    client.send(self._position_multi(req_id, row, account, multi.model_code))
            feed = client.account_updates
            if feed is not None and feed.account == account:
                client.send(replies.portfolio_value(row, account))
            self._push_values(client, account)
            self._push_pnl(client)

    def _push_values(self, client: Client, account: str) -> None:
        """Changed account values and summaries, to a client that subscribed to them."""
        feed = client.account_updates
        if feed is not None and feed.account == account:
            self._push_account_values(client, feed)
            client.send(replies.account_time(self._time_of_day()))
        for (req_id, _), multi in client.multi_updates.items():
            if multi.account == account:
                for row in _news(multi, self._accounts.values(account)):
                    client.send(replies.account_value_multi(req_id, row, account, multi.model_code))
        for req_id, summary in client.summaries.items():
            if account in summary.accounts:
                self._push_summary(client, req_id, summary, account)

    def _held(self, account: str) -> list[HoldingValue]:
        return [row for row in self._accounts.holdings(account) if row.quantity]

    def _accounts_of(self, account: str) -> tuple[str, ...]:
        if not account:
            return self._accounts.served
        return (account,) if account in self._accounts.served else ()

    def _serves(self, client: Client, about: int, account: str) -> bool:
        if account in self._accounts.served:
            return True
        client.send(replies.error(about, 321, invalid(f"Invalid account code '{account}'").text))
        return False

    def _time_of_day(self) -> str:
        return f"{self._clock.now().astimezone(NEW_YORK):%H:%M}"

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
            client.send(replies.error(-1, 321, invalid(f"Unknown market rule {request.rule_id}").text))
        else:
            client.send(replies.market_rule(request.rule_id, steps))

    def _option_parameters(self, client: Client, request: ReqOptionParameters) -> None:
        client.send(replies.option_parameters_end(request.req_id))

    def _find(self, client: Client, req_id: int, contract: ContractQuery) -> Listing | None:
        try:
            return find_listing(self._catalogue, contract)
        except OrderRefusal as refusal:
            client.send(replies.error(req_id, refusal.code, refusal.text))
            return None

    def _listing(self, con_id: int) -> Listing:
        listing = self._catalogue.by_con_id(con_id)
        if listing is None:
            raise LookupError(f"no listing {con_id}")
        return listing

    # --- market data ---

    def _market_data_type(self, client: Client, request: ReqMarketDataType) -> None:
        client.market_data_type = request.market_data_type if request.market_data_type in range(1, 5) else 1

    def _market_data(self, client: Client, request: ReqMarketData) -> None:
        listing = self._find(client, request.req_id, request.contract)
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
        # Types 3 and 4 allow delayed data; an account with live data gets live data all the same.
        delayed = self._faults.live_data_denied
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
        feed = MarketFeed(req_id=request.req_id, listing=listing, delayed=delayed)
        client.send(replies.tick_request_parameters(request.req_id, listing))
        client.send(replies.market_data_type(request.req_id, self._announced_type(client, listing, delayed=delayed)))
        self._send_all(client, feed.ticks(self._market.quote(listing.con_id)))
        if request.snapshot:
            client.send(replies.tick_snapshot_end(request.req_id))
        else:
            client.market_feeds[request.req_id] = feed

    def _announced_type(self, client: Client, listing: Listing, *, delayed: bool) -> int:
        """The frozen types are what the plain ones become while the exchange is closed, if the client allows them."""
        closed = not self._sessions.is_regular(listing, self._clock.now())
        frozen = closed and client.market_data_type in _FROZEN_TYPES
        if delayed:
            return 4 if frozen else 3
        return 2 if frozen else 1

    def _cancel_market_data(self, client: Client, request: CancelMarketData) -> None:
        if client.market_feeds.pop(request.req_id, None) is None:
            client.send(replies.error(request.req_id, 300, f"Can't find EId with tickerId:{request.req_id}"))

    def _send_all(self, client: Client, messages: Iterable[replies.Message]) -> None:
        for message in messages:
            client.send(message)

    # --- history ---

    def _historical_data(self, client: Client, request: ReqHistoricalData) -> None:
        listing = self._find(client, request.req_id, request.contract)
        if listing is None:
            return
        try:
            self._send_history(client, listing, request)
        except ValueError as error:
            client.send(replies.error(request.req_id, 321, invalid(str(error)).text))

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

    def _push_bars(self, client: Client) -> None:
        now = self._clock.now()
        for req_id, feed in client.bar_feeds.items():
            bars = self._bars(feed.listing, feed.request, now)
            if bars:
                client.send(replies.historical_data_update(req_id, bars[-1], format_date=feed.request.format_date))

    def _schedule(self, listing: Listing, end: datetime, duration: str) -> list[tuple[datetime, datetime, Any]]:
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
        listing = self._find(client, request.req_id, request.contract)
        if listing is not None:
            client.send(replies.head_timestamp(request.req_id, self._first_moment(listing), request.format_date))

    def _first_moment(self, listing: Listing) -> datetime:
        """The opening of the session with which history is said to begin."""
        day = local_date(listing, self._clock.now()) - HISTORY_REACH
        while (session := self._sessions.session(listing, day)) is None:
            day += ONE_DAY
        return session.start

    # --- orders ---

    def _open_orders(self, client: Client, request: ReqOpenOrders) -> None:
        self._list_open_orders(client, self._exchange.open_orders(client.client_id))

    def _all_open_orders(self, client: Client, request: ReqAllOpenOrders) -> None:
        self._list_open_orders(client, self._exchange.open_orders())

    def _list_open_orders(self, client: Client, orders: Iterable[Order]) -> None:
        for order in orders:
            client.send(self._open_order(client, order))
            client.send(self._order_status(order))
        client.send(replies.open_orders_end())

    def _completed_orders(self, client: Client, request: ReqCompletedOrders) -> None:
        for order in self._exchange.completed_orders():
            client.send(replies.completed_order(order, self._listing(order.con_id), client.version))
        client.send(replies.completed_orders_end())

    def _executions(self, client: Client, request: ReqExecutions) -> None:
        try:
            since = parse_moment(request.time) if request.time else None
        except ValueError as error:
            client.send(replies.error(request.req_id, 321, invalid(str(error)).text))
            return
        fills = [
            fill
            for fill in self._exchange.executions()
            if self._wanted(fill, request) and (not since or fill.time >= since)
        ]
        for fill in fills:
            client.send(self._execution(client, request.req_id, fill))
            client.send(replies.commission_report(fill))
        client.send(replies.executions_end(request.req_id))

    def _wanted(self, fill: Execution, request: ReqExecutions) -> bool:
        listing = self._listing(fill.con_id)
        side = {"BUY": True, "BOT": True, "SELL": False, "SLD": False, "SSHORT": False}.get(request.side.upper())
        return (
            request.client_id in (0, fill.client_id)
            and request.account in ("", fill.account)
            and request.symbol.upper() in ("", listing.symbol)
            and request.sec_type.upper() in ("", listing.sec_type)
            and request.exchange.upper() in ("", "SMART", fill.exchange)
            and side in (None, fill.is_buy)
        )

    def _open_order(self, client: Client, order: Order) -> replies.Message:
        return replies.open_order(order, self._listing(order.con_id), client.version, parent_id=self._parent_id(order))

    def _order_status(self, order: Order) -> replies.Message:
        return replies.order_status(order, self._parent_id(order))

    def _parent_id(self, order: Order) -> int:
        return order.terms.parent_id if order.parent_perm_id else 0

    def _execution(self, client: Client, req_id: int, fill: Execution) -> replies.Message:
        return replies.execution_details(req_id, fill, self._listing(fill.con_id), client.version)


def _owner_of(event: OrderUpdated | Executed | Charged | OrderMessage | WhatIfAnswered) -> int:
    if isinstance(event, OrderUpdated | WhatIfAnswered):
        return event.order.client_id
    if isinstance(event, Executed | Charged):
        return event.execution.client_id
    return event.client_id


def _forget(feeds: dict[tuple[int, str], ValuesFeed], req_id: int) -> None:
    for key in [key for key in feeds if key[0] == req_id]:
        del feeds[key]


def _news(feed: ValuesFeed, rows: Iterable[AccountValue]) -> list[AccountValue]:
    """The rows that differ from what this subscriber was told."""
    news = []
    for row in rows:
        key = row.tag, row.currency
        if feed.told.get(key) != row.value:
            feed.told[key] = row.value
            news.append(row)
    return news
