"""Between the words of `domain/` and the client library's objects, both ways; pure functions.

What the library fills in for "not set" (NaN, the largest double, 2147483647, and -1 for prices) ends here as None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ibkr_mcp_server.broker.library import UNSET_INTEGER, ib_async
from ibkr_mcp_server.domain.accounts import AccountSummary
from ibkr_mcp_server.domain.instruments import (
    Candidate,
    ContractDetails,
    HoursUnknown,
    Instrument,
    SecType,
    TradingSession,
    parse_hours,
)
from ibkr_mcp_server.domain.moments import parse_moment, tws_moment
from ibkr_mcp_server.domain.money import Money, finite_decimal
from ibkr_mcp_server.domain.order_types import CAPPED_AS, ORDER_TERMS, OrderTerms, Term
from ibkr_mcp_server.domain.orders import (
    ORDER_REF_PREFIX,
    BrokerOrder,
    Execution,
    Order,
    OrderStatus,
    OrderType,
    Side,
    TimeInForce,
)
from ibkr_mcp_server.errors import Refused

# ---------------------------------------------------------------------------------------------------------- numbers


class WireDecimal(Decimal):
    """A number that the client library writes digit for digit: it sends `str()` of types it does not know."""

    def __str__(self) -> str:
        return format(self, "f")


def on_wire(number: Decimal) -> WireDecimal:
    return WireDecimal(number)


def number(value: object) -> Decimal | None:
    """A number of the broker without needless zeros; None when it is not set."""
    found = finite_decimal(value)
    if found is None or abs(found) == UNSET_INTEGER:
        return None
    return found.quantize(Decimal(1)) if found == found.to_integral_value() else found.normalize()


def price(value: object) -> Decimal | None:
    """A price; None also for the 0 and -1 that stand for "none"."""
    found = number(value)
    return found if found is not None and found > 0 else None


def quantity(value: object) -> Decimal:
    """An amount of an order or a fill; not set is nothing."""
    return number(value) or Decimal()


# ------------------------------------------------------------------------------------------------------ instruments

_NEEDS_MULTIPLIER = frozenset({SecType.OPT, SecType.FUT, SecType.FOP, SecType.WAR, SecType.BAG, SecType.OTHER})

_Word = TypeVar("_Word", SecType, OrderType, TimeInForce)


def _word(kind: type[_Word], text: str) -> _Word:
    try:
        return kind(text)
    except ValueError:
        return kind("OTHER")


def instrument_of(contract: ib_async.Contract) -> Instrument:
    """What a contract in an order, a fill or a position tells; its trading rules are not known."""
    sec_type = _word(SecType, contract.secType)
    multiplier = number(contract.multiplier or None)
    if not multiplier:
        multiplier = None if sec_type in _NEEDS_MULTIPLIER else Decimal(1)
    return Instrument(
        con_id=contract.conId,
        symbol=contract.symbol,
        sec_type=sec_type,
        exchange=contract.exchange or "SMART",
        primary_exchange=contract.primaryExchange,
        currency=contract.currency,
        local_symbol=contract.localSymbol,
        trading_class=contract.tradingClass,
        multiplier=multiplier,
        last_trade_date=contract.lastTradeDateOrContractMonth,
        strike=number(contract.strike) or None,
        right=contract.right[:1] if contract.right not in ("?", "0") else "",
    )


def instrument_from_details(
    details: ib_async.ContractDetails, increments: Sequence[ib_async.PriceIncrement] | None
) -> Instrument:
    """The contract with the rules that orders in it follow. `increments` is the market rule of its routing exchange."""
    contract = details.contract
    assert contract is not None  # the decoder always sets it
    plain = instrument_of(contract)
    size_increment, min_size = price(details.sizeIncrement), price(details.minSize)
    if plain.sec_type is SecType.STK:
        # Stocks report fractional sizes, but the API refuses fractional orders (code 10243).
        size_increment, min_size = (
            max(size_increment or Decimal(1), Decimal(1)),
            max(min_size or Decimal(1), Decimal(1)),
        )
    return Instrument(
        con_id=plain.con_id,
        symbol=plain.symbol,
        sec_type=plain.sec_type,
        exchange=routing_exchange(details),
        primary_exchange=plain.primary_exchange,
        currency=plain.currency,
        local_symbol=plain.local_symbol,
        trading_class=plain.trading_class,
        long_name=details.longName,
        multiplier=plain.multiplier,
        min_tick=price(details.minTick),
        price_increments=tuple(sorted((quantity(rule.lowEdge), quantity(rule.increment)) for rule in increments or ())),
        price_magnifier=details.priceMagnifier or 1,
        size_increment=size_increment,
        min_size=min_size,
        last_trade_date=plain.last_trade_date,
        strike=plain.strike,
        right=plain.right,
        time_zone_id=details.timeZoneId,
        trading_hours=_hours(details.tradingHours, details.timeZoneId),
        liquid_hours=_hours(details.liquidHours, details.timeZoneId),
        hours_known_until=_known_until(details.liquidHours, details.timeZoneId),
        industry=details.industry,
    )


def contract_details(details: ib_async.ContractDetails, instrument: Instrument, now: datetime) -> ContractDetails:
    """The rest of what the broker said about `instrument`."""
    rules = zip(details.validExchanges.split(","), details.marketRuleIds.split(","), strict=False)
    return ContractDetails(
        instrument=instrument,
        received_at=now,
        order_types=tuple(filter(None, details.orderTypes.split(","))),
        market_rules=tuple((exchange, int(rule)) for exchange, rule in rules if rule.isdigit()),
        sec_ids=tuple((pair.tag, pair.value) for pair in details.secIdList or ()),
        stock_type=details.stockType,
        industry=details.industry,
        category=details.category,
        subcategory=details.subcategory,
        contract_month=details.contractMonth,
        underlying_symbol=details.underSymbol,
        underlying_con_id=details.underConId or None,
    )


def routing_exchange(details: ib_async.ContractDetails) -> str:
    """Where orders in it go: SMART where the contract can be routed by it, else its own exchange."""
    assert details.contract is not None
    return "SMART" if "SMART" in details.validExchanges.split(",") else details.contract.exchange


def market_rule_id(details: ib_async.ContractDetails) -> int | None:
    """The market rule of the routing exchange; `validExchanges` and `marketRuleIds` are parallel lists."""
    rules = dict(zip(details.validExchanges.split(","), details.marketRuleIds.split(","), strict=False))
    rule = rules.get(routing_exchange(details), "")
    return int(rule) if rule.isdigit() else None


def _hours(text: str, time_zone_id: str) -> tuple[TradingSession, ...] | None:
    if not text:
        return None
    try:
        return parse_hours(text, time_zone_id)
    except HoursUnknown:
        return None


def _known_until(text: str, time_zone_id: str) -> datetime | None:
    """The end of the last day that the hours tell about, open or closed."""
    days = [part[:8] for part in text.split(";") if part]
    try:
        last = datetime.strptime(max(days, default=""), "%Y%m%d").replace(tzinfo=ZoneInfo(time_zone_id))
    except (ValueError, ZoneInfoNotFoundError):
        return None
    return (last + timedelta(days=1)).astimezone(UTC)


def candidate_from_details(details: ib_async.ContractDetails) -> Candidate:
    contract = details.contract
    assert contract is not None
    return Candidate(
        con_id=contract.conId,
        symbol=contract.symbol,
        sec_type=contract.secType,
        primary_exchange=contract.primaryExchange or contract.exchange,
        currency=contract.currency,
        description=details.longName,
        **_derivative(contract),
    )


def _derivative(contract: ib_async.Contract) -> dict[str, Any]:  # Any: fields of Candidate
    """What tells one derivative from the next; nothing for what has no last trade date."""
    plain = instrument_of(contract)
    if not plain.last_trade_date:
        return {}
    return {
        "last_trade_date": plain.last_trade_date,
        "strike": plain.strike,
        "right": plain.right,
        "multiplier": plain.multiplier,
        "trading_class": plain.trading_class,
    }


def candidate_from_search(found: ib_async.ContractDescription) -> Candidate:
    contract = found.contract
    assert contract is not None
    return Candidate(
        con_id=contract.conId,
        symbol=contract.symbol,
        sec_type=contract.secType,
        primary_exchange=contract.primaryExchange,
        currency=contract.currency,
        description=contract.description,
    )


def contract_for(instrument: Instrument) -> ib_async.Contract:
    """The contract as requests and orders carry it: by its id, with enough words to be read in a log."""
    return ib_async.Contract(
        conId=instrument.con_id,
        symbol=instrument.symbol,
        secType=instrument.sec_type.value,
        exchange=instrument.exchange,
        currency=instrument.currency,
    )


# ----------------------------------------------------------------------------------------------------------- orders


_PRICE_IN_ECHO = frozenset({OrderType.TRAIL_LIMIT, OrderType.OTHER})
"""Types that carry a limit or stop in the broker's word although callers do not state one."""


def _carries_limit(order_type: OrderType) -> bool:
    return order_type in _PRICE_IN_ECHO or ORDER_TERMS[order_type].limit_price is not Term.NONE


def wire_order(order: Order) -> ib_async.Order:
    """The library's order for `order`; a market order with a cap travels as a limit order at the cap (ORD-09).

    This is the only place that says in which field of the TWS API a term travels.

    Raises:
        Refused: the type cannot be sent, or a term that it needs is missing.
    """
    order_type, limit = order.order_type, order.limit_price
    if order.cap_price is not None and order_type in CAPPED_AS:
        order_type, limit = CAPPED_AS[order_type], order.cap_price
    terms = ORDER_TERMS.get(order_type)
    if terms is None or order.time_in_force is TimeInForce.OTHER:
        raise Refused(
            "ORDER_TYPE_UNSUPPORTED",
            f"Orders of type {order_type} with time in force {order.time_in_force} cannot be sent.",
            next_step=f"Use one of {', '.join(ORDER_TERMS)}.",
        )
    sent = ib_async.Order(
        action=order.side.value,
        totalQuantity=on_wire(order.quantity),  # type: ignore[arg-type]  # annotated float; any number is written
        orderType=order_type.value,
        tif=order.time_in_force.value,
        outsideRth=order.outside_rth,
        account=order.account,
        orderRef=order.order_ref,
    )
    if order.good_till_date is not None:
        sent.goodTillDate = tws_moment(order.good_till_date)
    if terms.limit_price is not Term.NONE:
        sent.lmtPrice = on_wire(_needed(limit, order_type, "limit price"))
    if terms.trails:
        if order.trailing_percent is not None:
            sent.trailingPercent = on_wire(order.trailing_percent)
        else:
            sent.auxPrice = on_wire(_needed(order.trailing_amount, order_type, "trailing amount or percent"))
        if order.stop_price is not None:
            sent.trailStopPrice = on_wire(order.stop_price)
    elif terms.stop_price is not Term.NONE:
        sent.auxPrice = on_wire(_needed(order.stop_price, order_type, "stop price"))
    if order_type is OrderType.TRAIL_LIMIT:
        sent.lmtPriceOffset = on_wire(_needed(order.limit_offset, order_type, "limit offset"))
    elif terms.limit_offset is not Term.NONE and order.limit_offset is not None:
        sent.auxPrice = on_wire(order.limit_offset)
    return sent


_T = TypeVar("_T")


def _needed(value: _T | None, order_type: OrderType, name: str) -> _T:
    if value is None:
        raise Refused(
            "ORDER_INCOMPLETE", f"An order of type {order_type} needs a {name}.", next_step=f"State the {name}."
        )
    return value


_KEPT_BY_A_CHANGE = (
    "parentId",
    "ocaGroup",
    "ocaType",
    "transmit",
    "triggerMethod",
    "goodAfterTime",
    "hidden",
    "displaySize",
    "allOrNone",
    "minQty",
    "openClose",
    "origin",
    "discretionaryAmt",
    "modelCode",
    "rule80A",
    "algoStrategy",
    "algoParams",
    "conditions",
    "conditionsCancelOrder",
    "conditionsIgnoreRth",
    "orderRef",
)
"""What a change does not state and must not erase: sending an order again replaces all of it."""


def changed_wire_order(order: Order, held: ib_async.Order) -> ib_async.Order:
    """The whole order to send again for a change, with everything kept that the broker `held` and nobody changed."""
    sent = wire_order(order)
    for name in _KEPT_BY_A_CHANGE:
        value = getattr(held, name)
        if value != "?":
            setattr(sent, name, value)
    if order.time_in_force is TimeInForce.GTD and parse_moment(held.goodTillDate) == order.good_till_date:
        sent.goodTillDate = held.goodTillDate  # in the broker's own words, also where we cannot read them
    if sent.displaySize == UNSET_INTEGER:
        sent.displaySize = 0
    return sent


def states_the_same(echo: ib_async.Order, sent: ib_async.Order) -> bool:
    """Whether the broker's echo carries the quantity, type and prices sent; where a stop trails moves by itself."""

    def same(ours: object, theirs: object) -> bool:
        return price(ours) is None or number(ours) == number(theirs)

    return (
        number(echo.totalQuantity) == number(sent.totalQuantity)
        and echo.orderType == sent.orderType
        and same(sent.lmtPrice, echo.lmtPrice)
        and same(sent.auxPrice, echo.auxPrice)
        and same(sent.trailingPercent, echo.trailingPercent)
        and same(sent.lmtPriceOffset, echo.lmtPriceOffset)
    )


def order_of(contract: ib_async.Contract, echo: ib_async.Order, instrument: Instrument | None) -> Order:
    """An order as the broker tells it. `instrument` is the resolved one, when it is known."""
    order_type = _word(OrderType, echo.orderType)
    terms = ORDER_TERMS.get(order_type, OrderTerms(stop_price=Term.OPTIONAL))
    aux, percent = price(echo.auxPrice), price(echo.trailingPercent) if terms.trails else None
    offset = price(echo.lmtPriceOffset) if terms.trails else aux
    stop = price(echo.trailStopPrice) if terms.trails else aux
    return Order(
        instrument=instrument or instrument_of(contract),
        account=echo.account,
        side=Side.BUY if echo.action == "BUY" else Side.SELL,  # the others, SSHORT and SLONG, sell
        quantity=quantity(echo.totalQuantity),
        order_type=order_type,
        limit_price=price(echo.lmtPrice) if _carries_limit(order_type) else None,
        stop_price=stop if terms.stop_price is not Term.NONE else None,
        trailing_amount=aux if terms.trails and percent is None else None,
        trailing_percent=percent,
        limit_offset=offset if terms.limit_offset is not Term.NONE else None,
        time_in_force=_word(TimeInForce, echo.tif or "DAY"),
        good_till_date=parse_moment(echo.goodTillDate) if echo.goodTillDate else None,
        outside_rth=bool(echo.outsideRth),
        order_ref=echo.orderRef,
    )


_STATUS: Mapping[str, OrderStatus] = {
    **{status.value: status for status in OrderStatus},
    "ApiPending": OrderStatus.PENDING_SUBMIT,
    "ApiCancelled": OrderStatus.CANCELLED,
}


def status_of(text: str) -> OrderStatus:
    """The broker's status word; one that is not known counts as working, never as ended."""
    return _STATUS.get(text, OrderStatus.PENDING_SUBMIT)


def is_ours(order_ref: str) -> bool:
    return order_ref.startswith(ORDER_REF_PREFIX)


def completed_order(
    contract: ib_async.Contract,
    held: ib_async.Order,
    state: ib_async.OrderState,
    *,
    instrument: Instrument | None,
    average_fill_price: Decimal | None,
    now: datetime,
) -> BrokerOrder:
    """A finished order; the broker tells neither its order id nor its client any more."""
    order = order_of(contract, held, instrument)
    filled, status = quantity(held.filledQuantity), status_of(state.status)
    if not order.quantity:  # gateways report 0 for filled ones
        order = replace(order, quantity=filled)
    return BrokerOrder(
        order=order,
        perm_id=held.permId,
        order_id=0,
        client_id=0,
        status=status if status.is_final else OrderStatus.INACTIVE,
        filled=filled,
        remaining=max(Decimal(), order.quantity - filled),
        average_fill_price=average_fill_price,
        last_message=state.completedStatus,
        parent_perm_id=held.parentPermId if held.parentPermId != UNSET_INTEGER else 0,
        placed_here=is_ours(order.order_ref),
        updated_at=now,
        completed_at=parse_moment(state.completedTime),
    )


def execution_of(contract: ib_async.Contract, told: ib_async.Execution, instrument: Instrument | None) -> Execution:
    """One fill."""
    return Execution(
        execution_id=told.execId,
        perm_id=told.permId,
        order_id=told.orderId if told.orderId != UNSET_INTEGER else 0,  # unset for orders placed by hand
        client_id=told.clientId,
        account=told.acctNumber,
        instrument=instrument or instrument_of(contract),
        side=Side.BUY if told.side == "BOT" else Side.SELL,
        quantity=quantity(told.shares),
        price=number(told.price) or Decimal(),
        cumulative_quantity=quantity(told.cumQty),
        average_price=number(told.avgPrice) or Decimal(),
        executed_at=told.time.astimezone(UTC),
        exchange=told.exchange,
        order_ref=told.orderRef,
    )


# --------------------------------------------------------------------------------------------------------- accounts


@dataclass(frozen=True, kw_only=True)
class SummaryRow:
    """One row of an account summary, as sent."""

    account: str
    tag: str
    value: str
    currency: str


SUMMARY_TAGS = (
    "NetLiquidation,TotalCashValue,SettledCash,BuyingPower,AvailableFunds,ExcessLiquidity,GrossPositionValue,"
    "InitMarginReq,MaintMarginReq,$LEDGER:ALL"
)
"""`$LEDGER:ALL` adds one set of cash rows per currency, and one under the name BASE."""


def account_summary(account: str, rows: Iterable[SummaryRow], now: datetime) -> AccountSummary:
    """The balances of `account`; a figure that was not sent, or cannot be read, is None."""
    values = {(row.tag, row.currency): row.value for row in rows if row.account == account}
    base = next((currency for tag, currency in values if tag == "NetLiquidation" and currency), None)

    def money(tag: str, currency: str | None = base) -> Money | None:
        amount = number(values.get((tag, currency or "")))
        return Money(amount=amount, currency=base) if amount is not None and base else None

    def by_currency(tag: str, keep: Callable[[Decimal], bool] = lambda _: True) -> dict[str, Decimal]:
        found = {currency: number(value) for (told, currency), value in values.items() if told == tag}
        return {
            name: amount for name, amount in found.items() if amount is not None and name != "BASE" and keep(amount)
        }

    return AccountSummary(
        account=account,
        received_at=now,
        base_currency=base,
        net_liquidation=money("NetLiquidation"),
        total_cash=money("TotalCashValue"),
        settled_cash=money("SettledCash"),
        buying_power=money("BuyingPower"),
        available_funds=money("AvailableFunds"),
        excess_liquidity=money("ExcessLiquidity"),
        gross_position_value=money("GrossPositionValue"),
        initial_margin=money("InitMarginReq"),
        maintenance_margin=money("MaintMarginReq"),
        unrealized_pnl=money("UnrealizedPnL", "BASE"),
        realized_pnl=money("RealizedPnL", "BASE"),
        cash_balances=by_currency("CashBalance"),
        exchange_rates=by_currency("ExchangeRate", lambda rate: rate > 0),
    )
