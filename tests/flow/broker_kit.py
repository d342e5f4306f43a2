"""What the tests of the broker adapter share: the adapter on a paper gateway, orders, gates, a line that tampers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

from ibkr_mcp_server.broker.base import BrokerEvent, BrokerEventKind, LinkState, LinkStatus
from ibkr_mcp_server.broker.ib import IBBroker
from ibkr_mcp_server.clock import Clock, ManualClock
from ibkr_mcp_server.domain.instruments import Instrument, InstrumentQuery
from ibkr_mcp_server.domain.operations import ApprovedCancellation, ApprovedModification, ApprovedOrder
from ibkr_mcp_server.domain.orders import BrokerOrder, Order, OrderType, Side
from ibkr_mcp_server.simulator.server import PaperGateway
from ibkr_mcp_server.simulator.wire import FrameDecoder, encode_frame, split_fields

ACCOUNT = "DU9000001"
PATIENCE_SECONDS = 5.0
"""How long a test waits for what must happen."""


class Events(list[BrokerEvent]):
    """Everything that a broker told."""

    def __init__(self, broker: IBBroker) -> None:
        super().__init__()
        self._news = asyncio.Event()
        broker.listen(self._hear)

    def _hear(self, event: BrokerEvent) -> None:
        self.append(event)
        self._news.set()

    def kinds(self) -> list[BrokerEventKind]:
        return [event.kind for event in self]

    async def until(self, predicate: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not predicate():
                self._news.clear()
                await self._news.wait()


async def until_up(broker: IBBroker, clock: ManualClock) -> LinkStatus:
    """Let time pass until the link is up again."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (status := await broker.wait_until_up(0.01)).is_up:
            await clock.advance(1)
    return status


async def until(predicate: Callable[[], object]) -> None:
    """Let everything run until `predicate` holds."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not predicate():  # noqa: ASYNC110  # a failed attempt to connect is a state, not an event
            await asyncio.sleep(0)


@asynccontextmanager
async def broker_at(port: int, clock: Clock, **settings: Any) -> AsyncIterator[IBBroker]:
    """An adapter that is opened, and not yet waited for."""
    options: dict[str, Any] = {"client_id": 7, "venue": "simulator", "deadline_seconds": 2.0} | settings
    broker = IBBroker(clock=clock, host="127.0.0.1", port=port, **options)
    await broker.open()
    try:
        yield broker
    finally:
        await broker.close()


@asynccontextmanager
async def connected(gateway: PaperGateway, clock: Clock, **settings: Any) -> AsyncIterator[IBBroker]:
    """An adapter whose link is up."""
    async with broker_at(settings.pop("port", gateway.port), clock, **settings) as broker:
        status = await broker.wait_until_up(PATIENCE_SECONDS)
        assert status.state is LinkState.UP, status
        yield broker


class Gate:
    """A final gate that counts, and may refuse or hold."""

    def __init__(self, *, refuse_with: Exception | None = None) -> None:
        self.refuse_with = refuse_with
        self.entered = 0
        self.left = 0

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[None]:
        if self.refuse_with is not None:
            raise self.refuse_with
        self.entered += 1
        yield
        self.left += 1


async def aapl(broker: IBBroker) -> Instrument:
    return await broker.resolve(InstrumentQuery(symbol="AAPL"))


def resting(instrument: Instrument, **changes: Any) -> Order:
    """A buy far below the market."""
    order = Order(
        instrument=instrument,
        account=ACCOUNT,
        side=Side.BUY,
        quantity=Decimal(10),
        order_type=OrderType.LMT,
        limit_price=Decimal("1.00"),
        order_ref="ibmcp-test-1",
    )
    return replace(order, **changes)


def marketable(instrument: Instrument, **changes: Any) -> Order:
    """A buy at any price."""
    return resting(instrument, limit_price=Decimal("9999.00"), **changes)


def approved(order: Order) -> ApprovedOrder:
    return ApprovedOrder(order=order, decision_id="decision", intent_id="intent")


def change(current: BrokerOrder, **changes: Any) -> ApprovedModification:
    return ApprovedModification(
        current=current, order=replace(current.order, **changes), decision_id="decision", intent_id="intent"
    )


def cancellation(target: BrokerOrder) -> ApprovedCancellation:
    return ApprovedCancellation(target=target, decision_id="decision", intent_id="intent")


Tamper = Callable[[list[str]], list[list[str]]]
"""From one message of the gateway to what the client gets instead: nothing, itself changed, or several."""


def untouched(fields: list[str]) -> list[list[str]]:
    return [fields]


class TamperedLine:
    """A line to a gateway that loses, changes or adds messages on their way to the client."""

    def __init__(self, gateway_port: int) -> None:
        self.tamper: Tamper = untouched
        self.port = 0
        self._gateway_port = gateway_port
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> TamperedLine:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _carry(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        from_gateway, to_gateway = await asyncio.open_connection("127.0.0.1", self._gateway_port)
        self._tasks |= {
            asyncio.create_task(self._forward(from_client, to_gateway)),
            asyncio.create_task(self._rewrite(from_gateway, to_client)),
        }

    async def _forward(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                sink.write(data)
        except ConnectionError:
            pass
        finally:
            sink.close()

    async def _rewrite(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        decoder = FrameDecoder()
        try:
            while data := await source.read(65536):
                for frame in decoder.feed(data):
                    for fields in self.tamper(split_fields(frame)):
                        sink.write(encode_frame(fields))
        except ConnectionError:
            pass
        finally:
            sink.close()
