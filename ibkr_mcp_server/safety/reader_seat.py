"""The client id of a process that only reads, because another one writes (LK-01).

A gateway serves each client id once. The configured one belongs to the process that writes; each that reads takes a
seat of its own, and the seat gives the id: configured id + offset + number of the seat. Seats are locks of the
operating system in the state directory, so one that a process left, however it ended, is free again.
"""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout

SEATS = 8


class ReaderSeat:
    """The seat of this process; None taken yet."""

    def __init__(self, directory: Path, *, client_id: int, offset: int) -> None:
        self._directory = directory
        self._first_id = client_id + offset
        self._lock: FileLock | None = None

    def take(self) -> int:
        """Take the first free seat and return its client id; when none is free, that of the last one.

        The gateway then refuses this process and says why (LK-04); no further id is tried.
        """
        for number in range(SEATS):
            lock = FileLock(str(self._directory / f"reader-{number}.lock"), mode=0o600, thread_local=False)
            try:
                lock.acquire(blocking=False)
            except Timeout:
                continue
            self._lock = lock
            return self._first_id + number
        return self._first_id + SEATS - 1

    def leave(self) -> None:
        """Let the seat go; the next process may take it."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None
