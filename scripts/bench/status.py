"""The safety status: how long it takes, and what a hundred of them in a second do to an order beside them (MON-09)."""

from __future__ import annotations

import json
import statistics
import sys
import threading
import time
from typing import Any

from scripts.bench.kit import EMPTY_SERVER, META, OPEN_LIMITS, OURS, Bench, RawStdio, row, timed
from scripts.bench.placement import PAUSE_SECONDS, limit_order_server

ORDERS = 60
CALLS_PER_SECOND = 100
MOST_WAITING = 20
"""So that a machine that is too slow for so many shows it in their number, not in an endless queue."""


def status_figures(bench: Bench) -> None:
    """get_safety_status over stdio beside an empty tool, and orders with and without a crowd of readers."""
    print("\nThe safety status, milliseconds")
    with bench.paper_gateway() as port:
        server = limit_order_server(bench, port, "status")
        empty = RawStdio([sys.executable, "-c", EMPTY_SERVER], bench.environment("empty"))
        tool = timed(lambda: empty.call("echo", x=1))
        status = timed(lambda: server.call("get_safety_status"))
        empty.close()
        anchor = statistics.median(tool)
        row("empty MCP tool over stdio", tool, anchor)
        row("get_safety_status over stdio", status, anchor)
        price = round(float(server.call("get_market_data", symbols=["AAPL"])["quotes"][0]["bid"]) * 0.9, 2)
        second = another_client(bench, port)
        mine, others = Crowd(server), Crowd(second)
        quiet = mine.orders(price)
        anchor = statistics.median(quiet)
        row("an order, nobody asks for the status", quiet, anchor)
        for crowd, whose in ((others, "another client"), (mine, "the same client")):
            crowd.begin()
            busy = mine.orders(price)
            asked, seconds = crowd.end()
            row(f"an order, {asked / seconds:.0f} looks/s by {whose}", busy, anchor)
        second.close()
        server.close()


def another_client(bench: Bench, port: int) -> RawStdio:
    """A second server on the same state, as a host starts one for each conversation; it serves reads."""
    server = RawStdio(OURS, bench.environment("status", IBKR_BROKER_MODE="paper", IBKR_PORT=str(port), **OPEN_LIMITS))
    for _ in range(500):
        if server.call("get_safety_status")["link"]["is_up"]:
            return server
        time.sleep(0.02)
    raise RuntimeError("the link of the second server did not come up")


class Crowd:
    """Calls in flight side by side over one server's pipes."""

    def __init__(self, server: RawStdio) -> None:
        self._server = server
        self._ids = 1_000_000
        self._lock = threading.Lock()
        self._answers: dict[int, dict[str, Any]] = {}
        self._arrived = threading.Condition()
        self._asking = threading.Event()
        self._asked = self._answered = 0
        self._began = 0.0
        self._asker: threading.Thread | None = None
        threading.Thread(target=self._read, daemon=True).start()

    def orders(self, price: float) -> list[float]:
        taken = []
        for _ in range(ORDERS):
            began = time.perf_counter()
            answer = self._call("place_limit_order", symbol="AAPL", action="BUY", quantity=1, limit_price=price)
            taken.append((time.perf_counter() - began) * 1000)
            assert answer["success"], answer
            time.sleep(PAUSE_SECONDS)
            self._call("cancel_order", perm_id=answer["perm_id"])
            time.sleep(PAUSE_SECONDS)
        return taken

    def begin(self) -> None:
        """Ask for the status again and again, with up to `MOST_WAITING` answers to come."""
        self._asking.set()
        self._began = time.perf_counter()
        self._asker = threading.Thread(target=self._ask, daemon=True)
        self._asker.start()

    def end(self) -> tuple[int, float]:
        """How many were asked for, in how many seconds."""
        self._asking.clear()
        assert self._asker is not None
        self._asker.join()
        return self._asked, time.perf_counter() - self._began

    def _ask(self) -> None:
        while self._asking.is_set():
            due = self._began + self._asked / CALLS_PER_SECOND
            time.sleep(max(0.0, due - time.perf_counter()))
            with self._arrived:
                self._arrived.wait_for(lambda: self._asked - self._answered < MOST_WAITING, timeout=60)
            self._send("get_safety_status", {})
            self._asked += 1

    def _call(self, tool: str, **arguments: object) -> dict[str, Any]:
        number = self._send(tool, arguments)
        with self._arrived:
            if not self._arrived.wait_for(lambda: number in self._answers, timeout=60):
                raise RuntimeError(f"{tool} was not answered within a minute")
            return self._answers.pop(number)

    def _send(self, tool: str, arguments: dict[str, object]) -> int:
        with self._lock:
            self._ids += 1
            params = {"name": tool, "arguments": arguments, "_meta": META}
            message = {"jsonrpc": "2.0", "id": self._ids, "method": "tools/call", "params": params}
            assert self._server.child.stdin is not None
            self._server.child.stdin.write(json.dumps(message).encode() + b"\n")
            self._server.child.stdin.flush()
            return self._ids

    def _read(self) -> None:
        assert self._server.child.stdout is not None
        for line in self._server.child.stdout:
            answer = json.loads(line)
            told = answer.get("result", {}).get("structuredContent")
            with self._arrived:
                if told is not None and "effective_state" in told:
                    self._answered += 1
                else:
                    self._answers[answer["id"]] = told or answer
                self._arrived.notify_all()
