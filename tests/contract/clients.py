"""Clients for the contract suite: the real `ib_async`, and a bare socket that says exactly what a test wants."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from ib_async import IB, Contract, Forex, Order, Stock, Trade

from ibkr_mcp_server.broker.base import client_library
from ibkr_mcp_server.simulator.server import PaperGateway
from ibkr_mcp_server.simulator.wire import FrameDecoder, encode_frame, split_fields

DEADLINE_SECONDS = 5.0
ACCOUNT = "DU9000001"
LIBRARY, _ = client_library()
NEWEST_VERSION = {"ib_async": 178, "ib_insync": 176}[LIBRARY]
"""The highest server version that the installed library speaks."""


class Errors(list[tuple[int, int, str]]):
    """Errors and warnings a client heard, as (id, code, text)."""

    def hear(self, about: int, code: int, text: str, *rest: Any) -> None:
        self.append((about, code, text))

    def codes(self, about: int | None = None) -> list[int]:
        """Codes in order, without the farm states of the start-up."""
        return [code for subject, code, _ in self if about in (None, subject) and code not in (2104, 2106, 2158)]


class Client(IB):
    """`ib_async` with its errors kept, and waiting without sleeping."""

    def __init__(self) -> None:
        super().__init__()
        self.errors = Errors()
        self.errorEvent += self.errors.hear

    async def until(self, predicate: Callable[[], object]) -> None:
        """Return once `predicate()` holds; it is asked after each packet."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not predicate():
                await self.updateEvent

    async def stock(self, symbol: str, currency: str = "USD") -> Contract:
        return await self._qualified(Stock(symbol, "SMART", currency))

    async def forex(self, pair: str) -> Contract:
        return await self._qualified(Forex(pair))

    async def _qualified(self, contract: Contract) -> Contract:
        async with asyncio.timeout(DEADLINE_SECONDS):
            [found] = await self.qualifyContractsAsync(contract)
        assert isinstance(found, Contract)
        return found

    async def place(self, contract: Contract, order: Order, *, until: Iterable[str]) -> Trade:
        """Place an order and wait until it has one of these states."""
        order.account = order.account or ACCOUNT
        trade = self.placeOrder(contract, order)
        states = set(until)
        await self.until(lambda: trade.orderStatus.status in states)
        return trade

    @property
    def unannotated(self) -> Any:
        """This client, for the library's calls that have no annotations."""
        return self

    # The library's order methods below have no annotations, which strict typing wants said once.

    def cancel(self, trade: Trade) -> None:
        self.cancelOrder(trade.order)

    def cancel_everything(self) -> None:
        self.reqGlobalCancel()  # type: ignore[no-untyped-call]

    def send_cancel(self, order_id: int) -> None:
        """A cancel on the wire, whatever the library thinks of the order."""
        self.client.cancelOrder(order_id)  # type: ignore[no-untyped-call]

    def send_order(self, contract: Contract, order: Order) -> None:
        """A placeOrder on the wire, whatever the library thinks of the order."""
        self.client.placeOrder(order.orderId, contract, order)  # type: ignore[no-untyped-call]


@asynccontextmanager
async def connected(gateway: PaperGateway, client_id: int = 1, **options: Any) -> AsyncIterator[Client]:
    client = Client()
    options = {"account": ACCOUNT, "timeout": DEADLINE_SECONDS, **options}
    if LIBRARY == "ib_async":
        options.setdefault("raiseSyncErrors", True)  # `ib_insync` has no such option
    await client.connectAsync(gateway.host, gateway.port, clientId=client_id, **options)
    try:
        yield client
    finally:
        client.disconnect()
        async with asyncio.timeout(DEADLINE_SECONDS):
            await gateway.wait_for(lambda: client_id not in gateway.client_ids)


class RawClient:
    """A socket that speaks frames; every answer is a list of field texts."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._frames = FrameDecoder()
        self._pending: list[list[str]] = []
        self._unframed_bytes = 0

    def send_bytes(self, data: bytes) -> None:
        self._writer.write(data)

    def send(self, *fields: object) -> None:
        self.send_bytes(encode_frame([str(field) for field in fields]))

    async def next(self) -> list[str]:
        """The next message.

        Raises:
            EOFError: the gateway closed the connection.
        """
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not self._pending:
                data = await self._reader.read(65536)
                if not data:
                    raise EOFError
                payloads = self._frames.feed(data)
                self._unframed_bytes += len(data) - sum(4 + len(payload) for payload in payloads)
                self._pending += [split_fields(payload) for payload in payloads]
        return self._pending.pop(0)

    async def next_of(self, message_id: int) -> list[str]:
        """The next message with this id; the ones before it are skipped."""
        while True:
            fields = await self.next()
            if fields[0] == str(message_id):
                return fields

    async def next_bytes(self, count: int) -> bytes:
        """So many bytes as they come, frames or not; whatever was read before must have ended with a frame."""
        return await self._reader.readexactly(count)

    @property
    def unfinished(self) -> bool:
        """Whether the last frame that began to arrive is not whole."""
        return self._unframed_bytes > 0

    async def handshake(self, offer: str = "v157..178", *, client_id: int | None = 1) -> int:
        """Greet, and unless `client_id` is None start the API; the version agreed on."""
        payload = offer.encode()
        self.send_bytes(b"API\0" + struct.pack(">I", len(payload)) + payload)
        version, _ = await self.next()
        if client_id is not None:
            self.send(71, 2, client_id, "")
            await self.next_of(9)
        return int(version)

    async def closed_by_peer(self) -> bool:
        try:
            while True:
                await self.next()
        except (EOFError, ConnectionError):
            return True

    async def close(self) -> None:
        self._writer.close()
        await asyncio.gather(self._writer.wait_closed(), return_exceptions=True)


@asynccontextmanager
async def raw_client(gateway: PaperGateway) -> AsyncIterator[RawClient]:
    client = RawClient(*await asyncio.open_connection(gateway.host, gateway.port))
    try:
        yield client
    finally:
        await client.close()
