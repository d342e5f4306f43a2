"""At most so many messages a second leave for the gateway, the most urgent first (RL-04).

IBKR counts 50 messages a second and closes the socket of a client that goes on. The client library would queue what is
too much and send it later without asking; this pacer lets the *caller* wait instead, so that the last check of the
safety state stands directly before the socket write (TW-11) and a lost link finds nothing queued (EM-02).
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import IntEnum

from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.errors import ProductError

WINDOW_SECONDS = 1.1
"""A tenth more than the broker's second: messages may bunch up on their way."""


class Lane(IntEnum):
    """Who goes first; a smaller number overtakes every larger one."""

    PROBE = 0
    """Finds out whether the gateway is alive; one at a time."""
    CANCEL = 1
    REDUCE = 2
    """Changes of working orders, and orders that reduce a position."""
    OPEN = 3
    READ = 4


class Pacer:
    """Hands out permits: at most `messages_per_second` used or held within any second."""

    def __init__(self, clock: Clock, messages_per_second: float, *, urgent_share: float = 0.0) -> None:
        """`urgent_share` of the messages is for what cancels, protects or reduces alone (RL-12)."""
        self._clock = clock
        self._limit = max(1, math.floor(messages_per_second))
        self._ordinary_limit = max(1, self._limit - math.ceil(self._limit * urgent_share))
        self._sent: deque[float] = deque()
        self._held = 0
        self._quiet_until = -math.inf
        self._waiting: list[tuple[Lane, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._alarm: asyncio.Task[None] | None = None
        self.complaints = 0
        """How often the broker complained."""

    @property
    def waiting(self) -> int:
        """How many callers wait for a permit."""
        return sum(not permit.done() for _, _, permit in self._waiting)

    @asynccontextmanager
    async def permit(self, lane: Lane) -> AsyncIterator[None]:
        """Wait for the right to send one message; it counts from the end of the block, where it has been sent.

        A block that raises has sent nothing, and its permit goes to the next.
        """
        await self._acquire(lane)
        try:
            yield
        except BaseException:
            self._release(sent=False)
            raise
        self._release(sent=True)

    def note(self) -> None:
        """Count a message that was sent without a permit."""
        self._sent.append(self._clock.monotonic())

    def slow_down(self) -> None:
        """The broker complained: send nothing more in this second."""
        self.complaints += 1
        self._quiet_until = self._clock.monotonic() + WINDOW_SECONDS

    def discard(self, error: ProductError) -> None:
        """Turn away everyone who waits: what was not sent is never sent (EM-02)."""
        waiting, self._waiting = self._waiting, []
        for _, _, permit in waiting:
            if not permit.done():
                permit.set_exception(error)

    def close(self) -> None:
        """Stop the timer; the pacer can be used again."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    async def _acquire(self, lane: Lane) -> None:
        permit: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (lane, next(self._order), permit))
        self._serve()
        try:
            await permit
        except asyncio.CancelledError:
            if permit.done() and not permit.cancelled() and permit.exception() is None:
                self._release(sent=False)  # granted in the very moment in which its caller went away
            raise

    def _release(self, *, sent: bool) -> None:
        self._held -= 1
        if sent:
            self.note()
        self._serve()

    def _serve(self) -> None:
        now = self._clock.monotonic()
        while self._sent and now - self._sent[0] >= WINDOW_SECONDS:
            self._sent.popleft()
        is_quiet = now < self._quiet_until
        while self._waiting and not is_quiet and self._has_room(self._waiting[0][0]):
            _, _, permit = heapq.heappop(self._waiting)
            if not permit.done():
                self._held += 1
                permit.set_result(None)
        if self._waiting and self._alarm is None and (is_quiet or self._sent):
            until = self._quiet_until if is_quiet else self._sent[0] + WINDOW_SECONDS
            self._alarm = asyncio.get_running_loop().create_task(self._wake_after(until - now))

    def _has_room(self, lane: Lane) -> bool:
        most = self._limit if lane < Lane.OPEN else self._ordinary_limit
        return self._held + len(self._sent) < most

    async def _wake_after(self, seconds: float) -> None:
        await self._clock.sleep(seconds + 0.001)  # past the end of the window, whatever the rounding
        self._alarm = None
        self._serve()
