"""Domain data as results show it; shared by the families."""

from __future__ import annotations

from datetime import datetime

from ibkr_mcp_server.domain.instruments import Candidate, Instrument
from ibkr_mcp_server.domain.orders import BrokerOrder, Order
from ibkr_mcp_server.tools.results import AccountId, Exact, Part, Quoted, Unknown, quoted


class InstrumentView(Part):
    """One contract."""

    symbol: str
    con_id: int
    sec_type: str
    currency: str
    exchange: str
    primary_exchange: str | Unknown = None
    name: Quoted | Unknown = None
    last_trade_date: str | Unknown = None
    strike: Exact | Unknown = None
    right: str | Unknown = None
    trading_class: str | Unknown = None
    multiplier: Exact | Unknown = None
    price_increment: Exact | Unknown = None
    quantity_increment: Exact | Unknown = None
    minimum_quantity: Exact | Unknown = None
    in_regular_hours: bool | Unknown = None


def instrument_view(instrument: Instrument, now: datetime) -> InstrumentView:
    return InstrumentView(
        symbol=instrument.label,
        con_id=instrument.con_id,
        sec_type=instrument.sec_type,
        currency=instrument.currency,
        exchange=instrument.exchange,
        primary_exchange=instrument.primary_exchange or None,
        name=quoted(instrument.long_name, 100),
        last_trade_date=instrument.last_trade_date or None,
        strike=instrument.strike,
        right=instrument.right or None,
        trading_class=instrument.trading_class or None,
        multiplier=instrument.multiplier,
        price_increment=instrument.min_tick,
        quantity_increment=instrument.size_increment,
        minimum_quantity=instrument.min_size,
        in_regular_hours=None if instrument.liquid_hours is None else instrument.in_regular_hours(now),
    )


class CandidateView(Part):
    """A contract that a symbol could mean."""

    symbol: str
    con_id: int
    sec_type: str
    currency: str
    primary_exchange: str
    description: Quoted | Unknown = None


def candidate_view(candidate: Candidate) -> CandidateView:
    return CandidateView(
        symbol=candidate.symbol,
        con_id=candidate.con_id,
        sec_type=candidate.sec_type,
        currency=candidate.currency,
        primary_exchange=candidate.primary_exchange,
        description=quoted(candidate.description, 100),
    )


class OrderTerms(Part):
    """What an order asks for."""

    symbol: str
    con_id: int
    currency: str
    multiplier: Exact | Unknown = None
    action: str
    quantity: Exact
    order_type: str
    limit_price: Exact | Unknown = None
    stop_price: Exact | Unknown = None
    trailing_amount: Exact | Unknown = None
    trailing_percent: Exact | Unknown = None
    limit_offset: Exact | Unknown = None
    market_cap_price: Exact | Unknown = None
    tif: str
    good_till_date: datetime | Unknown = None
    outside_rth: bool
    account: AccountId


def order_terms(order: Order) -> OrderTerms:
    return OrderTerms(
        symbol=order.instrument.label,
        con_id=order.instrument.con_id,
        currency=order.instrument.currency,
        multiplier=order.instrument.multiplier,
        action=order.side,
        quantity=order.quantity,
        order_type=order.order_type,
        limit_price=order.limit_price,
        stop_price=order.stop_price,
        trailing_amount=order.trailing_amount,
        trailing_percent=order.trailing_percent,
        limit_offset=order.limit_offset,
        market_cap_price=order.cap_price,
        tif=order.time_in_force,
        good_till_date=order.good_till_date,
        outside_rth=order.outside_rth,
        account=order.account,
    )


class OrderView(Part):
    """An order as the broker tells it."""

    perm_id: int | Unknown = None
    order_id: int | Unknown = None
    client_id: int
    status: str
    filled: Exact
    remaining: Exact
    average_fill_price: Exact | Unknown = None
    placed_here: bool
    updated_at: datetime | Unknown = None
    age_seconds: float | Unknown = None
    completed_at: datetime | Unknown = None
    broker_message: Quoted | Unknown = None
    why_held: Quoted | Unknown = None
    parent_perm_id: int | Unknown = None
    oca_group: Quoted | Unknown = None
    terms: OrderTerms


def order_view(order: BrokerOrder, now: datetime) -> OrderView:
    return OrderView(
        perm_id=order.perm_id or None,
        order_id=order.order_id or None,
        client_id=order.client_id,
        status=order.status,
        filled=order.filled,
        remaining=order.remaining,
        average_fill_price=order.average_fill_price,
        placed_here=order.placed_here,
        updated_at=order.updated_at,
        age_seconds=None if order.updated_at is None else age(order.updated_at, now),
        completed_at=order.completed_at,
        broker_message=quoted(order.last_message),
        why_held=quoted(order.why_held, 60),
        parent_perm_id=order.parent_perm_id or None,
        oca_group=quoted(order.oca_group, 60),
        terms=order_terms(order.order),
    )


def magnifier(instrument: Instrument) -> int | None:
    """By how much the instrument's prices are larger than amounts in its currency; None for most, which are not."""
    return instrument.price_magnifier if instrument.price_magnifier != 1 else None


def age(then: datetime, now: datetime) -> float:
    """Seconds since `then`; never negative."""
    return round(max(0.0, (now - then).total_seconds()), 3)
