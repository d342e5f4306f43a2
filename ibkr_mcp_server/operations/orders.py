"""Orders: judge, place, change, cancel, and follow them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from ibkr_mcp_server.domain.operations import Operation, OrderReference
from ibkr_mcp_server.domain.orders import BrokerOrder, Execution, Order
from ibkr_mcp_server.errors import Refused, Unavailable
from ibkr_mcp_server.operations.desk import Desk
from ibkr_mcp_server.operations.safe_operation import Access, Answer, safe_trading_operation
from ibkr_mcp_server.safety.codes import CODES, Code
from ibkr_mcp_server.safety.decision import Decision, Verdict
from ibkr_mcp_server.safety.identity import carries
from ibkr_mcp_server.store import intents
from ibkr_mcp_server.store.intents import Intent

NEVER = datetime.min.replace(tzinfo=UTC)
"""Sorts orders without a time of completion behind all others."""


async def send_order(operation: Operation, desk: Desk) -> Answer[BrokerOrder]:
    """Place, modify or cancel, whichever `operation` is, and return the broker's first word."""

    async def act(access: Access) -> BrokerOrder:
        return await access.send()

    return await safe_trading_operation(operation, act, desk=desk)


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What every rule says about an order that is not sent."""

    decision: Decision
    order: Order | None
    verdicts: Sequence[Verdict]

    @property
    def would_be_approved(self) -> bool:
        return self.decision.validation.is_safe


async def check_order(operation: Operation, desk: Desk) -> Preview:
    """Judge an order by every rule at once; nothing is reserved and nothing is sent."""

    async def act(access: Access) -> Preview:
        decision = access.decision
        return Preview(decision=decision, order=decision.seen.order, verdicts=decision.validation.verdicts)

    answer = await safe_trading_operation(replace(operation, preview=True), act, desk=desk)
    assert answer.result is not None
    return answer.result


@dataclass(frozen=True, kw_only=True)
class OrderState:
    """An order as the broker tells it, and our own record of having sent it; either may be missing."""

    order: BrokerOrder | None
    intent: Intent | None


async def order_status(operation: Operation, desk: Desk) -> Answer[OrderState]:
    """Where one order stands, by permanent id or by the client_request_id that placed it."""
    reference = operation.draft
    assert isinstance(reference, OrderReference)

    async def act(access: Access) -> OrderState:
        return await find_state(access, reference, desk)

    return await safe_trading_operation(operation, act, desk=desk)


async def find_state(access: Access, reference: OrderReference, desk: Desk, *, known_only: bool = False) -> OrderState:
    """What the broker says about an order, and our record of it; `known_only` does not ask the broker again.

    Raises:
        Unavailable: it is not known here, and the broker cannot be asked.
        Refused: nobody knows it.
    """
    intent = None
    if reference.client_request_id is not None:
        key = reference.client_request_id
        intent = await desk.database.read(lambda connection: intents.find_by_key(connection, key))
    order = await _find(access, reference, known_only=known_only)
    if intent is None and order is not None and order.placed_here:
        ref = order.order.order_ref
        intent = await desk.database.read(lambda connection: intents.find_by_ref(connection, ref))
    if order is None and intent is None:
        if not access.broker.link.is_up:
            # Not known here, and nobody to ask: that is no proof that the order does not exist.
            raise Unavailable(
                Code.BROKER_UNAVAILABLE,
                f"This server has no record of the order, and the broker cannot be asked: the link is "
                f"{access.broker.link.state}. {access.broker.link.problem or ''}".strip(),
                next_step=CODES[Code.BROKER_UNAVAILABLE].remedy,
            )
        raise Refused(
            Code.ORDER_NOT_FOUND,
            "Neither the broker nor our own record knows this order.",
            next_step=CODES[Code.ORDER_NOT_FOUND].remedy,
        )
    return OrderState(order=order, intent=intent)


async def _find(access: Access, reference: OrderReference, *, known_only: bool) -> BrokerOrder | None:
    perm_id, key = reference.perm_id, reference.client_request_id

    def fits(order: BrokerOrder) -> bool:
        same_id = perm_id is None or order.perm_id == perm_id
        return same_id and (key is None or carries(order.order.order_ref, key))

    if known_only or not access.broker.link.is_up:
        return next(filter(fits, access.broker.known_orders()), None)
    for orders in (await access.broker.open_orders(), access.broker.known_orders()):
        found = next(filter(fits, orders), None)
        if found is not None:
            return found
    return next(filter(fits, await access.broker.completed_orders()), None)


async def open_orders(operation: Operation, desk: Desk) -> Answer[Sequence[BrokerOrder]]:
    """All working orders of all clients, read from the broker now."""

    async def act(access: Access) -> Sequence[BrokerOrder]:
        orders = await access.broker.open_orders()
        return [order for order in orders if operation.account in (None, order.order.account)]

    return await safe_trading_operation(operation, act, desk=desk)


async def completed_orders(operation: Operation, desk: Desk) -> Answer[Sequence[BrokerOrder]]:
    """The trading day's finished orders of all clients, newest first; those without a time last."""

    async def act(access: Access) -> Sequence[BrokerOrder]:
        orders = await access.broker.completed_orders()
        mine = [order for order in orders if operation.account in (None, order.order.account)]
        return sorted(mine, key=lambda order: order.completed_at or NEVER, reverse=True)

    return await safe_trading_operation(operation, act, desk=desk)


async def executions(operation: Operation, desk: Desk) -> Answer[Sequence[Execution]]:
    """The trading day's fills of all clients, newest first."""

    async def act(access: Access) -> Sequence[Execution]:
        fills = await access.broker.executions()
        mine = [fill for fill in fills if operation.account in (None, fill.account)]
        return sorted(mine, key=lambda fill: fill.executed_at, reverse=True)

    return await safe_trading_operation(operation, act, desk=desk)
