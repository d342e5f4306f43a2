"""What already works at the broker: how many orders, how many stops, and no trade against oneself."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

from ibkr_mcp_server.domain.operations import Operation
from ibkr_mcp_server.domain.orders import STOP_TYPES, Order, OrderType
from ibkr_mcp_server.safety.codes import Code, problem
from ibkr_mcp_server.safety.decision import PASSED, Findings, beyond, judged, passes, refuses
from ibkr_mcp_server.safety.snapshot import Snapshot
from ibkr_mcp_server.safety.state import Action

WAITING = STOP_TYPES | {OrderType.MIT, OrderType.LIT}
"""Types that rest at the broker until the market reaches their trigger."""


@dataclass(frozen=True, kw_only=True)
class WorkingOrders:
    """Caps the working orders of an account and of a symbol; only opening orders are refused (ORD-13)."""

    per_account: int
    per_symbol: int

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        order = seen.order
        if order is None or not seen.opens or seen.observed.current is not None:
            return PASSED
        working = seen.observed.working
        con_id = order.instrument.con_id
        same = [other for other in working if other.order.instrument.con_id == con_id]
        observed = f"{len(working)} working, {len(same)} of them in {order.instrument.label}"
        limit = self._limit
        found = []
        added = len(seen.placed)  # a bracket adds three (ORD-20)
        if len(same) + added > self.per_symbol:
            text = f"{len(same)} orders in {order.instrument.label} work already; the limit is {self.per_symbol}."
            found.append(problem(Code.WORKING_ORDERS_LIMIT, text, observed=observed, limit=limit))
        elif len(working) + added > self.per_account:
            text = f"{len(working)} orders work in the account already; the limit is {self.per_account}."
            found.append(problem(Code.WORKING_ORDERS_LIMIT, text, observed=observed, limit=limit))
        return judged(found, observed, limit)

    @cached_property
    def _limit(self) -> str:
        return f"{self.per_account} per account, {self.per_symbol} per symbol"


@dataclass(frozen=True, kw_only=True)
class StopLossOrders:
    """With `most` working stops nothing more is opened; a stop that protects a position is never refused (ORD-12)."""

    most: int

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        order = seen.order
        if order is None:
            return PASSED
        stops = len([other for other in seen.observed.working if other.order.order_type in STOP_TYPES])
        observed, limit = f"{stops} working stops", f"{self.most}"
        if stops < self.most or seen.observed.current is not None:
            return passes(observed, limit)
        text = f"{stops} stop orders work already; the limit is {self.most}."
        if seen.opens:
            return beyond(problem(Code.STOP_LOSS_ORDERS_LIMIT, text, observed=observed, limit=limit))
        protects = seen.observed.action is Action.PROTECT
        warnings = (f"{text} This one protects a position and passes.",) if protects else ()
        return Findings(warnings=warnings, observed=observed, limit=limit)


@dataclass(frozen=True, kw_only=True)
class SelfMatch:
    """Refuses an opening order that could trade against an own working order (ORD-24).

    Orders that wait for a trigger are not in the book, on either side; a protective stop must not keep entries out.
    """

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        order = seen.order
        if order is None or not seen.opens or order.order_type in WAITING:
            return PASSED
        mine = _limit(order)
        for other in seen.observed.working:
            if not other.placed_here or other.order.instrument.con_id != order.instrument.con_id:
                continue
            if other.order.side is order.side or other.parent_perm_id or other.order.order_type in WAITING:
                continue
            theirs = _limit(other.order)
            if theirs is None or mine is None or (mine - theirs) * order.side.sign >= 0:
                own = f"{other.order.side} {other.order.quantity:f} {other.order.order_type}"
                text = f"It could trade against the own working order {other.perm_id} ({own} at {theirs})."
                return refuses(problem(Code.SELF_MATCH, text, observed=mine, limit=theirs))
        return PASSED


def _limit(order: Order) -> Decimal | None:
    """The worst price it may trade at; None when nothing but the market bounds it, or it waits for a trigger."""
    return order.limit_price if order.limit_price is not None else order.cap_price
