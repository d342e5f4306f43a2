"""Cancelling working entry orders; what protects a position stays (KS-12, ST-08, EM-03)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ibkr_mcp_server.domain import scopes
from ibkr_mcp_server.domain.operations import COORDINATOR, Operation, OperationClass, OrderReference
from ibkr_mcp_server.domain.orders import BrokerOrder, OrderStatus
from ibkr_mcp_server.operations.desk import Desk
from ibkr_mcp_server.operations.orders import send_order
from ibkr_mcp_server.operations.safe_operation import OperationFailed
from ibkr_mcp_server.safety.decision import OperationRefused
from ibkr_mcp_server.safety.exposure import is_protective
from ibkr_mcp_server.store import intents


@dataclass(frozen=True, kw_only=True)
class EntryLeft:
    """An entry order that still works after a stop, and why."""

    perm_id: int
    label: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Entries:
    """What became of the entry orders of a scope."""

    cancelled: tuple[int, ...] = ()
    """Permanent ids of those whose cancellation the broker took up."""
    left: tuple[EntryLeft, ...] = ()
    protective_kept: tuple[int, ...] = ()


async def working_entries(desk: Desk, scope: str = scopes.ACCOUNT) -> tuple[list[BrokerOrder], list[BrokerOrder]]:
    """The working entry orders of `scope`, and the protective ones, which stay."""
    positions = desk.broker.known_positions()
    working = [order for order in desk.broker.known_orders() if order.is_working]
    protective = [order for order in working if is_protective(order, positions, working)]
    belongs = await _members(desk, scope)
    entries = [order for order in working if order not in protective and belongs(order)]
    ends_with_entry = {order.perm_id for order in entries}
    kept = [order for order in protective if belongs(order) and order.parent_perm_id not in ends_with_entry]
    return entries, kept


async def cancel_entries(desk: Desk, scope: str = scopes.ACCOUNT, *, before: Sequence[BrokerOrder] = ()) -> Entries:
    """Cancel the working entry orders of `scope`; protective ones stay.

    `before` are the entries that worked when the stop was asked for: the watch over stops may have cancelled some of
    them since, and they belong to what the stop brought about.
    """
    entries, protective = await working_entries(desk, scope)
    outcomes = await asyncio.gather(*(cancel_one(order, desk) for order in entries))
    cancelled = {order.perm_id for order in desk.broker.known_orders() if order.status is OrderStatus.CANCELLED}
    already = [order.perm_id for order in before if order not in entries and order.perm_id in cancelled]
    now = [order.perm_id for order, left in zip(entries, outcomes, strict=True) if left is None]
    return Entries(
        cancelled=tuple(dict.fromkeys([*already, *now])),
        left=tuple(left for left in outcomes if left is not None),
        protective_kept=tuple(order.perm_id for order in protective),
    )


async def _members(desk: Desk, scope: str) -> Callable[[BrokerOrder], bool]:
    """Which orders belong to a scope: an instrument's by their contract, a strategy's by who asked for them."""
    con_id, strategy = scopes.instrument_of(scope), scopes.strategy_of(scope)
    if con_id is not None:
        return lambda order: order.order.instrument.con_id == con_id
    if strategy is None:
        return lambda order: True
    refs = await desk.database.read(lambda connection: intents.working_refs_of(connection, strategy))
    return lambda order: order.order.order_ref in refs


async def cancel_own_entries(desk: Desk) -> tuple[EntryLeft, ...]:
    """Cancel the entry orders that this connection placed (EM-03); returns those that still work."""
    positions = desk.broker.known_positions()
    entries = [
        order
        for order in desk.broker.known_orders()
        if order.is_working
        and order.placed_here
        and order.client_id == desk.settings.client_id
        and not is_protective(order, positions)
    ]
    outcomes = await asyncio.gather(*(cancel_one(order, desk) for order in entries))
    return tuple(left for left in outcomes if left is not None)


async def cancel_one(order: BrokerOrder, desk: Desk) -> EntryLeft | None:
    """Cancel one order as the coordinator; None when the broker took the cancellation up."""
    operation = Operation(
        tool="stop",
        operation_class=OperationClass.ORDER_CANCELLATION,
        actor=COORDINATOR,
        arguments={"perm_id": order.perm_id},
        draft=OrderReference(perm_id=order.perm_id),
    )
    try:
        await send_order(operation, desk)
    except OperationRefused as refused:
        return EntryLeft(perm_id=order.perm_id, label=order.order.label, reason=str(refused))
    except OperationFailed as failed:
        return EntryLeft(perm_id=order.perm_id, label=order.order.label, reason=str(failed.error))
    return None
