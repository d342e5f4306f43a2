"""The order is well formed: instrument, quantity, prices, and their grids (ORD-01..ORD-05)."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from ibkr_mcp_server.domain.instruments import SecType
from ibkr_mcp_server.domain.money import on_grid, round_to_grid
from ibkr_mcp_server.domain.operations import Operation, Problem
from ibkr_mcp_server.domain.orders import Order, OrderType
from ibkr_mcp_server.safety.decision import Code, Findings, problem
from ibkr_mcp_server.safety.snapshot import Snapshot

_NEEDS_LIMIT = frozenset({OrderType.LMT, OrderType.STP_LMT})
_NEEDS_STOP = frozenset({OrderType.STP, OrderType.STP_LMT})


@dataclass(frozen=True, kw_only=True)
class OrderForm:
    """All faults are told together (ORD-05)."""

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        # That of a tool which does not exist is told by its own rule.
        asked = [found for found in operation.problems if found.code != Code.UNKNOWN_TOOL]
        found = [*asked, *seen.observed.problems]
        order = seen.order
        if order is not None:
            found += _type_problems(order)
            found += _quantity_problems(order)
            found += _price_problems(order)
        return Findings(problems=tuple(found))


def _type_problems(order: Order) -> list[Problem]:
    if order.instrument.sec_type is not SecType.IND:
        return []
    text = f"{order.instrument.label} is an index: it has a level and cannot be traded."
    return [problem(Code.NOT_TRADABLE, text, observed=order.instrument.sec_type)]


def _quantity_problems(order: Order) -> list[Problem]:
    quantity, step, least = order.quantity, order.instrument.size_increment, order.instrument.min_size
    if not quantity.is_finite() or quantity <= 0:
        text = f"The quantity is {quantity}; it must be a number above zero."
        return [problem(Code.INVALID_QUANTITY, text, observed=quantity)]
    if step is None or step <= 0:
        text = f"The broker did not tell the quantity step of {order.instrument.label}."
        return [problem(Code.CONTRACT_RULES_UNKNOWN, text)]
    # The broker's own step is finer for fractional trading; orders through its API are whole units for stocks.
    step = _tradable_step(order, step)
    if not on_grid(quantity, step):
        text = f"The quantity {quantity:f} is not a multiple of {step:f}."
        return [problem(Code.QUANTITY_STEP, text, observed=quantity, limit=step)]
    if least is not None and quantity < least:
        text = f"The quantity {quantity:f} is below the contract's minimum of {least:f}."
        return [problem(Code.QUANTITY_STEP, text, observed=quantity, limit=least)]
    return []


def _tradable_step(order: Order, step: Decimal) -> Decimal:
    """IBKR reports 0.0001 for stocks that trade in fractions by amount; orders by quantity are whole shares."""
    return max(step, Decimal(1)) if order.instrument.sec_type in ("STK", "OPT", "FUT", "CASH") else step


def _price_problems(order: Order) -> list[Problem]:
    found: list[Problem] = []
    for name, price, needed in (
        ("limit_price", order.limit_price, order.order_type in _NEEDS_LIMIT),
        ("stop_price", order.stop_price, order.order_type in _NEEDS_STOP),
    ):
        if price is None:
            if needed:
                found.append(problem(Code.PRICE_MISSING, f"A {order.order_type} order needs {name}."))
            continue
        if not needed and order.order_type in (OrderType.MKT, OrderType.LMT, OrderType.STP):
            found.append(problem(Code.PRICE_NOT_EXPECTED, f"A {order.order_type} order has no {name}."))
        elif not price.is_finite() or price <= 0:
            text = f"{name} is {price}; it must be a number above zero."
            found.append(problem(Code.INVALID_PRICE, text, observed=price))
        else:
            found += _grid_problems(order, name, price)
    return found


def _grid_problems(order: Order, name: str, price: Decimal) -> list[Problem]:
    increment = order.instrument.price_increment(price)
    if increment is None or increment <= 0:
        text = f"The broker did not tell the price increment of {order.instrument.label}."
        return [problem(Code.CONTRACT_RULES_UNKNOWN, text)]
    if on_grid(price, increment):
        return []
    below = round_to_grid(price, increment, up=False)
    above = round_to_grid(price, increment, up=True)
    text = f"{name} {price:f} is off the price grid of {increment:f}; the neighbours are {below:f} and {above:f}."
    return [problem(Code.PRICE_TICK, text, observed=price, limit=increment)]
