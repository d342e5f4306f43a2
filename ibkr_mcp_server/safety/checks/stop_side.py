"""Stops and triggers lie where they wait, and limits where they can fill once woken (ORD-11)."""

from __future__ import annotations

from dataclasses import dataclass

from ibkr_mcp_server.domain.operations import Operation, Problem
from ibkr_mcp_server.domain.order_types import Term, terms_of
from ibkr_mcp_server.domain.orders import Order, OrderType, Side
from ibkr_mcp_server.safety.codes import Code, problem
from ibkr_mcp_server.safety.decision import PASSED, Findings
from ibkr_mcp_server.safety.snapshot import Snapshot


@dataclass(frozen=True, kw_only=True)
class StopSide:
    """Refuses a stop that would wake at once, and a stop-limit whose limit is passed before its stop.

    The stop of a sell lies below the market and that of a buy above it; the trigger of a touched order the other way
    round. A stop that a change leaves where it is was judged before.
    """

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        order, reference, current = seen.order, seen.observed.reference_price, seen.observed.current
        if order is None or order.stop_price is None or terms_of(order.order_type).stop_price is Term.NONE:
            return PASSED
        found: list[Problem] = []
        moved = current is None or order.stop_price != current.order.stop_price
        if moved and reference is not None:  # without a reference the price check refuses
            touched = terms_of(order.order_type).wakes_when_touched
            waits_above = (order.side is Side.BUY) is not touched
            waits = order.stop_price > reference if waits_above else order.stop_price < reference
            if not waits:
                side, name = ("above" if waits_above else "below"), ("trigger" if touched else "stop")
                text = (
                    f"The {name} {order.stop_price:f} of a {order.side} {order.order_type} order must lie {side} the "
                    f"market, which is {reference:f}: it would wake at once."
                )
                limit = f"{side} {reference:f}"
                found.append(problem(Code.STOP_ON_WRONG_SIDE, text, observed=f"{order.stop_price:f}", limit=limit))
        found += limit_problems(order)
        return Findings(problems=tuple(found), observed=f"stop {order.stop_price:f}")


def limit_problems(order: Order) -> list[Problem]:
    """What is wrong with the limit of a stop-limit order, beside its stop."""
    if order.order_type is not OrderType.STP_LMT or order.limit_price is None or order.stop_price is None:
        return []
    if (order.limit_price - order.stop_price) * order.side.sign >= 0:
        return []
    side = "at or above" if order.side is Side.BUY else "at or below"
    text = (
        f"The limit {order.limit_price:f} of a {order.side} STP LMT order must lie {side} its stop "
        f"{order.stop_price:f}, or it may never fill."
    )
    return [problem(Code.STOP_ON_WRONG_SIDE, text, observed=f"{order.limit_price:f}", limit=f"{side} the stop")]
