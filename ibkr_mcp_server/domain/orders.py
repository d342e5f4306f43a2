"""Orders: what was asked for, what the broker holds, what was filled."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from ibkr_mcp_server.domain.instruments import Instrument

ORDER_REF_PREFIX = "ibmcp-"
"""Begins the order reference of every order that this product places."""


class Side(StrEnum):
    BUY = "BUY"
    SELL = "SELL"

    @property
    def sign(self) -> int:
        return 1 if self is Side.BUY else -1


class OrderType(StrEnum):
    """IBKR order types."""

    MKT = "MKT"
    LMT = "LMT"
    STP = "STP"
    STP_LMT = "STP LMT"
    TRAIL = "TRAIL"
    TRAIL_LIMIT = "TRAIL LIMIT"
    MOC = "MOC"
    LOC = "LOC"
    MIT = "MIT"
    LIT = "LIT"
    REL = "REL"
    MIDPRICE = "MIDPRICE"
    OTHER = "OTHER"
    """A type of someone else's order that this product does not know and never places."""


STOP_TYPES = frozenset({OrderType.STP, OrderType.STP_LMT, OrderType.TRAIL, OrderType.TRAIL_LIMIT})


class TimeInForce(StrEnum):
    DAY = "DAY"
    GTC = "GTC"
    IOC = "IOC"
    FOK = "FOK"
    GTD = "GTD"
    OPG = "OPG"
    OTHER = "OTHER"
    """Of someone else's order; never sent by this product."""


class OrderStatus(StrEnum):
    """The broker's word for where an order stands (orderStatus of the TWS API)."""

    PENDING_SUBMIT = "PendingSubmit"
    PRE_SUBMITTED = "PreSubmitted"
    SUBMITTED = "Submitted"
    PENDING_CANCEL = "PendingCancel"
    CANCELLED = "Cancelled"
    FILLED = "Filled"
    INACTIVE = "Inactive"

    @property
    def is_final(self) -> bool:
        """No further fill can follow. An Inactive order was rejected, or is held by the system."""
        return self in (OrderStatus.CANCELLED, OrderStatus.FILLED, OrderStatus.INACTIVE)


@dataclass(frozen=True, kw_only=True)
class Order:
    """The canonical order: every field that reaches the broker, resolved and frozen (TW-10)."""

    instrument: Instrument
    account: str
    side: Side
    quantity: Decimal
    order_type: OrderType
    limit_price: Decimal | None = None
    """Of TRAIL LIMIT it is where the limit stands now, as the broker told it."""
    stop_price: Decimal | None = None
    """Stop, trigger, or where the stop of a trailing order stands; see `order_types.OrderTerms`."""
    trailing_amount: Decimal | None = None
    trailing_percent: Decimal | None = None
    """In percent points: 2 for 2 %."""
    limit_offset: Decimal | None = None
    """Distance of the limit from what it follows, always positive."""
    cap_price: Decimal | None = None
    """A market order travels as a limit order at this price: reference plus collar (ORD-09)."""
    time_in_force: TimeInForce = TimeInForce.DAY
    good_till_date: datetime | None = None
    """When a GTD order ends, aware UTC."""
    outside_rth: bool = False
    order_ref: str = ""
    """Carries the intent to the broker and back (ID-07)."""

    @property
    def signed_quantity(self) -> Decimal:
        return self.quantity * self.side.sign

    @property
    def label(self) -> str:
        price = f" at {self.limit_price}" if self.limit_price is not None else ""
        return f"{self.side} {self.quantity:f} {self.instrument.label} {self.order_type}{price} {self.time_in_force}"


CHANGEABLE = ("limit_price", "stop_price", "trailing_amount", "trailing_percent", "limit_offset", "good_till_date")
"""The terms that a working order may be given anew, besides quantity, time in force and hours; in `Order`'s names."""


@dataclass(frozen=True, kw_only=True)
class BrokerOrder:
    """An order as the broker holds it, whoever placed it."""

    order: Order
    perm_id: int
    """Given by the broker, unique and lasting; 0 while it has not told it."""
    order_id: int
    """Unique for `client_id` only; 0 for orders placed by hand."""
    client_id: int
    status: OrderStatus
    filled: Decimal
    remaining: Decimal
    average_fill_price: Decimal | None
    last_message: str = ""
    """The broker's newest text about it: untrusted."""
    last_error_code: int | None = None
    parent_perm_id: int = 0
    """The order that must fill first; 0 when there is none or the broker has not told it."""
    oca_group: str = ""
    """Orders of one group share their quantity: what one fills, the others lose."""
    why_held: str = ""
    placed_here: bool = False
    """Placed by this product (its order reference is ours)."""
    updated_at: datetime | None = None
    completed_at: datetime | None = None
    """When it was finished, as the broker's record of completed orders tells it."""

    @property
    def is_working(self) -> bool:
        return not self.status.is_final


@dataclass(frozen=True, kw_only=True)
class Exits:
    """The two orders that end what a bracket's entry begins."""

    take_profit: Order
    stop_loss: Order


@dataclass(frozen=True, kw_only=True)
class Execution:
    """One fill."""

    execution_id: str
    perm_id: int
    order_id: int
    client_id: int
    account: str
    instrument: Instrument
    side: Side
    quantity: Decimal
    price: Decimal
    cumulative_quantity: Decimal
    average_price: Decimal
    executed_at: datetime
    exchange: str
    order_ref: str
    commission: Decimal | None = None
    commission_currency: str | None = None
    realized_pnl: Decimal | None = None


def fill_of(execution_id: str) -> tuple[str, int]:
    """`0000e0d5.6b01608b.01.02` is the second version of fill `0000e0d5.6b01608b.01`."""
    fill, _, revision = execution_id.rpartition(".")
    return (fill, int(revision)) if fill and revision.isdigit() else (execution_id, 0)
