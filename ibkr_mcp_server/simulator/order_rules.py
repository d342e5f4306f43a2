"""What TWS checks before it takes an order, and how it refuses (tws-wire guide, sections 9, 11 and 12).

Pure functions over an order's terms and its listing. A refusal at this stage is an error message alone: no order comes
into being.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from ibkr_mcp_server.simulator.instruments import Catalogue, Listing
from ibkr_mcp_server.simulator.order_terms import OrderTerms, scales
from ibkr_mcp_server.simulator.orders import Order
from ibkr_mcp_server.simulator.requests import ContractQuery
from ibkr_mcp_server.simulator.tws_time import parse_moment
from ibkr_mcp_server.simulator.wire import parse_decimal


class OrderRefusal(Exception):
    """An error that TWS answers an order with."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


@dataclass(frozen=True, kw_only=True)
class OrderKind:
    """How an order type behaves: what wakes it, whether it then has a limit, and what its price follows."""

    trigger: Literal["", "stop", "touch", "trail"] = ""
    limited: bool = False
    at_close: bool = False
    """Trades in the closing auction and at no other time."""
    pegged: Literal["", "primary", "midpoint"] = ""
    """The price follows the own side of the quote, or its middle; a limit, if given, is a cap."""


KINDS = {
    "MKT": OrderKind(),
    "LMT": OrderKind(limited=True),
    "STP": OrderKind(trigger="stop"),
    "STP LMT": OrderKind(trigger="stop", limited=True),
    "MIT": OrderKind(trigger="touch"),
    "LIT": OrderKind(trigger="touch", limited=True),
    "TRAIL": OrderKind(trigger="trail"),
    "TRAIL LIMIT": OrderKind(trigger="trail", limited=True),
    "MOC": OrderKind(at_close=True),
    "LOC": OrderKind(at_close=True, limited=True),
    "REL": OrderKind(pegged="primary"),
    "MIDPRICE": OrderKind(pegged="midpoint"),
}
_LISTED_AS = {"STP LMT": "STPLMT", "TRAIL LIMIT": "TRAILLMT", "MIDPRICE": "MIDPX"}
"""The abbreviations of contractData's orderTypes where they differ from placeOrder's names."""
_IGNORES_OUTSIDE_RTH = frozenset({"MKT", "MOC", "LOC", "MIDPRICE"})
_TYPE_IS_FINAL = frozenset({"TRAIL", "TRAIL LIMIT", "MOC", "LOC", "REL", "MIDPRICE"})
_TRAILING_NEEDS = frozenset({"LMT", "STP LMT"})
TIFS = frozenset({"DAY", "GTC", "IOC", "FOK", "GTD", "OPG"})
IMMEDIATE_TIFS = frozenset({"IOC", "FOK"})
OPENING = "OPG"
DEFAULT_TIF = "DAY"
LARGEST_QUANTITY = Decimal(10) ** 9
HIGHEST_PRICE = Decimal(10) ** 9
NO_SECURITY = "No security definition has been found for the request"


def invalid(cause: str) -> OrderRefusal:
    return OrderRefusal(321, f"Error validating request.-'bX' : cause - {cause}")


def find_listing(catalogue: Catalogue, query: ContractQuery) -> Listing:
    """The single listing that a query names.

    Raises:
        OrderRefusal: none fits, or several do.
    """
    found = find_listings(catalogue, query)
    if not found:
        raise OrderRefusal(200, NO_SECURITY)
    if len(found) > 1:
        names = ", ".join(f"{row.symbol} {row.sec_type} {row.primary_exchange} {row.currency}" for row in found[:5])
        raise OrderRefusal(200, f"The contract description specified for {query.symbol} is ambiguous: {names}.")
    return found[0]


def find_listings(catalogue: Catalogue, query: ContractQuery) -> list[Listing]:
    """Every listing that fits; a contract id alone is enough (section 5)."""
    if query.con_id:
        listing = catalogue.by_con_id(query.con_id)
        if listing is None or catalogue.is_expired(listing):
            return []
        if query.symbol and query.symbol.upper() != listing.symbol:
            return []
        return [listing]
    if not (query.symbol or query.local_symbol):
        return []
    return catalogue.matching(
        symbol=query.symbol,
        sec_type=query.sec_type,
        exchange=query.exchange,
        primary_exchange=query.primary_exchange,
        currency=query.currency,
        local_symbol=query.local_symbol,
        last_trade_date=query.last_trade_date,
        strike=query.strike,
        right=query.right,
        multiplier=query.multiplier,
        trading_class=query.trading_class,
    )


def check_terms(catalogue: Catalogue, listing: Listing, exchange: str, terms: OrderTerms) -> None:
    """Whether these terms make an order at all.

    Raises:
        OrderRefusal: they do not.
    """
    if catalogue.is_expired(listing):
        raise OrderRefusal(200, NO_SECURITY)
    if listing.sec_type == "IND":
        raise OrderRefusal(412, "The contract is not available for trading.")
    if not exchange:
        raise invalid("Missing order exchange")
    if exchange.upper() not in listing.valid_exchanges.split(","):
        raise invalid(f"Invalid destination exchange '{exchange}' specified")
    kind = KINDS.get(terms.order_type)
    if kind is None:
        raise invalid(f"Invalid order type '{terms.order_type}' was entered")
    if _LISTED_AS.get(terms.order_type, terms.order_type) not in listing.order_types.split(","):
        raise OrderRefusal(387, "Unsupported order type for this exchange and security type.")
    if terms.action not in ("BUY", "SELL"):
        raise invalid(f"Invalid side '{terms.action}' specified")
    if terms.tif and terms.tif not in TIFS:
        raise invalid(f"Invalid time in force '{terms.tif}' specified")
    if terms.what_if and not terms.transmit:
        raise OrderRefusal(413, "What-if order should have the transmit flag set to true.")
    if terms.tif == "GTD":
        _check_moment(terms.good_till_date, "good till date")
    if terms.good_after_time:
        _check_moment(terms.good_after_time, "good after time")
    _check_attributes(terms)
    if kind.at_close and terms.tif not in ("", "DAY"):
        raise OrderRefusal(113, "The Time-in-Force for MOC or LOC orders must be DAY.")
    if (terms.tif in IMMEDIATE_TIFS and kind.trigger) or (terms.tif == OPENING and not opens(listing, terms)):
        raise OrderRefusal(111, "The TIF (time in force) and the order type are incompatible.")
    _check_quantity(listing, terms.quantity)
    _check_prices(catalogue, listing, exchange, kind, terms)


def opens(listing: Listing, terms: OrderTerms) -> bool:
    """Whether such an order can trade in an opening auction."""
    return terms.order_type in ("MKT", "LMT") and "MOC" in listing.order_types.split(",")


def check_parent(parent_type: str, terms: OrderTerms) -> None:
    """Whether these terms can be attached to an order of that type.

    Raises:
        OrderRefusal: they cannot.
    """
    if KINDS[terms.order_type].trigger == "trail" and parent_type not in _TRAILING_NEEDS:
        raise OrderRefusal(328, "Trailing stop orders can be attached to limit or stop-limit orders only.")


def check_change(order: Order, terms: OrderTerms) -> None:
    """Whether a live order can become one of these terms; an empty group or parent leaves what there is.

    Raises:
        OrderRefusal: it cannot.
    """
    order_type = order.terms.order_type
    if terms.action != order.terms.action or terms.account not in ("", order.account):
        raise OrderRefusal(105, "Order being modified does not match original order.")
    if terms.oca_group and terms.oca_group != order.oca_group:
        raise OrderRefusal(10326, "OCA group revision is not allowed.")
    if terms.oca_group and terms.oca_type not in (0, order.oca_type):
        raise OrderRefusal(10327, "OCA group type revision is not allowed.")
    if terms.parent_id and terms.parent_id != order.terms.parent_id:
        raise OrderRefusal(10341, "Parent order id cannot be modified.")
    if terms.order_type != order_type and (terms.order_type in _TYPE_IS_FINAL or order_type in _TYPE_IS_FINAL):
        raise OrderRefusal(329, f"Order modify failed. Cannot change to the new order type: {terms.order_type}.")


def ignores_outside_rth(listing: Listing, terms: OrderTerms) -> bool:
    """Whether TWS takes no notice of outsideRth, and says so with 2109."""
    return listing.sec_type == "STK" and terms.outside_rth and terms.order_type in _IGNORES_OUTSIDE_RTH


def _check_moment(text: str, name: str) -> None:
    try:
        parse_moment(text)
    except ValueError as error:
        raise invalid(f"Invalid {name}: {error}") from error


def _check_attributes(terms: OrderTerms) -> None:
    """Refuse what would make the order another one than the gateway could trade."""
    if parse_decimal(terms.sent("cashQty")):
        raise OrderRefusal(10244, "Cash Quantity cannot be used for this order.")
    if terms.combo_legs:
        raise invalid("Combinations are not traded here")
    if terms.conditions:
        raise OrderRefusal(10340, "The following order attribute is not supported: Conditions.")
    if scales(terms.sent("scalePriceIncrement")):
        raise OrderRefusal(10340, "The following order attribute is not supported: Scale.")
    if terms.sent("adjustedOrderType") not in ("", "None"):
        raise OrderRefusal(10340, "The following order attribute is not supported: Adjusted order type.")


def _check_quantity(listing: Listing, quantity: Decimal | None) -> None:
    if quantity is None:
        raise OrderRefusal(107, "Cannot transmit incomplete order.")
    if quantity == 0:
        raise OrderRefusal(434, "The order size cannot be zero.")
    if quantity < 0:
        raise invalid("The order size must be positive")
    if quantity < listing.min_size:
        raise OrderRefusal(
            388, f"Order size {quantity} is smaller than the minimum required size of {listing.min_size}."
        )
    if quantity > LARGEST_QUANTITY:
        raise OrderRefusal(383, "The order size exceeds the maximum of the precautionary settings.")
    if quantity % listing.size_increment:
        raise invalid(f"Order size {quantity} does not conform to the size increment {listing.size_increment}")


def _check_prices(catalogue: Catalogue, listing: Listing, exchange: str, kind: OrderKind, terms: OrderTerms) -> None:
    prices: list[Decimal | None] = []
    if kind.limited and kind.trigger != "trail":
        if terms.limit_price is None:
            raise OrderRefusal(107, "Cannot transmit incomplete order.")
        prices.append(terms.limit_price)
    if kind.trigger in ("stop", "touch"):
        if not terms.aux_price:
            raise OrderRefusal(463, "You must enter a valid trigger price.")
        prices.append(terms.aux_price)
    if kind.pegged:
        prices += [terms.limit_price or None, terms.aux_price or None]
    if kind.trigger == "trail":
        amount, percent = terms.aux_price or None, terms.trailing_percent or None
        if (amount is None) == (percent is None):
            raise invalid("A trailing order needs either a trailing amount or a trailing percent")
        if (amount or percent or Decimal(0)) <= 0:
            raise invalid("The trailing amount must be positive")
        if kind.limited and terms.limit_price_offset is None and (not terms.limit_price or not terms.trail_stop_price):
            raise invalid("A trailing limit order needs a limit price offset, or a limit and a stop price")
        prices += [terms.trail_stop_price, terms.limit_price if kind.limited else None]
    for price in prices:
        if price is not None and not on_grid(catalogue, listing, exchange, price):
            raise OrderRefusal(110, "The price does not conform to the minimum price variation for this contract.")


def on_grid(catalogue: Catalogue, listing: Listing, exchange: str, price: Decimal) -> bool:
    return 0 < price <= HIGHEST_PRICE and price % price_increment(catalogue, listing, exchange, price) == 0


def price_increment(catalogue: Catalogue, listing: Listing, exchange: str, price: Decimal) -> Decimal:
    """The step that prices keep at this level, by the market rule of the venue."""
    venues, rules = listing.valid_exchanges.split(","), listing.market_rule_ids.split(",")
    rule_of = dict(zip(venues, rules, strict=False))
    rule_id = rule_of.get(exchange.upper(), "")
    steps = catalogue.market_rule(int(rule_id)) if rule_id else None
    fitting = [increment for low_edge, increment in steps or () if low_edge <= price]
    return fitting[-1] if fitting else listing.min_tick
