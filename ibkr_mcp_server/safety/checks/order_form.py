"""The order is well formed: instrument, quantity, the terms of its type, and their grids (ORD-01..ORD-05)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from ibkr_mcp_server.domain.instruments import Instrument, SecType
from ibkr_mcp_server.domain.money import on_grid, round_to_grid
from ibkr_mcp_server.domain.operations import Operation, Problem
from ibkr_mcp_server.domain.order_types import Term, terms_of
from ibkr_mcp_server.domain.orders import Order, TimeInForce
from ibkr_mcp_server.safety.codes import Code, problem
from ibkr_mcp_server.safety.decision import PASSED, Findings, refuses
from ibkr_mcp_server.safety.snapshot import Snapshot

ZERO, ONE = Decimal(0), Decimal(1)


@dataclass(frozen=True, kw_only=True)
class OrderForm:
    """All faults are told together (ORD-05)."""

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        found = list(seen.observed.problems)
        if operation.problems:
            # That of a tool which does not exist is told by its own rule.
            found = [told for told in operation.problems if told.code != Code.UNKNOWN_TOOL] + found
        order = seen.order
        if order is not None:
            current = seen.observed.current
            before = None if current is None else current.order
            found += _type_problems(order)
            found += _quantity_problems(order)
            found += _term_problems(order, before)
            if before is None or order.good_till_date != before.good_till_date:
                found += _end_problems(order, seen.now)
            for name, leg in seen.placed[1:]:
                found += [replace(told, message=f"{name}{told.message}") for told in _term_problems(leg, None)]
        return refuses(*found) if found else PASSED


def _type_problems(order: Order) -> Sequence[Problem]:
    if order.instrument.sec_type is not SecType.IND:
        return ()
    text = f"{order.instrument.label} is an index: it has a level and cannot be traded."
    return [problem(Code.NOT_TRADABLE, text, observed=order.instrument.sec_type)]


def _quantity_problems(order: Order) -> Sequence[Problem]:
    quantity, step, least = order.quantity, order.instrument.size_increment, order.instrument.min_size
    if not quantity.is_finite() or quantity <= ZERO:
        text = f"The quantity is {quantity}; it must be a number above zero."
        return [problem(Code.INVALID_QUANTITY, text, observed=quantity)]
    if step is None or step <= ZERO:
        text = f"The broker did not tell the quantity step of {order.instrument.label}."
        return [problem(Code.CONTRACT_RULES_UNKNOWN, text)]
    # The broker's own step is finer for fractional trading; orders through its API are whole units for stocks.
    step = tradable_step(order.instrument, step)
    if not on_grid(quantity, step):
        text = f"The quantity {quantity:f} is not a multiple of {step:f}."
        return [problem(Code.QUANTITY_STEP, text, observed=quantity, limit=step)]
    if least is not None and quantity < least:
        text = f"The quantity {quantity:f} is below the contract's minimum of {least:f}."
        return [problem(Code.QUANTITY_STEP, text, observed=quantity, limit=least)]
    return ()


def tradable_step(instrument: Instrument, step: Decimal) -> Decimal:
    """IBKR reports 0.0001 for stocks that trade in fractions by amount; orders by quantity are whole shares."""
    return max(step, ONE) if instrument.sec_type in ("STK", "OPT", "FUT", "CASH") else step


def _term_problems(order: Order, before: Order | None) -> Sequence[Problem]:
    """Each term that the type needs is there, on the price grid, and no other; what a change keeps is not judged."""
    found: list[Problem] = []
    terms = terms_of(order.order_type)
    for name, term in terms.prices:
        value = getattr(order, name)
        if value is None and term is not Term.REQUIRED:
            continue
        if before is not None and value == getattr(before, name):
            continue
        if value is None:
            found.append(problem(Code.PRICE_MISSING, f"A {order.order_type} order needs {name}."))
        elif term is Term.NONE:
            found.append(problem(Code.PRICE_NOT_EXPECTED, f"A {order.order_type} order has no {name}."))
        elif not value.is_finite() or value <= ZERO:
            text = f"{name} is {value}; it must be a number above zero."
            found.append(problem(Code.INVALID_PRICE, text, observed=value))
        else:
            found += _grid_problems(order, name, value)
    found += _trailing_problems(order, trails=terms.trails)
    return found


def _trailing_problems(order: Order, *, trails: bool) -> Sequence[Problem]:
    amount, percent = order.trailing_amount, order.trailing_percent
    if not trails:
        if percent is None:
            return ()
        return [problem(Code.PRICE_NOT_EXPECTED, f"A {order.order_type} order has no trailing_percent.")]
    if (amount is None) == (percent is None):
        text = f"A {order.order_type} order needs either trailing_amount or trailing_percent."
        return [problem(Code.PRICE_MISSING if amount is None else Code.PRICE_NOT_EXPECTED, text)]
    if percent is not None and not (percent.is_finite() and 0 < percent < 100):
        text = f"trailing_percent is {percent}; it must lie between 0 and 100 (2 means 2 %)."
        return [problem(Code.INVALID_PRICE, text, observed=percent)]
    return ()


def _end_problems(order: Order, now: datetime) -> Sequence[Problem]:
    until = order.good_till_date
    if order.time_in_force is not TimeInForce.GTD:
        if until is None:
            return ()
        text = f"good_till_date is for tif GTD; this order is {order.time_in_force}."
        return [problem(Code.GOOD_TILL_DATE, text)]
    if until is None:
        return [problem(Code.GOOD_TILL_DATE, "A GTD order needs good_till_date.")]
    if until <= now:
        text = f"good_till_date {until:%Y-%m-%d %H:%M:%S} UTC has passed; it is {now:%Y-%m-%d %H:%M:%S} UTC."
        return [problem(Code.GOOD_TILL_DATE, text, observed=f"{until:%Y-%m-%d %H:%M:%S} UTC")]
    return ()


def _grid_problems(order: Order, name: str, price: Decimal) -> Sequence[Problem]:
    increment = order.instrument.price_increment(price)
    if increment is None or increment <= ZERO:
        text = f"The broker did not tell the price increment of {order.instrument.label}."
        return [problem(Code.CONTRACT_RULES_UNKNOWN, text)]
    if on_grid(price, increment):
        return ()
    below = round_to_grid(price, increment, up=False)
    above = round_to_grid(price, increment, up=True)
    text = f"{name} {price:f} is off the price grid of {increment:f}; the neighbours are {below:f} and {above:f}."
    return [problem(Code.PRICE_TICK, text, observed=price, limit=increment)]
