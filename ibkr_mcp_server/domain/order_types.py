"""What each IBKR order type asks for: one table, read by the rules, the tools and the adapter.

Source: IBKR's order type pages of the TWS API; what TWS says no to is in the tws-wire guide, sections 9 and 11.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from ibkr_mcp_server.domain.orders import OrderType, TimeInForce


class Term(Enum):
    """Whether an order type has a term."""

    NONE = "none"
    OPTIONAL = "optional"
    REQUIRED = "required"


_ALL_DAY = frozenset({TimeInForce.DAY, TimeInForce.GTC, TimeInForce.GTD})
_ANY_TIME = _ALL_DAY | {TimeInForce.IOC, TimeInForce.FOK, TimeInForce.OPG}
_ONE_DAY = frozenset({TimeInForce.DAY})


@dataclass(frozen=True, kw_only=True)
class OrderTerms:
    """The terms of one order type."""

    limit_price: Term = Term.NONE
    """The worst price of a fill. Pegged types need it as their cap: without one nothing bounds them."""
    stop_price: Term = Term.NONE
    """Wakes the order: the stop of stop orders, the trigger of touched ones, the first level of trailing ones."""
    trails: bool = False
    """The stop follows the market by either `trailing_amount` or `trailing_percent`."""
    limit_offset: Term = Term.NONE
    """How far the limit lies from what it follows: the stop of TRAIL LIMIT, the own side's best price of REL."""
    times_in_force: frozenset[TimeInForce] = _ALL_DAY
    wakes_when_touched: bool = False
    """The trigger lies on the better side of the market (MIT, LIT); that of a stop lies on the worse side."""

    @cached_property
    def prices(self) -> tuple[tuple[str, Term], ...]:
        """The terms that are prices or distances, by their names in an order."""
        return (
            ("limit_price", self.limit_price),
            ("stop_price", self.stop_price),
            ("trailing_amount", Term.OPTIONAL if self.trails else Term.NONE),
            ("limit_offset", self.limit_offset),
        )


ORDER_TERMS: Mapping[OrderType, OrderTerms] = {
    OrderType.MKT: OrderTerms(times_in_force=_ANY_TIME),
    OrderType.LMT: OrderTerms(limit_price=Term.REQUIRED, times_in_force=_ANY_TIME),
    OrderType.STP: OrderTerms(stop_price=Term.REQUIRED),
    OrderType.STP_LMT: OrderTerms(stop_price=Term.REQUIRED, limit_price=Term.REQUIRED),
    OrderType.TRAIL: OrderTerms(stop_price=Term.OPTIONAL, trails=True),
    OrderType.TRAIL_LIMIT: OrderTerms(stop_price=Term.OPTIONAL, trails=True, limit_offset=Term.REQUIRED),
    OrderType.MOC: OrderTerms(times_in_force=_ONE_DAY),
    OrderType.LOC: OrderTerms(limit_price=Term.REQUIRED, times_in_force=_ONE_DAY),
    OrderType.MIT: OrderTerms(stop_price=Term.REQUIRED, wakes_when_touched=True),
    OrderType.LIT: OrderTerms(stop_price=Term.REQUIRED, limit_price=Term.REQUIRED, wakes_when_touched=True),
    OrderType.REL: OrderTerms(limit_price=Term.REQUIRED, limit_offset=Term.OPTIONAL),
    OrderType.MIDPRICE: OrderTerms(limit_price=Term.REQUIRED, times_in_force=_ONE_DAY),
}
"""Every type that this product places. A type that is missing here is never sent."""

CAPPED_AS: Mapping[OrderType, OrderType] = {OrderType.MKT: OrderType.LMT, OrderType.MOC: OrderType.LOC}
"""Types without any bound of their own, and the limited type that they travel as, at the reference plus the collar."""


_NO_TERMS = OrderTerms()


def terms_of(order_type: OrderType) -> OrderTerms:
    """The terms of a type; one that this product does not know has none that it could judge."""
    return ORDER_TERMS.get(order_type, _NO_TERMS)
