"""The order as the gateway keeps it, and what its life produces: executions and events.

An `Order` never changes; the exchange replaces it, so an event can carry the order as it was at that moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TypeAlias

from ibkr_mcp_server.simulator.order_terms import OrderTerms

PRE_SUBMITTED = "PreSubmitted"
SUBMITTED = "Submitted"
PENDING_CANCEL = "PendingCancel"
FILLED = "Filled"
CANCELLED = "Cancelled"
INACTIVE = "Inactive"

DONE = frozenset({FILLED, CANCELLED, INACTIVE})


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """One order of one client. `terms` is what the client wrote, the fields here are what is in force."""

    perm_id: int
    client_id: int
    order_id: int
    """0 of an order that was placed by hand, and belongs to nobody; negative of one that client 0 was given."""
    con_id: int
    exchange: str
    account: str
    terms: OrderTerms
    quantity: Decimal
    tif: str
    status: str = PRE_SUBMITTED
    filled: Decimal = Decimal(0)
    filled_value: Decimal = Decimal(0)
    """Sum of price times quantity over the fills."""
    last_fill_price: Decimal = Decimal(0)
    commission: Decimal = Decimal(0)
    executions: int = 0
    why_held: str = ""
    oca_group: str = ""
    oca_type: int = 0
    parent_perm_id: int = 0
    stop_price: Decimal | None = None
    """The trigger in force; a trailing stop moves it."""
    limit_price: Decimal | None = None
    triggered: bool = False
    staged: bool = False
    """Sent with transmit=0: kept, but silent and invisible (section 12)."""
    placed_at: datetime
    starts_at: datetime | None = None
    """Held until then (goodAfterTime)."""
    expires_at: datetime | None = None
    cancels_at: datetime | None = None
    """Of an order in PendingCancel, when the exchange will have cancelled it; it can fill until then."""
    done_at: datetime | None = None
    done_because: str = ""

    @property
    def key(self) -> tuple[int, int]:
        return self.client_id, self.order_id

    @property
    def remaining(self) -> Decimal:
        return self.quantity - self.filled

    @property
    def average_fill_price(self) -> Decimal:
        return self.filled_value / self.filled if self.filled else Decimal(0)

    @property
    def is_done(self) -> bool:
        return self.status in DONE

    @property
    def is_buy(self) -> bool:
        return self.terms.action == "BUY"


@dataclass(frozen=True, kw_only=True, slots=True)
class Execution:
    """One fill. `realized_pnl` is `None` unless the fill closed something."""

    exec_id: str
    perm_id: int
    client_id: int
    order_id: int
    con_id: int
    account: str
    order_ref: str
    is_buy: bool
    time: datetime
    exchange: str
    quantity: Decimal
    price: Decimal
    cumulative_quantity: Decimal
    average_price: Decimal
    commission: Decimal
    commission_currency: str
    realized_pnl: Decimal | None
    added_liquidity: bool


@dataclass(frozen=True, kw_only=True)
class MarginChange:
    """What an order would do to an account, for what-if answers."""

    initial_before: Decimal
    maintenance_before: Decimal
    equity_before: Decimal
    initial_after: Decimal
    maintenance_after: Decimal
    equity_after: Decimal
    commission: Decimal
    currency: str


@dataclass(frozen=True, kw_only=True)
class OrderUpdated:
    """Goes out as an openOrder and orderStatus pair, or as the status alone."""

    order: Order
    status_only: bool = False


@dataclass(frozen=True, kw_only=True)
class Executed:
    execution: Execution


@dataclass(frozen=True, kw_only=True)
class Charged:
    """The commission of an execution."""

    execution: Execution


@dataclass(frozen=True, kw_only=True)
class OrderMessage:
    """An error or a warning about an order, in TWS's codes (section 11)."""

    client_id: int
    order_id: int
    code: int
    text: str


@dataclass(frozen=True, kw_only=True)
class OrderBound:
    """A manual order was given to client 0, under a negative order id."""

    order: Order


@dataclass(frozen=True, kw_only=True)
class WhatIfAnswered:
    order: Order
    change: MarginChange


@dataclass(frozen=True, kw_only=True)
class PositionChanged:
    account: str
    con_id: int


OrderEvent: TypeAlias = OrderUpdated | Executed | Charged | OrderMessage | OrderBound | WhatIfAnswered | PositionChanged
