"""Waits until nothing goes on in this process, so that what a step of a clock set off has ended before the next one.

Client, server, broker and gateway of a test share one event loop. It is idle when no callback is ready, no socket has
anything to read, and no pool's thread is at work; then only time, another process or the test itself can go on.
"""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import thread
from typing import Any
from weakref import WeakKeyDictionary

from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.store.database import _Lane

PATIENCE_SECONDS = 0.4
"""Real time. What takes longer waits for something else: for another process, or for the clock itself."""
AT_WORK: WeakKeyDictionary[Any, float] = WeakKeyDictionary()
"""What pools of threads have not finished, and until when it is waited for.

A pool lets go of each item once it has told of the result.
"""


def clocks_wait_for_what_they_set_off() -> None:
    """From now on `ManualClock.advance` returns when nothing that it set off goes on any more."""
    _watch_threads()
    ManualClock._settle = staticmethod(until_idle)  # type: ignore[method-assign,assignment]


def _watch_threads() -> None:
    """Know what is given to pools of threads."""
    made = thread._WorkItem.__init__

    def noted(item: Any, future: Any, fn: Any, *rest: Any) -> None:
        made(item, future, fn, *rest)
        of_store = isinstance(getattr(fn, "__self__", None), _Lane)  # others may run a command that waits for the clock
        AT_WORK[item] = time.perf_counter() + (PATIENCE_SECONDS if of_store else PATIENCE_SECONDS / 8)

    thread._WorkItem.__init__ = noted  # type: ignore[method-assign,assignment]


async def until_idle() -> None:
    """Return when the loop has nothing more to do, or after some patience when it never ends."""
    if threading.current_thread() is not threading.main_thread():
        return  # a loop inside of what a pool does, which would wait for itself
    loop: Any = asyncio.get_running_loop()
    began = time.perf_counter()
    while (now := time.perf_counter()) < began + PATIENCE_SECONDS:
        await asyncio.sleep(0)
        if loop._ready or loop._selector.select(0):
            continue
        if not any(now < until for until in list(AT_WORK.values())):
            return
        await asyncio.sleep(0.0005)
