"""Cancelling every order of this server, each by an operation of its own: judged, recorded and answered singly."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ibkr_mcp_server.domain.operations import Operation, OrderReference
from ibkr_mcp_server.domain.orders import BrokerOrder
from ibkr_mcp_server.errors import OutcomeUnknown
from ibkr_mcp_server.operations.desk import Desk
from ibkr_mcp_server.operations.orders import send_order
from ibkr_mcp_server.operations.safe_operation import Access, Answer, OperationFailed, safe_trading_operation
from ibkr_mcp_server.safety.decision import OperationRefused, report
from ibkr_mcp_server.safety.exposure import is_protective
from ibkr_mcp_server.safety.identity import part_key


@dataclass(frozen=True, kw_only=True)
class Cancelled:
    """What came of cancelling one order."""

    order: BrokerOrder
    """As the broker told it last."""
    code: str | None = None
    """Why it was not cancelled, or why that is not known; None when the broker took the cancellation."""
    error: str | None = None
    is_unknown: bool = False
    dry_run: bool = False


@dataclass(frozen=True, kw_only=True)
class CancelledOrders:
    """What came of all of them."""

    orders: Sequence[Cancelled]
    protective_kept: Sequence[BrokerOrder]
    not_ours: int
    """Working orders of other clients and of people, which this connection cannot cancel."""


async def cancel_all_orders(operation: Operation, desk: Desk, *, include_protective: bool) -> Answer[CancelledOrders]:
    """Cancel this server's working orders; protective ones only if asked, and only as the safety state permits."""

    async def act(access: Access) -> CancelledOrders:
        listed = await access.broker.open_orders()
        working = [order for order in listed if operation.account in (None, order.order.account)]
        ours = [order for order in working if order.client_id == desk.settings.client_id]
        positions = access.broker.known_positions()
        chosen = [order for order in ours if include_protective or not is_protective(order, positions, ours)]
        parents = {order.perm_id for order in chosen}
        # The exits of a bracket end with their entry, so they are looked at after it.
        last = [order for order in ours if order.parent_perm_id in parents]
        first = [order for order in chosen if order not in last]
        outcomes = [*await _each(first, operation, desk), *await _each(last, operation, desk)]
        kept = [order for order in ours if order not in first and order not in last]
        return CancelledOrders(orders=outcomes, protective_kept=kept, not_ours=len(working) - len(ours))

    return await safe_trading_operation(replace(operation, in_parts=True), act, desk=desk)


async def _each(orders: Sequence[BrokerOrder], whole: Operation, desk: Desk) -> list[Cancelled]:
    return list(await asyncio.gather(*(_cancel(order, whole, desk) for order in orders)))


async def _cancel(order: BrokerOrder, whole: Operation, desk: Desk) -> Cancelled:
    key = whole.client_request_id
    part = replace(
        whole,
        arguments={"perm_id": order.perm_id},
        draft=OrderReference(perm_id=order.perm_id),
        client_request_id=None if key is None else part_key(key, str(order.perm_id)),
    )
    try:
        answer = await send_order(part, desk)
    except OperationRefused as refused:
        told = report(refused.decision)
        return Cancelled(order=_newest(order, desk), code=told.code, error=told.error)
    except OperationFailed as failed:
        return Cancelled(
            order=_newest(order, desk),
            code=failed.error.code,
            error=failed.error.message,
            is_unknown=isinstance(failed.error, OutcomeUnknown),
        )
    return Cancelled(order=answer.result or _newest(order, desk), dry_run=answer.dry_run)


def _newest(order: BrokerOrder, desk: Desk) -> BrokerOrder:
    return next((known for known in desk.broker.known_orders() if known.perm_id == order.perm_id), order)
