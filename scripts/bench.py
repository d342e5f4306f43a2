"""Prints the product's figures, each beside its anchor from the same run. Nothing here passes or fails.

    python -m scripts.bench [start] [placement]     all parts by default

Pin it to one core for figures that repeat: `taskset -c 0 make bench`. Only loopback is used, and everything started
here is ended here.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / ".state" / "bench"
STARTS = 15
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
    "IBKR_ENABLE_TRADING": "true",
    "IBKR_MAX_ORDERS_PER_MINUTE": "3000",
    "IBKR_MAX_DAILY_ORDERS": "100000",
    "IBKR_DAILY_ORDERS_WARNING": "100000",
}


class RawStdio:
    """Newline-delimited JSON-RPC over a child's pipes; no SDK on this side."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
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
        raise RuntimeError("the server closed its stdout")

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


def environment(name: str, **settings: str) -> dict[str, str]:
    """A clean environment with a state directory of its own."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("IBKR_")}
    return {**inherited, "IBKR_STATE_DIR": str(STATE / name), **settings}


@contextmanager
def silent_listener() -> Iterator[int]:
    """A port that accepts connections and never says a word: a hung gateway."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


@contextmanager
def paper_gateway() -> Iterator[int]:
    """`ibkr-mcp-server simulate` as a process of its own; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "ibkr_mcp_server", "simulate", "--port", str(port), "--market-always-open"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment("gateway"))
    try:
        assert child.stdout is not None
        child.stdout.readline()  # the line that tells the address
        yield port
    finally:
        child.terminate()
        child.wait(10)


def start_figures() -> None:
    """From spawning the process to the answer of tools/list."""
    print("\nStart to tools/list, milliseconds (raw client, newest protocol)")
    with ExitStack() as stack:
        gateway, hung = stack.enter_context(paper_gateway()), stack.enter_context(silent_listener())
        with socket.create_server(("127.0.0.1", 0)) as probe:
            nobody = int(probe.getsockname()[1])

        def paper(name: str, port: int) -> dict[str, str]:
            return environment(name, IBKR_BROKER_MODE="paper", IBKR_PORT=str(port))

        rows: list[tuple[str, list[str], dict[str, str]]] = [
            ("empty MCPServer", [sys.executable, "-c", EMPTY_SERVER], environment("empty")),
            ("ours, built-in gateway", OURS, environment("start-simulator")),
            (
                "ours, gateway present",
                OURS,
                paper("start-present", gateway),
            ),
            (
                "ours, gateway absent",
                OURS,
                paper("start-absent", nobody),
            ),
            ("ours, gateway hung", OURS, paper("start-hung", hung)),
        ]
        times: dict[str, list[float]] = {name: [] for name, _, _ in rows}
        for turn in range(STARTS + 1):  # in turn, so that a drift of the machine touches all alike; the first warms up
            for name, command, variables in rows:
                began = time.perf_counter()
                server = RawStdio(command, variables)
                server.request("tools/list", {})
                if turn:
                    times[name].append((time.perf_counter() - began) * 1000)
                server.close()
        anchor = statistics.median(times["empty MCPServer"])
        for name, taken in times.items():
            row(name, taken, anchor)


def placement_figures() -> None:
    """place_limit_order over stdio, answered after the broker's acknowledgement, beside bare ib_async."""
    print("\nA limit order, acknowledged by the same paper gateway, milliseconds")
    with paper_gateway() as port:
        bare = asyncio.run(bare_placements(port))
        mode = {"IBKR_BROKER_MODE": "paper", "IBKR_PORT": str(port), **OPEN_LIMITS}
        server = RawStdio(OURS, environment("placement", **mode))
        wait_until_up(server)
        price = float(server.call("get_market_data", symbols=["AAPL"])["quotes"][0]["bid"]) * 0.9

        def place() -> None:
            answer = server.call(
                "place_limit_order", symbol="AAPL", action="BUY", quantity=1, limit_price=round(price, 2)
            )
            assert answer["success"], answer

        ours = timed(place)
        empty = RawStdio([sys.executable, "-c", EMPTY_SERVER], environment("empty"))
        tool = timed(lambda: empty.call("echo", x=1))
        empty.close()
        server.close()
    anchor = statistics.median(bare) + statistics.median(tool)
    row("empty MCP tool over stdio", tool, anchor)
    row("bare ib_async placement", bare, anchor)
    row("place_limit_order over stdio", ours, anchor)
    print(f"{'(ratios are to empty tool + bare placement)':<44}")


def wait_until_up(server: RawStdio) -> None:
    for _ in range(200):
        if server.call("get_connection_status")["link"]["state"] == "up":
            return
    raise RuntimeError("the link did not come up")


async def bare_placements(port: int) -> list[float]:
    import ib_async

    ib = ib_async.IB()
    await ib.connectAsync("127.0.0.1", port, clientId=91)
    (contract,) = await ib.qualifyContractsAsync(ib_async.Stock("AAPL", "SMART", "USD"))
    taken = []
    for turn in range(WARM_UP + ORDERS):
        order = ib_async.LimitOrder("BUY", 1, 10.0, account=ib.managedAccounts()[0])
        began = time.perf_counter()
        trade = ib.placeOrder(contract, order)
        while trade.orderStatus.status not in ("PreSubmitted", "Submitted"):
            await trade.statusEvent
        if turn >= WARM_UP:
            taken.append((time.perf_counter() - began) * 1000)
    ib.disconnect()
    return taken


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
    print(f"{name:<32} n={len(taken):<4} median {median:8.2f}   p99 {p99:8.2f}   x{median / anchor:.2f}")


PARTS = {"start": start_figures, "placement": placement_figures}


def main() -> int:
    wanted = sys.argv[1:] or list(PARTS)
    if unknown := set(wanted) - set(PARTS):
        print(f"unknown: {', '.join(sorted(unknown))}; parts are {', '.join(PARTS)}", file=sys.stderr)
        return 2
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"Python {sys.version.split()[0]}, {cores} core(s)")
    shutil.rmtree(STATE, ignore_errors=True)
    STATE.mkdir(parents=True, mode=0o700)
    try:
        for part in wanted:
            PARTS[part]()
    finally:
        shutil.rmtree(STATE, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
