"""Waiting for the first of two things."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from ibkr_mcp_server.clock import Clock


async def first_of(
    other: asyncio.Future[Any], awaited: Coroutine[Any, Any, Any]
) -> None:  # Any: results are not looked at
    """Return when `awaited` or `other` is done; then `awaited` is given up, and `other` goes on."""
    waiting = asyncio.ensure_future(awaited)
    try:
        await asyncio.wait({other, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


async def sleep_or_wake(clock: Clock, seconds: float, wake: asyncio.Event) -> None:
    """Return after `seconds`, or as soon as `wake` is set."""
    sleeping = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await first_of(sleeping, wake.wait())
    finally:
        sleeping.cancel()
