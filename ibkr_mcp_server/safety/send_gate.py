"""The gate in front of the socket, shared by all processes on one state directory.

Whoever sends holds it from reading the latch until the bytes are written. Whoever stops latches first and then passes
through it once: when that returns, nothing approved earlier is on its way, in any process.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ibkr_mcp_server.errors import Unavailable

MOST_SECONDS_TO_WAIT = 2.0
"""A healthy holder keeps the gate for milliseconds; beyond this it hangs."""


class SendGate:
    """An advisory lock on one file; the operating system drops it when its holder dies."""

    def __init__(self, path: Path) -> None:
        # Taken on a worker thread, released on the loop's: the lock belongs to the process, not to a thread.
        self._between_processes = FileLock(str(path), mode=0o600, thread_local=False)
        self._within_process = asyncio.Lock()

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Hold the gate.

        Raises:
            Unavailable: another process held it for too long.
        """
        async with self._within_process:
            await self._take()
            try:
                yield
            finally:
                self._between_processes.release()

    async def _take(self) -> None:
        try:
            self._between_processes.acquire(blocking=False)
        except Timeout:
            await self._wait_for_it()

    async def _wait_for_it(self) -> None:
        taking = asyncio.ensure_future(
            asyncio.to_thread(self._between_processes.acquire, timeout=MOST_SECONDS_TO_WAIT, poll_interval=0.005)
        )
        try:
            await asyncio.shield(taking)
        except asyncio.CancelledError:
            # Who waited has gone, and the thread takes it all the same: kept, it would be shut for every process.
            taking.add_done_callback(self._give_back)
            await asyncio.wait([taking])
            raise
        except Timeout as error:
            raise Unavailable(
                "BROKER_UNAVAILABLE",
                f"Another process has held the send gate for more than {MOST_SECONDS_TO_WAIT:.0f} s.",
                next_step="Find the process that uses this state directory and end it.",
            ) from error

    def _give_back(self, taking: asyncio.Future[Any]) -> None:  # Any: what the lock answers
        if taking.exception() is None:
            self._between_processes.release()
