"""`Broker` on TWS and IB Gateway, by the socket client of `ib_async`.

Importing this module loads that library (and numpy with it), so only the composition root does it, when the broker is
opened.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal

from ibkr_mcp_server.broker.base import (
    AnswersOfASecond,
    BracketReport,
    BrokerEvent,
    EventListener,
    LinkStatus,
    Refusal,
)
from ibkr_mcp_server.broker.book import Book
from ibkr_mcp_server.broker.connection import Link, LinkSettings
from ibkr_mcp_server.broker.pacing import Pacer
from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.domain.accounts import AccountPnl, AccountSummary, MarginPreview, Position, PositionPnl
from ibkr_mcp_server.domain.daily_window import DailyWindow
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
from ibkr_mcp_server.errors import OutcomeUnknown, ProductError, Refused, Unavailable

logger = logging.getLogger(__name__)


class IBBroker:
    """The adapter; see `Broker` for what each method promises.

    Deadlines are real seconds, since they guard against a real gateway; everything else follows `clock`.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        host: str,
        port: int,
        client_id: int,
        venue: str,
        deadline_seconds: float = 5.0,
        messages_per_second: float = 40.0,
        urgent_share: float = 0.0,
        connect_timeout_seconds: float = 4.0,
        first_pause_seconds: float = 1.0,
        longest_pause_seconds: float = 60.0,
        quote_wait_seconds: float = 2.0,
        heartbeat_seconds: float = 5.0,
        dead_after_seconds: float = 15.0,
        restart_windows: tuple[DailyWindow, ...] = (),
        jitter_seed: int | str = 0,
    ) -> None:
        self._listeners: list[EventListener] = []
        self._book = Book(clock, self._emit)
        self._link = Link(
            LinkSettings(
                host=host,
                port=port,
                client_id=client_id,
                venue=venue,
                deadline_seconds=deadline_seconds,
                connect_timeout_seconds=connect_timeout_seconds,
                first_pause_seconds=first_pause_seconds,
                longest_pause_seconds=longest_pause_seconds,
                quote_wait_seconds=quote_wait_seconds,
                heartbeat_seconds=heartbeat_seconds,
                dead_after_seconds=dead_after_seconds,
                restart_windows=restart_windows,
                jitter_seed=jitter_seed,
            ),
            clock=clock,
            pacer=Pacer(clock, messages_per_second, urgent_share=urgent_share),
            book=self._book,
            emit=self._emit,
        )

    # ---------------------------------------------------------------------------------------------------------- life

    def listen(self, listener: EventListener) -> Callable[[], None]:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def open(self) -> None:
        self._link.open()

    async def wait_until_up(self, timeout_seconds: float) -> LinkStatus:
        return await self._link.wait_until_up(timeout_seconds)

    def connect_as(self, client_id: int) -> None:
        self._link.connect_as(client_id)

    async def close(self) -> None:
        await self._link.close()

    @property
    def link(self) -> LinkStatus:
        return self._link.status_now()

    def _emit(self, event: BrokerEvent) -> None:
        for listener in tuple(self._listeners):
            try:
                listener(event)
            except Exception:  # a listener's mistake must not cost the others, nor the connection, a message
                logger.exception("A listener failed on %s.", event.kind)

    # --------------------------------------------------------------------------------------------------------- reads

    async def verify_accounts(self) -> LinkStatus:
        await self._link.up().records.verify_accounts()
        return self._link.status

    async def account_summary(self, account: str) -> AccountSummary:
        self._require_served(account)
        return await self._link.up().records.account_summary(account)

    async def positions(self, account: str | None = None) -> Sequence[Position]:
        if account is not None:
            self._require_served(account)
        return await self._link.up().records.positions(account)

    async def account_pnl(self, account: str) -> AccountPnl:
        self._require_served(account)
        return await self._link.up().pnl.of_account(account)

    async def position_pnl(self, account: str, con_ids: Sequence[int]) -> Sequence[PositionPnl]:
        self._require_served(account)
        return await self._link.up().pnl.of_positions(account, con_ids)

    async def resolve(self, query: InstrumentQuery) -> Instrument:
        return await self._link.up().contracts.resolve(query)

    async def contract_details(self, query: InstrumentQuery) -> ContractDetails:
        return await self._link.up().contracts.details(query)

    async def search(self, pattern: str) -> Sequence[Candidate]:
        return await self._link.up().contracts.search(pattern)

    async def quotes(
        self, instruments: Sequence[Instrument], wanted: MarketDataType | None = None
    ) -> Sequence[Quote | Refusal]:
        return await self._link.up().quotes.quotes(instruments, wanted)

    async def margin_preview(self, order: Order) -> MarginPreview:
        self._require_served(order.account)
        return await self._link.up().margins.of(order)

    async def option_chains(self, underlying: Instrument) -> Sequence[OptionChain]:
        return await self._link.up().option_chains.chains(underlying)

    async def scanner_vocabulary(self) -> ScannerVocabulary:
        return await self._link.up().scanner.vocabulary()

    async def scan(self, query: ScanQuery) -> Sequence[ScanRow]:
        return await self._link.up().scanner.scan(query)

    async def news_providers(self) -> Sequence[NewsProvider]:
        return await self._link.up().news.providers()

    async def headlines(
        self,
        instrument: Instrument,
        providers: Sequence[str],
        *,
        start: datetime | None,
        end: datetime | None,
        limit: int,
    ) -> Headlines:
        return await self._link.up().news.headlines(instrument, providers, start=start, end=end, limit=limit)

    async def article(self, provider: str, article_id: str) -> Article:
        return await self._link.up().news.article(provider, article_id)

    async def bars(self, request: BarRequest) -> History:
        return await self._link.up().histories.bars(request)

    async def schedule(self, request: BarRequest) -> Schedule:
        return await self._link.up().histories.schedule(request)

    async def history_begins(self, instrument: Instrument, what_to_show: str, *, regular_hours_only: bool) -> datetime:
        histories = self._link.up().histories
        return await histories.beginning(instrument, what_to_show, regular_hours_only=regular_hours_only)

    async def open_orders(self) -> Sequence[BrokerOrder]:
        return await self._link.up().records.open_orders()

    async def completed_orders(self) -> Sequence[BrokerOrder]:
        return await self._link.up().records.completed_orders()

    async def executions(self) -> Sequence[Execution]:
        return await self._link.up().records.executions()

    def forget_reference_data(self) -> None:
        self._link.up().contracts.forget()

    def known_orders(self) -> Sequence[BrokerOrder]:
        return self._book.orders()

    def known_order(self, perm_id: int) -> BrokerOrder | None:
        return self._book.order(perm_id=perm_id)

    def known_positions(self) -> Sequence[Position] | None:
        return self._book.positions()

    def unsettled(self, account: str) -> Mapping[int, Decimal]:
        return self._book.unsettled(account)

    def known_industries(self) -> Mapping[int, str]:
        return self._book.industries

    def known_balances(self, account: str) -> AccountSummary | None:
        return self._book.balances(account)

    async def watch_pnl(self, accounts: Sequence[str]) -> None:
        await self._link.up().accounts.open(accounts)

    def failed_operations(self) -> tuple[int, int]:
        return self._link.tally.operations()

    def api_errors(self) -> int:
        return self._link.tally.errors()

    def answers_kept(self) -> Sequence[AnswersOfASecond]:
        return self._link.tally.kept()

    def count_on(self, earlier: Iterable[AnswersOfASecond]) -> None:
        self._link.tally.count_on(earlier)

    def known_pnl(self, account: str) -> AccountPnl | None:
        return self._book.pnl(account)

    def _require_served(self, account: str) -> None:
        self._link.up()
        if account not in self._link.status.accounts:
            raise Refused(
                "ACCOUNT_NOT_SERVED",
                f"The connected login does not serve account {account}.",
                next_step="Name one of the accounts in the connection status.",
            )

    # -------------------------------------------------------------------------------------------------------- writes

    async def place_order(self, approved: ApprovedOrder, gate: FinalGate) -> BrokerOrder:
        orders = self._link.up().orders
        async with self._counted():
            return await orders.place(approved, gate)

    async def place_bracket(self, approved: ApprovedBracket, gates: Sequence[FinalGate]) -> BracketReport:
        report = await self._link.up().orders.place_bracket(approved, gates)
        errors = [leg.error for leg in report.legs if leg.error is not None]
        if any(map(_has_failed, errors)):
            self._link.tally.operation(failed=True)
        elif not errors:
            self._link.tally.operation(failed=False)
        return report

    async def modify_order(self, approved: ApprovedModification, gate: FinalGate) -> BrokerOrder:
        orders = self._link.up().orders
        async with self._counted():
            return await orders.modify(approved, gate)

    async def cancel_order(self, approved: ApprovedCancellation, gate: FinalGate) -> BrokerOrder:
        orders = self._link.up().orders
        async with self._counted():
            return await orders.cancel(approved, gate)

    @asynccontextmanager
    async def _counted(self) -> AsyncIterator[None]:
        try:
            yield
        except ProductError as error:
            if _has_failed(error):
                self._link.tally.operation(failed=True)
            raise
        self._link.tally.operation(failed=False)


def _has_failed(error: ProductError) -> bool:
    """An order that the broker rejected, or whose outcome is not known, is an operation that failed (CB-20).

    What was refused on this side of the socket is none.
    """
    return isinstance(error, OutcomeUnknown | Unavailable) or error.code == "BROKER_REJECTED"
