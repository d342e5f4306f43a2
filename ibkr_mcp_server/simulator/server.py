"""The paper gateway on a socket. The only file of the simulator that does I/O on a network.

It carries bytes between connections and `Conversation`s, requests to the `Desk`, and lets the market tick by the clock
it was given. It also acts out the `Faults`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.simulator import replies
from ibkr_mcp_server.simulator.accounts import Accounts
from ibkr_mcp_server.simulator.conversation import Conversation, ConversationEnded, Handshake
from ibkr_mcp_server.simulator.desk import Desk
from ibkr_mcp_server.simulator.exchange import Exchange
from ibkr_mcp_server.simulator.faults import Faults
from ibkr_mcp_server.simulator.feeds import Client
from ibkr_mcp_server.simulator.instruments import Listing, default_catalogue
from ibkr_mcp_server.simulator.journal import Journal
from ibkr_mcp_server.simulator.market import Market
from ibkr_mcp_server.simulator.orders import OrderEvent, PositionChanged
from ibkr_mcp_server.simulator.requests import (
    CancelOrder,
    GlobalCancel,
    PlaceOrder,
    ReqCurrentTime,
    ReqIds,
    ReqManagedAccounts,
    ReqMarketDataType,
    Request,
    StartApi,
    Unanswered,
)
from ibkr_mcp_server.simulator.sessions import Sessions
from ibkr_mcp_server.simulator.tws_time import eastern
from ibkr_mcp_server.simulator.wire import encode_frame

log = logging.getLogger(__name__)

DEFAULT_ACCOUNTS = ("DU9000001", "DU9000002")
REPLAY_FROM = date(2008, 9, 2)
"""Autumn 2008: the liveliest stretch of the shipped history."""

LARGEST_BACKLOG_BYTES = 8 << 20
"""What a client may leave unread, or send to a frozen gateway, before its connection is cut."""
MESSAGES_PER_SECOND = 50
_BURST = 2 * MESSAGES_PER_SECOND
"""A client that keeps to 45 a second by its own clock may arrive bunched; only sustained excess is an error 100."""
DUPLICATE_ID_LINGER_SECONDS = 0.2
REMEMBERED_REQUESTS = 20_000

CLIENT_ID_IN_USE = "Unable to connect as the client id is already in use. Retry with a unique client id."
_TRADING = (PlaceOrder, CancelOrder, GlobalCancel)
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
        replay_from: date = REPLAY_FROM,
        speed: float = 1.0,
        state_dir: Path | None = None,
        tick_seconds: float = 1.0,
    ) -> None:
        self.host = host
        self.port = port
        self._clock = clock
        self._tick_seconds = tick_seconds
        self._state_dir = state_dir
        self._journal: Journal | None = None
        self.catalogue = default_catalogue()
        self.sessions = Sessions(always_open=market_always_open)
        self.market = Market(
            self.catalogue, self.sessions, seed=seed, started=clock.now(), replay_from=replay_from, speed=speed
        )
        self.accounts = Accounts(accounts, catalogue=self.catalogue, market=self.market)
        self.exchange = Exchange(
            clock=clock,
            catalogue=self.catalogue,
            sessions=self.sessions,
            market=self.market,
            accounts=self.accounts,
        )
        self.faults = Faults()
        self.faults.listen(self._fault_switched)
        self._desk = Desk(
            clock=clock,
            catalogue=self.catalogue,
            sessions=self.sessions,
            market=self.market,
            accounts=self.accounts,
            exchange=self.exchange,
            faults=self.faults,
        )
        self._received: deque[ReceivedRequest] = deque(maxlen=REMEMBERED_REQUESTS)
        self._connections: set[_Connection] = set()
        self._unflushed: set[_Connection] = set()
        self._waiters: list[asyncio.Future[None]] = []
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
            self._server = await loop.create_server(lambda: _Connection(self), self.host, self.port)
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
        listing = self._listing_called(symbol)
        self.accounts.add_position(account, listing, Decimal(quantity), Decimal(average_cost))
        self.exchange.save()
        self._tell([PositionChanged(account=account, con_id=listing.con_id)])

    def con_id(self, symbol: str) -> int:
        """The contract id by which `market` knows an instrument; `EUR.USD` for a pair."""
        return self._listing_called(symbol).con_id

    def disconnect_all(self) -> None:
        """Drop every connection, without a word, as a dying gateway does."""
        for connection in list(self._connections):
            connection.drop()

    async def tick(self) -> None:
        """Let the market tick now, besides the clock's own ticks; afterwards a script's quote has had its effect."""
        self._tick()
        await asyncio.sleep(0)

    def _listing_called(self, symbol: str) -> Listing:
        found = [row for row in self.catalogue if symbol in (row.local_symbol, row.symbol)]
        if not found:
            raise LookupError(f"The catalogue has no {symbol!r}.")
        exact = [row for row in found if row.currency == "USD" and row.local_symbol == symbol]
        return (exact or found)[0]

    # --- time ---

    async def _tick_forever(self) -> None:
        while True:
            await self._clock.sleep(self._tick_seconds)
            if not self.faults.frozen:
                try:
                    self._tick()
                except Exception:
                    # One instrument's trouble must not stop the time for all; the next tick tries again.
                    log.exception("a tick failed")

    def _tick(self) -> None:
        changed = self.market.advance_to(self._clock.now())
        self._tell(self.exchange.tick())
        if self.faults.connected_to_ibkr:
            self._desk.tick(changed)
        self._flush()
        self._wake_waiters()

    # --- connections ---

    def connected(self, connection: _Connection) -> None:
        if self.faults.refusing_connections:
            connection.drop()
            return
        self._connections.add(connection)
        self._wake_waiters()

    def disconnected(self, connection: _Connection) -> None:
        self._connections.discard(connection)
        self._unflushed.discard(connection)
        if connection.client is not None:
            self._desk.close(connection.client)
        self._wake_waiters()

    def connection_time(self) -> str:
        return eastern(self._clock.now())

    def requested(self, connection: _Connection, request: Request) -> None:
        """A request arrived on a connection."""
        client_id = connection.client.client_id if connection.client is not None else -1
        if isinstance(request, StartApi):
            client_id = request.client_id
        self._received.append(ReceivedRequest(client_id=client_id, request=request, at=self._clock.now()))
        if isinstance(request, StartApi):
            self._start_api(connection, request)
        elif connection.client is None:
            return
        elif not self.faults.connected_to_ibkr and not isinstance(request, _LOCAL):
            connection.stalled.append(request)
        else:
            self._answer(connection, connection.client, request)

    def _start_api(self, connection: _Connection, request: StartApi) -> None:
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

    def _answer(self, connection: _Connection, client: Client, request: Request) -> None:
        if not isinstance(request, _TRADING):
            self._desk.handle(client, request)
            return
        placing = isinstance(request, PlaceOrder) and not request.terms.what_if
        if placing and self.faults.take("disconnect_before_order"):
            connection.drop()
            return
        events = self._desk.trade(client, request)
        if placing and self.faults.take("disconnect_after_order"):
            connection.drop()
        if placing and self.faults.take("drop_next_order_ack"):
            events = [event for event in events if isinstance(event, PositionChanged)]
        if self.faults.ack_delay_seconds > 0:
            task = asyncio.get_running_loop().create_task(self._tell_later(events, self.faults.ack_delay_seconds))
            self._late.add(task)
            task.add_done_callback(self._late.discard)
        else:
            self._desk.deliver(events)

    async def _tell_later(self, events: list[OrderEvent], seconds: float) -> None:
        await self._clock.sleep(seconds)
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

    def wants_flush(self, connection: _Connection) -> None:
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

    def _fault_switched(self, what: str) -> None:
        if what == "thawed":
            for connection in list(self._connections):
                connection.thaw()
            self._flush()
            return
        code, text = CONNECTIVITY_TEXTS[what]
        self._desk.broadcast(code, text)
        if what == "data_lost":
            self._desk.drop_data_subscriptions()
        if what in ("restored", "data_lost"):
            untold, self._untold = self._untold, []
            self._desk.deliver(untold)
            for connection in list(self._connections):
                stalled, connection.stalled = connection.stalled, []
                for request in stalled:
                    if connection.client is not None:
                        self._answer(connection, connection.client, request)
        self._flush()
        self._wake_waiters()


CONNECTIVITY_TEXTS = {
    "lost": (1100, "Connectivity between IBKR and Trader Workstation has been lost."),
    "restored": (1102, "Connectivity between IBKR and Trader Workstation has been restored - data maintained."),
    "data_lost": (1101, "Connectivity between IBKR and Trader Workstation has been restored - data lost."),
}


class _Connection(asyncio.Protocol):
    """One client's socket."""

    def __init__(self, gateway: PaperGateway) -> None:
        self.conversation = Conversation()
        self.client: Client | None = None
        self.stalled: list[Request] = []
        self._gateway = gateway
        self._transport: asyncio.Transport | None = None
        self._outbox: list[bytes] = []
        self._backlog = bytearray()
        self._credit = float(_BURST)
        self._credited_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if (raw := transport.get_extra_info("socket")) is not None:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The pace of messages is the network's matter, so it is measured on the loop's time, not the market's.
        self._credited_at = asyncio.get_running_loop().time()
        self._gateway.connected(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._gateway.disconnected(self)

    def data_received(self, data: bytes) -> None:
        if self._gateway.faults.frozen:
            self._backlog += data
            if len(self._backlog) > LARGEST_BACKLOG_BYTES:
                self.drop()
            return
        self._work_off(data)

    def thaw(self) -> None:
        data, self._backlog = bytes(self._backlog), bytearray()
        if data:
            self._work_off(data)

    def _work_off(self, data: bytes) -> None:
        try:
            for event in self.conversation.receive(data, connection_time=self._gateway.connection_time()):
                if self._transport is None or self._transport.is_closing():
                    break
                if isinstance(event, Handshake):
                    self._transport.write(event.reply)
                    continue
                self._check_pace()
                self._gateway.requested(self, event)
        except ConversationEnded as ended:
            log.warning("closing a connection: %s", ended)
            self.drop()
        except Exception:
            log.exception("a request could not be handled")
            self.send(replies.error(-1, 320, "Error reading request. The gateway failed to handle it."))
        self._gateway.processed()

    def _check_pace(self) -> None:
        now = asyncio.get_running_loop().time()
        self._credit = min(float(_BURST), self._credit + (now - self._credited_at) * MESSAGES_PER_SECOND) - 1
        self._credited_at = now
        if self._credit < 0:
            self._credit += MESSAGES_PER_SECOND  # one warning for a second's worth of excess
            self.send(replies.error(-1, 100, "Max rate of messages per second has been exceeded."))

    def send(self, message: replies.Message) -> None:
        """Queue a message; it leaves with the gateway's next flush."""
        self._outbox.append(encode_frame(message))
        self._gateway.wants_flush(self)

    def flush(self) -> None:
        messages, self._outbox = self._outbox, []
        if self._transport is None or self._transport.is_closing() or not messages:
            return
        self._transport.write(b"".join(messages))
        if self._transport.get_write_buffer_size() > LARGEST_BACKLOG_BYTES:
            log.warning("closing a connection: its client does not read")
            self.drop()

    def close_soon(self) -> None:
        """Close after a moment in which the client can read why; TWS waits as well (section 2)."""
        if self._transport is not None:
            asyncio.get_running_loop().call_later(DUPLICATE_ID_LINGER_SECONDS, self._transport.close)

    def drop(self) -> None:
        """End the connection at once. The client id is free from this moment on."""
        self._outbox.clear()
        if self.client is not None:
            self._gateway.disconnected(self)
        if self._transport is not None:
            self._transport.abort()


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
    replay_from: date = REPLAY_FROM,
    speed: float = 1.0,
    state_dir: Path | None = None,
    faults: Iterable[str] = (),
) -> None:
    """Run a paper gateway until `stopped` is set; `ready` is told `host:port` once it accepts connections.

    `faults` are switched on from the start, written as `Faults.apply` takes them.

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
        replay_from=replay_from,
        speed=speed,
        state_dir=state_dir,
    )
    for fault in faults:
        gateway.faults.apply(fault)
    async with gateway:
        ready(f"{gateway.host}:{gateway.port}")
        await stopped.wait()
