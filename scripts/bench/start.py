"""How long a host waits for the list of tools."""

from __future__ import annotations

import statistics
import sys
import time
from contextlib import ExitStack

from scripts.bench.kit import EMPTY_SERVER, OURS, Bench, RawStdio, free_port, row, silent_listener

STARTS = 15


def start_figures(bench: Bench) -> None:
    """From spawning the process to the answer of tools/list."""
    print("\nStart to tools/list, milliseconds (raw client, newest protocol)")
    with ExitStack() as stack:
        gateway, hung = stack.enter_context(bench.paper_gateway()), stack.enter_context(silent_listener())
        nobody = free_port()

        def paper(name: str, port: int) -> dict[str, str]:
            return bench.environment(name, IBKR_BROKER_MODE="paper", IBKR_PORT=str(port))

        rows: list[tuple[str, list[str], dict[str, str]]] = [
            ("empty MCPServer", [sys.executable, "-c", EMPTY_SERVER], bench.environment("empty")),
            ("ours, built-in gateway", OURS, bench.environment("start-simulator")),
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
