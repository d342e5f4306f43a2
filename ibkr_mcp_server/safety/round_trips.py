"""Profits and losses from fills: first in, first out, fees included; pure.

A round trip is one order that closed something: its parts are one trade (T-55), and its profit is what was closed by
it, less the fees of both sides. A streak counts losses in their order, a win ends it, break-even leaves it (T-01).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from ibkr_mcp_server.store.trades import Trade

ZERO = Decimal()
RATED = 50
"""CB-15: the newest round trips of which so many were won."""


@dataclass(frozen=True, kw_only=True)
class RoundTrip:
    """One closing order, and what it earned, in the base currency."""

    account: str
    strategy: str
    con_id: int
    order_key: str
    closed_at: datetime
    profit: Decimal


@dataclass(kw_only=True)
class Lot:
    """What is left of one opening fill."""

    signed: Decimal
    price: Decimal
    fee: Decimal
    """Of one unit, in the base currency."""


@dataclass(frozen=True, kw_only=True)
class Book:
    """What fills come to."""

    trips: tuple[RoundTrip, ...]
    """In the order of their closing."""
    open_lots: Mapping[tuple[str, str, int], tuple[Lot, ...]]
    """By account, strategy and contract."""


Rate = Callable[[str], Decimal]
"""Units of the base currency for one of another."""


def book_of(fills: Iterable[Trade], rate: Rate, *, by_strategy: bool) -> Book:
    """Round trips and open lots; without `by_strategy` what one agent opens another may close."""
    lots: dict[tuple[str, str, int], deque[Lot]] = {}
    trips: dict[tuple[str, int], RoundTrip] = {}
    for fill in fills:
        if not fill.quantity:
            continue
        fee = ZERO if fill.commission is None else fill.commission * rate(fill.commission_currency or fill.currency)
        point = (fill.multiplier or Decimal(1)) * rate(fill.currency)
        key = fill.account, fill.strategy if by_strategy else "", fill.con_id
        held = lots.setdefault(key, deque())
        left, profit, closed = fill.signed, ZERO, False
        while left and held and held[0].signed * left < 0:
            lot = held[0]
            units = min(abs(left), abs(lot.signed))
            sign = 1 if lot.signed > 0 else -1
            profit += sign * units * (fill.price - lot.price) * point
            profit -= units * (lot.fee + fee / fill.quantity)
            lot.signed -= sign * units
            left += sign * units
            closed = True
            if not lot.signed:
                held.popleft()
        if left:
            held.append(Lot(signed=left, price=fill.price, fee=fee / fill.quantity))
        if closed:
            known = trips.pop((fill.order_key, fill.con_id), None)
            trip = RoundTrip(
                account=fill.account,
                strategy=fill.strategy,
                con_id=fill.con_id,
                order_key=fill.order_key,
                closed_at=fill.executed_at,
                profit=profit,
            )
            trips[fill.order_key, fill.con_id] = trip if known is None else replace(trip, profit=known.profit + profit)
    return Book(
        trips=tuple(sorted(trips.values(), key=lambda trip: trip.closed_at)),
        open_lots={key: tuple(held) for key, held in lots.items() if held},
    )


def losses_in_a_row(trips: Sequence[RoundTrip]) -> int:
    streak = 0
    for trip in trips:
        if trip.profit:
            streak = streak + 1 if trip.profit < 0 else 0
    return streak


def win_rate_pct(trips: Sequence[RoundTrip], *, at_least: int) -> Decimal | None:
    """Of the newest round trips; None while there are too few to say (T-29)."""
    rated = trips[-RATED:]
    if len(rated) < at_least:
        return None
    return Decimal(sum(trip.profit > 0 for trip in rated)) / len(rated) * 100
