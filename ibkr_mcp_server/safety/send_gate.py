"""The gate in front of the socket, shared by all processes on one state directory.

Whoever sends holds it from reading the latch until the bytes are written. Whoever stops latches first and then passes
through it once: when that returns, nothing approved earlier is on its way, in any process.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ibkr_mcp_server.errors import Unavailable

if sys.platform == "win32":
    from filelock import FileLock, Timeout
else:
    import fcntl

MOST_SECONDS_TO_WAIT = 2.0
"""A healthy holder keeps the gate for milliseconds; beyond this it hangs."""
LOOK_AGAIN_SECONDS = 0.005
"""How soon a gate that another process holds is tried again."""


class SendGate:
    """An advisory lock on one file; the operating system drops it when its holder dies."""

    def __init__(self, path: Path) -> None:
        self._between_processes = _Lock(path)
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
        if self._between_processes.take():
            return
        try:
            async with asyncio.timeout(MOST_SECONDS_TO_WAIT):
                while True:
                    await asyncio.sleep(LOOK_AGAIN_SECONDS)
                    if self._between_processes.take():
                        return
        except TimeoutError as error:
            raise Unavailable(
                "BROKER_UNAVAILABLE",
                f"Another process has held the send gate for more than {MOST_SECONDS_TO_WAIT:.0f} s.",
                next_step="Find the process that uses this state directory and end it.",
            ) from error


if sys.platform == "win32":

    class _Lock:
        """The file, locked by whoever has it open."""

        def __init__(self, path: Path) -> None:
            self._lock = FileLock(str(path), mode=0o600, thread_local=False)

        def take(self) -> bool:
            try:
                self._lock.acquire(blocking=False)
            except Timeout:
                return False
            return True

        def release(self) -> None:
            self._lock.release()

else:

    class _Lock:
        """The file, locked by whoever has it open: as FileLock does it, for a tenth of the time (decision 20)."""

        def __init__(self, path: Path) -> None:
            self._path = path
            self._descriptor = -1

        def take(self) -> bool:
            """Lock the file, unless somebody else has; never waits."""
            # Opened anew each time: a file that was deleted keeps nobody else out.
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(descriptor)
                if isinstance(error, BlockingIOError):
                    return False
                raise
            self._descriptor = descriptor
            return True

        def release(self) -> None:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)  # also where a child process inherited it
            finally:
                os.close(self._descriptor)
