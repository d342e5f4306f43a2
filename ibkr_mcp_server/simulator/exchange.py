"""The order book of the paper gateway: takes orders, fills them against the market's quotes, and remembers them.

It runs on the clock it is given and touches no socket. Every public act returns the events that it caused, in the
order in which TWS would tell them (tws-wire guide, section 12), and has written them to the journal before it returns.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from ibkr_mcp_server.clock import Clock, trading_day
from ibkr_mcp_server.simulator.accounts import Account, Accounts, commission_currency_of, commission_for
from ibkr_mcp_server.simulator.instruments import Catalogue, Listing
from ibkr_mcp_server.simulator.journal import Journal, Json, decode, encode
from ibkr_mcp_server.simulator.market import Market, MarketQuote
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
    price_increment,
)
from ibkr_mcp_server.simulator.order_terms import OrderTerms
from ibkr_mcp_server.simulator.orders import (
    CANCELLED,
    FILLED,
    INACTIVE,
    PENDING_CANCEL,
    PRE_SUBMITTED,
    SUBMITTED,
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
from ibkr_mcp_server.simulator.requests import ContractQuery
from ibkr_mcp_server.simulator.sessions import ONE_DAY, Session, Sessions, local_date
from ibkr_mcp_server.simulator.tws_time import eastern, parse_moment

FIRST_PERM_ID = 1_500_000_001
BRACKET_OCA_TYPE = 3
OUTSIDE_RTH_IGNORED = (
    "Order Event Warning:Attribute 'Outside Regular Trading Hours' is ignored based on the order type and destination."
    " PlaceOrder is now being processed."
)
NOT_EXECUTABLE = "Cancelled by System:Not executable immediately"
_CANCEL_REST = 1
"""ocaType 1: any fill cancels the others; 2 and 3 reduce them by what was filled."""

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
        self._journal: Journal | None = None
        self._orders: dict[int, Order] = {}
        self._alive: dict[int, Order] = {}
        """The orders of `_orders` that are not done: a day's thousands of finished ones must not slow a tick."""
        self._perm_ids: dict[tuple[int, int], int] = {}
        self._executions: dict[str, Execution] = {}
        self._next_ids: dict[int, int] = {}
        self._next_perm_id = FIRST_PERM_ID
        self._trading_day = trading_day(clock.now())
        self._taken: dict[tuple[int, bool, Decimal], Decimal] = {}
        """Displayed size already bought (True) or sold (False) since the last tick, by instrument and price."""
        self.largest_fill: Decimal | None = None
        """No fill is larger than this; `None` leaves it to the displayed size."""
        self._events: list[OrderEvent] = []
        self._changed_orders: set[int] = set()
        self._new_executions: list[Execution] = []

    def keep_in(self, journal: Journal | None) -> None:
        """Take up the world that `journal` holds and write everything there from now on; `None` ends the writing."""
        self._journal = journal
        if journal is not None:
            self._restore(journal)

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
            self._cancel(order.perm_id, because="Cancelled by Trader", announced=True)

        return self._transact(client_id, order_id, act)

    def cancel_all(self) -> list[OrderEvent]:
        """Every live order of every client (reqGlobalCancel)."""

        def act() -> None:
            for perm_id in [order.perm_id for order in self._live()]:
                self._cancel(perm_id, because="Cancelled by Trader", announced=True)

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
            self._next_ids = kept
            if bind:
                order = self._bound(order)
            self._go_live(order)

        kept = dict(self._next_ids)
        events = self._transact(0, 0, act)
        if refusals := [event for event in events if isinstance(event, OrderMessage) and event.order_id == 0]:
            raise ValueError(refusals[0].text)
        return events

    def bind_manual_orders(self) -> list[OrderEvent]:
        """Give client 0 the open manual orders that nobody owns."""

        def act() -> None:
            for order in [order for order in self._live() if not order.order_id]:
                self._update(self._bound(order))

        return self._transact(0, 0, act)

    def _bound(self, order: Order) -> Order:
        bound = replace(order, order_id=min(0, *(number for _, number in self._perm_ids), 0) - 1)
        self._keep(bound)
        self._events.append(OrderBound(order=bound))
        return bound

    def fill_now(self, client_id: int, order_id: int) -> list[OrderEvent]:
        """Fill an order completely, at its limit or else the market, whatever is displayed."""

        def act() -> None:
            order = self.order(client_id, order_id)
            if order is not None and not order.is_done and not order.staged:
                price = order.limit_price or self._accounts.mark(order.con_id)
                if price is not None:
                    self._fill(order, self._listing(order), order.remaining, price)

        return self._transact(client_id, order_id, act)

    def roll_back_ids(self, count: int) -> None:
        """Forget the newest `count` order ids of every client, so that nextValidId names used ones again."""
        self._next_ids = {client_id: max(1, number - count) for client_id, number in self._next_ids.items()}
        self.save(with_market=True)

    def tick(self) -> list[OrderEvent]:
        """Let time and the moved prices do their work: the day's end, expiries, triggers and fills."""

        def act() -> None:
            now = self._clock.now()
            self._start_day(trading_day(now))
            self._taken.clear()
            for perm_id in [order.perm_id for order in self._live()]:
                order = self._orders[perm_id]
                if not order.is_done and order.expires_at is not None and order.expires_at <= now:
                    if self._is_for_auction(order):
                        self._auction(order)
                    self._cancel(perm_id, because="Cancelled by System:Expired")
                else:
                    self._work(perm_id)

        return self._transact(0, -1, act)

    # --- what can be asked ---

    def order(self, client_id: int, order_id: int) -> Order | None:
        perm_id = self._perm_ids.get((client_id, order_id))
        return None if perm_id is None else self._orders[perm_id]

    def orders(self) -> list[Order]:
        """Every order the gateway still remembers, staged ones too, oldest first."""
        return list(self._orders.values())

    def open_orders(self, client_id: int | None = None) -> list[Order]:
        """Live orders that TWS would list, of one client or of all."""
        return [order for order in self._alive.values() if not order.staged and client_id in (None, order.client_id)]

    def completed_orders(self) -> list[Order]:
        """Orders that ended on this trading day, in the order of their end."""
        done = [order for order in self._orders.values() if order.done_at is not None]
        return sorted(done, key=lambda order: (order.done_at, order.perm_id))

    def executions(self) -> list[Execution]:
        """Fills of this trading day, oldest first."""
        return list(self._executions.values())

    def next_valid_id(self, client_id: int) -> int:
        return self._next_ids.get(client_id, 1)

    # --- transactions ---

    def _transact(self, client_id: int, order_id: int, act: Callable[[], None]) -> list[OrderEvent]:
        try:
            act()
        except OrderRefusal as refusal:
            self._say(client_id, order_id, refusal.code, refusal.text)
        self.save()
        events, self._events = self._events, []
        return events

    def save(self, *, with_market: bool = False) -> None:
        """Write what changed since the last time; with it, on request, where the market stands."""
        changed, self._changed_orders = self._changed_orders, set()
        fills, self._new_executions = self._new_executions, []
        touched = set(self._accounts.touched)
        self._accounts.touched.clear()
        if self._journal is None or not (changed or fills or touched or with_market):
            return
        transaction: dict[str, dict[str, Json]] = {
            "orders": {str(perm_id): encode(self._orders.get(perm_id)) for perm_id in sorted(changed)},
            "executions": {fill.exec_id: encode(fill) for fill in fills},
            "accounts": {code: encode(self._accounts.by_code[code]) for code in sorted(touched)},
            "counters": self._counters(),
        }
        if with_market:
            transaction["market"] = {"state": self._market.state()}
        self._journal.append(transaction)
        if self._journal.wants_compaction:
            self._journal.compact(self._everything())

    def _counters(self) -> dict[str, Json]:
        return {
            "next_perm_id": self._next_perm_id,
            "next_ids": {str(client_id): number for client_id, number in self._next_ids.items()},
            "trading_day": self._trading_day.isoformat(),
        }

    def _everything(self) -> dict[str, dict[str, Json]]:
        return {
            "orders": {str(perm_id): encode(order) for perm_id, order in self._orders.items()},
            "executions": {exec_id: encode(fill) for exec_id, fill in self._executions.items()},
            "accounts": {code: encode(account) for code, account in self._accounts.by_code.items()},
            "counters": self._counters(),
            "market": {"state": self._market.state()},
        }

    def _restore(self, journal: Journal) -> None:
        state = journal.load()
        for row in state.get("orders", {}).values():
            self._remember(decode(Order, row))
        for row in state.get("executions", {}).values():
            execution = decode(Execution, row)
            self._executions[execution.exec_id] = execution
        for row in state.get("accounts", {}).values():
            account = decode(Account, row)
            self._accounts.restore(account)
            self._accounts.touched.discard(account.code)
        counters = state.get("counters", {})
        if counters:
            self._next_perm_id = counters["next_perm_id"]
            self._next_ids = {int(client_id): number for client_id, number in counters["next_ids"].items()}
            self._trading_day = date.fromisoformat(counters["trading_day"])
        if market := state.get("market"):
            # A gateway restarted with other trading hours keeps accounts and orders, but its prices begin anew.
            with contextlib.suppress(ValueError):
                self._market.restore(market["state"])
        self.save()

    def _start_day(self, day: date) -> None:
        if day == self._trading_day:
            return
        self._trading_day = day
        self._accounts.start_day()
        for order in [order for order in self._orders.values() if order.is_done]:
            del self._orders[order.perm_id]
            self._perm_ids.pop(order.key, None)
            self._changed_orders.add(order.perm_id)
        forgotten, self._executions = self._executions, {}
        if self._journal is not None and forgotten:
            self._journal.append({"executions": dict.fromkeys(forgotten)})

    # --- taking orders ---

    def _take_new(self, client_id: int, order_id: int, contract: ContractQuery, terms: OrderTerms) -> None:
        if order_id < self.next_valid_id(client_id):
            raise OrderRefusal(103, "Duplicate order id")
        order = self._new_order(client_id, order_id, contract, terms)
        if order.staged:
            self._keep(order)
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
                self._say(client_id, order_id, 2109, OUTSIDE_RTH_IGNORED)
        now = self._clock.now()
        order = Order(
            perm_id=self._next_perm_id,
            client_id=client_id,
            order_id=order_id,
            con_id=listing.con_id,
            exchange=exchange,
            account=account,
            terms=terms,
            quantity=terms.quantity or _ZERO,
            tif=terms.tif or DEFAULT_TIF,
            oca_group=terms.oca_group or (str(parent.perm_id) if parent else ""),
            oca_type=(terms.oca_type or _CANCEL_REST) if terms.oca_group else BRACKET_OCA_TYPE if parent else 0,
            parent_perm_id=parent.perm_id if parent else 0,
            staged=not terms.transmit,
            placed_at=now,
            expires_at=self._expiry(listing, terms, now),
        )
        self._next_perm_id += 1
        self._next_ids[client_id] = order_id + 1
        return self._with_prices(order, listing)

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
            return parse_moment(terms.good_till_date)
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

    def _with_prices(self, order: Order, listing: Listing) -> Order:
        """The limit and trigger in force at the start; a trailing stop gets its first level here (section 12)."""
        kind, terms = KINDS[order.terms.order_type], order.terms
        order = replace(order, limit_price=terms.limit_price if kind.limited else None)
        if kind.trigger in ("stop", "touch"):
            order = replace(order, stop_price=terms.aux_price)
        if kind.trigger == "trail":
            order = replace(order, stop_price=terms.trail_stop_price)
            order = self._trail(order, listing, self._market.quote(order.con_id))
        return order

    def _go_live(self, order: Order) -> None:
        """Transmit an order, and with it whatever was staged in the same bracket."""
        family = [other for other in self._live() if other.staged and self._same_bracket(order, other)]
        family = sorted([*family, order], key=lambda member: member.order_id)
        # Children only undo what their parent does, so the parent's margin is the bracket's.
        if not all(member.parent_perm_id or self._affords(member, self._listing(member)) for member in family):
            for member in family:
                self._turn_down(member, 201, self._insufficient_funds(member))
            return
        for member in family:
            live = replace(member, staged=False, status=PRE_SUBMITTED, why_held=self._why_held(member))
            self._update(live)
            listing = self._listing(live)
            if not self._is_trading(live, listing) and live.tif not in IMMEDIATE_TIFS and live.tif != OPENING:
                self._say_of(live, 399, self._waits_for_the_open(live, listing))
        for member in family:
            self._work(member.perm_id)
            if member.tif in IMMEDIATE_TIFS:
                self._cancel(member.perm_id, because=NOT_EXECUTABLE, announced=True)

    def _same_bracket(self, order: Order, other: Order) -> bool:
        root = order.parent_perm_id or order.perm_id
        return other.perm_id != order.perm_id and root in (other.perm_id, other.parent_perm_id)

    def _turn_down(self, order: Order, code: int, text: str) -> None:
        """201 goes out before the Inactive status, or `ib_async` would lose the reason (section 12)."""
        if code:
            self._say_of(order, code, text)
        self._update(
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
        rate = self._accounts.rate(listing.currency) if listing.sec_type == "CASH" else Decimal(1)
        return commission_for(listing, quantity=order.quantity, value=order.quantity * price * rate)

    def _answer_what_if(self, client_id: int, order_id: int, contract: ContractQuery, terms: OrderTerms) -> None:
        """Margins and commission as if the order filled; nothing is kept and no id is taken (section 10)."""
        counters = self._next_perm_id, self._next_ids.get(client_id)
        order = self._new_order(client_id, order_id, contract, terms)
        self._next_perm_id = counters[0]
        if counters[1] is None:
            del self._next_ids[client_id]
        else:
            self._next_ids[client_id] = counters[1]
        listing = self._listing(order)
        signed = order.quantity if order.is_buy else -order.quantity
        change = self._accounts.margin_change(order.account, listing, signed, self._commission(order, listing))
        self._events.append(WhatIfAnswered(order=replace(order, perm_id=0, staged=False), change=change))

    # --- changing orders ---

    def _modify(self, order: Order, contract: ContractQuery, terms: OrderTerms) -> None:
        if order.status == FILLED:
            raise OrderRefusal(104, "Can't modify a filled order.")
        if order.is_done:
            raise OrderRefusal(103, "Duplicate order id")
        listing = find_listing(self._catalogue, contract)
        other_account = terms.account not in ("", order.account)
        if listing.con_id != order.con_id or terms.action != order.terms.action or other_account:
            raise OrderRefusal(105, "Order being modified does not match original order.")
        # A client's own copy of the order lacks what the gateway gave it: keep that (section 12).
        terms = replace(
            terms,
            tif=terms.tif or order.tif,
            good_till_date=terms.good_till_date or order.terms.good_till_date,
            order_ref=terms.order_ref or order.terms.order_ref,
            parent_id=terms.parent_id or order.terms.parent_id,
        )
        check_terms(self._catalogue, listing, contract.exchange or order.exchange, terms)
        check_change(order.terms.order_type, terms)
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
            oca_group=terms.oca_group or order.oca_group,
            oca_type=terms.oca_type if terms.oca_group and terms.oca_type else order.oca_type,
            triggered=order.triggered and terms.order_type == order.terms.order_type,
            expires_at=self._expiry(listing, terms, self._clock.now()),
        )
        changed = self._with_prices(changed, listing)
        if trails and terms.trail_stop_price is None:
            changed = self._trail(
                replace(changed, stop_price=order.stop_price), listing, self._market.quote(order.con_id)
            )
        if order.staged:
            changed = replace(changed, staged=not terms.transmit)
            if changed.staged:
                self._keep(changed)
            else:
                self._go_live(changed)
            return
        if not self._affords(changed, listing):
            raise OrderRefusal(201, self._insufficient_funds(changed))
        self._update(replace(changed, why_held=self._why_held(changed)))
        self._work(order.perm_id)
        if changed.tif in IMMEDIATE_TIFS:
            self._cancel(order.perm_id, because=NOT_EXECUTABLE, announced=True)

    def _cancel(self, perm_id: int, *, because: str, announced: bool = False) -> None:
        order = self._orders[perm_id]
        if order.is_done:
            return
        if announced and not order.staged:
            self._events.append(OrderUpdated(order=replace(order, status=PENDING_CANCEL), status_only=True))
        done = replace(order, status=CANCELLED, why_held="", done_at=self._clock.now(), done_because=because)
        self._update(done, status_only=True)
        self._say_of(order, 202, "Order Canceled - reason:")
        for child in [other for other in self._live() if other.parent_perm_id == perm_id]:
            self._cancel(child.perm_id, because="Cancelled by System:Parent order cancelled")

    # --- working orders ---

    def _live(self) -> list[Order]:
        return list(self._alive.values())

    def _listing(self, order: Order) -> Listing:
        listing = self._catalogue.by_con_id(order.con_id)
        if listing is None:
            raise LookupError(f"order {order.perm_id} is for {order.con_id}, which the catalogue does not list")
        return listing

    def _is_trading(self, order: Order, listing: Listing) -> bool:
        now = self._clock.now()
        if self._sessions.is_regular(listing, now):
            return True
        return order.terms.outside_rth and self._sessions.is_extended(listing, now)

    def _is_for_auction(self, order: Order) -> bool:
        return KINDS[order.terms.order_type].at_close or order.tif == OPENING

    def _auction(self, order: Order) -> None:
        """Trade all of an order at the price of the opening or the close, if its limit allows."""
        quote = self._market.quote(order.con_id)
        price, limit = quote.last, order.limit_price
        if price is None or quote.halted or order.staged or self._waits_for_parent(order):
            return
        if limit is None or (price <= limit if order.is_buy else price >= limit):
            self._fill(order, self._listing(order), order.remaining, price)

    def _waits_for_parent(self, order: Order) -> bool:
        parent = self._orders.get(order.parent_perm_id)
        return parent is not None and parent.status != FILLED

    def _why_held(self, order: Order) -> str:
        return "trigger" if KINDS[order.terms.order_type].trigger and not order.triggered else ""

    def _waits_for_the_open(self, order: Order, listing: Listing) -> str:
        close = self._sessions.next_close(listing, self._clock.now())
        session = self._sessions.session(listing, local_date(listing, close))
        opens = session.start if session else close
        return (
            f"Order Message:\n{order.terms.action} {order.quantity} {listing.symbol} {listing.primary_exchange}\n"
            f"Warning: your order will not be placed at the exchange until {eastern(opens)}"
        )

    def _work(self, perm_id: int) -> None:
        """Let one order do what the market allows now."""
        order = self._orders[perm_id]
        listing = self._listing(order)
        if order.is_done or order.staged or self._waits_for_parent(order) or not self._is_trading(order, listing):
            return
        if self._is_for_auction(order):
            return
        quote = self._market.quote(order.con_id)
        if KINDS[order.terms.order_type].pegged == "primary" and not quote.halted:
            pegged = self._pegged(order, listing, quote)
            if pegged != order:
                self._keep(pegged)  # TWS says nothing about the moves of a pegged price
        if not quote.halted and not self._wake(order, listing, quote):
            return
        order = self._orders[perm_id]
        if not quote.halted:
            self._match(order, listing, quote)
        order = self._orders[perm_id]
        if order.status == PRE_SUBMITTED and not order.why_held and order.tif not in IMMEDIATE_TIFS:
            self._update(replace(order, status=SUBMITTED))

    def _wake(self, order: Order, listing: Listing, quote: MarketQuote) -> bool:
        """Whether the order is active: it needs no trigger, or was triggered, now or before."""
        kind = KINDS[order.terms.order_type]
        if not kind.trigger or order.triggered:
            return True
        if kind.trigger == "trail":
            moved = self._trail(order, listing, quote)
            if moved != order:
                order = moved
                self._update(order)
        reference = self._trigger_reference(order, listing, quote)
        if reference is None or order.stop_price is None:
            return False
        rising = order.is_buy if kind.trigger != "touch" else not order.is_buy
        if not (reference >= order.stop_price if rising else reference <= order.stop_price):
            return False
        self._update(replace(order, triggered=True, why_held="", status=SUBMITTED))
        return True

    def _trigger_reference(self, order: Order, listing: Listing, quote: MarketQuote) -> Decimal | None:
        """The price that triggers look at: by default the last one for shares and futures, else the side hit."""
        method = order.terms.trigger_method
        side = quote.ask if order.is_buy else quote.bid
        if method == 8 and quote.bid is not None and quote.ask is not None:
            return (quote.bid + quote.ask) / 2
        if method in (1, 4) or (method == 0 and listing.sec_type not in ("STK", "FUT")):
            return side
        return quote.last if quote.last is not None else side

    def _pegged(self, order: Order, listing: Listing, quote: MarketQuote) -> Order:
        """A relative order at the best price of its own side, better by the offset; it never backs off."""
        best = quote.bid if order.is_buy else quote.ask
        if best is None:
            return order
        offset, cap = order.terms.aux_price or _ZERO, order.terms.limit_price
        level = best + offset if order.is_buy else best - offset
        prices = [price for price in (level, order.limit_price) if price is not None]
        level = max(prices) if order.is_buy else min(prices)
        if cap:
            level = min(level, cap) if order.is_buy else max(level, cap)
        return replace(order, limit_price=level)

    def _midpoint(self, order: Order, listing: Listing, quote: MarketQuote) -> Decimal | None:
        """The middle of the quote, on the grid and never dearer than the middle; `None` beyond the order's cap."""
        if quote.bid is None or quote.ask is None:
            return None
        middle = (quote.bid + quote.ask) / 2
        step = price_increment(self._catalogue, listing, order.exchange, middle)
        price = (middle / step).to_integral_value(ROUND_FLOOR if order.is_buy else ROUND_CEILING) * step
        cap = order.terms.limit_price
        return None if cap and (price > cap if order.is_buy else price < cap) else price

    def _trail(self, order: Order, listing: Listing, quote: MarketQuote) -> Order:
        """Follow the market with the stop; it never moves back."""
        reference = self._trigger_reference(order, listing, quote)
        if reference is None:
            return order
        percent = order.terms.trailing_percent
        distance = reference * percent / 100 if percent else order.terms.aux_price or _ZERO
        level = reference + distance if order.is_buy else reference - distance
        step = price_increment(self._catalogue, listing, order.exchange, level)
        level = (level / step).quantize(Decimal(1)) * step
        if order.stop_price is not None:
            level = min(order.stop_price, level) if order.is_buy else max(order.stop_price, level)
        limit = order.limit_price
        if KINDS[order.terms.order_type].limited:
            offset = order.terms.limit_price_offset
            if offset is None and order.terms.limit_price is not None and order.terms.trail_stop_price is not None:
                offset = abs(order.terms.trail_stop_price - order.terms.limit_price)
            limit = level + (offset or _ZERO) if order.is_buy else level - (offset or _ZERO)
        return replace(order, stop_price=level, limit_price=limit)

    def _match(self, order: Order, listing: Listing, quote: MarketQuote) -> None:
        """Trade against the displayed side, up to the size displayed since the last tick."""
        price, size = (quote.ask, quote.ask_size) if order.is_buy else (quote.bid, quote.bid_size)
        if KINDS[order.terms.order_type].pegged == "midpoint":
            price = self._midpoint(order, listing, quote)
        if price is None:
            return
        if order.limit_price is not None and (price > order.limit_price if order.is_buy else price < order.limit_price):
            return
        side = order.con_id, order.is_buy, price
        left = order.remaining if size is None else max(size - self._taken.get(side, _ZERO), _ZERO)
        quantity = min(order.remaining, left)
        if self.largest_fill is not None:
            quantity = min(quantity, max(self.largest_fill - self._taken.get(side, _ZERO), _ZERO))
        if not quantity or (quantity < order.remaining and (order.tif == "FOK" or order.terms.all_or_none)):
            return
        self._taken[side] = self._taken.get(side, _ZERO) + quantity
        self._fill(order, listing, quantity, price)

    def _fill(self, order: Order, listing: Listing, quantity: Decimal, price: Decimal) -> None:
        filled, value = order.filled + quantity, order.filled_value + quantity * price
        rate = self._accounts.rate(listing.currency) if listing.sec_type == "CASH" else Decimal(1)
        charged = commission_for(listing, quantity=filled, value=value * rate)
        commission = charged - order.commission
        signed = quantity if order.is_buy else -quantity
        realized = self._accounts.book_fill(
            order.account, listing, signed_quantity=signed, price=price, commission=commission
        )
        complete = filled == order.quantity
        now = self._clock.now()
        done = replace(
            order,
            filled=filled,
            filled_value=value,
            last_fill_price=price,
            commission=charged,
            executions=order.executions + 1,
            status=FILLED if complete else SUBMITTED,
            why_held="",
            done_at=now if complete else None,
            done_because=f"Filled Size: {filled}" if complete else "",
        )
        execution = Execution(
            exec_id=f"0000e0d5.{order.perm_id:08x}.{done.executions:02d}.01",
            perm_id=order.perm_id,
            client_id=order.client_id,
            order_id=order.order_id,
            con_id=order.con_id,
            account=order.account,
            order_ref=order.terms.order_ref,
            is_buy=order.is_buy,
            time=now,
            exchange=listing.primary_exchange or listing.exchange,
            quantity=quantity,
            price=price,
            cumulative_quantity=filled,
            average_price=done.average_fill_price,
            commission=commission,
            commission_currency=commission_currency_of(listing),
            realized_pnl=realized,
            added_liquidity=order.status == SUBMITTED and order.limit_price is not None,
        )
        self._executions[execution.exec_id] = execution
        self._new_executions.append(execution)
        self._events.append(Executed(execution=execution))
        self._update(done)
        self._events.append(Charged(execution=execution))
        self._events.append(PositionChanged(account=order.account, con_id=order.con_id))
        self._settle_oca_group(done, quantity)
        if complete:
            for child in [other for other in self._live() if other.parent_perm_id == order.perm_id]:
                self._work(child.perm_id)

    def _settle_oca_group(self, filled: Order, quantity: Decimal) -> None:
        if not filled.oca_group:
            return
        for sibling in self._live():
            if (sibling.oca_group, sibling.account) != (filled.oca_group, filled.account) or sibling.staged:
                continue
            if sibling.perm_id == filled.perm_id:
                continue
            left = sibling.quantity - quantity
            if sibling.oca_type == _CANCEL_REST or left <= sibling.filled:
                self._cancel(sibling.perm_id, because="Cancelled by System:OCA group filled")
            else:
                self._update(replace(sibling, quantity=left))

    # --- bookkeeping ---

    def _keep(self, order: Order) -> None:
        self._remember(order)
        self._changed_orders.add(order.perm_id)

    def _remember(self, order: Order) -> None:
        self._orders[order.perm_id] = order
        if order.is_done:
            self._alive.pop(order.perm_id, None)
        else:
            self._alive[order.perm_id] = order
        if order.order_id:
            self._perm_ids[order.key] = order.perm_id

    def _update(self, order: Order, *, status_only: bool = False) -> None:
        self._keep(order)
        self._events.append(OrderUpdated(order=order, status_only=status_only))

    def _say_of(self, order: Order, code: int, text: str) -> None:
        if order.order_id:  # nobody listens for a manual order that nobody was given
            self._say(order.client_id, order.order_id, code, text)

    def _say(self, client_id: int, order_id: int, code: int, text: str) -> None:
        self._events.append(OrderMessage(client_id=client_id, order_id=order_id, code=code, text=text))
