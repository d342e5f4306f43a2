"""Keeps a connection to the gateway, and says where it stands; nobody ever waits for it unless he asks to.

The link is UP only when orders, fills, positions and accounts agree with the broker. Every connection is a new
`Session` with new requests, so nothing that waited for the old one is ever sent on the new one (EM-02). A gateway that
has said nothing for a while is asked for the time: one that has died without a word is noticed within a known bound
(EM-06), and its clock is compared with ours on the way.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ibkr_mcp_server.broker.account_watch import AccountWatch
from ibkr_mcp_server.broker.base import BrokerEvent, BrokerEventKind, Farm, FarmState, LinkState, LinkStatus
from ibkr_mcp_server.broker.book import Book
from ibkr_mcp_server.broker.clock_offset import OffsetMeter
from ibkr_mcp_server.broker.contracts import Contracts
from ibkr_mcp_server.broker.history import Histories
from ibkr_mcp_server.broker.margin_preview import MarginPreviews
from ibkr_mcp_server.broker.market_data import QuoteBoard
from ibkr_mcp_server.broker.news import News
from ibkr_mcp_server.broker.option_chains import OptionChains
from ibkr_mcp_server.broker.order_desk import OrderDesk
from ibkr_mcp_server.broker.pacing import Pacer
from ibkr_mcp_server.broker.pnl import ProfitAndLoss
from ibkr_mcp_server.broker.records import Records
from ibkr_mcp_server.broker.scanner import Scanner
from ibkr_mcp_server.broker.session import LinkProblem, Session
from ibkr_mcp_server.broker.tally import Tally
from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.domain.daily_window import DailyWindow
from ibkr_mcp_server.errors import ProductError, Unavailable
from ibkr_mcp_server.waits import first_of

OFFLINE = frozenset({1100, 2110})
"""The gateway has lost IBKR. Its socket stays up, and its answers may stall."""
RESTORED = frozenset({1101, 1102})
DATA_LOST = 1101
PORT_CHANGED = 1300
FARMS = (
    dict.fromkeys((2103, 2105, 2157), FarmState.BROKEN)
    | dict.fromkeys((2104, 2106, 2158), FarmState.OK)
    | dict.fromkeys((2107, 2108), FarmState.IDLE)
    | {2119: FarmState.CONNECTING}
)
"""Each message ends with the farm's name, after a colon: `Market data farm connection is OK:usfarm`."""
CLOCK_GRAIN_SECONDS = 0.01
OFFSET_AGE_SECONDS = 60.0
"""How old the comparison of the clocks may become on a link that is never silent."""


@dataclass(frozen=True, kw_only=True)
class LinkSettings:
    """Where to connect, as whom, and with how much patience."""

    host: str
    port: int
    client_id: int
    venue: str
    deadline_seconds: float
    connect_timeout_seconds: float
    first_pause_seconds: float
    longest_pause_seconds: float
    quote_wait_seconds: float
    heartbeat_seconds: float
    """EM-06: how long the gateway may be silent before it is asked for the time."""
    dead_after_seconds: float
    """EM-06: how long it may be silent before the connection is given up; more than `heartbeat_seconds`."""
    restart_windows: tuple[DailyWindow, ...] = ()
    jitter_seed: int | str = 0
    """Spreads the attempts of programs that lost the same gateway in the same moment."""

    @property
    def sign_of_life_seconds(self) -> float:
        return min(self.deadline_seconds, self.dead_after_seconds - self.heartbeat_seconds)

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"


class Connected:
    """A connection together with all that can be done on it."""

    def __init__(self, session: Session, settings: LinkSettings, *, clock: Clock, pacer: Pacer, book: Book) -> None:
        self.session = session
        self.records = Records(session, book=book, clock=clock)
        self.contracts = Contracts(session, book=book, clock=clock)
        self.histories = Histories(session, clock=clock)
        self.pnl = ProfitAndLoss(session, clock=clock)
        self.margins = MarginPreviews(session)
        self.quotes = QuoteBoard(
            session,
            clock=clock,
            pacer=pacer,
            wait_seconds=min(settings.quote_wait_seconds, settings.deadline_seconds),
        )
        session.ticks = self.quotes
        self.accounts = AccountWatch(session, clock=clock, pacer=pacer, book=book)
        session.profits = self.accounts
        self.option_chains = OptionChains(session)
        self.scanner = Scanner(session)
        self.news = News(session)
        self.orders = OrderDesk(
            session,
            book=book,
            pacer=pacer,
            deadline_seconds=settings.deadline_seconds,
            read_open_orders=self.records.open_orders,
        )


class Link:
    """The one connection of this process, remade whenever it ends."""

    def __init__(
        self, settings: LinkSettings, *, clock: Clock, pacer: Pacer, book: Book, emit: Callable[[BrokerEvent], None]
    ) -> None:
        self.tally = Tally(clock)
        self._settings = settings
        self._clock = clock
        self._pacer = pacer
        self._book = book
        self._emit = emit
        self._keeper: asyncio.Task[None] | None = None
        self._connected: Connected | None = None
        self._current: Connected | None = None
        self._is_up = asyncio.Event()
        self._online = asyncio.Event()
        self._offline_code = 0
        self._interrupted = asyncio.Event()
        self._highest_id = 0
        self._client_id = settings.client_id
        self._pausing = False
        self._jitter = random.Random(settings.jitter_seed)  # noqa: S311 - so that many do not come back at once
        self._offset = OffsetMeter()
        self.status = LinkStatus(
            state=LinkState.CLOSED,
            venue=settings.venue,
            address=settings.address,
            client_id=settings.client_id,
            since=clock.now(),
        )
        self._shown = self.status
        """What `status_now` told last; below, what it is made of."""
        self._shown_of: tuple[object, ...] = ()

    def open(self) -> None:
        if self._keeper is None:
            self._move(LinkState.CONNECTING)
            self._keeper = asyncio.get_running_loop().create_task(self._keep_connected())

    async def close(self) -> None:
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeper
        self._pacer.close()
        self._move(LinkState.CLOSED)

    def connect_as(self, client_id: int) -> None:
        """See `Broker.connect_as`. A link that waits before its next attempt makes that at once."""
        if client_id == self._client_id:
            return
        self._client_id = client_id
        self.status = replace(self.status, client_id=client_id)
        why = _as_another(client_id)
        self._interrupt()
        self._down(LinkState.CONNECTING, why)
        if self._current is not None:
            self._current.session.lose(LinkProblem(text=why, wanted=True))
        elif self._pausing and self._keeper is not None:
            self._pausing = False
            self._keeper.cancel()
            self._keeper = asyncio.get_running_loop().create_task(self._keep_connected())

    async def wait_until_up(self, timeout_seconds: float) -> LinkStatus:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await self._is_up.wait()
        return self.status

    def up(self) -> Connected:
        """The connection, if it can be used.

        Raises:
            Unavailable: it cannot, with what is missing and how to repair it.
        """
        if self._connected is not None and self._connected.session.is_alive and not self._interrupted.is_set():
            return self._connected
        raise self._unavailable()

    def _unavailable(self) -> Unavailable:
        status = self.status
        code, next_step = "LINK_DOWN", "Repair that; the connection is made again by itself."
        if status.problem is not None:
            message = status.problem
            if status.state is LinkState.BROKER_OFFLINE:
                code, next_step = "BROKER_OFFLINE", "Wait; the gateway reconnects by itself."
        elif status.state is LinkState.CLOSED:
            message, next_step = "The connection to the gateway is closed.", "Start the server again."
        elif status.state is LinkState.SYNCHRONISING:
            message = "The gateway is connected; its orders and positions are still being read."
            next_step = "Try again in a moment."
        else:
            message = f"The gateway at {status.address} has not answered yet."
            next_step = "Try again in a moment; if it stays, check that TWS or IB Gateway runs there and is logged in."
        return Unavailable(code, message, next_step=next_step)

    # ------------------------------------------------------------------------------------------------------ keeping it

    async def _keep_connected(self) -> None:
        failures = 0
        while True:
            problem = await self._one_connection()
            if problem.wanted:
                continue
            failures = failures + 1 if self.status.attempts else 1  # no attempts: it had been up
            self._move(LinkState.LOST, problem.text + self._restart_note(), needs_a_person=problem.fatal)
            pause = self._settings.longest_pause_seconds if problem.fatal else self._pause_after(failures)
            self._pausing = True
            await self._clock.sleep(pause)
            self._pausing = False

    def _pause_after(self, failures: int) -> float:
        """EM-07: doubling from the first pause to the longest, each shortened at random by up to a quarter."""
        first, longest = self._settings.first_pause_seconds, self._settings.longest_pause_seconds
        doubled = first / 0.75 * 2.0 ** min(failures - 1, 32)
        return self._jitter.uniform(0.75, 1.0) * min(doubled, longest)

    def _restart_note(self) -> str:
        now = self._clock.now()
        window = next((window for window in self._settings.restart_windows if window.contains(now)), None)
        if window is None:
            return ""
        return (
            f" It is the time of nightly restarts ({window} New York time): the gateway may be back by itself at "
            f"{window.ends_after(now):%H:%M}."
        )

    async def _one_connection(self) -> LinkProblem:
        """Connect, serve, and return why it is over."""
        settings = self._settings
        self._move(
            LinkState.CONNECTING,
            self.status.problem,
            needs_a_person=self.status.needs_a_person,
            attempts=self.status.attempts + 1,
            farms=(),  # the gateway names them anew
        )
        self._book.new_connection()
        self._online.set()
        self._interrupted.clear()
        session = Session(
            clock=self._clock,
            pacer=self._pacer,
            book=self._book,
            emit=self._emit,
            listener=self,
            client_id=self._client_id,
            deadline_seconds=settings.deadline_seconds,
            sign_of_life_seconds=settings.sign_of_life_seconds,
            jitter=self._jitter,
            tally=self.tally,
        )
        heartbeat: asyncio.Task[None] | None = None
        try:
            problem = await session.connect(settings.host, settings.port, settings.connect_timeout_seconds)
            if problem is None:
                # A gateway that was restarted from an old state hands out ids that were used before (ID-07).
                session.client.updateReqId(self._highest_id + 1)
                heartbeat = asyncio.get_running_loop().create_task(self._watch(session))
                problem = await self._serve(session)
            session.lose(problem)
            return problem
        finally:
            if heartbeat is not None:
                heartbeat.cancel()
            self._highest_id = max(self._highest_id, session.highest_id)
            self._current = None
            self._down(LinkState.LOST, "The connection was closed.")
            await session.close()

    async def _serve(self, session: Session) -> LinkProblem:
        connected = self._current = Connected(
            session, self._settings, clock=self._clock, pacer=self._pacer, book=self._book
        )
        while not session.ended.done():
            if session.client_id != self._client_id:
                return LinkProblem(text=_as_another(self._client_id), wanted=True)
            self._interrupted.clear()
            if not self._online.is_set():
                self._move(LinkState.BROKER_OFFLINE, self._offline_problem())
                await first_of(session.ended, self._online.wait())
                continue
            self._move(LinkState.SYNCHRONISING)
            try:
                await connected.records.synchronise(self.status.accounts)
            except ProductError as error:
                if not session.ended.done() and not self._interrupted.is_set():
                    return LinkProblem(text=f"The gateway did not give its records: {error.message}")
                continue
            if not self._interrupted.is_set() and not session.ended.done():
                self._up(connected, session)
                await first_of(session.ended, self._interrupted.wait())
                if session.ended.done():
                    self._down(LinkState.LOST, session.ended.result().text)
                elif not self._online.is_set():
                    self._down(LinkState.BROKER_OFFLINE, self._offline_problem())
                else:
                    self._down(LinkState.SYNCHRONISING, "The gateway has news; everything is read anew.")
        return session.ended.result()

    async def _watch(self, session: Session) -> None:
        """Ask for the time when the gateway has been silent for a heartbeat, and now and then to compare the clocks."""
        while not session.ended.done():
            left = self._settings.heartbeat_seconds - (self._clock.monotonic() - session.heard)
            is_silent = left < CLOCK_GRAIN_SECONDS
            offset = self.status.clock_offset
            if is_silent or offset is None or self._age(offset.measured_at) >= OFFSET_AGE_SECONDS:
                session.suspect()
            if self._connected is not None and self._connected.session is session:
                with contextlib.suppress(ProductError):
                    await self._connected.accounts.renew()
            await self._clock.sleep(self._settings.heartbeat_seconds if is_silent else left)

    def _age(self, moment: datetime) -> float:
        return (self._clock.now() - moment).total_seconds()

    def _offline_problem(self) -> str:
        return (
            f"The gateway has lost its own link to IBKR (code {self._offline_code}) and waits to get it back. "
            "Orders at IBKR keep working."
        )

    def _up(self, connected: Connected, session: Session) -> None:
        self._connected = connected
        self._move(LinkState.UP, attempts=0, server_version=session.client.serverVersion())
        session.may_write = True
        self._is_up.set()
        self._tell(BrokerEventKind.LINK_UP, f"Connected to {self.status.address}.")

    def _down(self, state: LinkState, why: str) -> None:
        if self._connected is None:
            return
        self._connected.session.may_write = False
        self._connected = None
        self._is_up.clear()
        self._move(state, why)
        self._pacer.discard(
            Unavailable(
                "LINK_DOWN",
                f"The link was lost while the message waited for its turn; it was not sent. {why}",
                next_step="Wait for the connection to come back, then try again.",
            )
        )
        self._tell(BrokerEventKind.LINK_DOWN, why)

    def _move(
        self, state: LinkState, problem: str | None = None, *, needs_a_person: bool = False, **changes: Any
    ) -> None:
        since = self.status.since if state is self.status.state else self._clock.now()
        self.status = replace(
            self.status, state=state, problem=problem, needs_a_person=needs_a_person, since=since, **changes
        )

    def status_now(self) -> LinkStatus:
        """The status, with the moment at which anything last came from the gateway."""
        session = self._current.session if self._current is not None else None
        heard, heard_at = (None, None) if session is None else (session.heard, session.heard_at)
        complaints = self._pacer.complaints
        news = (self.status, heard, heard_at, complaints)
        if news != self._shown_of:  # mostly there is none: each order asks several times
            self._shown_of = news
            self._shown = replace(self.status, heard=heard, heard_at=heard_at, pacing_complaints=complaints)
        return self._shown

    def _tell(self, kind: BrokerEventKind, text: str, code: int | None = None) -> None:
        self._emit(BrokerEvent(kind=kind, at=self._clock.now(), text=text, code=code, accounts=self.status.accounts))

    # --------------------------------------------------------------------------------------------- told by the session

    def _interrupt(self) -> None:
        """From this moment on nothing is sent; the keeper of the connection does the rest in its turn."""
        if self._current is not None:
            self._current.session.may_write = False
        self._is_up.clear()
        self._interrupted.set()

    def accounts_listed(self, accounts: tuple[str, ...]) -> None:
        """The broker listed the accounts of this login; a change is told, and everything is read anew."""
        before = self.status.accounts
        self.status = replace(self.status, accounts=accounts, accounts_verified_at=self._clock.now())
        if before and set(before) != set(accounts):
            self._tell(BrokerEventKind.ACCOUNTS_CHANGED, "The gateway serves other accounts than before.")
            self._interrupt()

    def link_code(self, code: int, text: str) -> None:
        """A message about the gateway's own connections."""
        if code in OFFLINE:
            self._offline_code = code
            self._online.clear()
            self._interrupt()
        elif code in RESTORED or (
            FARMS.get(code) is FarmState.OK and self._offline_code == 2110 and not self._online.is_set()
        ):
            if code == DATA_LOST and self._current is not None:
                self._current.quotes.forget_all()
            self._online.set()
            self._interrupt()
        elif code == PORT_CHANGED and self._current is not None:
            self._current.session.lose(
                LinkProblem(text="The gateway's API port was changed. Set IBKR_PORT to the new one and restart.")
            )
        if (state := FARMS.get(code)) is not None:
            name = text.rpartition(":")[2].strip()
            farms = {farm.name: farm for farm in self.status.farms}
            if name not in farms or farms[name].state is not state:
                farms[name] = Farm(name=name, state=state, since=self._clock.now())
                self.status = replace(self.status, farms=tuple(farms.values()))

    def broker_time(self, seconds: int, *, asked: datetime, heard: datetime) -> None:
        """The gateway told its time."""
        self.status = replace(self.status, clock_offset=self._offset.note(seconds, asked=asked, heard=heard))


def _as_another(client_id: int) -> str:
    return f"The connection is made again as client {client_id}."
