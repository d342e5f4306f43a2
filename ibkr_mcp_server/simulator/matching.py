"""What the market does to live orders: wakes, fills, auctions and expiries.

There is no book of other people's orders: an order trades against the displayed side of the quote, up to the size
displayed since the last tick, and moves no price.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.simulator.accounts import Accounts
from ibkr_mcp_server.simulator.commissions import commission_currency_of
from ibkr_mcp_server.simulator.families import Families
from ibkr_mcp_server.simulator.instruments import Catalogue, Listing
from ibkr_mcp_server.simulator.market import Market, MarketQuote
from ibkr_mcp_server.simulator.order_book import OrderBook
from ibkr_mcp_server.simulator.order_prices import is_triggered, midpoint, pegged, trailed
from ibkr_mcp_server.simulator.order_rules import IMMEDIATE_TIFS, KINDS, OPENING
from ibkr_mcp_server.simulator.orders import (
    FILLED,
    PRE_SUBMITTED,
    SUBMITTED,
    Charged,
    Executed,
    Execution,
    Order,
    PositionChanged,
)
from ibkr_mcp_server.simulator.sessions import Sessions

NOT_EXECUTABLE = "Cancelled by System:Not executable immediately"
_ZERO = Decimal(0)


class Matching:
    """Lets orders do what the market allows."""

    def __init__(
        self,
        *,
        clock: Clock,
        catalogue: Catalogue,
        sessions: Sessions,
        market: Market,
        accounts: Accounts,
        book: OrderBook,
        families: Families,
    ) -> None:
        self._clock = clock
        self._catalogue = catalogue
        self._sessions = sessions
        self._market = market
        self._accounts = accounts
        self._book = book
        self._families = families
        self._taken: dict[tuple[int, bool, Decimal], Decimal] = {}
        """Displayed size already bought (True) or sold (False) since the last tick, by instrument and price."""
        self.largest_fill: Decimal | None = None
        """No fill is larger than this; `None` leaves it to the displayed size."""

    def tick(self) -> None:
        """Let time and the moved prices do their work on every live order."""
        now = self._clock.now()
        self._taken.clear()
        for perm_id in [order.perm_id for order in self._book.live()]:
            order = self._book.orders.get(perm_id)
            if order is None or order.is_done:  # by what an order before it did
                continue
            if order.cancels_at is not None and order.cancels_at <= now:
                self._families.cancel(perm_id, because="Cancelled by Trader")
            elif order.expires_at is not None and order.expires_at <= now:
                if is_for_auction(order):
                    self._auction(order)
                self._families.cancel(perm_id, because="Cancelled by System:Expired")
            else:
                self.work(perm_id)

    def work(self, perm_id: int) -> None:
        """Let one order do what the market allows now."""
        order = self._book.orders[perm_id]
        listing = self.listing(order)
        if order.is_done or order.staged or self._families.waits_for_parent(order) or is_for_auction(order):
            return
        if order.starts_at is not None and self._clock.now() < order.starts_at:
            return
        if order.why_held.startswith("child"):
            released = replace(order, why_held=self._families.why_held(order))
            if released.why_held:
                self._book.update(released)
            else:
                self._book.keep(released)  # becoming Submitted tells it
        if self.is_trading(order, listing):
            self._trade(perm_id, listing)
        order = self._book.orders[perm_id]
        if order.tif in IMMEDIATE_TIFS and not order.is_done:
            self._families.announce_cancel(order, because=NOT_EXECUTABLE)

    def _trade(self, perm_id: int, listing: Listing) -> None:
        order = self._book.orders[perm_id]
        quote = self._market.quote(order.con_id)
        if KINDS[order.terms.order_type].pegged == "primary" and not quote.halted:
            moved = pegged(order, quote)
            if moved != order:
                self._book.keep(moved)  # TWS says nothing about the moves of a pegged price
        if not quote.halted and not self._wake(self._book.orders[perm_id], listing, quote):
            return
        if not quote.halted:
            self._match(self._book.orders[perm_id], listing, quote)
        order = self._book.orders[perm_id]
        if order.status == PRE_SUBMITTED and not order.why_held and order.tif not in IMMEDIATE_TIFS:
            self._book.update(replace(order, status=SUBMITTED))

    def fill_now(self, order: Order) -> None:
        """Fill all of a live order at its limit or else the market, whatever is displayed."""
        price = order.limit_price or self._accounts.mark(order.con_id)
        if price is not None:
            self._fill(order, self.listing(order), order.remaining, price)

    def is_trading(self, order: Order, listing: Listing) -> bool:
        """Whether the order may trade at this hour."""
        now = self._clock.now()
        if self._sessions.is_regular(listing, now):
            return True
        return order.terms.outside_rth and self._sessions.is_extended(listing, now)

    def listing(self, order: Order) -> Listing:
        listing = self._catalogue.by_con_id(order.con_id)
        if listing is None:
            raise LookupError(f"order {order.perm_id} is for {order.con_id}, which the catalogue does not list")
        return listing

    def _auction(self, order: Order) -> None:
        """Trade all of an order at the price of the opening or the close, if its limit allows."""
        quote = self._market.quote(order.con_id)
        price, limit = quote.last, order.limit_price
        if price is None or quote.halted or order.staged or self._families.waits_for_parent(order):
            return
        if limit is None or (price <= limit if order.is_buy else price >= limit):
            self._fill(order, self.listing(order), order.remaining, price)

    def _wake(self, order: Order, listing: Listing, quote: MarketQuote) -> bool:
        """Whether the order is active: it needs no trigger, or was triggered, now or before."""
        kind = KINDS[order.terms.order_type]
        if not kind.trigger or order.triggered:
            return True
        if kind.trigger == "trail":
            moved = trailed(self._catalogue, order, listing, quote)
            if moved != order:
                order = moved
                self._book.update(order)
        if not is_triggered(order, listing, quote):
            return False
        self._book.update(replace(order, triggered=True, why_held="", status=_working(order)))
        return True

    def _match(self, order: Order, listing: Listing, quote: MarketQuote) -> None:
        """Trade against the displayed side, up to the size displayed since the last tick."""
        price, size = (quote.ask, quote.ask_size) if order.is_buy else (quote.bid, quote.bid_size)
        if KINDS[order.terms.order_type].pegged == "midpoint":
            price = midpoint(self._catalogue, order, listing, quote)
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
        charged = max(self._accounts.commission(listing, filled, value), order.commission)
        commission = charged - order.commission
        realized = self._accounts.book_fill(
            order.account,
            listing,
            signed_quantity=quantity if order.is_buy else -quantity,
            price=price,
            commission=commission,
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
            status=FILLED if complete else _working(order),
            why_held="",
            cancels_at=None if complete else order.cancels_at,
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
        self._book.record(execution)
        self._book.tell(Executed(execution=execution))
        self._book.update(done)
        self._book.tell(Charged(execution=execution))
        self._book.tell(PositionChanged(account=order.account, con_id=order.con_id))
        self._families.settle_oca_group(done, quantity)
        if complete:
            self.work_children(done)

    def work_children(self, parent: Order) -> None:
        """The parent is done: what it leaves behind may trade."""
        for child in self._families.children(parent):
            self.work(child.perm_id)


def _working(order: Order) -> str:
    """The status of an order that the market has; one that is being cancelled stays announced as that."""
    return SUBMITTED if order.cancels_at is None else order.status


def is_for_auction(order: Order) -> bool:
    return KINDS[order.terms.order_type].at_close or order.tif == OPENING
