"""The seam to the broker, in words of `domain/`.

Two rules hold for every method. It ends within the adapter's deadline, whatever the broker does, and it never turns a
failure into an empty answer. Reads raise `Unavailable` (no link, no answer in time, or an answer that may be
incomplete) or `Refused` (the broker said no to the request). Writes also raise `OutcomeUnknown`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple, Protocol

from ibkr_mcp_server.broker.clock_offset import ClockOffset
from ibkr_mcp_server.domain.accounts import AccountPnl, AccountSummary, MarginPreview, Position, PositionPnl
from ibkr_mcp_server.domain.history import BarRequest, History, Schedule
from ibkr_mcp_server.domain.instruments import Candidate, ContractDetails, Instrument, InstrumentQuery
from ibkr_mcp_server.domain.operations import (
    ApprovedBracket,
    ApprovedCancellation,
    ApprovedModification,
    ApprovedOrder,
    FinalGate,
)
from ibkr_mcp_server.domain.options import OptionChain
from ibkr_mcp_server.domain.orders import BrokerOrder, Execution, Order
from ibkr_mcp_server.domain.quotes import MarketDataType, Quote
from ibkr_mcp_server.domain.research import Article, Headlines, NewsProvider, ScannerVocabulary, ScanQuery, ScanRow
from ibkr_mcp_server.errors import OutcomeUnknown, ProductError

CLIENT_LIBRARIES = ("ib_async", "ib_insync")
"""What the adapter can speak through, the better one first."""


@cache
def client_library() -> tuple[str, str]:
    """Name and version of the installed client library; the library itself stays unread.

    Raises:
        ModuleNotFoundError: there is none.
    """
    for name in CLIENT_LIBRARIES:
        try:
            return name, version(name)
        except PackageNotFoundError:
            continue
    raise ModuleNotFoundError(f"None of {', '.join(CLIENT_LIBRARIES)} is installed; install ib_async.")


class FarmState(StrEnum):
    """What the gateway last said about one of IBKR's data farms."""

    OK = "ok"
    BROKEN = "broken"
    IDLE = "idle"
    """Not connected, and connects when it is needed."""
    CONNECTING = "connecting"


@dataclass(frozen=True, kw_only=True)
class Farm:
    """One of IBKR's data services."""

    name: str
    state: FarmState
    since: datetime


class LinkState(StrEnum):
    """Where the connection stands."""

    CLOSED = "closed"
    CONNECTING = "connecting"
    SYNCHRONISING = "synchronising"
    UP = "up"
    """Connected, and orders, positions and executions agree with the broker."""
    BROKER_OFFLINE = "broker-offline"
    """The gateway is there, but its own link to IBKR is down (1100)."""
    LOST = "lost"


@dataclass(frozen=True, kw_only=True)
class LinkStatus:
    """The connection as it is now."""

    state: LinkState
    venue: str
    """`simulator`, `paper` or `live`, as configured; SIM-03."""
    address: str
    client_id: int
    since: datetime
    server_version: int | None = None
    accounts: tuple[str, ...] = ()
    """Managed accounts as the broker last listed them (ACC-05)."""
    accounts_verified_at: datetime | None = None
    """When the broker last listed them."""
    problem: str | None = None
    """What is missing, and how to repair it; None while all is well."""
    attempts: int = 0
    needs_a_person: bool = False
    """Trying again soon is of no use: somebody must repair the `problem` (LK-04)."""
    farms: tuple[Farm, ...] = ()
    """What the gateway said about IBKR's data farms, in the order in which it named them."""
    heard_at: datetime | None = None
    """When anything last came from the gateway."""
    heard: float | None = None
    """The same by the clock's monotonic seconds, whatever the clock on the wall was set to."""
    clock_offset: ClockOffset | None = None
    """The broker's clock against ours; None before it was measured."""
    pacing_complaints: int = 0
    """How often in this run the broker said that messages came too fast (RL-14)."""

    @property
    def is_up(self) -> bool:
        return self.state is LinkState.UP

    @property
    def broken_farms(self) -> tuple[str, ...]:
        return tuple(farm.name for farm in self.farms if farm.state is FarmState.BROKEN)


class BrokerEventKind(StrEnum):
    LINK_UP = "link_up"
    LINK_DOWN = "link_down"
    ORDER_CHANGED = "order_changed"
    EXECUTION = "execution"
    COMMISSION = "commission"
    ACCOUNTS_CHANGED = "accounts_changed"
    NOTICE = "notice"


@dataclass(frozen=True, kw_only=True)
class BrokerEvent:
    """Something that happened at the broker, in the order in which it was told."""

    kind: BrokerEventKind
    at: datetime
    order: BrokerOrder | None = None
    execution: Execution | None = None
    code: int | None = None
    text: str = ""
    """Untrusted text of the broker, or our sentence about the link."""
    accounts: tuple[str, ...] = field(default=())
    only_informs: bool = False
    """A notice of nothing that went wrong, such as that an order was cancelled."""


EventListener = Callable[[BrokerEvent], None]


class AnswersOfASecond(NamedTuple):
    """How well the broker answered within one second."""

    second: int
    """Of the clock's `monotonic()`."""
    failed: int
    """Of the `operations`."""
    operations: int
    errors: int
    """That it reported, of the line and the service."""


class BrokerReads(Protocol):
    """What may be asked at any time."""

    @property
    def link(self) -> LinkStatus: ...

    async def verify_accounts(self) -> LinkStatus:
        """Ask the broker anew which accounts this link serves (ACC-07)."""
        ...

    async def account_summary(self, account: str) -> AccountSummary: ...

    async def account_pnl(self, account: str) -> AccountPnl: ...

    async def position_pnl(self, account: str, con_ids: Sequence[int]) -> Sequence[PositionPnl]:
        """Profit and loss of holdings, in the order asked; all figures are None for what is not held."""
        ...

    async def positions(self, account: str | None = None) -> Sequence[Position]:
        """Holdings, of one account or of all, with prices where the broker sends them."""
        ...

    async def resolve(self, query: InstrumentQuery) -> Instrument:
        """The one contract that `query` means; cached per session.

        Raises:
            Refused: CONTRACT_NOT_FOUND, or CONTRACT_AMBIGUOUS with the candidates in `details`.
        """
        ...

    async def contract_details(self, query: InstrumentQuery) -> ContractDetails:
        """Everything that the broker tells about the one contract that `query` means, asked anew.

        Raises:
            Refused: as `resolve` does.
        """
        ...

    async def search(self, pattern: str) -> Sequence[Candidate]: ...

    async def quotes(
        self, instruments: Sequence[Instrument], wanted: MarketDataType | None = None
    ) -> Sequence[Quote | Refusal]:
        """The newest quote of each, in the order asked; a refusal where the broker gives none.

        Without `wanted` it is live, or delayed where the account may not see live data. LIVE takes nothing else;
        FROZEN and DELAYED_FROZEN also take the last quote of a market that is closed. The quote says what it is.
        """
        ...

    async def margin_preview(self, order: Order) -> MarginPreview:
        """What the broker says the account's margin would be after `order`, which is not placed.

        Raises:
            Refused: the broker would not take the order.
        """
        ...

    async def option_chains(self, underlying: Instrument) -> Sequence[OptionChain]:
        """The options on `underlying`, per exchange and trading class; empty when there are none."""
        ...

    async def scanner_vocabulary(self) -> ScannerVocabulary:
        """What a scan may be asked for; read once per connection."""
        ...

    async def scan(self, query: ScanQuery) -> Sequence[ScanRow]:
        """The contracts that a scan finds now, best first; empty when none fit."""
        ...

    async def news_providers(self) -> Sequence[NewsProvider]:
        """The sources that this login may read."""
        ...

    async def headlines(
        self,
        instrument: Instrument,
        providers: Sequence[str],
        *,
        start: datetime | None,
        end: datetime | None,
        limit: int,
    ) -> Headlines:
        """At most `limit` headlines about `instrument`, newest first; an open end of the range is None."""
        ...

    async def article(self, provider: str, article_id: str) -> Article:
        """The text of one news item, as its author wrote it: untrusted."""
        ...

    async def bars(self, request: BarRequest) -> History:
        """Bars of the past, the oldest first. It may take half a minute.

        Raises:
            Refused: the service has no such data, or the request is not one that it takes.
        """
        ...

    async def schedule(self, request: BarRequest) -> Schedule:
        """The sessions of `request.duration` up to its end; its bar size does not matter."""
        ...

    async def history_begins(self, instrument: Instrument, what_to_show: str, *, regular_hours_only: bool) -> datetime:
        """The moment of the oldest data of that kind, aware UTC."""
        ...

    async def open_orders(self) -> Sequence[BrokerOrder]:
        """Working orders of all clients, read from the broker now."""
        ...

    async def completed_orders(self) -> Sequence[BrokerOrder]:
        """Today's finished orders; their `order_id` is 0 when the broker no longer tells it."""
        ...

    async def executions(self) -> Sequence[Execution]:
        """Today's fills of all clients."""
        ...

    def forget_reference_data(self) -> None:
        """Ask anew for every contract from now on."""
        ...

    def known_orders(self) -> Sequence[BrokerOrder]:
        """Orders as last told by the broker, without asking; working and finished ones of this session."""
        ...

    def known_order(self, perm_id: int) -> BrokerOrder | None:
        """One of the known orders, by its permanent id."""
        ...

    def known_positions(self) -> Sequence[Position] | None:
        """Positions as last told by the broker; None before the first synchronisation."""
        ...

    def unsettled(self, account: str) -> Mapping[int, Decimal]:
        """By contract id, the signed quantity of the newest fills that the broker's last word about the positions of
        `account` may not include yet."""
        ...

    def known_industries(self) -> Mapping[int, str]:
        """By contract id, what the broker calls the sector of the contracts that it described; it may grow later."""
        ...

    def known_balances(self, account: str) -> AccountSummary | None:
        """Balances as the broker told them last, at their `received_at`; None before it ever did."""
        ...

    def failed_operations(self) -> tuple[int, int]:
        """Of the requests and orders of the last 15 minutes, how many failed, and how many there were."""
        ...

    def api_errors(self) -> int:
        """Errors of the line and the service that the broker reported in the last minute."""
        ...

    def answers_kept(self) -> Sequence[AnswersOfASecond]:
        """What `failed_operations` and `api_errors` count, oldest first."""
        ...

    def count_on(self, earlier: Iterable[AnswersOfASecond]) -> None:
        """Count these, too: a run before this one had them, on this clock's `monotonic()` seconds."""
        ...

    async def watch_pnl(self, accounts: Sequence[str]) -> None:
        """Let `known_pnl` follow the profit of these accounts, as long as this connection lasts."""
        ...

    def known_pnl(self, account: str) -> AccountPnl | None:
        """Profit and loss as the broker told it last, about once a second while it is watched; None before that."""
        ...


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why the broker gives no quote for one instrument."""

    code: str
    message: str
    next_step: str
    broker_code: int | None = None


@dataclass(frozen=True, kw_only=True)
class LegReport:
    """What came of one order of a bracket: the broker's word, or why there is none."""

    order: BrokerOrder | None = None
    """As the broker told it; of a staged order, as it was sent."""
    error: ProductError | None = None
    """`Refused` or `Unavailable` when it surely does not live, `OutcomeUnknown` when nobody knows."""
    staged: bool = False
    """It lies at the broker untransmitted: silent, and without effect until somebody transmits it."""
    may_be_staged: BrokerOrder | None = None
    """As it was sent, when nobody knows whether the order that transmits it arrived."""
    kept_because: str = ""
    """Why it could not be taken back."""

    @property
    def is_unknown(self) -> bool:
        return isinstance(self.error, OutcomeUnknown)

    @property
    def is_dead(self) -> bool:
        """It surely does not live, and never traded."""
        if self.error is not None:
            return not self.is_unknown
        return self.order is not None and not self.order.is_working and not self.order.filled


@dataclass(frozen=True, kw_only=True)
class BracketReport:
    """What came of a bracket's orders."""

    entry: LegReport
    take_profit: LegReport
    stop_loss: LegReport
    unwound: bool = False
    """A part could not be placed, and what had been placed was cancelled or withdrawn, as far as it could be."""

    @property
    def legs(self) -> tuple[LegReport, ...]:
        return self.entry, self.take_profit, self.stop_loss


class BrokerWrites(Protocol):
    """What needs an approval."""

    async def place_order(self, approved: ApprovedOrder, gate: FinalGate) -> BrokerOrder:
        """Send the order and return the broker's first word about it.

        `gate` is entered directly around the socket write, after pacing; what it raises is passed on and means that
        nothing was sent. Once sent, the call is finished even if its caller is cancelled.

        Raises:
            Refused: the gate closed (nothing sent), or the broker rejected the order (its code and text are attached).
            Unavailable: no link; nothing sent.
            OutcomeUnknown: sent, and the link or the deadline ended before the broker answered.
        """
        ...

    async def place_bracket(self, approved: ApprovedBracket, gates: Sequence[FinalGate]) -> BracketReport:
        """Send the three orders of a bracket, each through its own gate, and return the broker's first word on each.

        The first two are staged; the last one transmits all. When a gate closes or an order is refused on the way,
        nothing more is sent and nothing is transmitted. Raises nothing about the orders: the report says it of each.
        """
        ...

    async def modify_order(self, approved: ApprovedModification, gate: FinalGate) -> BrokerOrder:
        """Replace a working order of this client; raises as `place_order` does."""
        ...

    async def cancel_order(self, approved: ApprovedCancellation, gate: FinalGate) -> BrokerOrder:
        """Ask for the cancellation and return the broker's first word; a finished order returns as it ended."""
        ...


class Broker(BrokerReads, BrokerWrites, Protocol):
    """The whole adapter."""

    def listen(self, listener: EventListener) -> Callable[[], None]:
        """Call `listener` for each event, in order, from the event loop; it must return at once.

        Returns what ends the listening.
        """
        ...

    async def open(self) -> None:
        """Start connecting in the background and keep at it; returns at once."""
        ...

    async def wait_until_up(self, timeout_seconds: float) -> LinkStatus:
        """Wait until the link is up, or `timeout_seconds` have passed; returns the status either way."""
        ...

    def connect_as(self, client_id: int) -> None:
        """End the connection and make it again under another client id: the role of this process has changed."""
        ...

    async def close(self) -> None:
        """Stop, and drop everything that was not sent."""
        ...
