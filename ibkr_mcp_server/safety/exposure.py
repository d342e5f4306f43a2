"""What an order does to the position: opens, reduces, or protects.

The sign test of the requirements' section 0: a reducing order strictly lowers the absolute projected position and
never crosses zero, counting every working order that could fill before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import cached_property

from ibkr_mcp_server.domain.accounts import Position
from ibkr_mcp_server.domain.orders import STOP_TYPES, BrokerOrder, Order, OrderType, Side, TimeInForce
from ibkr_mcp_server.safety.state import Action
from ibkr_mcp_server.store.intents import Intent

ZERO = Decimal(0)


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """One instrument in one account, as the broker last told it."""

    position: Decimal | None
    """Signed; None while the broker has not reported positions: then nothing counts as reducing."""
    working_buys: Decimal
    working_sells: Decimal

    def reducible(self, side: Side) -> Decimal:
        """How much an order of `side` may trade and still be a verified reduction.

        Working orders on the same side use it up first: both could fill.
        """
        if self.position is None:
            return ZERO
        if side is Side.SELL:
            return max(ZERO, self.position - self.working_sells)
        return max(ZERO, -self.position - self.working_buys)


@dataclass(frozen=True, kw_only=True)
class Holdings:
    """What the broker told, taken at one moment."""

    positions: Sequence[Position] | None
    orders: Sequence[BrokerOrder]
    unsettled: Mapping[int, Decimal] = field(default_factory=dict)
    """Fills of the account in question that its positions may not include yet: signed quantity by contract id."""
    industries: Mapping[int, str] = field(default_factory=dict)
    """By contract id, of the contracts that the broker described; what is missing is unknown."""

    @cached_property
    def working(self) -> tuple[BrokerOrder, ...]:
        """Of all the orders of the day, those that may still trade."""
        return tuple(order for order in self.orders if order.is_working)


def exposure_of(
    con_id: int,
    account: str,
    positions: Iterable[Position] | None,
    orders: Sequence[BrokerOrder],
    *,
    replaced: BrokerOrder | None = None,
    reserved: Iterable[tuple[Side, Decimal]] = (),
    unsettled: Decimal = ZERO,
) -> Exposure:
    """Gather the exposure in one instrument.

    `replaced` is an order that is about to be changed: it and those that share its quantity are left out, and if it
    waits for a parent, the position is the one that the parent makes.
    """
    position: Decimal | None = None
    if positions is not None:
        position = sum(
            (held.quantity for held in positions if held.instrument.con_id == con_id and held.account == account), ZERO
        )
        if position * unsettled < 0:
            position += unsettled  # a fill that lowers the position counts before the broker has booked it
        parent = None if replaced is None else working_parent(replaced, orders)
        if parent is not None:
            position += parent.remaining * parent.order.side.sign
    left_out = None if replaced is None else shared_with(replaced)
    working: dict[Side, dict[object, Decimal]] = {Side.BUY: {}, Side.SELL: {}}
    for order in orders:
        same = (order.order.instrument.con_id, order.order.account) == (con_id, account)
        share = shared_with(order)
        if same and order.is_working and share != left_out:
            shares = working[order.order.side]
            shares[share] = max(shares.get(share, ZERO), may_fill(order, orders))
    sums = {side: sum(shares.values(), ZERO) for side, shares in working.items()}
    for side, quantity in reserved:
        sums[side] += quantity
    return Exposure(position=position, working_buys=sums[Side.BUY], working_sells=sums[Side.SELL])


def shared_with(order: BrokerOrder) -> object:
    """Orders with an equal answer share one quantity: the members of an OCA group, the exits of one bracket."""
    if order.oca_group:
        return order.oca_group
    return ("parent", order.parent_perm_id) if order.parent_perm_id else ("order", order.perm_id or order.order_id)


def may_fill(order: BrokerOrder, orders: Iterable[BrokerOrder]) -> Decimal:
    """Units that a working order may still trade; of one that waits for a parent, what the parent has filled."""
    parent = working_parent(order, orders)
    return order.remaining if parent is None else min(order.remaining, parent.filled)


def working_parent(order: BrokerOrder, orders: Iterable[BrokerOrder]) -> BrokerOrder | None:
    """The order that must fill before `order` may, while it has not; None when nothing holds it back."""
    if not order.parent_perm_id:
        return None
    return next((other for other in orders if other.perm_id == order.parent_perm_id and other.is_working), None)


def action_of(order: Order, exposure: Exposure, *, already_filled: Decimal = ZERO) -> Action:
    """Whether `order` opens, reduces or protects."""
    remaining = order.quantity - already_filled
    if remaining <= exposure.reducible(order.side):
        return Action.PROTECT if order.order_type in STOP_TYPES else Action.REDUCE
    return Action.OPEN


def is_protective(order: BrokerOrder, positions: Iterable[Position] | None, orders: Iterable[BrokerOrder] = ()) -> bool:
    """A working stop that reduces a held position, or the one that its parent is about to make.

    While positions are unknown every stop counts as protective: taking protection away must not happen by mistake.
    """
    if order.order.order_type not in STOP_TYPES:
        return False
    if positions is None or working_parent(order, orders) is not None:
        return True
    held = exposure_of(order.order.instrument.con_id, order.order.account, positions, ())
    return held.position is not None and held.position * order.order.side.sign < 0


def reserved_by(
    unresolved: Iterable[Intent], orders: Iterable[BrokerOrder], con_id: int, account: str
) -> list[tuple[Side, Decimal]]:
    """What intents may still trade that the broker has not told of yet.

    An order that was decided on a moment ago, and one whose outcome is unknown, both count as if they were working; a
    modification counts in full, because the order it changes may fill with the new quantity. The exits of a bracket
    were decided on together and share one quantity.
    """
    reserved: dict[tuple[str, Side], Decimal] = {}
    for intent in _untold(unresolved, orders):
        if (intent.con_id, intent.account) == (con_id, account):
            key = intent.decision_id, Side(intent.side)
            reserved[key] = max(reserved.get(key, ZERO), intent.quantity)
    return [(side, quantity) for (_, side), quantity in reserved.items()]


def reserved_openings(unresolved: Iterable[Intent], orders: Iterable[BrokerOrder], account: str) -> list[Intent]:
    """Opening orders of the account that the broker has not told of, as `reserved_by` counts them.

    What was decided on as a reduction never crosses zero, and so opens nothing.
    """
    return [intent for intent in _untold(unresolved, orders) if intent.opening and intent.account == account]


def reserved_sales(unresolved: Iterable[Intent], orders: Iterable[BrokerOrder], con_id: int, account: str) -> Decimal:
    """Units that reductions will sell of the position, of which the broker has not told.

    The exits of a bracket sell nothing before its entry has bought.
    """
    untold = [one for one in _untold(unresolved, orders) if (one.con_id, one.account) == (con_id, account)]
    entries = {intent.decision_id for intent in untold if intent.opening}
    sales: dict[str, Decimal] = {}
    for intent in untold:
        if intent.side == Side.SELL and not intent.opening and intent.decision_id not in entries:
            sales[intent.decision_id] = max(sales.get(intent.decision_id, ZERO), intent.quantity)
    return sum(sales.values(), ZERO)


def _untold(unresolved: Iterable[Intent], orders: Iterable[BrokerOrder]) -> list[Intent]:
    unresolved = tuple(unresolved)
    if not unresolved:
        return []
    told = {order.order.order_ref for order in orders if order.order.order_ref}
    return [
        intent
        for intent in unresolved
        if intent.kind == "modify" or (intent.kind == "place" and intent.order_ref not in told)
    ]


def opens_more(before: Order, after: Order) -> bool:
    """Whether a modification asks for more than the order it replaces (ORD-19).

    More units, a worse limit, or more time to fill. A trigger that moves either way counts as well: further away it
    may cost more, and closer it wakes an order that might never have traded.
    """
    return (
        after.quantity > before.quantity
        or (not _waits(after) and _is_worse(before, after, "limit_price"))
        or _waking(before) != _waking(after)
        or _life(before) != _life(after)
        or (after.outside_rth and not before.outside_rth)
    )


def weakens_protection(before: Order, after: Order) -> bool:
    """Whether a change of a protective order leaves the position less protected than it was.

    Fewer units, a stop further from the market or trailing wider, a limit closer to its stop (it may be passed over),
    or an end that comes sooner.
    """
    return (
        after.quantity < before.quantity
        or _is_worse(before, after, "stop_price")
        or _trails_wider(before, after)
        or _grew(_room_to_fill(after), _room_to_fill(before))
        or (_life(before) != _life(after) and after.time_in_force is not TimeInForce.GTC)
        or (before.outside_rth and not after.outside_rth)
    )


def _waits(order: Order) -> bool:
    """Its limit follows a stop that the broker moves, so that only the distance between them is anybody's choice."""
    return order.limit_offset is not None and order.order_type is OrderType.TRAIL_LIMIT


def _waking(order: Order) -> tuple[Decimal | None, ...]:
    """What decides when the order wakes, and what it follows."""
    return order.stop_price, order.trailing_amount, order.trailing_percent, order.limit_offset


def _is_worse(before: Order, after: Order, name: str) -> bool:
    """Higher for a buy, lower for a sell."""
    old, new = getattr(before, name), getattr(after, name)
    sign = after.side.sign
    return _grew(None if old is None else old * sign, None if new is None else new * sign)


def _trails_wider(before: Order, after: Order) -> bool:
    return _grew(before.trailing_amount, after.trailing_amount) or _grew(
        before.trailing_percent, after.trailing_percent
    )


def _room_to_fill(order: Order) -> Decimal | None:
    """How far beyond its stop the order may still fill; None when nothing but the market bounds it."""
    if order.limit_offset is not None or order.limit_price is None or order.stop_price is None:
        return order.limit_offset
    return (order.limit_price - order.stop_price) * order.side.sign


def _life(order: Order) -> tuple[TimeInForce, datetime | None]:
    return order.time_in_force, order.good_till_date


def _grew(before: Decimal | None, after: Decimal | None) -> bool:
    """A figure that appears or vanishes cannot be compared, and counts as grown."""
    if before is None or after is None:
        return before is not after
    return after > before
