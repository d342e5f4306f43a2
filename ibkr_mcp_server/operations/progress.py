"""Telling a client that waits how far its call is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from ibkr_mcp_server.clock import Clock

T = TypeVar("T")

Progress = Callable[[float, float | None, str], Awaitable[None]]
"""Told how much is done, of how much if that is known, and what is being done; does nothing for a client that did not
ask."""

BEAT_SECONDS = 1.0


async def silent(done: float, total: float | None, text: str) -> None:
    """For callers who are not told."""


async def told_meanwhile(work: Awaitable[T], *, progress: Progress, clock: Clock, text: str) -> T:
    """The result of `work`; until it is there, the client hears every second for how long it has been waited for."""
    beats = asyncio.ensure_future(_beats(progress, clock, text))
    try:
        return await work
    finally:
        beats.cancel()
        with suppress(asyncio.CancelledError):
            await beats


async def _beats(progress: Progress, clock: Clock, text: str) -> None:
    start = clock.monotonic()
    with suppress(Exception):  # a client that cannot be told must not cost the call
        while True:
            await clock.sleep(BEAT_SECONDS)
            await progress(round(clock.monotonic() - start, 1), None, text)
