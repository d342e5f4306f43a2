"""MCP over stdin and stdout."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import anyio
from mcp.server.runner import serve_dual_era_loop, serve_loop
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage

from ibkr_mcp_server.tools.pipes import standard_pipes
from ibkr_mcp_server.tools.server import TradingServer
from ibkr_mcp_server.tools.signals import stop_at_signal

if TYPE_CHECKING:
    from mcp.shared._stream_protocols import ReadStream, WriteStream


def serve(server: TradingServer, *, legacy: bool = False) -> None:
    """Serve until the client closes the pipe or the process is told to end.

    `legacy` speaks the handshake protocol only. Some clients probe the new protocol and then open with the old one on
    the same pipe, which the new one forbids; with this they fall back at once.
    """
    anyio.run(partial(_serve, server, legacy=legacy))


async def _serve(server: TradingServer, *, legacy: bool) -> None:
    endings: set[asyncio.Task[None]] = set()
    for number in (signal.SIGTERM, signal.SIGINT):
        _at_signal(number, lambda number: endings.add(asyncio.create_task(_end(server, number))))
    stop_at_signal(server)
    low = server._lowlevel_server  # the SDK has no public way to serve one era only, or over streams of our own
    serving = serve_loop if legacy else serve_dual_era_loop
    async with _streams() as (read, write), low.lifespan(low) as state:
        await serving(low, read, write, lifespan_state=state)


@asynccontextmanager
async def _streams() -> AsyncIterator[tuple[ReadStream[SessionMessage | Exception], WriteStream[SessionMessage]]]:
    """Ours where the loop can wait for them, or those of the SDK."""
    pipes = await standard_pipes()
    if pipes is not None:
        yield pipes
        return
    async with stdio_server() as streams:
        yield streams


def _at_signal(number: signal.Signals, act: Callable[[signal.Signals], None]) -> None:
    # Windows has no such handlers: there the process ends without closing the app, which the store survives.
    with suppress(NotImplementedError):
        asyncio.get_running_loop().add_signal_handler(number, act, number)


async def _end(server: TradingServer, number: signal.Signals) -> None:
    """Close the app, then die of the signal: the thread that waits for stdin cannot be woken."""
    await server.close()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
