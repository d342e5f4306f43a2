"""The paper gateway on a port. Only this file, `connection.py` and `control_port.py` do I/O on a network.

It carries requests from its connections to the `Desk`, and lets the market tick by the clock it was given. It also is
the stage on which the `Faults` act.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.simulator import replies
from ibkr_mcp_server.simulator.accounts import Accounts
from ibkr_mcp_server.simulator.connection import Connection
from ibkr_mcp_server.simulator.control_port import ControlPort
from ibkr_mcp_server.simulator.derivatives import list_derivatives
from ibkr_mcp_server.simulator.desk import Desk
from ibkr_mcp_server.simulator.exchange import Exchange
from ibkr_mcp_server.simulator.faults import FARMS, Faults
from ibkr_mcp_server.simulator.feeds import Client
from ibkr_mcp_server.simulator.history import History
from ibkr_mcp_server.simulator.instruments import Listing
from ibkr_mcp_server.simulator.journal import Journal
from ibkr_mcp_server.simulator.listings import default_catalogue
from ibkr_mcp_server.simulator.market import Market
from ibkr_mcp_server.simulator.newsroom import Newsroom
from ibkr_mcp_server.simulator.orders import OrderEvent, PositionChanged
from ibkr_mcp_server.simulator.requests import (
    CancelOrder,
    GlobalCancel,
    PlaceOrder,
    ReqContractDetails,
    ReqCurrentTime,
    ReqIds,
    ReqManagedAccounts,
    ReqMarketDataType,
    ReqMatchingSymbols,
    ReqOptionParameters,
    Request,
    StartApi,
    Unanswered,
)
from ibkr_mcp_server.simulator.sessions import Sessions
from ibkr_mcp_server.simulator.skewed_clock import SkewedClock
from ibkr_mcp_server.simulator.stream_requests import ReqRealTimeBars
from ibkr_mcp_server.simulator.trading_calendars import built_in_calendars, installed_calendars
from ibkr_mcp_server.simulator.tws_time import eastern

log = logging.getLogger(__name__)

DEFAULT_ACCOUNTS = ("DU9000001", "DU9000002")
REMEMBERED_REQUESTS = 20_000

CLIENT_ID_IN_USE = "Unable to connect as the client id is already in use. Retry with a unique client id."
_TRADING = (PlaceOrder, CancelOrder, GlobalCancel)
_LOOK_UPS = (ReqContractDetails, ReqMatchingSymbols, ReqOptionParameters)
_LOCAL = (ReqCurrentTime, ReqIds, ReqManagedAccounts, ReqMarketDataType, StartApi, Unanswered)
"""What TWS answers by itself, without IBKR behind it."""

T = TypeVar("T", bound=Request)


@dataclass(frozen=True, kw_only=True)
class ReceivedRequest:
    """One entry of the gateway's call log."""

    client_id: int
    request: Request
    at: datetime


class PaperGateway:
    """A TWS with simulated accounts, on a TCP port. Use as `async with PaperGateway(clock=...) as gateway`.

    With `state_dir` its world (accounts, orders, executions, ids) outlives the process; without, it starts anew.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        seed: int = 1,
        accounts: Iterable[str] = DEFAULT_ACCOUNTS,
        host: str = "127.0.0.1",
        port: int = 0,
        market_always_open: bool = False,
        history: History | None = None,
        replay_from: date | None = None,
        speed: float = 1.0,
        state_dir: Path | None = None,
        tick_seconds: float = 1.0,
        master_client_id: int | None = None,
        remembered_requests: int = REMEMBERED_REQUESTS,
    ) -> None:
        """Build the world; `start` opens the port. The client `master_client_id` hears of everybody's orders."""
        self.host = host
        self.port = port
        self.faults = Faults(self)
        self.clock: Clock = SkewedClock(clock, self.faults)
        clock = self.clock
        self._tick_seconds = tick_seconds
        self._state_dir = state_dir
        self._journal: Journal | None = None
        self.catalogue = default_catalogue(history.symbols if history is not None else ())
        self.sessions = Sessions(
            always_open=market_always_open,
            calendars=built_in_calendars if market_always_open else installed_calendars(),
        )
        self.market = Market(
            self.catalogue,
            self.sessions,
            seed=seed,
            started=clock.now(),
            history=history,
            replay_from=replay_from,
            speed=speed,
        )
        self.options = list_derivatives(self.catalogue, self.market)
        self.accounts = Accounts(
            accounts, catalogue=self.catalogue, market=self.market, margin_times=lambda: self.faults.margin_times
        )
        self.exchange = Exchange(
            clock=clock,
            catalogue=self.catalogue,
            sessions=self.sessions,
            market=self.market,
            accounts=self.accounts,
        )
        self._desk = Desk(
            clock=clock,
            catalogue=self.catalogue,
            sessions=self.sessions,
            market=self.market,
            accounts=self.accounts,
            exchange=self.exchange,
            faults=self.faults,
            chains=self.options,
            newsroom=Newsroom(self.catalogue, seed=seed),
            master_client_id=master_client_id,
        )
        self._received: deque[ReceivedRequest] = deque(maxlen=remembered_requests)
        self._connections: set[Connection] = set()
        self._unflushed: set[Connection] = set()
        self._waiters: list[asyncio.Future[None]] = []
        self._restarting = False
        self._untold: list[OrderEvent] = []
        """What happened to orders while the connection to IBKR was lost."""
        self._late: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._ticking: asyncio.Task[None] | None = None

    # --- life ---

    async def start(self) -> None:
        """Read the kept world, listen, and let the market tick. Afterwards `port` is the real one.

        Raises:
            OSError: the address is taken, or the state directory cannot be used.
        """
        if self._state_dir is not None:
            self._journal = Journal(self._state_dir)
            self.exchange.keep_in(self._journal)
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(lambda: Connection(self), self.host, self.port)
        except OSError:
            self._close_journal()
            raise
        self.port = self._server.sockets[0].getsockname()[1]
        self._ticking = loop.create_task(self._tick_forever(), name="paper gateway ticks")

    async def stop(self) -> None:
        """Close every connection and the port; what is kept on disk is complete."""
        tasks = [task for task in (self._ticking, *self._late) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._server is not None:
            self._server.close()
        self.disconnect_all()
        self._close_journal()
        self._wake_waiters()

    async def __aenter__(self) -> PaperGateway:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _close_journal(self) -> None:
        if self._journal is not None:
            self.exchange.save(with_market=True)
            self.exchange.keep_in(None)
            self._journal.close()
            self._journal = None

    # --- for scripts and tests ---

    @property
    def received(self) -> list[ReceivedRequest]:
        """Every request of every client that was read, in order; the oldest are forgotten after very many."""
        return list(self._received)

    @property
    def received_orders(self) -> list[PlaceOrder]:
        """Placements and modifications that could trade; what-ifs are questions and only in `received`."""
        return [request for request in self._requests(PlaceOrder) if not request.terms.what_if]

    @property
    def received_writes(self) -> list[Request]:
        """Everything that could change an order: placements, modifications, cancels, global cancels."""
        return [
            entry.request
            for entry in self._received
            if isinstance(entry.request, CancelOrder | GlobalCancel)
            or (isinstance(entry.request, PlaceOrder) and not entry.request.terms.what_if)
        ]

    @property
    def client_ids(self) -> list[int]:
        """Ids of the clients that are connected and have started the API."""
        return sorted(self._desk.clients)

    @property
    def answered_requests(self) -> frozenset[type[Request]]:
        """The kinds of requests that this gateway has an answer to, besides those that trade."""
        return self._desk.answered_requests

    def _requests(self, kind: type[T]) -> list[T]:
        return [entry.request for entry in self._received if isinstance(entry.request, kind)]

    async def wait_for(self, predicate: Callable[[], object]) -> None:
        """Return once `predicate()` holds; it is asked again after every request, tick and change of connection.

        Bound it with `asyncio.timeout`.
        """
        while not predicate():
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter

    def set_accounts(self, *accounts: str) -> None:
        """Serve these accounts from now on, and tell the clients so."""
        self.accounts.serve(accounts)
        self.exchange.save()
        self._desk.accounts_changed()
        self._flush()

    def add_position(
        self, account: str, symbol: str, quantity: Decimal | int | str, average_cost: Decimal | int | str
    ) -> None:
        """Give an account a holding, as if it had always been there; `symbol` may be `EUR.USD`. No cash moves."""
        listing = self.listing_called(symbol)
        self.accounts.add_position(account, listing, Decimal(quantity), Decimal(average_cost))
        self.exchange.save()
        self._tell([PositionChanged(account=account, con_id=listing.con_id)])

    def pay(self, account: str, amount: Decimal | int | str, currency: str = "USD") -> None:
        """A deposit, or a withdrawal where `amount` is negative; as at IBKR, no client is told of it."""
        self.accounts.pay(account, Decimal(amount), currency)
        self.exchange.save()

    def con_id(self, symbol: str) -> int:
        """The contract id by which `market` knows an instrument; `EUR.USD` for a pair."""
        return self.listing_called(symbol).con_id

    def disconnect_all(self) -> None:
        """Drop every connection, without a word, as a dying gateway does."""
        for connection in list(self._connections):
            connection.drop()

    def restart(self, seconds: float) -> None:
        """Drop every connection, and new ones at once until so many seconds of the clock have passed."""
        self.disconnect_all()
        if seconds > 0:
            self._restarting = True
            self._later(self._come_back(seconds))

    async def _come_back(self, seconds: float) -> None:
        await self.clock.sleep(seconds)
        self._restarting = False

    async def tick(self) -> None:
        """Let the market tick now, besides the clock's own ticks; afterwards a script's quote has had its effect."""
        self._tick()
        await asyncio.sleep(0)

    def listing_called(self, symbol: str) -> Listing:
        """The listing of a symbol, or of a local symbol such as `EUR.USD` or `ESZ6`; of several the one in dollars.

        Raises:
            LookupError: there is none.
        """
        found = [row for row in self.catalogue if symbol in (row.local_symbol, row.symbol)]
        found = found or self.catalogue.matching(local_symbol=symbol)
        if not found:
            raise LookupError(f"The catalogue has no {symbol!r}.")
        exact = [row for row in found if row.currency == "USD" and row.local_symbol == symbol]
        return (exact or found)[0]

    # --- time ---

    async def _tick_forever(self) -> None:
        while True:
            await self.clock.sleep(self._tick_seconds)
            if not self.faults.frozen:
                try:
                    self._tick()
                except Exception:
                    # One instrument's trouble must not stop the time for all; the next tick tries again.
                    log.exception("a tick failed")

    def _tick(self) -> None:
        if not self.faults.quotes_frozen:
            self.market.advance_to(self.clock.now())
        self._hamper_exchange()
        self._tell(self.exchange.tick())
        if self.faults.connected_to_ibkr:
            self._desk.tick()
        self._flush()
        self._wake_waiters()

    def _hamper_exchange(self) -> None:
        self.exchange.limit_fills(self.faults.largest_fill)
        self.exchange.slow_cancels(self.faults.cancel_seconds)

    # --- connections ---

    def connected(self, connection: Connection) -> None:
        if self.faults.refusing_connections or self._restarting:
            connection.drop()
            return
        self._connections.add(connection)
        self._wake_waiters()

    def disconnected(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._unflushed.discard(connection)
        if connection.client is not None:
            self._desk.close(connection.client)
        self._wake_waiters()

    def connection_time(self) -> str:
        return eastern(self.clock.now())

    def requested(self, connection: Connection, request: Request) -> None:
        """A request arrived on a connection."""
        client_id = connection.client.client_id if connection.client is not None else -1
        if isinstance(request, StartApi):
            client_id = request.client_id
        self._received.append(ReceivedRequest(client_id=client_id, request=request, at=self.clock.now()))
        if isinstance(request, StartApi):
            self._start_api(connection, request)
        elif connection.client is None:
            return
        elif (not self.faults.connected_to_ibkr and not isinstance(request, _LOCAL)) or (
            "definitions" in self.faults.broken_farms and isinstance(request, _LOOK_UPS)
        ):
            connection.stalled.append(request)
        elif self.faults.take("pace_next_requests"):
            connection.send(replies.error(-1, 100, TOO_MANY_MESSAGES))
        elif isinstance(request, ReqRealTimeBars) and self.faults.take("pace_next_real_time_bars"):
            connection.send(replies.error(request.req_id, 420, REAL_TIME_PACING))
        else:
            self._answer(connection, connection.client, request)

    def _start_api(self, connection: Connection, request: StartApi) -> None:
        if connection.client is not None:
            return
        if request.client_id in self._desk.clients:
            connection.send(replies.error(-1, 326, CLIENT_ID_IN_USE))
            connection.close_soon()
            return
        connection.client = Client(
            client_id=request.client_id, version=connection.conversation.version, send=connection.send
        )
        self._desk.open(connection.client)
        if not self.faults.connected_to_ibkr:
            connection.send(replies.error(-1, 1100, CONNECTIVITY_TEXTS["lost"][1]))

    def _answer(self, connection: Connection, client: Client, request: Request) -> None:
        if not isinstance(request, _TRADING):
            self._desk.handle(client, request)
            return
        placing = isinstance(request, PlaceOrder) and not request.terms.what_if
        if placing:
            self.faults.next_order()
        if placing and self.faults.take("disconnect_before_order"):
            connection.drop()
            return
        if isinstance(request, CancelOrder) and self.faults.take("fill_before_cancel"):
            self._tell(self.exchange.fill_now(client.client_id, request.order_id))
        self._hamper_exchange()
        events = self._desk.trade(client, request)
        if placing and self.faults.take("disconnect_after_order"):
            connection.drop()
        if placing and self.faults.take("duplicate_next_order_ack"):
            events = [event for event in events for _ in range(2)]
        if placing and self.faults.take("drop_next_order_ack"):
            events = [event for event in events if isinstance(event, PositionChanged)]
        if self.faults.ack_delay_seconds > 0:
            self._later(self._tell_later(events, self.faults.ack_delay_seconds))
        else:
            self._desk.deliver(events)

    def _later(self, act: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(act)
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    async def _tell_later(self, events: list[OrderEvent], seconds: float) -> None:
        await self.clock.sleep(seconds)
        self._tell(events)

    def _tell(self, events: list[OrderEvent]) -> None:
        if not self.faults.connected_to_ibkr:
            self._untold += events
            return
        self._desk.deliver(events)
        self._flush()

    def processed(self) -> None:
        """A connection has worked off what it received: send all that came of it, to whomever, in few writes."""
        self._flush()
        self._wake_waiters()

    def wants_flush(self, connection: Connection) -> None:
        self._unflushed.add(connection)

    def _flush(self) -> None:
        while self._unflushed and not self.faults.frozen:
            self._unflushed.pop().flush()

    def _wake_waiters(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    # --- faults ---

    def connections_thawed(self) -> None:
        for connection in list(self._connections):
            connection.thaw()
        self._flush()

    def connectivity_changed(self, what: str) -> None:
        code, text = CONNECTIVITY_TEXTS[what]
        self._desk.broadcast(code, text)
        if what == "data_lost":
            self._desk.drop_data_subscriptions()
        if what in ("restored", "data_lost"):
            untold, self._untold = self._untold, []
            self._desk.deliver(untold)
            self._answer_stalled()
        self._settle()

    def _answer_stalled(self) -> None:
        for connection in list(self._connections):
            stalled, connection.stalled = connection.stalled, []
            for request in stalled:
                if connection.client is not None:
                    self._answer(connection, connection.client, request)

    def farm_changed(self, name: str, *, broken: bool) -> None:
        code, text = FARMS[name].broken if broken else FARMS[name].well
        self._desk.broadcast(code, text)
        if not broken and name == "market":
            self._desk.catch_up()
        elif not broken:
            self._answer_stalled()
        self._settle()

    def competing_session_changed(self, competing: bool) -> None:
        if competing:
            self._desk.announce_competing_session()
        else:
            self._desk.catch_up()
        self._settle()

    def tell_everybody(self, code: int, text: str, *, times: int = 1) -> None:
        for _ in range(times):
            self._desk.broadcast(code, text)
        self._settle()

    def send_garbage(self, data: bytes) -> None:
        for connection in list(self._connections):
            if connection.client is not None:
                connection.send_raw(data)
        self._settle()

    def trade_by_hand(self, symbol: str, action: str, quantity: Decimal, limit_price: Decimal | None = None) -> None:
        """Place an order as somebody at the TWS itself would: at the market, or with a limit."""
        self._tell(self._desk.trade_by_hand(self.listing_called(symbol), action.upper(), quantity, limit_price))
        self._settle()

    def roll_back_order_ids(self, count: int) -> None:
        self.exchange.roll_back_ids(count)

    def show_quote(self, symbol: str, bid: str, ask: str, last: str | None) -> None:
        self.market.set_quote(self.con_id(symbol), bid=bid, ask=ask, last=last)

    def release_quote(self, symbol: str) -> None:
        self.market.release(self.con_id(symbol))

    def withdraw_quote(self, symbol: str) -> None:
        self.market.withdraw_quote(self.con_id(symbol))

    def halt(self, symbol: str, halted: bool) -> None:
        self.market.halt(self.con_id(symbol), halted)

    def _settle(self) -> None:
        self._flush()
        self._wake_waiters()


TOO_MANY_MESSAGES = "Max rate of messages per second has been exceeded."
REAL_TIME_PACING = "Invalid Real-time Query:Historical data request pacing violation"
CONNECTIVITY_TEXTS = {
    "lost": (1100, "Connectivity between IBKR and Trader Workstation has been lost."),
    "restored": (1102, "Connectivity between IBKR and Trader Workstation has been restored - data maintained."),
    "data_lost": (1101, "Connectivity between IBKR and Trader Workstation has been restored - data lost."),
}


async def serve_until_stopped(
    *,
    clock: Clock,
    stopped: asyncio.Event,
    ready: Callable[[str], None],
    host: str = "127.0.0.1",
    port: int = 4002,
    seed: int = 1,
    accounts: Iterable[str] = DEFAULT_ACCOUNTS,
    market_always_open: bool = False,
    history: History | None = None,
    replay_from: date | None = None,
    speed: float = 1.0,
    state_dir: Path | None = None,
    faults: Iterable[str] = (),
    control_port: int | None = None,
    controlled: Callable[[int], None] = lambda port: None,
) -> None:
    """Run a paper gateway until `stopped` is set; `ready` is told `host:port` once it accepts connections.

    `faults` are switched on from the start, written as `Faults.apply` takes them. With `control_port` (0 takes a free
    one, which `controlled` is told) a running gateway takes faults on a loopback port as well.

    Raises:
        OSError: the address is taken.
        ValueError: a fault is unknown.
    """
    gateway = PaperGateway(
        clock=clock,
        seed=seed,
        accounts=accounts,
        host=host,
        port=port,
        market_always_open=market_always_open,
        history=history,
        replay_from=replay_from,
        speed=speed,
        state_dir=state_dir,
        remembered_requests=0,
    )
    async with AsyncExitStack() as running:
        await running.enter_async_context(gateway)
        for fault in faults:
            gateway.faults.apply(fault)
        if control_port is not None:  # told before `ready`, so that a script that waits for that line knows both
            control = await running.enter_async_context(ControlPort(gateway.faults, port=control_port))
            controlled(control.port)
        ready(f"{gateway.host}:{gateway.port}")
        await stopped.wait()
