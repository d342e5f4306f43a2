"""What all parts of the bench use: processes to measure, and rows to print."""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

ORDERS = 200
WARM_UP = 20

PROTOCOL = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": PROTOCOL,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
}
EMPTY_SERVER = """
from mcp.server import MCPServer
server = MCPServer("empty", version="1", log_level="ERROR")
@server.tool()
async def echo(x: int) -> int:
    "Return x."
    return x
server.run()
"""
OURS = [sys.executable, "-m", "ibkr_mcp_server", "serve"]
OPEN_LIMITS = {
    "IBKR_ORDER_COOLDOWN_SECONDS": "0",
    "IBKR_REPEATED_ORDER_SECONDS": "0",
    "IBKR_MAX_WORKING_ORDERS": "10000",
    "IBKR_MAX_WORKING_ORDERS_PER_SYMBOL": "10000",
    "IBKR_MAX_CYCLE_VALUE_USD": "100000000",
    "IBKR_MAX_DAILY_VALUE_USD": "1000000000",
    "IBKR_MAX_POSITION_SIZE_PCT": "30",
    "IBKR_MAX_POSITION_VALUE_USD": "1000000",
    "IBKR_MAX_TOTAL_EXPOSURE_PCT": "400",
    "IBKR_MAX_TOTAL_EXPOSURE_USD": "10000000",
    "IBKR_MAX_POSITION_PCT_PER_STRATEGY": "400",
    "IBKR_MAX_SECTOR_EXPOSURE_PCT": "400",
    "IBKR_MAX_PORTFOLIO_VALUE_AT_RISK": "1",
    "IBKR_CASH_RESERVE_PCT": "0",
    "IBKR_MARGIN_PREVIEW": "false",  # a second exchange with the broker, which bare ib_async does not have
    "IBKR_ALLOW_WEEKEND_TRADING": "true",
    "IBKR_MAX_MESSAGES_PER_FILL": "100000",
    "IBKR_MESSAGES_PER_FILL_WARNING": "100000",
    "IBKR_MAX_ATTEMPTS_PER_MINUTE": "100000",
    "IBKR_MAX_ACCOUNT_READS_PER_MINUTE": "3000",
    "IBKR_MAX_MODIFICATIONS_PER_MINUTE": "3000",
    "IBKR_ENABLE_TRADING": "true",
    "IBKR_MAX_ORDERS_PER_MINUTE": "3000",
    "IBKR_MAX_DAILY_ORDERS": "100000",
    "IBKR_DAILY_ORDERS_WARNING": "100000",
    "IBKR_RESTART_WINDOWS": "",
}


class RawStdio:
    """Newline-delimited JSON-RPC over a child's pipes; no SDK on this side."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._errors = TemporaryFile()  # noqa: SIM115  (closed with the child, in close)
        self.child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, env=environment
        )
        self._id = 0

    def request(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._id += 1
        message = {"jsonrpc": "2.0", "id": self._id, "method": method, "params": {**params, "_meta": META}}
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        self.child.stdin.write(json.dumps(message).encode() + b"\n")
        self.child.stdin.flush()
        while line := self.child.stdout.readline():
            answer = json.loads(line)
            if answer.get("id") == self._id:
                return dict(answer["result"])
        self._errors.seek(0)
        raise RuntimeError(f"the server closed its stdout; it said: {self._errors.read().decode()[-2000:]}")

    def call(self, tool: str, **arguments: object) -> dict[str, Any]:
        return dict(self.request("tools/call", {"name": tool, "arguments": arguments})["structuredContent"])

    def close(self) -> None:
        assert self.child.stdin is not None
        self.child.stdin.close()
        try:
            self.child.wait(10)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self._errors.close()


class Bench:
    """Where one run keeps its state directories."""

    def __init__(self, state: Path) -> None:
        self._state = state

    def environment(self, name: str, **settings: str) -> dict[str, str]:
        """A clean environment with a state directory of its own."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("IBKR_")}
        return {**inherited, "IBKR_STATE_DIR": str(self._state / name), **settings}

    @contextmanager
    def paper_gateway(self) -> Iterator[int]:
        """`ibkr-mcp-server simulate` as a process of its own; yields its port."""
        with self.paper_gateway_process() as (port, _):
            yield port

    @contextmanager
    def paper_gateway_process(self) -> Iterator[tuple[int, int]]:
        """As `paper_gateway`; yields its port and its process id."""
        port = free_port()
        command = [sys.executable, "-m", "ibkr_mcp_server", "simulate", "--port", str(port), "--market-always-open"]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, env=self.environment("gateway"))
        try:
            assert child.stdout is not None
            if not child.stdout.readline():  # the line that tells the address
                raise RuntimeError("the paper gateway ended before it was ready; its reason stands above")
            yield port, child.pid
        finally:
            child.terminate()
            child.wait(10)


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def silent_listener() -> Iterator[int]:
    """A port that accepts connections and never says a word: a hung gateway."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def timed(call: Callable[[], object]) -> list[float]:
    taken = []
    for turn in range(WARM_UP + ORDERS):
        began = time.perf_counter()
        call()
        if turn >= WARM_UP:
            taken.append((time.perf_counter() - began) * 1000)
    return taken


def row(name: str, taken: list[float], anchor: float) -> None:
    ordered = sorted(taken)
    p99 = ordered[min(len(ordered) - 1, round(0.99 * (len(ordered) - 1)))]
    median = statistics.median(taken)
    print(
        f"{name:<38} n={len(taken):<4} least {ordered[0]:8.2f}   median {median:8.2f}   p99 {p99:8.2f}   "
        f"x{median / anchor:.2f}"
    )


def fine_row(name: str, taken: list[float], anchor: list[float]) -> None:
    """As `row`, for what takes microseconds."""
    ordered = sorted(taken)
    p99 = ordered[round(0.99 * (len(ordered) - 1))]
    median = statistics.median(ordered)
    times = median / statistics.median(anchor)
    print(
        f"{name:<38} n={len(taken):<5} least {ordered[0]:8.1f}   median {median:8.1f}   p99 {p99:8.1f}   x{times:.2f}"
    )
