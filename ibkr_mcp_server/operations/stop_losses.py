"""The stops at the broker, and the positions that none of them covers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from ibkr_mcp_server.domain.accounts import Position
from ibkr_mcp_server.domain.operations import Operation
from ibkr_mcp_server.domain.orders import STOP_TYPES, BrokerOrder
from ibkr_mcp_server.operations.desk import Desk
from ibkr_mcp_server.operations.safe_operation import Access, Answer, safe_trading_operation
from ibkr_mcp_server.safety.exposure import ZERO, is_protective


@dataclass(frozen=True, kw_only=True)
class StopOrder:
    """A working stop."""

    order: BrokerOrder
    protects: bool


@dataclass(frozen=True, kw_only=True)
class Covered:
    """How much of one position working stops cover."""

    position: Position
    covered: Decimal

    @property
    def uncovered(self) -> Decimal:
        return max(ZERO, abs(self.position.quantity) - self.covered)


@dataclass(frozen=True, kw_only=True)
class StopLosses:
    stops: Sequence[StopOrder]
    positions: Sequence[Covered]


async def stop_losses(operation: Operation, desk: Desk) -> Answer[StopLosses]:
    """All working stops of all clients, read from the broker now, beside what is held."""

    async def act(access: Access) -> StopLosses:
        orders = [order for order in await access.broker.open_orders() if order.is_working]
        positions = await access.broker.positions(operation.account)
        stops = [one for one in _stops(orders, positions) if operation.account in (None, one.order.order.account)]
        return StopLosses(stops=stops, positions=[_covered(held, stops) for held in positions])

    return await safe_trading_operation(operation, act, desk=desk)


def coverage(orders: Sequence[BrokerOrder], positions: Sequence[Position]) -> list[Covered]:
    """How much of each position that is held working stops cover."""
    stops = _stops([order for order in orders if order.is_working], positions)
    return [_covered(held, stops) for held in positions if held.quantity]


def _stops(orders: Sequence[BrokerOrder], positions: Sequence[Position]) -> list[StopOrder]:
    return [
        StopOrder(order=order, protects=is_protective(order, positions, orders))
        for order in orders
        if order.order.order_type in STOP_TYPES
    ]


def _covered(held: Position, stops: Sequence[StopOrder]) -> Covered:
    """Stops of one OCA group share their quantity."""
    shares: dict[object, Decimal] = {}
    for stop in stops:
        order = stop.order
        same = (order.order.instrument.con_id, order.order.account) == (held.instrument.con_id, held.account)
        if same and stop.protects and held.quantity * order.order.side.sign < 0:
            share: object = order.oca_group or order.perm_id
            shares[share] = max(shares.get(share, ZERO), order.remaining)
    return Covered(position=held, covered=sum(shares.values(), ZERO))
