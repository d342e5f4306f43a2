"""Orders go first: what only reads gives way while an order is on its way (MON-09).

All operations share one event loop. Without this a crowd of readers would have a turn each time that an order waits
for the disk or for the broker, and the order one behind them all. Those that waited pass one by one, with a breath in
between in which the next order can be heard.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

LONGEST_SECONDS = 0.02
"""While an order is on its way one read passes this often: a status has 50 ms, also when the broker is slow."""
BREATH_SECONDS = 0.001
"""Between two reads that waited: a message needs several turns of the loop until it is known for an order."""


class Precedence:
    """Knows whether an order is on its way in this process, and who waits for it."""

    def __init__(self) -> None:
        self._orders = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        """Reads in the order of their coming."""
        self._since = 0.0
        """When the first of them came to the front, by the loop's clock."""

    @contextmanager
    def of_an_order(self) -> Iterator[None]:
        """Around everything that is done for one order, or for its change or cancel."""
        self._orders += 1
        try:
            yield
        finally:
            self._orders -= 1

    async def give_way(self) -> None:
        """Wait until no order is on its way, but not for long."""
        if not self._orders and not self._waiting:
            return
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append(turn)
        if len(self._waiting) == 1:
            self._since = loop.time()
            self._breathe(loop)
        await turn

    def _breathe(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_later(BREATH_SECONDS, self._let_pass, loop)

    def _let_pass(self, loop: asyncio.AbstractEventLoop) -> None:
        first = self._waiting[0]
        if first.cancelled() or not self._orders or loop.time() - self._since >= LONGEST_SECONDS:
            self._waiting.popleft()
            self._since = loop.time()
            if not first.cancelled():
                first.set_result(None)
        if self._waiting:
            loop.call_soon(self._breathe, loop)  # when the one that passed has had its turn
