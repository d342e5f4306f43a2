"""SIGUSR1 stops trading (KS-07): no secret, no network, no other program than `kill`."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress

from ibkr_mcp_server.tools.server import TradingServer


def stop_at_signal(server: TradingServer) -> None:
    """Stop trading at each SIGUSR1 from now on, where the platform has it and this is the main thread."""
    number = getattr(signal, "SIGUSR1", None)
    if number is None:
        return
    stops: set[asyncio.Task[None]] = set()

    def stop() -> None:
        task = asyncio.create_task(server.stop_trading("the process received SIGUSR1"))
        stops.add(task)
        task.add_done_callback(stops.discard)

    with suppress(NotImplementedError, RuntimeError, ValueError):
        asyncio.get_running_loop().add_signal_handler(number, stop)
