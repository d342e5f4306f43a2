"""The paper gateway under load: orders acknowledged, ticks delivered, and what its clients and orders cost in memory.

The clients are bare sockets, so that the figures are the gateway's and not a client library's. They run in this
process beside the gateway's; on a machine with one core the two share it.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Iterable, Sequence

import psutil

from ibkr_mcp_server.simulator.wire import FrameDecoder, encode_frame, split_fields
from scripts.bench.kit import Bench

CLIENTS = 20
ROUND_TRIPS = 5_000
ALONE = 500
WARM_UP = 500
LINES = 20
"""Market data lines of each client."""
STREAMED_SECONDS = 10.0
AAPL = 265598
ACCOUNT = "DU9000001"
FIELDS_OF_AN_ORDER = 114


def gateway_figures(bench: Bench) -> None:
    """One gateway process, twenty clients."""
    print(f"\nThe paper gateway, {CLIENTS} clients")
    with bench.paper_gateway_process() as (port, process_id):
        asyncio.run(_measure(port, psutil.Process(process_id)))


async def _measure(port: int, gateway: psutil.Process) -> None:
    first = await BareClient.connected(port, 1)
    await first.round_trips(WARM_UP)
    quiet = gateway.memory_info().rss
    clients = [first, *[await BareClient.connected(port, number) for number in range(2, CLIENTS + 1)]]
    print(
        f"{'memory of a connected client':<44}{(gateway.memory_info().rss - quiet) / (CLIENTS - 1) / 1024:>10.1f} KiB"
    )

    await _orders("one client", [first], ALONE, gateway)
    await _together(clients, WARM_UP)
    before = gateway.memory_info().rss
    await _orders(f"{CLIENTS} clients", clients, ROUND_TRIPS, gateway)
    after = gateway.memory_info().rss
    print(f"{f'memory before {ROUND_TRIPS} round trips':<44}{before / 2**20:>10.1f} MiB")
    print(f"{f'memory after {ROUND_TRIPS} round trips':<44}{after / 2**20:>10.1f} MiB")
    print(f"{'growth for each order of the day':<44}{(after - before) / ROUND_TRIPS:>10.0f} bytes")

    await _ticks(clients, gateway)
    for client in clients:
        client.close()


async def _orders(who: str, clients: Sequence[BareClient], count: int, gateway: psutil.Process) -> None:
    """Each round trip is a limit order until it is Submitted, and its cancel until the 202."""
    busy, began = _busy(gateway), time.perf_counter()
    await _together(clients, count)
    seconds = time.perf_counter() - began
    share = (_busy(gateway) - busy) / seconds
    print(f"{f'orders acknowledged and cancelled, {who}':<44}{count / seconds:>10.0f} /s   gateway busy {share:.0%}")


async def _together(clients: Sequence[BareClient], count: int) -> None:
    await asyncio.gather(*[client.round_trips(count // len(clients)) for client in clients])


async def _ticks(clients: Sequence[BareClient], gateway: psutil.Process) -> None:
    con_ids = await clients[0].con_ids_of(("AAPL", "MSFT", "SPY", "QQQ", "NVDA", "TSLA", "GOOG", "IBM"))
    before = gateway.memory_info().rss
    for client in clients:
        client.subscribe([con_ids[number % len(con_ids)] for number in range(LINES)])
    await asyncio.gather(*[client.count_ticks(1.0) for client in clients])
    grown = (gateway.memory_info().rss - before) / len(clients) / 1024
    print(f"{f'memory of its {LINES} market data lines':<44}{grown:>10.1f} KiB")
    busy, began = _busy(gateway), time.perf_counter()
    counts = await asyncio.gather(*[client.count_ticks(STREAMED_SECONDS) for client in clients])
    seconds = time.perf_counter() - began
    share = (_busy(gateway) - busy) / seconds
    name = f"ticks delivered, {LINES} lines each"
    print(f"{name:<44}{sum(counts) / seconds:>10.0f} /s   gateway busy {share:.0%}")


def _busy(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


class BareClient:
    """A socket that speaks version 178."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._frames = FrameDecoder()
        self._pending: list[list[str]] = []
        self._next_order_id = 1

    @classmethod
    async def connected(cls, port: int, client_id: int) -> BareClient:
        client = cls(*await asyncio.open_connection("127.0.0.1", port))
        offer = b"v178..178"
        client._writer.write(b"API\0" + struct.pack(">I", len(offer)) + offer)
        await client._next()
        client._send(71, 2, client_id, "")
        client._next_order_id = int((await client._next_of("9"))[2])
        return client

    async def round_trips(self, count: int) -> None:
        for _ in range(count):
            number, self._next_order_id = str(self._next_order_id), self._next_order_id + 1
            self._send(*limit_order(number))
            while (await self._next_of("3"))[1:3] != [number, "Submitted"]:
                pass
            self._send(4, 1, number, "")
            while (await self._next_of("4"))[2:4] != [number, "202"]:
                pass

    async def con_ids_of(self, symbols: Iterable[str]) -> list[str]:
        found = []
        for number, symbol in enumerate(symbols):
            self._send(9, 8, 900 + number, "", symbol, "STK", "", "", "", "", "SMART", "", "USD", "", "", 0, "", "", "")
            found.append((await self._next_of("10"))[12])
            await self._next_of("52")
        return found

    def subscribe(self, con_ids: Sequence[str]) -> None:
        for number, con_id in enumerate(con_ids):
            self._send(
                *(1, 11, number + 1, con_id, "", "", "", "", "", "", "SMART", "", "", "", "", 0, "", 0, 0, ""),
            )

    async def count_ticks(self, seconds: float) -> int:
        """Tick messages that arrive within so many seconds: prices, sizes, texts and numbers."""
        counted, until = 0, time.perf_counter() + seconds
        while (left := until - time.perf_counter()) > 0:
            try:
                fields = await asyncio.wait_for(self._next(), left)
            except TimeoutError:
                break
            counted += fields[0] in ("1", "2", "45", "46")
        return counted

    def close(self) -> None:
        self._writer.close()

    def _send(self, *fields: object) -> None:
        self._writer.write(encode_frame([str(field) for field in fields]))

    async def _next(self) -> list[str]:
        while not self._pending:
            data = await self._reader.read(1 << 16)
            if not data:
                raise ConnectionError("the gateway closed the connection")
            self._pending += [split_fields(payload) for payload in self._frames.feed(data)]
        return self._pending.pop(0)

    async def _next_of(self, message_id: str) -> list[str]:
        while (fields := await self._next())[0] != message_id:
            pass
        return fields


def limit_order(order_id: str) -> list[object]:
    """A limit order far below the market, as a client of version 178 writes it."""
    contract = [3, order_id, AAPL, "AAPL", "STK", "", 0, "", "", "SMART", "", "USD", "", "", "", ""]
    terms = ["BUY", 1, "LMT", 1, "", "DAY", "", ACCOUNT, "O", 0, "bench", 1, 0, 0, 0, 0, 0, 0, 0]
    return [*contract, *terms, *[""] * (FIELDS_OF_AN_ORDER - len(contract) - len(terms))]
