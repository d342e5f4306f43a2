"""Orders go first: what only reads gives way while an order is on its way (MON-09).

All operations share one event loop. Without this a crowd of readers would have a turn each time that an order waits
for the disk or for the broker, and the order one behind them all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

LONGEST_SECONDS = 0.02
"""What a read waits at most; the safety status has 50 ms in all, also while the broker keeps an order waiting."""


class Precedence:
    """Knows whether an order is on its way in this process."""

    def __init__(self) -> None:
        self._orders = 0
        self._none = asyncio.Event()
        self._none.set()

    @contextmanager
    def of_an_order(self) -> Iterator[None]:
        """Around everything that is done for one order, or for its change or cancel."""
        self._orders += 1
        self._none.clear()
        try:
            yield
        finally:
            self._orders -= 1
            if not self._orders:
                self._none.set()

    async def give_way(self) -> None:
        """Wait until no order is on its way, but not for long."""
        if self._none.is_set():
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_SECONDS):
                await self._none.wait()
