"""The order desk of the paper gateway: takes, changes and cancels orders, and lets time work on them.

It runs on the clock it is given and touches no socket. Every public act returns the events that it caused, in the
order in which TWS would tell them (tws-wire guide, section 12), and has written them to the journal before it returns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal

from ibkr_mcp_server.clock import Clock, trading_day
from ibkr_mcp_server.simulator.accounts import Accounts
from ibkr_mcp_server.simulator.families import BRACKET_OCA_TYPE, CANCEL_REST, Families
from ibkr_mcp_server.simulator.instruments import Catalogue, Listing
from ibkr_mcp_server.simulator.journal import Journal
from ibkr_mcp_server.simulator.market import Market
from ibkr_mcp_server.simulator.matching import Matching
from ibkr_mcp_server.simulator.order_book import OrderBook
from ibkr_mcp_server.simulator.order_prices import trailed, with_first_prices
from ibkr_mcp_server.simulator.order_rules import (
    DEFAULT_TIF,
    IMMEDIATE_TIFS,
    KINDS,
    OPENING,
    OrderRefusal,
    check_change,
    check_parent,
    check_terms,
    find_listing,
    ignores_outside_rth,
    invalid,
)
from ibkr_mcp_server.simulator.order_terms import OrderTerms
from ibkr_mcp_server.simulator.orders import (
    FILLED,
    INACTIVE,
    PENDING_CANCEL,
    PRE_SUBMITTED,
    Execution,
    Order,
    OrderEvent,
    OrderMessage,
    PositionChanged,
    WhatIfAnswered,
)
from ibkr_mcp_server.simulator.requests import ContractQuery
from ibkr_mcp_server.simulator.sessions import Session, Sessions, local_date
from ibkr_mcp_server.simulator.trading_calendars import ONE_DAY
from ibkr_mcp_server.simulator.tws_time import eastern, parse_moment
from ibkr_mcp_server.simulator.world_keeper import WorldKeeper

OUTSIDE_RTH_IGNORED = (
    "Order Event Warning:Attribute 'Outside Regular Trading Hours' is ignored based on the order type and destination."
    " PlaceOrder is now being processed."
)
BY_TRADER = "Cancelled by Trader"

_ZERO = Decimal(0)


class Exchange:
    """All orders of all clients. Ids and orders belong to the gateway, not to a connection."""

    def __init__(
        self,
        *,
        clock: Clock,
        catalogue: Catalogue,
        sessions: Sessions,
        market: Market,
        accounts: Accounts,
    ) -> None:
        self._clock = clock
        self._catalogue = catalogue
        self._sessions = sessions
        self._market = market
        self._accounts = accounts
        self._book = OrderBook(trading_day=trading_day(clock.now()))
        self._families = Families(clock=clock, book=self._book)
        self._matching = Matching(
            clock=clock,
            catalogue=catalogue,
            sessions=sessions,
            market=market,
            accounts=accounts,
            book=self._book,
            families=self._families,
        )
        self._cancels_take = timedelta(0)
        self._keeper = WorldKeeper(book=self._book, accounts=accounts, market=market)

    def keep_in(self, journal: Journal | None) -> None:
        """Take up the world that `journal` holds and write everything there from now on; `None` ends the writing."""
        self._keeper.keep_in(journal)

    def save(self, *, with_market: bool = False) -> None:
        """Write what changed since the last time; with it, on request, where the market stands."""
        self._keeper.save(with_market=with_market)

    def limit_fills(self, largest: Decimal | None) -> None:
        """No fill is larger than this from now on; `None` leaves it to the displayed size."""
        self._matching.largest_fill = largest

    def slow_cancels(self, seconds: float) -> None:
        """A cancel takes this long from now on; the order can fill meanwhile."""
        self._cancels_take = timedelta(seconds=seconds)

    # --- what a client may do ---

    def place(self, client_id: int, order_id: int, contract: ContractQuery, terms: OrderTerms) -> list[OrderEvent]:
        """A new order, a modification, a staged order or a what-if: placeOrder is all four."""

        def act() -> None:
            known = self.order(client_id, order_id)
            if terms.what_if:
                self._answer_what_if(client_id, order_id, contract, terms)
            elif known is not None:
                self._modify(known, contract, terms)
            else:
                self._take_new(client_id, order_id, contract, terms)

        return self._transact(client_id, order_id, act)

    def cancel(self, client_id: int, order_id: int) -> list[OrderEvent]:
        def act() -> None:
            order = self.order(client_id, order_id)
            if order is None:
                raise OrderRefusal(10147, f"OrderId {order_id} that needs to be cancelled is not found.")
            if order.is_done:
                raise OrderRefusal(
                    10148, f"OrderId {order_id} that needs to be cancelled can not be cancelled, state: {order.status}."
                )
            if order.status == PENDING_CANCEL:
                text = f"Cancel attempted when order is not in a cancellable state. Order permId = {order.perm_id}"
                raise OrderRefusal(161, text)
            self._families.announce_cancel(order, because=BY_TRADER, takes=self._cancels_take)

        return self._transact(client_id, order_id, act)

    def cancel_all(self) -> list[OrderEvent]:
        """Every live order of every client (reqGlobalCancel)."""

        def act() -> None:
            for perm_id in [order.perm_id for order in self._book.live()]:
                order = self._book.orders.get(perm_id)  # one that ended meanwhile may be forgotten already
                if order is not None and not order.is_done and order.status != PENDING_CANCEL:
                    self._families.announce_cancel(order, because=BY_TRADER, takes=self._cancels_take)

        return self._transact(0, -1, act)

    def reject(
        self, client_id: int, order_id: int, contract: ContractQuery, terms: OrderTerms, *, code: int, text: str
    ) -> list[OrderEvent]:
        """Refuse an order for a scripted reason; 201 leaves an inactive order behind, and so does 0, without a word."""

        def act() -> None:
            if code in (0, 201) and self.order(client_id, order_id) is None:
                order = self._new_order(client_id, order_id, contract, terms)
                self._turn_down(order, code, text)
            else:
                raise OrderRefusal(code, text)

        return self._transact(client_id, order_id, act)

    def place_by_hand(self, listing: Listing, terms: OrderTerms, *, bind: bool) -> list[OrderEvent]:
        """An order from the TWS itself. It has no order id; with `bind` client 0 is given it under a negative one.

        Raises:
            ValueError: the terms make no order.
        """

        def act() -> None:
            order = self._new_order(0, 0, ContractQuery(con_id=listing.con_id), terms)
            self._book.next_ids = kept
            if bind:
                order = self._book.bind(order)
            self._go_live(order)

        kept = dict(self._book.next_ids)
        events = self._transact(0, 0, act)
        if refusals := [event for event in events if isinstance(event, OrderMessage) and event.order_id == 0]:
            raise ValueError(refusals[0].text)
        return events

    def bind_manual_orders(self) -> list[OrderEvent]:
        """Give client 0 the open manual orders that nobody owns."""

        def act() -> None:
            for order in [order for order in self._book.live() if not order.order_id]:
                self._book.update(self._book.bind(order))

        return self._transact(0, 0, act)

    def fill_now(self, client_id: int, order_id: int) -> list[OrderEvent]:
        """Fill an order completely, at its limit or else the market, whatever is displayed."""

        def act() -> None:
            order = self.order(client_id, order_id)
            if order is None or order.is_done or order.staged or self._families.waits_for_parent(order):
                return
            self._matching.fill_now(order)

        return self._transact(client_id, order_id, act)

    def roll_back_ids(self, count: int) -> None:
        """Forget the newest `count` order ids of every client, so that nextValidId names used ones again."""
        self._book.next_ids = {client_id: max(1, number - count) for client_id, number in self._book.next_ids.items()}
        self.save(with_market=True)

    def tick(self) -> list[OrderEvent]:
        """Let time and the moved prices do their work: the day's end, expiries, triggers and fills."""

        def act() -> None:
            self._start_day(trading_day(self._clock.now()))
            self._matching.tick()

        return self._transact(0, -1, act)

    # --- what can be asked ---

    def order(self, client_id: int, order_id: int) -> Order | None:
        return self._book.order(client_id, order_id)

    def orders(self) -> list[Order]:
        """Every order the gateway still remembers, staged ones too, oldest first."""
        return list(self._book.orders.values())

    def open_orders(self, client_id: int | None = None) -> list[Order]:
        """Live orders that TWS would list, of one client or of all."""
        return [order for order in self._book.live() if not order.staged and client_id in (None, order.client_id)]

    def completed_orders(self) -> list[Order]:
        """Orders that ended on this trading day, in the order of their end."""
        done = [order for order in self._book.orders.values() if order.done_at is not None]
        return sorted(done, key=lambda order: (order.done_at, order.perm_id))

    def executions(self) -> list[Execution]:
        """Fills of this trading day, oldest first."""
        return list(self._book.executions.values())

    def next_valid_id(self, client_id: int) -> int:
        return self._book.next_valid_id(client_id)

    # --- transactions ---

    def _transact(self, client_id: int, order_id: int, act: Callable[[], None]) -> list[OrderEvent]:
        try:
            act()
        except OrderRefusal as refusal:
            self._book.say(client_id, order_id, refusal.code, refusal.text)
        self.save()
        return self._book.take_events()

    def _start_day(self, day: date) -> None:
        if day != self._book.trading_day:
            for order in self._book.live():
                if self._catalogue.is_expired(self._matching.listing(order)):
                    self._families.cancel(order.perm_id, because="Cancelled by System:The contract has expired")
            for account, con_id in self._accounts.start_day(day):
                self._book.tell(PositionChanged(account=account, con_id=con_id))
            self._book.start_day(day)

    # --- taking orders ---

    def _take_new(self, client_id: int, order_id: int, contract: ContractQuery, terms: OrderTerms) -> None:
        if order_id <= 0:  # as of an order placed by hand; TWS's words are told in QuantConnect/Lean#3823
            raise OrderRefusal(10149, f"Invalid order id: {order_id}")
        if order_id < self.next_valid_id(client_id):
            raise OrderRefusal(103, "Duplicate order id")
        order = self._new_order(client_id, order_id, contract, terms)
        if order.staged:
            self._book.keep(order)
        else:
            self._go_live(order)

    def _new_order(self, client_id: int, order_id: int, contract: ContractQuery, terms: OrderTerms) -> Order:
        """Check the terms and make the order out of them; takes the order id and a permId."""
        listing = find_listing(self._catalogue, contract)
        exchange = contract.exchange or (listing.exchange if contract.con_id else "")
        check_terms(self._catalogue, listing, exchange, terms)
        account = self._account_for(terms)
        parent = self._parent_of(client_id, terms)
        if parent is not None:
            check_parent(parent.terms.order_type, terms)
        if ignores_outside_rth(listing, terms):
            terms = replace(terms, outside_rth=False)
            if order_id:
                self._book.say(client_id, order_id, 2109, OUTSIDE_RTH_IGNORED)
        now = self._clock.now()
        order = Order(
            perm_id=self._book.next_perm_id,
            client_id=client_id,
            order_id=order_id,
            con_id=listing.con_id,
            exchange=exchange,
            account=account,
            terms=terms,
            quantity=terms.quantity or _ZERO,
            tif=terms.tif or DEFAULT_TIF,
            oca_group=terms.oca_group or (str(parent.perm_id) if parent else ""),
            oca_type=(terms.oca_type or CANCEL_REST) if terms.oca_group else BRACKET_OCA_TYPE if parent else 0,
            parent_perm_id=parent.perm_id if parent else 0,
            staged=not terms.transmit,
            placed_at=now,
            starts_at=_start(terms),
            expires_at=self._expiry(listing, terms, now),
        )
        self._book.next_perm_id += 1
        self._book.next_ids[client_id] = order_id + 1
        return with_first_prices(self._catalogue, order, listing, self._market.quote(order.con_id))

    def _account_for(self, terms: OrderTerms) -> str:
        if terms.account:
            if terms.account not in self._accounts.served:
                raise invalid(f"Invalid account code '{terms.account}'")
            return terms.account
        if len(self._accounts.served) > 1:
            raise OrderRefusal(435, "You must specify an account.")
        return self._accounts.served[0]

    def _parent_of(self, client_id: int, terms: OrderTerms) -> Order | None:
        if not terms.parent_id:
            return None
        parent = self.order(client_id, terms.parent_id)
        if parent is None or (parent.is_done and parent.status != FILLED):
            raise OrderRefusal(135, f"Can't find order with id = {terms.parent_id}")
        return parent

    def _expiry(self, listing: Listing, terms: OrderTerms, now: datetime) -> datetime | None:
        """When the order's time is over; of an order for an auction, when that takes place."""
        if terms.tif == "GTD":
            until = parse_moment(terms.good_till_date)
            if until <= now:
                raise OrderRefusal(201, f"Order rejected - reason:The good till date {eastern(until)} is over.")
            return until
        if terms.tif == OPENING:
            return self._next_session(listing, now, begun=False).start
        if (terms.tif or DEFAULT_TIF) != "DAY":
            return None
        return self._next_session(listing, now, extended=terms.outside_rth).end

    def _next_session(self, listing: Listing, now: datetime, *, begun: bool = True, extended: bool = False) -> Session:
        """The session that is open or opens next; with `begun=False` the one that opens next."""
        day = local_date(listing, now)
        while True:
            session = self._sessions.session(listing, day, extended=extended)
            if session is not None and (session.end if begun else session.start) > now:
                return session
            day += ONE_DAY

    def _go_live(self, order: Order) -> None:
        """Transmit an order, and with it whatever was staged in the same bracket."""
        family = self._families.staged_with(order)
        # Children only undo what their parent does, so the parent's margin is the bracket's.
        if not all(member.parent_perm_id or self._affords(member, self._matching.listing(member)) for member in family):
            for member in family:
                self._turn_down(member, 201, self._insufficient_funds(member))
            return
        for member in family:
            live = replace(member, staged=False, status=PRE_SUBMITTED, why_held=self._families.why_held(member))
            self._book.update(live)
            listing = self._matching.listing(live)
            if not self._matching.is_trading(live, listing) and live.tif not in IMMEDIATE_TIFS and live.tif != OPENING:
                self._book.say_of(live, 399, self._waits_for_the_open(live, listing))
        for member in family:
            self._matching.work(member.perm_id)

    def _turn_down(self, order: Order, code: int, text: str) -> None:
        """201 goes out before the Inactive status, or `ib_async` would lose the reason (section 12)."""
        if code:
            self._book.say_of(order, code, text)
        self._book.update(
            replace(order, staged=False, status=INACTIVE, done_at=self._clock.now(), done_because=f"Rejected: {text}")
        )

    def _affords(self, order: Order, listing: Listing) -> bool:
        """Whether the account's equity covers the initial margin after a complete fill; reducing always passes."""
        signed = order.remaining if order.is_buy else -order.remaining
        change = self._accounts.margin_change(order.account, listing, signed, self._commission(order, listing))
        return change.initial_after <= change.initial_before or change.initial_after <= change.equity_after

    def _insufficient_funds(self, order: Order) -> str:
        equity = self._accounts.equity(order.account)
        initial, _ = self._accounts.margin(order.account)
        return (
            "Order rejected - reason:We are unable to accept your order. Your Available Funds are insufficient to cover"
            f" the initial margin of this order: {equity - initial:.2f} USD are available."
        )

    def _commission(self, order: Order, listing: Listing) -> Decimal:
        """The commission of the whole order at the price it would trade at now."""
        price = order.limit_price or self._accounts.mark(listing.con_id) or _ZERO
        return self._accounts.commission(listing, order.quantity, order.quantity * price)

    def _answer_what_if(self, client_id: int, order_id: int, contract: ContractQuery, terms: OrderTerms) -> None:
        """Margins and commission as if the order filled; nothing is kept and no id is taken (section 10)."""
        counters = self._book.next_perm_id, self._book.next_ids.get(client_id)
        order = self._new_order(client_id, order_id, contract, terms)
        self._book.next_perm_id = counters[0]
        if counters[1] is None:
            del self._book.next_ids[client_id]
        else:
            self._book.next_ids[client_id] = counters[1]
        listing = self._matching.listing(order)
        signed = order.quantity if order.is_buy else -order.quantity
        change = self._accounts.margin_change(order.account, listing, signed, self._commission(order, listing))
        self._book.tell(WhatIfAnswered(order=replace(order, perm_id=0, staged=False), change=change))

    # --- changing orders ---

    def _modify(self, order: Order, contract: ContractQuery, terms: OrderTerms) -> None:
        if order.status == FILLED:
            raise OrderRefusal(104, "Can't modify a filled order.")
        if order.is_done:
            raise OrderRefusal(103, "Duplicate order id")
        if order.status == PENDING_CANCEL:
            raise OrderRefusal(2102, "Unable to modify this order as it is still being processed.")
        listing = find_listing(self._catalogue, contract)
        if listing.con_id != order.con_id:
            raise OrderRefusal(105, "Order being modified does not match original order.")
        check_change(order, terms)
        if terms.parent_id and self.order(order.client_id, terms.parent_id) is None:
            raise OrderRefusal(135, f"Can't find order with id = {terms.parent_id}")
        # A client's own copy of the order lacks what the gateway gave it: keep that (section 12).
        terms = replace(
            terms,
            tif=terms.tif or order.tif,
            good_till_date=terms.good_till_date or order.terms.good_till_date,
            good_after_time=terms.good_after_time or order.terms.good_after_time,
            order_ref=terms.order_ref or order.terms.order_ref,
            parent_id=terms.parent_id or order.terms.parent_id,
        )
        check_terms(self._catalogue, listing, contract.exchange or order.exchange, terms)
        if ignores_outside_rth(listing, terms):
            terms = replace(terms, outside_rth=False)
        quantity = terms.quantity or order.quantity
        if quantity <= order.filled:
            raise OrderRefusal(201, f"Order rejected - reason:{order.filled} of this order are filled already.")
        trails = KINDS[terms.order_type].trigger == "trail" and terms.order_type == order.terms.order_type
        changed = replace(
            order,
            terms=terms,
            quantity=quantity,
            tif=terms.tif,
            exchange=contract.exchange or order.exchange,
            triggered=order.triggered and terms.order_type == order.terms.order_type,
            starts_at=_start(terms),
            expires_at=self._expiry(listing, terms, self._clock.now()),
        )
        quote = self._market.quote(order.con_id)
        changed = with_first_prices(self._catalogue, changed, listing, quote)
        if trails and terms.trail_stop_price is None:
            changed = trailed(self._catalogue, replace(changed, stop_price=order.stop_price), listing, quote)
        if order.staged:
            changed = replace(changed, staged=not terms.transmit)
            if changed.staged:
                self._book.keep(changed)
            else:
                self._go_live(changed)
            return
        if not self._families.waits_for_parent(changed) and not self._affords(changed, listing):
            raise OrderRefusal(201, self._insufficient_funds(changed))
        self._book.update(replace(changed, why_held=self._families.why_held(changed)))
        self._matching.work(order.perm_id)

    def _waits_for_the_open(self, order: Order, listing: Listing) -> str:
        close = self._sessions.next_close(listing, self._clock.now())
        session = self._sessions.session(listing, local_date(listing, close))
        opens = session.start if session else close
        return (
            f"Order Message:\n{order.terms.action} {order.quantity} {listing.symbol} {listing.primary_exchange}\n"
            f"Warning: your order will not be placed at the exchange until {eastern(opens)}"
        )


def _start(terms: OrderTerms) -> datetime | None:
    return parse_moment(terms.good_after_time) if terms.good_after_time else None
