"""What a caller wants, from the door to the wire.

An `Operation` is made in a door and walks through the house. The three `Approved…` types are the keys to the broker's
write methods; only `TradingSafetyManager` makes them (an architecture test holds that).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from ibkr_mcp_server.domain.instruments import InstrumentQuery
from ibkr_mcp_server.domain.orders import BrokerOrder, Order, OrderType, TimeInForce


class OperationClass(StrEnum):
    """What an operation can do (TW-08); the policy table maps each class to its checks."""

    ORDER_PLACEMENT = "order_placement"
    ORDER_MODIFICATION = "order_modification"
    ORDER_CANCELLATION = "order_cancellation"
    MARKET_DATA = "market_data"
    ACCOUNT_READ = "account_read"
    ACCOUNT_MANAGEMENT = "account_management"
    FOREX = "forex"
    SAFETY_STATUS = "safety_status"
    SAFETY_STOP = "safety_stop"

    @property
    def writes_orders(self) -> bool:
        return self in (
            OperationClass.ORDER_PLACEMENT,
            OperationClass.ORDER_MODIFICATION,
            OperationClass.ORDER_CANCELLATION,
        )

    @property
    def changes_the_broker(self) -> bool:
        """Whether operations of this class are for changing something; stopping is not, it prevents changes."""
        return self.writes_orders or self is OperationClass.ACCOUNT_MANAGEMENT


class ActorType(StrEnum):
    AGENT = "agent"
    HUMAN = "human"
    SYSTEM = "system"


@dataclass(frozen=True, kw_only=True)
class Actor:
    """Who acts, and what proves it."""

    type: ActorType
    id: str
    """Of an agent, the name that its process or its token has (ST-07); of a human, a claim unless `auth` proves it."""
    auth: str
    """`stdio`, `bearer`, `passphrase`, `passphrase and code`, `local-shell`, `sentinel-file`, `signal`, `environment`,
    `redis`, `in-process`, `threshold`; `claimed` where a proof failed."""
    label: str = ""
    """What an MCP client calls itself: a claim, for the records only."""


SYSTEM = Actor(type=ActorType.SYSTEM, id="ibkr-mcp-server", auth="in-process")
BY_THRESHOLD = "threshold"
"""`auth` of the system when a KILL threshold made it stop: such a stop ends only with two people (KS-17)."""
BREAKER = Actor(type=ActorType.SYSTEM, id="circuit-breaker", auth=BY_THRESHOLD)
COORDINATOR = Actor(type=ActorType.SYSTEM, id="stop-coordinator", auth="in-process")
"""Carries out stops; table 0.1 gives it cells of its own. No door makes an operation in its name."""


@dataclass(frozen=True, kw_only=True)
class OrderDraft:
    """An order as the caller stated it: well typed, and nothing else is known of it yet."""

    query: InstrumentQuery
    side: str
    quantity: Decimal
    order_type: OrderType
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    trailing_amount: Decimal | None = None
    trailing_percent: Decimal | None = None
    limit_offset: Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.DAY
    good_till_date: datetime | None = None
    outside_rth: bool = False
    account: str | None = None


@dataclass(frozen=True, kw_only=True)
class ModificationDraft:
    """Changes to a working order; None leaves a field as it is."""

    order: OrderReference
    quantity: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    trailing_amount: Decimal | None = None
    trailing_percent: Decimal | None = None
    limit_offset: Decimal | None = None
    time_in_force: TimeInForce | None = None
    good_till_date: datetime | None = None
    outside_rth: bool | None = None


@dataclass(frozen=True, kw_only=True)
class BracketDraft:
    """An entry with the two orders that end what it begins: one takes the profit, the other limits the loss."""

    entry: OrderDraft
    take_profit_price: Decimal
    stop_loss_price: Decimal
    stop_limit_price: Decimal | None = None
    """Makes the stop a stop-limit order."""
    stop_loss_tif: TimeInForce = TimeInForce.GTC


@dataclass(frozen=True, kw_only=True)
class Withdrawal:
    """Taking back an order that was staged at the broker for a bracket and never transmitted."""

    order: BrokerOrder
    """As it was sent; the broker says nothing of staged orders."""


@dataclass(frozen=True, kw_only=True)
class CloseDraft:
    """Closing what is held of an instrument: side and size come from the broker's word about the position."""

    query: InstrumentQuery
    quantity: Decimal | None = None
    """At most all that can be closed; None for that."""
    limit_price: Decimal | None = None
    """None to close at the market, capped."""
    outside_rth: bool = False
    account: str | None = None
    positions_are_fresh: bool = False
    """The caller has just asked for all positions, so that each of many closes need not ask again."""


@dataclass(frozen=True, kw_only=True)
class OrderReference:
    """How a caller names an order: the permanent id, the client's own request id, or both."""

    perm_id: int | None = None
    client_request_id: str | None = None
    only_stops: bool = False
    """The caller means a stop order; any other is not what it names."""

    def __str__(self) -> str:
        return f"perm_id {self.perm_id}" if self.perm_id else f"client_request_id {self.client_request_id}"


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One request of one caller."""

    tool: str
    operation_class: OperationClass
    actor: Actor
    arguments: Mapping[str, object]
    """As received, for the audit log."""
    draft: OrderDraft | BracketDraft | ModificationDraft | CloseDraft | OrderReference | Withdrawal | None = None
    symbols: tuple[str, ...] = ()
    """Instruments that a market-data request asks for; each counts (RL-02)."""
    account: str | None = None
    client_request_id: str | None = None
    preview: bool = False
    """Judge only: nothing is reserved and nothing can be sent."""
    in_parts: bool = False
    """It is carried out as several operations, each judged, reserved and recorded by itself; this one sends nothing."""
    inner: str = ""
    """The tool that this one is about, where it prepares or commits the order of another."""
    given: Mapping[str, object] = field(default_factory=dict)
    """What was given to `inner`, as received."""
    prepares: bool = False
    """Judge and issue a ticket; nothing is sent until that is committed."""
    ticket: str | None = None
    """Commits the order of this ticket."""
    problems: tuple[Problem, ...] = field(default=())
    """What the door already found wrong with it; refused with these as the reasons."""

    @property
    def of_tool(self) -> str:
        """The tool whose request it is."""
        return self.inner or self.tool


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing wrong with a request, found before or during a check."""

    code: str
    message: str
    observed: str | None = None
    limit: str | None = None
    next_step: str = ""
    retry_after_seconds: float | None = None


FinalGate = Callable[[], AbstractAsyncContextManager[None]]
"""Entered by the adapter directly around the socket write (TW-11).

It re-reads the safety state and raises `Refused` with STATE_CHANGED when that became stricter; while it is held, no
other process can complete a stop, so nothing is on its way once a stop has returned."""


@dataclass(frozen=True, kw_only=True)
class ApprovedOrder:
    """An order that every check approved; its intent is durable and its quota reserved."""

    order: Order
    decision_id: str
    intent_id: str
    reduces: bool = False
    """It lowers a position, so that it may overtake opening orders on the way out."""


@dataclass(frozen=True, kw_only=True)
class ApprovedBracket:
    """Three orders that were approved together and go live together, or not at all."""

    entry: ApprovedOrder
    take_profit: ApprovedOrder
    stop_loss: ApprovedOrder

    @property
    def legs(self) -> tuple[ApprovedOrder, ...]:
        """In the order of sending; the last one transmits them all, so that no entry lives without its stop."""
        return self.entry, self.take_profit, self.stop_loss


@dataclass(frozen=True, kw_only=True)
class ApprovedModification:
    """A change that every check approved, as the whole resulting order."""

    current: BrokerOrder
    order: Order
    decision_id: str
    intent_id: str


@dataclass(frozen=True, kw_only=True)
class ApprovedCancellation:
    """A working order that may be cancelled."""

    target: BrokerOrder
    decision_id: str
    intent_id: str
