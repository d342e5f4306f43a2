"""Which of our orders exist at the broker? A pure comparison of references with the broker's own records.

An order is ours by its reference first and by its permanent id second (ID-07). Order ids are never compared: a
restarted gateway may hand them out again, and a match would credit one order with the fate of another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from ibkr_mcp_server.domain.orders import ORDER_REF_PREFIX, BrokerOrder, Execution, Order, OrderStatus, OrderType, Side


@dataclass(frozen=True, kw_only=True)
class Unresolved:
    """An order that left, or may have left, and whose fate is not known."""

    order_ref: str
    con_id: int
    side: Side
    account: str
    quantity: Decimal
    order_type: OrderType
    perm_id: int = 0
    """0 when the broker never told it."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What the broker's records say about one reference."""

    order_ref: str
    order: BrokerOrder | None = None
    """The order as the broker holds it; None when it is absent, or when `conflicts` are not empty."""
    conflicts: tuple[BrokerOrder, ...] = ()
    """Records that claim the reference and contradict the intention or each other: nothing is attributed."""

    @property
    def is_absent(self) -> bool:
        return self.order is None and not self.conflicts


def reconcile(
    unresolved: Sequence[Unresolved],
    *,
    open_orders: Sequence[BrokerOrder],
    completed_orders: Sequence[BrokerOrder],
    executions: Sequence[Execution],
) -> list[Finding]:
    """One finding for each reference, in the order given.

    The three lists must be complete answers of the broker, taken after the link came up; absence in them proves
    nothing before a quiet period has passed (ID-10).
    """
    records: dict[str, list[BrokerOrder]] = {}
    for record in _newest_by_perm_id([*open_orders, *completed_orders]):
        records.setdefault(record.order.order_ref, []).append(record)
    return [_find(one, records, executions) for one in unresolved]


def _find(one: Unresolved, records: Mapping[str, Sequence[BrokerOrder]], executions: Sequence[Execution]) -> Finding:
    claims = list(records.get(one.order_ref, ()))
    if not claims and one.perm_id:
        # A record with another reference belongs to another order, whatever its id.
        claims = [record for record in records.get("", ()) if record.perm_id == one.perm_id]
    if not claims:
        seen = _from_fills(one, executions)
        claims = [seen] if seen is not None else []
    if not claims:
        return Finding(order_ref=one.order_ref)
    if len(claims) > 1 or not _agrees(claims[0].order, one):
        return Finding(order_ref=one.order_ref, conflicts=tuple(claims))
    return Finding(order_ref=one.order_ref, order=claims[0])


def _agrees(held: Order, intended: Unresolved) -> bool:
    return (held.instrument.con_id, held.side, held.account) == (intended.con_id, intended.side, intended.account)


def _newest_by_perm_id(orders: Iterable[BrokerOrder]) -> list[BrokerOrder]:
    """One record for each permanent id; a finished one is newer than a working one."""
    newest: dict[int, BrokerOrder] = {}
    unnamed = []
    for order in orders:
        if not order.perm_id:
            unnamed.append(order)
        elif (known := newest.get(order.perm_id)) is None or known.is_working:
            newest[order.perm_id] = order
    return [*newest.values(), *unnamed]


def _from_fills(one: Unresolved, executions: Sequence[Execution]) -> BrokerOrder | None:
    """An order that the lists no longer show, put together from its fills."""
    fills = [fill for fill in executions if fill.order_ref == one.order_ref]
    if not fills and one.perm_id:
        fills = [fill for fill in executions if fill.perm_id == one.perm_id and not fill.order_ref]
    if not fills:
        return None
    first = fills[0]
    filled = sum((fill.quantity for fill in fills), Decimal())
    value = sum((fill.quantity * fill.price for fill in fills), Decimal())
    remaining = max(Decimal(), one.quantity - filled)
    held = Order(
        instrument=first.instrument,
        account=first.account,
        side=first.side,
        quantity=one.quantity,
        order_type=one.order_type,
        order_ref=one.order_ref,
    )
    return BrokerOrder(
        order=held,
        perm_id=first.perm_id,
        order_id=first.order_id,
        client_id=first.client_id,
        # Partly filled and listed nowhere: it counts as working until the broker says how it ended.
        status=OrderStatus.SUBMITTED if remaining else OrderStatus.FILLED,
        filled=filled,
        remaining=remaining,
        average_fill_price=value / filled if filled else None,
        last_message="Known only through its fills.",
        placed_here=one.order_ref.startswith(ORDER_REF_PREFIX),
        updated_at=max(fill.executed_at for fill in fills),
    )
