"""What an order is worth at the worst price it could fill at (ORD-07, ORD-08).

Worst-case price × quantity × multiplier × exchange rate. A missing factor makes the value unknown, never zero.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from ibkr_mcp_server.domain.instruments import VALUED_BY_PRICE
from ibkr_mcp_server.domain.order_types import terms_of
from ibkr_mcp_server.domain.orders import Order, Side
from ibkr_mcp_server.domain.quotes import MarketDataType, Quote


def is_fresh(quote: Quote | None, now: datetime, max_age_seconds: float) -> bool:
    return quote is not None and quote.age_seconds(now) <= max_age_seconds


def reference_price(side: Side, quote: Quote | None, now: datetime, max_age_seconds: float) -> Decimal | None:
    """The price an order is judged by: the ask for a buy, the bid for a sell, else the last trade; fresh or None.

    A quote that cannot be true (bid above ask, nothing above zero) is no reference.
    """
    if quote is None or not is_fresh(quote, now, max_age_seconds):
        return None
    if quote.bid is not None and quote.ask is not None and quote.bid > quote.ask:
        return None
    near = quote.ask if side is Side.BUY else quote.bid
    for price in (near, quote.last):
        if price is not None and price > 0:
            return price
    return None


def is_live(quote: Quote | None) -> bool:
    return quote is not None and quote.data_type is MarketDataType.LIVE


def collar(side: Side, reference: Decimal, collar_pct: Decimal) -> Decimal:
    """The worst price that an order may carry, `collar_pct` percent through the reference."""
    return reference * (1 + side.sign * collar_pct / 100)


def worst_case_price(
    order: Order, quote: Quote | None, now: datetime, max_age_seconds: float, collar_pct: Decimal
) -> Decimal | None:
    """A price per unit that the order's value cannot exceed by more than the market's own move, or None.

    A buy fills no higher than its limit or cap. One that becomes a market order (STP, TRAIL, MIT) fills around its
    highest trigger, and is valued with the collar on top, as a market order is. A sell may fill higher than its limit,
    so the market counts too.
    """
    reference = reference_price(order.side, quote, now, max_age_seconds)
    if reference is None:
        return None
    assert quote is not None
    if order.side is Side.BUY:
        bound = _highest_limit(order, reference)
        return bound if bound is not None else collar(Side.BUY, _highest_trigger(order, reference), collar_pct)
    prices = (order.limit_price, order.cap_price, order.stop_price, reference, quote.ask)
    return max(price for price in prices if price is not None)


def _highest_limit(order: Order, reference: Decimal) -> Decimal | None:
    """What a buy cannot fill above; None when it becomes a market order."""
    if terms_of(order.order_type).trails:
        offset = order.limit_offset
        return None if offset is None else _highest_trigger(order, reference) + offset
    return order.cap_price if order.limit_price is None else order.limit_price


def _highest_trigger(order: Order, reference: Decimal) -> Decimal:
    """Where a buy may be woken at most; the market itself when nothing wakes it or it may be woken at once."""
    levels = [reference, *filter(None, (order.stop_price,))]
    if terms_of(order.order_type).trails:
        levels.append(reference + (trailing_distance(order, reference) or 0))
    return max(levels)


def trailing_distance(order: Order, reference: Decimal) -> Decimal | None:
    """How far the stop of a trailing order stays behind the market at `reference`."""
    if order.trailing_percent is not None:
        return reference * order.trailing_percent / 100
    return order.trailing_amount


def worst_case_value_usd(
    order: Order, price: Decimal | None, usd_per_unit: Decimal | None, *, quantity: Decimal | None = None
) -> Decimal | None:
    """The value in US dollars of `quantity` (the whole order by default), or None when a factor is unknown."""
    multiplier = order.instrument.multiplier
    if price is None or usd_per_unit is None or multiplier is None:
        return None
    if order.instrument.sec_type not in VALUED_BY_PRICE:
        return None
    units = order.quantity if quantity is None else quantity
    return price / order.instrument.price_magnifier * units * multiplier * usd_per_unit


def writes_option(order: Order) -> bool:
    """Whether the order, if it opens, makes the account the writer of an option."""
    return order.instrument.is_option and order.side is Side.SELL


def with_obligation(order: Order, premium_usd: Decimal | None, usd_per_unit: Decimal | None) -> Decimal | None:
    """The value of an order that writes options: the premium plus what the writer may have to pay or deliver.

    A put's writer pays the strike. A call's writer delivers what is worth strike + premium at least at the moment of
    the order, as an option is never cheaper than its exercise. The premium alone would let the far out of the money,
    whose obligation is the largest for the least premium, pass under any limit.
    """
    strike, multiplier = order.instrument.strike, order.instrument.multiplier
    if premium_usd is None or usd_per_unit is None or strike is None or multiplier is None:
        return None
    return premium_usd + strike * order.quantity * multiplier * usd_per_unit
