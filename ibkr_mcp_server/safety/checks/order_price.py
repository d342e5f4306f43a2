"""A fresh reference, and no price that crosses it by more than the collar (ORD-08, ORD-09)."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from ibkr_mcp_server.domain.operations import Operation
from ibkr_mcp_server.domain.order_types import CAPPED_AS, Term, terms_of
from ibkr_mcp_server.domain.orders import Order, Side
from ibkr_mcp_server.safety.codes import Code, problem
from ibkr_mcp_server.safety.decision import PASSED, Findings, beyond, refuses
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
        level = _level(order, reference)
        worst = collar(order.side, level, self.collar_pct)
        bound = "at most" if order.side is Side.BUY else "at least"
        limit = f"{bound} {worst.normalize():f} ({self.collar_pct:f} % through {level:f})"
        price = _limit(order, level)
        if price is not None and (price - worst) * order.side.sign > 0:
            text = f"A {order.side} limit of {price:f} crosses {level:f} too far: {limit}."
            found.append(problem(Code.PRICE_COLLAR, text, observed=f"{price:f}", limit=limit))
        observed = f"reference {reference:f}"
        return Findings(problems=tuple(found), observed=observed, limit=limit)

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


def _level(order: Order, reference: Decimal) -> Decimal:
    """Where the market stands when the limit begins to count: at the stop or trigger, if the order waits for one."""
    waits = terms_of(order.order_type).stop_price is Term.REQUIRED
    return order.stop_price if waits and order.stop_price is not None else reference


def _limit(order: Order, level: Decimal) -> Decimal | None:
    """The limit beside that level; that of a trailing order keeps its distance wherever the stop goes."""
    if not terms_of(order.order_type).trails:
        return order.limit_price
    return None if order.limit_offset is None else level + order.limit_offset * order.side.sign
