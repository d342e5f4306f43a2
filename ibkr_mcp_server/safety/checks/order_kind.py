"""Which order types and times in force are allowed (ORD-10)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property

from ibkr_mcp_server.clock import next_trading_day_starts
from ibkr_mcp_server.domain.operations import Operation, Problem
from ibkr_mcp_server.domain.order_types import terms_of
from ibkr_mcp_server.domain.orders import Order, OrderType, TimeInForce
from ibkr_mcp_server.safety.codes import Code, problem
from ibkr_mcp_server.safety.decision import PASSED, Findings, judged
from ibkr_mcp_server.safety.snapshot import Snapshot
from ibkr_mcp_server.safety.state import Action


@dataclass(frozen=True, kw_only=True)
class OrderKind:
    """GTC is for protective orders only: an entry must not outlive the day in which it was judged."""

    types: tuple[str, ...]
    times_in_force: tuple[str, ...]

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        order, exits = seen.order, seen.observed.exits
        if order is None:
            return PASSED
        found: list[Problem] = []
        for name, placed in seen.placed:
            protects = seen.observed.action is Action.PROTECT if exits is None else placed is exits.stop_loss
            problems = self._problems(placed, protects, seen.now)
            found += [replace(told, message=name + told.message) for told in problems] if name else problems
        return judged(found, f"{order.order_type} {order.time_in_force}", None)

    def _problems(self, order: Order, protects: bool, now: datetime) -> list[Problem]:
        found = []
        if order.order_type not in self.types:
            limit = ", ".join(self.types)
            text = f"Order type {order.order_type} is not allowed; allowed are {limit}."
            found.append(problem(Code.ORDER_TYPE_NOT_ALLOWED, text, observed=order.order_type, limit=limit))
        allowed = (self._for_protection if protects else self._for_others)[order.order_type]
        if order.time_in_force not in allowed:
            limit = ", ".join(allowed)
            text = (
                f"Time in force {order.time_in_force} is not allowed for this {order.order_type} order; "
                f"allowed: {limit}."
            )
            found.append(problem(Code.TIME_IN_FORCE_NOT_ALLOWED, text, observed=order.time_in_force, limit=limit))
        elif not protects and order.good_till_date is not None:
            found += _too_long(order.good_till_date, next_trading_day_starts(now))
        return found

    @cached_property
    def _for_protection(self) -> Mapping[OrderType, tuple[str, ...]]:
        """The times in force that each type may have."""
        return {
            order_type: tuple(name for name in self.times_in_force if name in terms_of(order_type).times_in_force)
            for order_type in OrderType
        }

    @cached_property
    def _for_others(self) -> Mapping[OrderType, tuple[str, ...]]:
        return {
            order_type: tuple(name for name in fitting if name != TimeInForce.GTC)
            for order_type, fitting in self._for_protection.items()
        }


def _too_long(until: datetime, day_ends: datetime) -> list[Problem]:
    """An entry must not outlive the day in which it was judged."""
    if until <= day_ends:
        return []
    limit = f"{day_ends:%Y-%m-%d %H:%M} UTC"
    text = f"good_till_date {until:%Y-%m-%d %H:%M} UTC lies after the end of the trading day, {limit}."
    return [problem(Code.TIME_IN_FORCE_NOT_ALLOWED, text, observed=f"{until:%Y-%m-%d %H:%M} UTC", limit=limit)]
