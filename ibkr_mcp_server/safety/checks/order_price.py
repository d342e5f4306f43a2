"""A fresh reference, and no price that crosses it by more than the collar (ORD-08, ORD-09)."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

from ibkr_mcp_server.domain.operations import Operation
from ibkr_mcp_server.domain.order_types import CAPPED_AS, Term, terms_of
from ibkr_mcp_server.domain.orders import Order, Side
from ibkr_mcp_server.safety.codes import Code, problem
from ibkr_mcp_server.safety.decision import PASSED, Findings, beyond, judged, refuses
from ibkr_mcp_server.safety.snapshot import Snapshot
from ibkr_mcp_server.safety.valuation import collar, is_live


@dataclass(frozen=True, kw_only=True)
class OrderPrice:
    """Refuses an order without a fresh reference, and a price beyond `collar_pct` percent through it.

    It holds for reductions as well: a wrong price is no way out of a position.
    """

    collar_pct: Decimal
    max_age_seconds: float

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        order = seen.order
        if order is None:
            return PASSED
        quote, reference = seen.observed.quote, seen.observed.reference_price
        if reference is None:
            return self._no_reference(seen)
        found = []
        if order.order_type in CAPPED_AS:
            if not is_live(quote):
                kind = quote.data_type if quote is not None else None
                text = f"A market order needs live data; the data for {order.instrument.label} is {kind}."
                found.append(problem(Code.NO_LIVE_DATA, text, observed=kind, limit="live"))
            if order.cap_price is None and seen.observed.current is None:
                text = f"The price increment of {order.instrument.label} is unknown, so the order cannot be capped."
                found.append(problem(Code.CONTRACT_RULES_UNKNOWN, text))
        terms, shown = terms_of(order.order_type), f"{reference:f}"
        level, at = reference, shown
        if order.stop_price is not None and terms.stop_price is Term.REQUIRED:
            # The limit begins to count where the stop or trigger is.
            level, at = order.stop_price, f"{order.stop_price:f}"
        buys = order.side is Side.BUY
        worst = level * (self._above if buys else self._below)
        limit = f"{'at most' if buys else 'at least'} {worst.normalize():f} ({self._share} through {at})"
        price = _trailing_limit(order, level) if terms.trails else order.limit_price
        if price is not None and (price > worst if buys else price < worst):
            text = f"A {order.side} limit of {price:f} crosses {at} too far: {limit}."
            found.append(problem(Code.PRICE_COLLAR, text, observed=f"{price:f}", limit=limit))
        observed = f"reference {shown}"
        return judged(found, observed, limit)

    @cached_property
    def _above(self) -> Decimal:
        return collar(Side.BUY, Decimal(1), self.collar_pct)

    @cached_property
    def _below(self) -> Decimal:
        return collar(Side.SELL, Decimal(1), self.collar_pct)

    @cached_property
    def _share(self) -> str:
        return f"{self.collar_pct:f} %"

    def _no_reference(self, seen: Snapshot) -> Findings:
        order, quote = seen.order, seen.observed.quote
        assert order is not None
        name = order.instrument.label
        if quote is None:
            text = f"There is no quote for {name}."
            return refuses(problem(Code.NO_REFERENCE_PRICE, text))
        age = quote.age_seconds(seen.now)
        if age > self.max_age_seconds:
            text = f"The newest price of {name} is {age:.0f} s old; at most {self.max_age_seconds:.0f} s are allowed."
        else:
            side = "ask" if order.side is Side.BUY else "bid"
            text = f"The quote of {name} has no usable {side} and no last price (bid {quote.bid}, ask {quote.ask})."
        limit = f"{self.max_age_seconds:.0f} s"
        return beyond(problem(Code.NO_REFERENCE_PRICE, text, observed=f"{age:.0f} s old", limit=limit))


def _trailing_limit(order: Order, level: Decimal) -> Decimal | None:
    """The limit of a trailing order beside that level; it keeps its distance wherever the stop goes."""
    return None if order.limit_offset is None else level + order.limit_offset * order.side.sign
