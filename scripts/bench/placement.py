"""How long an order takes from the agent to the broker's word, beside the parts that nobody can avoid.

The three are measured in turn, so that whatever else the machine does touches all of them alike. Each order is
cancelled before the next one, outside of what is timed: an agent has few orders working at a time. A server of ours
lives for as many orders as the daily limit admits by default.
"""

from __future__ import annotations

import asyncio
import logging
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from scripts.bench.kit import EMPTY_SERVER, OPEN_LIMITS, OURS, Bench, RawStdio, row

DAYS = 4
ORDERS_OF_A_DAY = 50
WARM_UP = 5
"""Of each day, not counted."""
ORDERS = DAYS * (ORDERS_OF_A_DAY - WARM_UP)
PAUSE_SECONDS = 0.04
"""Between two messages to the gateway. A server of ours sends at most 32 ordinary ones in 1.1 s (RL-04, RL-12): faster
orders would wait for their turn, and that wait would be measured."""
FIRST_PAUSE_SECONDS = 1.2
"""Until what a new server asks its gateway at the start, some 24 messages, has left that window."""


def placement_figures(bench: Bench) -> None:
    """place_limit_order over stdio, answered after the broker's acknowledgement, beside bare ib_async."""
    print("\nA limit order, acknowledged by the same paper gateway, milliseconds")
    times: dict[str, list[float]] = {"empty": [], "bare": [], "ours": []}
    busy: dict[str, float] = dict.fromkeys(times, 0.0)
    with bench.paper_gateway() as port, asyncio.Runner() as runner:
        bare = BareClient(runner, port)
        empty = RawStdio([sys.executable, "-c", EMPTY_SERVER], bench.environment("empty"))
        for day in range(DAYS):
            server = limit_order_server(bench, port, f"placement-{day}")
            _one_day(empty, bare, server, times, busy)
            server.close()
        bare.close()
        empty.close()
    anchor = statistics.median(times["bare"]) + statistics.median(times["empty"])
    row("empty MCP tool over stdio", times["empty"], anchor)
    row("bare ib_async placement", times["bare"], anchor)
    row("place_limit_order over stdio", times["ours"], anchor)
    print("(ratios are to empty tool + bare placement)")
    print(f"processor time of the empty server for each call: {busy['empty'] / ORDERS * 1000:.2f} ms")
    print(f"processor time of our server until its answer:    {busy['ours'] / ORDERS * 1000:.2f} ms")


def _one_day(
    empty: RawStdio, bare: BareClient, server: RawStdio, times: dict[str, list[float]], busy: dict[str, float]
) -> None:
    price = round(float(server.call("get_market_data", symbols=["AAPL"])["quotes"][0]["bid"]) * 0.9, 2)
    processes = {"empty": psutil.Process(empty.child.pid), "ours": psutil.Process(server.child.pid)}
    for turn in range(ORDERS_OF_A_DAY):
        counts = turn >= WARM_UP
        with measured("empty", times, busy, processes, counts=counts):
            empty.call("echo", x=1)
        with measured("bare", times, busy, processes, counts=counts):
            trade = bare.place()
        bare.cancel(trade)
        with measured("ours", times, busy, processes, counts=counts):
            placed = server.call("place_limit_order", symbol="AAPL", action="BUY", quantity=1, limit_price=price)
        assert placed["success"], placed
        time.sleep(PAUSE_SECONDS)
        server.call("cancel_order", perm_id=placed["perm_id"])
        time.sleep(PAUSE_SECONDS)


@contextmanager
def measured(
    name: str,
    times: dict[str, list[float]],
    busy: dict[str, float],
    processes: dict[str, psutil.Process],
    *,
    counts: bool,
) -> Iterator[None]:
    process = processes.get(name)
    before = 0.0 if process is None else _busy(process)
    began = time.perf_counter()
    yield
    taken = (time.perf_counter() - began) * 1000
    if counts:
        times[name].append(taken)
        busy[name] += 0.0 if process is None else _busy(process) - before


def _busy(process: psutil.Process) -> float:
    """Seconds of processor time of all its threads so far."""
    tasks = Path(f"/proc/{process.pid}/task")
    if not tasks.exists():  # not Linux: coarser
        times = process.cpu_times()
        return float(times.user + times.system)
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e9


def limit_order_server(bench: Bench, port: int, name: str) -> RawStdio:
    """A server of ours on the gateway at `port`, its link up and its limits far away."""
    mode = {"IBKR_BROKER_MODE": "paper", "IBKR_PORT": str(port), **OPEN_LIMITS}
    server = RawStdio(OURS, bench.environment(name, **mode))
    wait_until_up(server)
    time.sleep(FIRST_PAUSE_SECONDS)
    return server


def wait_until_up(server: RawStdio) -> None:
    for _ in range(200):
        if server.call("get_safety_status")["effective_state"] == "NORMAL":
            return
        time.sleep(0.02)
    raise RuntimeError("the link did not come up, or something holds orders back")


class BareClient:
    """ib_async as it comes, on a connection of its own."""

    def __init__(self, runner: asyncio.Runner, port: int) -> None:
        import ib_async

        logging.getLogger("ib_async").setLevel(logging.CRITICAL)  # it reports every cancellation
        self._library = ib_async
        self._runner = runner
        self._ib = ib_async.IB()
        runner.run(self._ib.connectAsync("127.0.0.1", port, clientId=91))
        (self._contract,) = runner.run(self._ib.qualifyContractsAsync(ib_async.Stock("AAPL", "SMART", "USD")))

    def place(self) -> object:
        """Returns as soon as the gateway has acknowledged the order."""
        return self._runner.run(self._place())

    async def _place(self) -> object:
        order = self._library.LimitOrder("BUY", 1, 10.0, account=self._ib.managedAccounts()[0])
        trade = self._ib.placeOrder(self._contract, order)
        while trade.orderStatus.status not in ("PreSubmitted", "Submitted"):
            await trade.statusEvent
        return trade

    def cancel(self, trade: object) -> None:
        self._runner.run(self._cancel(trade))

    async def _cancel(self, trade: object) -> None:
        self._ib.cancelOrder(trade.order)  # type: ignore[attr-defined]  # a Trade of the library, which is imported late
        await asyncio.sleep(PAUSE_SECONDS)

    def close(self) -> None:
        async def disconnect() -> None:
            self._ib.disconnect()

        self._runner.run(disconnect())
