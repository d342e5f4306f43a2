"""Bounds of real time that a busy machine cannot break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

TURN_SECONDS = 0.01


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[None]:
    """Bound the block by `seconds`, counted in turns of the event loop.

    On an idle machine these are the clock's seconds and a few hundredths more. When other processes hold the loop back,
    each turn takes as much longer as the block does.

    Raises:
        TimeoutError: the block took longer.
    """
    async with asyncio.timeout(None) as limit:
        counting = asyncio.create_task(_expire(limit, seconds))
        try:
            yield
        finally:
            counting.cancel()


async def _expire(limit: asyncio.Timeout, seconds: float) -> None:
    for _ in range(round(seconds / TURN_SECONDS)):
        await asyncio.sleep(TURN_SECONDS)
    limit.reschedule(asyncio.get_running_loop().time())
