"""The prices that an order works at: its limit, and a trigger or a peg that follows the market (guide, section 12).

Pure functions over an order, its listing and a quote.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from ibkr_mcp_server.simulator.instruments import Catalogue, Listing
from ibkr_mcp_server.simulator.market import MarketQuote
from ibkr_mcp_server.simulator.order_rules import KINDS, price_increment
from ibkr_mcp_server.simulator.orders import Order

_ZERO = Decimal(0)


def with_first_prices(catalogue: Catalogue, order: Order, listing: Listing, quote: MarketQuote) -> Order:
    """The limit and trigger in force at the start; a trailing stop gets its first level here."""
    kind, terms = KINDS[order.terms.order_type], order.terms
    order = replace(order, limit_price=terms.limit_price if kind.limited else None)
    if kind.trigger in ("stop", "touch"):
        order = replace(order, stop_price=terms.aux_price)
    if kind.trigger == "trail":
        order = trailed(catalogue, replace(order, stop_price=terms.trail_stop_price), listing, quote)
    return order


def trailed(catalogue: Catalogue, order: Order, listing: Listing, quote: MarketQuote) -> Order:
    """The order with its stop, and a limit that hangs on it, moved after the market; a stop never moves back."""
    reference = trigger_reference(order, listing, quote)
    if reference is None:
        return order
    percent = order.terms.trailing_percent
    distance = reference * percent / 100 if percent else order.terms.aux_price or _ZERO
    level = reference + distance if order.is_buy else reference - distance
    step = price_increment(catalogue, listing, order.exchange, level)
    level = (level / step).quantize(Decimal(1)) * step
    if order.stop_price is not None:
        level = min(order.stop_price, level) if order.is_buy else max(order.stop_price, level)
    limit = order.limit_price
    if KINDS[order.terms.order_type].limited:
        offset = order.terms.limit_price_offset
        if offset is None and order.terms.limit_price is not None and order.terms.trail_stop_price is not None:
            offset = abs(order.terms.trail_stop_price - order.terms.limit_price)
        limit = level + (offset or _ZERO) if order.is_buy else level - (offset or _ZERO)
    return replace(order, stop_price=level, limit_price=limit)


def is_triggered(order: Order, listing: Listing, quote: MarketQuote) -> bool:
    """Whether the market has reached the trigger in force: a stop from its worse side, a touch from the better."""
    reference = trigger_reference(order, listing, quote)
    if reference is None or order.stop_price is None:
        return False
    rising = order.is_buy if KINDS[order.terms.order_type].trigger != "touch" else not order.is_buy
    return reference >= order.stop_price if rising else reference <= order.stop_price


def trigger_reference(order: Order, listing: Listing, quote: MarketQuote) -> Decimal | None:
    """The price that triggers look at: by default the last one for shares and futures, else the side hit."""
    method = order.terms.trigger_method
    side = quote.ask if order.is_buy else quote.bid
    if method == 8 and quote.bid is not None and quote.ask is not None:
        return (quote.bid + quote.ask) / 2
    if method in (1, 4) or (method == 0 and listing.sec_type not in ("STK", "FUT")):
        return side
    return quote.last if quote.last is not None else side


def pegged(order: Order, quote: MarketQuote) -> Order:
    """A relative order at the best price of its own side, better by the offset; it never backs off."""
    best = quote.bid if order.is_buy else quote.ask
    if best is None:
        return order
    offset, cap = order.terms.aux_price or _ZERO, order.terms.limit_price
    level = best + offset if order.is_buy else best - offset
    prices = [price for price in (level, order.limit_price) if price is not None]
    level = max(prices) if order.is_buy else min(prices)
    if cap:
        level = min(level, cap) if order.is_buy else max(level, cap)
    return replace(order, limit_price=level)


def midpoint(catalogue: Catalogue, order: Order, listing: Listing, quote: MarketQuote) -> Decimal | None:
    """The middle of the quote, on the grid and never dearer than the middle; `None` beyond the order's cap."""
    if quote.bid is None or quote.ask is None:
        return None
    middle = (quote.bid + quote.ask) / 2
    step = price_increment(catalogue, listing, order.exchange, middle)
    price = (middle / step).to_integral_value(ROUND_FLOOR if order.is_buy else ROUND_CEILING) * step
    cap = order.terms.limit_price
    return None if cap and (price > cap if order.is_buy else price < cap) else price
