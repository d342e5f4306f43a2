"""Answers what clients ask and tells them what they subscribed to; no socket in sight.

One method per request, found through the tables in the desks' `__init__`. Each family that has an end marker sends it,
also when it has nothing to list (tws-wire guide, sections 4 to 12).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.simulator import replies
from ibkr_mcp_server.simulator.account_desk import AccountDesk
from ibkr_mcp_server.simulator.accounts import Accounts
from ibkr_mcp_server.simulator.data_desk import DataDesk
from ibkr_mcp_server.simulator.exchange import Exchange
from ibkr_mcp_server.simulator.faults import FARMS, ORDER_WARNINGS, Faults, ScriptedRejection
from ibkr_mcp_server.simulator.feeds import Client
from ibkr_mcp_server.simulator.history_desk import HistoryDesk
from ibkr_mcp_server.simulator.house_desk import HouseDesk
from ibkr_mcp_server.simulator.instruments import Catalogue, Listing
from ibkr_mcp_server.simulator.market import Market
from ibkr_mcp_server.simulator.news_desk import NewsDesk
from ibkr_mcp_server.simulator.newsroom import Newsroom
from ibkr_mcp_server.simulator.option_chains import OptionChains
from ibkr_mcp_server.simulator.option_desk import OptionDesk
from ibkr_mcp_server.simulator.order_rules import invalid
from ibkr_mcp_server.simulator.order_terms import OrderTerms
from ibkr_mcp_server.simulator.orders import (
    Charged,
    Executed,
    Execution,
    Order,
    OrderBound,
    OrderEvent,
    OrderMessage,
    OrderUpdated,
    PositionChanged,
    WhatIfAnswered,
)
from ibkr_mcp_server.simulator.requests import (
    CancelOrder,
    GlobalCancel,
    PlaceOrder,
    ReqAllOpenOrders,
    ReqAutoOpenOrders,
    ReqCompletedOrders,
    ReqCurrentTime,
    ReqExecutions,
    ReqIds,
    ReqManagedAccounts,
    ReqOpenOrders,
    Request,
    ReqUserInfo,
    Unanswered,
    UnknownRequest,
    UnreadableRequest,
)
from ibkr_mcp_server.simulator.scanner_desk import ScannerDesk
from ibkr_mcp_server.simulator.sessions import Sessions
from ibkr_mcp_server.simulator.stream_desk import StreamDesk
from ibkr_mcp_server.simulator.tape_desk import TapeDesk
from ibkr_mcp_server.simulator.tws_time import parse_moment

SLOW_PUSH_SECONDS = 180.0
"""Account values and summaries are told anew this often, and when a position changes (section 4)."""
BAR_PUSH_SECONDS = 5.0
SCAN_PUSH_SECONDS = 30.0


class Desk:
    """The front desk: sessions and orders are answered here, the rest by the desks behind it."""

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
        chains: OptionChains,
        newsroom: Newsroom,
        master_client_id: int | None = None,
    ) -> None:
        self._clock = clock
        self._master_client_id = master_client_id
        self._catalogue = catalogue
        self._accounts = accounts
        self._exchange = exchange
        self._faults = faults
        self._account = AccountDesk(clock=clock, accounts=accounts)
        self._news = NewsDesk(clock=clock, catalogue=catalogue, newsroom=newsroom)
        self._data = DataDesk(
            clock=clock, catalogue=catalogue, sessions=sessions, market=market, faults=faults, news=self._news
        )
        self._history = HistoryDesk(clock=clock, catalogue=catalogue, sessions=sessions, market=market, faults=faults)
        tape = TapeDesk(clock=clock, catalogue=catalogue, sessions=sessions, market=market, history=self._history)
        self._streams = StreamDesk(clock=clock, catalogue=catalogue, market=market, faults=faults, tape=tape)
        self._scanners = ScannerDesk(catalogue=catalogue, market=market)
        self.clients: dict[int, Client] = {}
        self._values_told = self._bars_told = self._scans_told = clock.monotonic()
        # The handlers' second parameter is the request type that is their key, which `Any` stands for.
        self._handlers: dict[type[Request], Callable[[Client, Any], None]] = {
            **self._account.handlers,
            **self._data.handlers,
            **self._news.handlers,
            **self._streams.handlers,
            **self._history.handlers,
            **tape.handlers,
            **self._scanners.handlers,
            **OptionDesk(catalogue=catalogue, market=market, chains=chains).handlers,
            **HouseDesk(accounts=accounts).handlers,
            ReqIds: self._ids,
            ReqManagedAccounts: self._managed_accounts,
            ReqCurrentTime: self._current_time,
            ReqUserInfo: self._user_info,
            Unanswered: self._nothing,
            UnknownRequest: self._unknown,
            UnreadableRequest: self._unreadable,
            ReqOpenOrders: self._open_orders,
            ReqAllOpenOrders: self._all_open_orders,
            ReqAutoOpenOrders: self._auto_open_orders,
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
        for name, farm in FARMS.items():
            client.send(replies.error(-1, *(farm.broken if name in self._faults.broken_farms else farm.well)))

    def close(self, client: Client) -> None:
        """The connection is gone. Its orders stay."""
        if self.clients.get(client.client_id) is client:
            del self.clients[client.client_id]

    @property
    def answered_requests(self) -> frozenset[type[Request]]:
        return frozenset(self._handlers)

    def handle(self, client: Client, request: Request) -> None:
        """Answer anything but a trading request, which goes through `trade`."""
        handler = self._handlers.get(type(request))
        if handler is not None:
            handler(client, request)

    def trade(self, client: Client, request: Request) -> list[OrderEvent]:
        """Carry out a placement or cancel; the events are the caller's to deliver, or to lose."""
        if isinstance(request, PlaceOrder):
            if request.terms.what_if:
                return self._exchange.place(client.client_id, request.order_id, request.contract, request.terms)
            rejection = self._faults.take_rejection()
            if rejection is None and self._faults.take("inactive_next_order"):
                rejection = ScriptedRejection(code=0, text="")
            if rejection is not None:
                return self._exchange.reject(
                    *(client.client_id, request.order_id, request.contract, request.terms),
                    code=rejection.code,
                    text=rejection.text,
                )
            events = self._exchange.place(client.client_id, request.order_id, request.contract, request.terms)
            return self._warned(client, request, events)
        if isinstance(request, CancelOrder):
            return self._exchange.cancel(client.client_id, request.order_id)
        if isinstance(request, GlobalCancel):
            return self._exchange.cancel_all()
        raise TypeError(f"{type(request).__name__} does not trade")

    def _warned(self, client: Client, request: PlaceOrder, events: list[OrderEvent]) -> list[OrderEvent]:
        """With a scripted warning after the first word about an order that is alive."""
        alive = [number for number, event in enumerate(events) if isinstance(event, OrderUpdated)]
        if not alive:
            return events
        warning = self._faults.take_warning()
        if warning is None and self._faults.presets_tif and not request.terms.tif:
            warning = 10349, ORDER_WARNINGS[10349]
        if warning is None:
            return events
        code, text = warning
        message = OrderMessage(client_id=client.client_id, order_id=request.order_id, code=code, text=text)
        return [*events[: alive[0] + 1], message, *events[alive[0] + 1 :]]

    def trade_by_hand(
        self, listing: Listing, action: str, quantity: Decimal, limit_price: Decimal | None
    ) -> list[OrderEvent]:
        """An order from the TWS itself; client 0 gets to own it if it asked for that."""
        keeper = self.clients.get(0)
        terms = OrderTerms(
            action=action,
            quantity=quantity,
            order_type="MKT" if limit_price is None else "LMT",
            limit_price=limit_price,
            tif="DAY",
            account=self._accounts.served[0],
        )
        return self._exchange.place_by_hand(listing, terms, bind=keeper is not None and keeper.binds_manual_orders)

    def deliver(self, events: Iterable[OrderEvent]) -> None:
        """Tell the owners what became of their orders, and everybody what became of the positions."""
        moved: dict[tuple[str, int], None] = {}
        told = list(events)
        if self._faults.commissions_come_first:
            told.sort(key=lambda event: not isinstance(event, Charged))
        for event in told:
            if isinstance(event, PositionChanged):
                moved[event.account, event.con_id] = None
                continue
            owner = _owner_of(event)
            if owner in self.clients:
                self._tell(self.clients[owner], event)
            master = self._master_client_id
            if master in self.clients and master != owner and isinstance(event, OrderUpdated | Executed | Charged):
                self._tell(self.clients[master], event)
        for account, con_id in moved:
            self._account.position_changed(self.clients.values(), account, con_id)

    def _tell(self, owner: Client, event: OrderEvent) -> None:
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
            case OrderBound(order=order):
                owner.send(replies.order_bound(order))
            case PositionChanged():
                pass

    # --- time ---

    def tick(self) -> None:
        """The market moved: stream the changed quotes, profits each time, slower things when they are due."""
        elapsed = self._clock.monotonic()
        values_due = elapsed - self._values_told >= SLOW_PUSH_SECONDS
        bars_due = elapsed - self._bars_told >= BAR_PUSH_SECONDS
        scans_due = elapsed - self._scans_told >= SCAN_PUSH_SECONDS
        for client in self.clients.values():
            self._data.push_ticks(client)
            self._streams.push(client)
            self._news.push(client)
            self._account.push_pnl(client)
            if scans_due:
                self._scanners.push(client)
            if values_due:
                for account in self._accounts.served:
                    self._account.push_values(client, account)
            if bars_due:
                self._history.push_bars(client)
        self._values_told = elapsed if values_due else self._values_told
        self._bars_told = elapsed if bars_due else self._bars_told
        self._scans_told = elapsed if scans_due else self._scans_told

    def catch_up(self) -> None:
        """Live data flows again: tell every stream where its instrument stands now."""
        for client in self.clients.values():
            self._data.push_ticks(client)

    def announce_competing_session(self) -> None:
        for client in self.clients.values():
            self._data.announce_competing_session(client)

    def drop_data_subscriptions(self) -> None:
        """1101: market data is lost and must be asked for again."""
        for client in self.clients.values():
            client.drop_data_subscriptions()

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

    # --- orders ---

    def _open_orders(self, client: Client, request: ReqOpenOrders) -> None:
        self._list_open_orders(client, self._exchange.open_orders(client.client_id))

    def _auto_open_orders(self, client: Client, request: ReqAutoOpenOrders) -> None:
        """Client 0 alone may own manual orders; those that are open are bound at once. There is no end marker."""
        if client.client_id != 0:
            text = "Only the default client (i.e 0) can auto bind orders"
            client.send(replies.error(-1, 321, invalid(text).text))
            return
        client.binds_manual_orders = request.bind
        if request.bind:
            self.deliver(self._exchange.bind_manual_orders())

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

    def _listing(self, con_id: int) -> Listing:
        listing = self._catalogue.by_con_id(con_id)
        if listing is None:
            raise LookupError(f"no listing {con_id}")
        return listing

    def _open_order(self, client: Client, order: Order) -> replies.Message:
        return replies.open_order(order, self._listing(order.con_id), client.version, parent_id=self._parent_id(order))

    def _order_status(self, order: Order) -> replies.Message:
        return replies.order_status(order, self._parent_id(order))

    def _parent_id(self, order: Order) -> int:
        return order.terms.parent_id if order.parent_perm_id else 0

    def _execution(self, client: Client, req_id: int, fill: Execution) -> replies.Message:
        return replies.execution_details(req_id, fill, self._listing(fill.con_id), client.version)


def _owner_of(event: OrderUpdated | Executed | Charged | OrderMessage | OrderBound | WhatIfAnswered) -> int | None:
    """The client whose order it is; manual orders that nobody was given have none."""
    if isinstance(event, OrderMessage):
        return event.client_id
    subject = event.execution if isinstance(event, Executed | Charged) else event.order
    return subject.client_id if subject.order_id else None
