"""US-dollar value per order at the worst price it could fill at (ORD-07, ORD-08)."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

from ibkr_mcp_server.domain.instruments import VALUED_BY_PRICE, Instrument
from ibkr_mcp_server.domain.money import Money
from ibkr_mcp_server.domain.operations import Operation
from ibkr_mcp_server.safety.codes import Code, problem
from ibkr_mcp_server.safety.decision import PASSED, Findings, beyond, passes
from ibkr_mcp_server.safety.snapshot import Snapshot


@dataclass(frozen=True, kw_only=True)
class OrderValue:
    """Refuses opening orders worth more than `max_usd`, or worth nobody knows what."""

    max_usd: Decimal

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        order = seen.order
        if order is None or not seen.opens or seen.observed.reference_price is None:
            return PASSED  # without a reference the price check refuses
        limit = self._limit
        if seen.observed.value_usd is None:
            text = f"The order cannot be valued in USD: {_missing(order.instrument)}."
            return beyond(problem(Code.ORDER_VALUE_UNKNOWN, text, limit=limit))
        value = f"{seen.observed.value_usd:,.2f} USD"
        if seen.observed.value_usd <= self.max_usd:
            return passes(value, limit)
        text = f"The order is worth {value} at its worst price; the limit is {limit} per order."
        return beyond(problem(Code.ORDER_VALUE_LIMIT, text, observed=value, limit=limit))

    @cached_property
    def _limit(self) -> str:
        return str(Money(amount=self.max_usd, currency="USD"))


def _missing(instrument: Instrument) -> str:
    if instrument.sec_type not in VALUED_BY_PRICE:
        return f"what a {instrument.sec_type} is worth does not follow from its price"
    if instrument.multiplier is None:
        return "its multiplier is unknown"
    if instrument.is_option and instrument.strike is None:
        return "its strike is unknown"
    return f"{instrument.currency}/USD is unknown"
