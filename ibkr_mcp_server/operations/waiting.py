"""Waiting for news of one order: the broker's events wake the caller, nothing is asked again."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from ibkr_mcp_server.broker.base import BrokerEvent, BrokerEventKind
from ibkr_mcp_server.domain.operations import Operation, OrderReference
from ibkr_mcp_server.domain.orders import BrokerOrder
from ibkr_mcp_server.operations.desk import Desk
from ibkr_mcp_server.operations.orders import OrderState, find_state
from ibkr_mcp_server.operations.progress import Progress
from ibkr_mcp_server.operations.safe_operation import Access, Answer, safe_trading_operation
from ibkr_mcp_server.safety.identity import carries
from ibkr_mcp_server.store.intents import FINAL
from ibkr_mcp_server.waits import first_of

Until = Literal["final", "change"]


@dataclass(frozen=True, kw_only=True)
class Waited:
    """What a wait brought."""

    state: OrderState
    """At its end."""
    seconds: float
    ended_by: Literal["final", "change", "timeout", "link_down"]


async def wait_for_order(
    operation: Operation, desk: Desk, *, until: Until, timeout_seconds: float, progress: Progress
) -> Answer[Waited]:
    """Return when the order has ended (or changed), the link is lost, or `timeout_seconds` have passed."""
    reference = operation.draft
    assert isinstance(reference, OrderReference)

    async def act(access: Access) -> Waited:
        wait = _Wait(reference, desk, until=until, progress=progress)
        start, stop = desk.clock.monotonic(), desk.broker.listen(wait.hear)
        try:
            # Listening began first, so nothing that happens while the broker is asked is missed.
            wait.begin(await find_state(access, reference, desk))
            ended_by = await wait.end(timeout_seconds)
        finally:
            stop()
        state = await find_state(access, reference, desk, known_only=True)
        return Waited(state=state, seconds=round(desk.clock.monotonic() - start, 3), ended_by=ended_by)

    return await safe_trading_operation(operation, act, desk=desk)


class _Wait:
    """One caller's wait."""

    def __init__(self, reference: OrderReference, desk: Desk, *, until: Until, progress: Progress) -> None:
        self._perm_id = reference.perm_id
        self._key = reference.client_request_id
        self._desk = desk
        self._until = until
        self._progress = progress
        self._first: BrokerOrder | None = None
        self._newest: BrokerOrder | None = None
        self._link_lost = False
        self._never_came = False
        self._news = asyncio.Event()

    def hear(self, event: BrokerEvent) -> None:
        """The adapter's listener."""
        if event.kind is BrokerEventKind.LINK_DOWN:
            self._link_lost = True
        elif event.kind is BrokerEventKind.ORDER_CHANGED and event.order is not None and self._fits(event.order):
            self._newest = event.order
        else:
            return
        self._news.set()

    def begin(self, state: OrderState) -> None:
        self._first = state.order
        self._newest = self._newest or state.order
        self._never_came = state.order is None and state.intent is not None and state.intent.state in FINAL
        if self._newest is not None:
            self._perm_id = self._perm_id or self._newest.perm_id or None

    async def end(self, timeout_seconds: float) -> Literal["final", "change", "timeout", "link_down"]:
        clock = self._desk.clock
        start = clock.monotonic()
        limit = asyncio.ensure_future(clock.sleep(timeout_seconds))
        try:
            while True:
                order = self._newest
                if self._never_came or (order is not None and not order.is_working):
                    return "final"
                if order is not None and self._until == "change" and _differs(self._first, order):
                    return "change"
                if self._link_lost or not self._desk.broker.link.is_up:
                    return "link_down"
                if limit.done():
                    return "timeout"
                with suppress(Exception):  # a client that cannot be told must not cost the call
                    await self._progress(clock.monotonic() - start, timeout_seconds, _said(order))
                self._news.clear()
                await first_of(limit, self._news.wait())
        finally:
            limit.cancel()

    def _fits(self, order: BrokerOrder) -> bool:
        if self._perm_id is not None and order.perm_id == self._perm_id:
            return True
        return self._key is not None and carries(order.order.order_ref, self._key)


def _differs(first: BrokerOrder | None, order: BrokerOrder) -> bool:
    if first is None:
        return True
    return (first.status, first.filled, first.order) != (order.status, order.filled, order.order)


def _said(order: BrokerOrder | None) -> str:
    if order is None:
        return "The broker has not told of the order yet."
    return f"{order.status}, filled {order.filled:f} of {order.order.quantity:f}."
