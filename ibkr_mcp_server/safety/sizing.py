"""How large an order may be (PL-16): the most that every rule lets pass, what stops one step more, and when it may go.

Rules that only ask for time, such as a pause between orders, are told apart: they bound the moment, not the size.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_CEILING, Decimal

from ibkr_mcp_server.safety.decision import Sizing, Validation

MOST_STEPS = 1 << 40
"""No quantity beyond so many steps is tried; then nothing bounds it."""

Judge = Callable[[Decimal], Validation]
"""What all rules say about the order with another quantity."""


def size(judge: Judge, *, smallest: Decimal, step: Decimal) -> Sizing:
    """Search by halving: what passes for a quantity passes for every smaller one down to `smallest`."""
    first = int((max(smallest, step) / step).to_integral_value(ROUND_CEILING))
    at_least = judge(first * step)
    waits = {
        (check, found.code): found.retry_after_seconds
        for check, found in at_least.failures
        if found.retry_after_seconds is not None
    }
    wait_seconds = max(waits.values(), default=0.0)

    def refused(validation: Validation) -> tuple[str, ...]:
        found = (problem.code for check, problem in validation.failures if (check, problem.code) not in waits)
        return tuple(dict.fromkeys(found))

    bound_by = refused(at_least)
    if bound_by:
        return Sizing(largest=Decimal(0), bound_by=bound_by, wait_seconds=wait_seconds)
    passes, fails = first, first
    while fails <= MOST_STEPS:
        fails = passes * 2
        bound_by = refused(judge(fails * step))
        if bound_by:
            break
        passes = fails
    else:
        return Sizing(largest=passes * step, bound_by=(), wait_seconds=wait_seconds)
    while fails - passes > 1:
        middle = (passes + fails) // 2
        codes = refused(judge(middle * step))
        if codes:
            fails, bound_by = middle, codes
        else:
            passes = middle
    return Sizing(largest=passes * step, bound_by=bound_by, wait_seconds=wait_seconds)
