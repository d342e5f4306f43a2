"""How often something happened in the last minute, for what needs no durable record: reads and attempts.

Elapsed time is measured on the monotonic clock, so steps of the wall clock change nothing (RL-03).
"""

from __future__ import annotations

from collections import deque

from ibkr_mcp_server.clock import Clock

MINUTE_SECONDS = 60.0


class MinuteWindow:
    """Remembers the last 60 seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._moments: deque[float] = deque()

    def note(self, times: int = 1) -> None:
        self._moments.extend([self._clock.monotonic()] * times)

    def ages_seconds(self) -> tuple[float, ...]:
        """The age of each one, oldest first."""
        now = self._forget_older()
        return tuple(now - moment for moment in self._moments)

    def __len__(self) -> int:
        """How many there were."""
        self._forget_older()
        return len(self._moments)

    def _forget_older(self) -> float:
        now = self._clock.monotonic()
        while self._moments and now - self._moments[0] >= MINUTE_SECONDS:
            self._moments.popleft()
        return now

    def clear(self) -> None:
        self._moments.clear()
