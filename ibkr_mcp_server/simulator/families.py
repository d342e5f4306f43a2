"""Orders that depend on one another: brackets and one-cancels-all groups (wire guide, section 12).

Children wait until their parent is done. If it was filled, they work. If it was cancelled before any fill, they go with
it. If it was cancelled after a part was filled, they stay and protect that part: they are reduced to it and work.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.simulator.order_book import OrderBook
from ibkr_mcp_server.simulator.order_rules import KINDS
from ibkr_mcp_server.simulator.orders import CANCELLED, PENDING_CANCEL, Order, OrderUpdated

BRACKET_OCA_TYPE = 3
CANCEL_REST = 1
"""ocaType 1: any fill cancels the others; 2 and 3 reduce them by what was filled."""


class Families:
    """What the end or a fill of one order does to its relatives."""

    def __init__(self, *, clock: Clock, book: OrderBook) -> None:
        self._clock = clock
        self._book = book

    def waits_for_parent(self, order: Order) -> bool:
        parent = self._book.orders.get(order.parent_perm_id)
        return parent is not None and not parent.is_done

    def why_held(self, order: Order) -> str:
        """As TWS puts it: `child`, `trigger`, both, or nothing for an order that the market could fill."""
        waits_for_trigger = KINDS[order.terms.order_type].trigger and not order.triggered
        return ",".join(["child"] * self.waits_for_parent(order) + ["trigger"] * bool(waits_for_trigger))

    def children(self, parent: Order) -> list[Order]:
        """The children of an order that are not done."""
        return [other for other in self._book.live() if other.parent_perm_id == parent.perm_id]

    def staged_with(self, order: Order) -> list[Order]:
        """The bracket that is transmitted with `order`, itself included, parents first."""
        root = order.parent_perm_id or order.perm_id
        family = [
            other
            for other in self._book.live()
            if other.staged and other.perm_id != order.perm_id and root in (other.perm_id, other.parent_perm_id)
        ]
        return sorted([*family, order], key=lambda member: member.order_id)

    def announce_cancel(self, order: Order, *, because: str, takes: timedelta = timedelta(0)) -> None:
        """Announce that the order is being cancelled, and cancel it, or let time do that when `takes` is over."""
        if not order.staged:
            self._book.tell(OrderUpdated(order=replace(order, status=PENDING_CANCEL), status_only=True))
        if takes and not order.staged:
            self._book.keep(replace(order, status=PENDING_CANCEL, cancels_at=self._clock.now() + takes))
        else:
            self.cancel(order.perm_id, because=because)

    def cancel(self, perm_id: int, *, because: str) -> None:
        """End an order, and its children unless they have a filled part to protect."""
        order = self._book.orders[perm_id]
        if order.is_done:
            return
        done = replace(
            order, status=CANCELLED, why_held="", cancels_at=None, done_at=self._clock.now(), done_because=because
        )
        self._book.update(done, status_only=True)
        self._book.say_of(order, 202, "Order Canceled - reason:")
        for child in self.children(order):
            if not order.filled:
                self.cancel(child.perm_id, because="Cancelled by System:Parent order cancelled")
            elif child.quantity > order.filled:
                self._book.update(replace(child, quantity=order.filled))

    def settle_oca_group(self, filled: Order, quantity: Decimal) -> None:
        """Cancel or reduce the others of the group after a fill of `quantity`."""
        if not filled.oca_group:
            return
        for sibling in self._book.live():
            if (sibling.oca_group, sibling.account) != (filled.oca_group, filled.account) or sibling.staged:
                continue
            if sibling.perm_id == filled.perm_id:
                continue
            left = sibling.quantity - quantity
            if sibling.oca_type == CANCEL_REST or left <= sibling.filled:
                self.cancel(sibling.perm_id, because="Cancelled by System:OCA group filled")
            else:
                self._book.update(replace(sibling, quantity=left))
