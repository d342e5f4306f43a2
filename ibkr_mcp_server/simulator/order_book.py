"""Every order, fill and order id that the paper gateway remembers, and what its clients are yet to be told of them.

State and nothing else: who may change an order, and to what, is decided in `exchange`, `families` and `matching`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from datetime import date

from ibkr_mcp_server.simulator.orders import (
    Execution,
    Order,
    OrderBound,
    OrderEvent,
    OrderMessage,
    OrderUpdated,
)

FIRST_PERM_ID = 1_500_000_001
REMEMBERED_UNFILLED = 1_000
"""Of orders that ended without any fill only the newest are remembered: a client that places and cancels all day must
not make the gateway grow. What was traded is remembered for the day."""


class OrderBook:
    """Orders by permId. Ids and orders belong to the gateway, not to a connection."""

    def __init__(self, *, trading_day: date) -> None:
        self.trading_day = trading_day
        self.orders: dict[int, Order] = {}
        self.executions: dict[str, Execution] = {}
        self.next_ids: dict[int, int] = {}
        """By client, the id that nextValidId names."""
        self.next_perm_id = FIRST_PERM_ID
        self.changed_orders: set[int] = set()
        """The permIds of orders that changed or went since the journal was last written."""
        self.changed_executions: dict[str, None] = {}
        """In the order of the fills, which is the order in which a restart finds them again."""
        self._alive: dict[int, Order] = {}
        """The orders of `orders` that are not done: a day's thousands of finished ones must not slow a tick."""
        self._perm_ids: dict[tuple[int, int], int] = {}
        self._unfilled: deque[int] = deque()
        """PermIds of orders that ended without any fill, in the order of their end."""
        self._events: list[OrderEvent] = []

    # --- looking ---

    def order(self, client_id: int, order_id: int) -> Order | None:
        perm_id = self._perm_ids.get((client_id, order_id))
        return None if perm_id is None else self.orders[perm_id]

    def live(self) -> list[Order]:
        """Orders that are not done, staged ones too, oldest first."""
        return list(self._alive.values())

    def next_valid_id(self, client_id: int) -> int:
        return self.next_ids.get(client_id, 1)

    # --- changing ---

    def remember(self, order: Order) -> None:
        """Put an order there as it is, without a word to anybody and without the journal."""
        self.orders[order.perm_id] = order
        if order.is_done:
            self._alive.pop(order.perm_id, None)
            if not order.filled:
                self._unfilled.append(order.perm_id)
        else:
            self._alive[order.perm_id] = order
        if order.order_id:
            self._perm_ids[order.key] = order.perm_id

    def keep(self, order: Order) -> None:
        """The order is this from now on; nobody is told."""
        self.remember(order)
        self.changed_orders.add(order.perm_id)
        while len(self._unfilled) > REMEMBERED_UNFILLED:
            self._forget(self.orders[self._unfilled.popleft()])

    def update(self, order: Order, *, status_only: bool = False) -> None:
        """The order is this from now on, and its owner is told."""
        self.keep(order)
        self._events.append(OrderUpdated(order=order, status_only=status_only))

    def record(self, execution: Execution) -> None:
        self.executions[execution.exec_id] = execution
        self.changed_executions[execution.exec_id] = None

    def bind(self, order: Order) -> Order:
        """Give a manual order to client 0, under the next negative order id."""
        bound = replace(order, order_id=min(0, *(number for _, number in self._perm_ids), 0) - 1)
        self.keep(bound)
        self._events.append(OrderBound(order=bound))
        return bound

    def start_day(self, day: date) -> None:
        """Forget what ended before: yesterday's orders and fills are in the statements, not in the gateway."""
        self.trading_day = day
        self._unfilled.clear()
        for order in [order for order in self.orders.values() if order.is_done]:
            self._forget(order)
        self.changed_executions.update(dict.fromkeys(self.executions))
        self.executions = {}

    def _forget(self, order: Order) -> None:
        del self.orders[order.perm_id]
        self._perm_ids.pop(order.key, None)
        self.changed_orders.add(order.perm_id)

    # --- telling ---

    def tell(self, event: OrderEvent) -> None:
        self._events.append(event)

    def say(self, client_id: int, order_id: int, code: int, text: str) -> None:
        self.tell(OrderMessage(client_id=client_id, order_id=order_id, code=code, text=text))

    def say_of(self, order: Order, code: int, text: str) -> None:
        if order.order_id:  # nobody listens for a manual order that nobody was given
            self.say(order.client_id, order.order_id, code, text)

    def take_events(self) -> list[OrderEvent]:
        """What is yet to be told, in the order in which TWS would tell it."""
        events, self._events = self._events, []
        return events
