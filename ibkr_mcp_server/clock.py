"""The only place that reads the machine's clocks.

Everything else is given a `Clock`. Limits measure elapsed time with `monotonic()`, which wall-clock jumps do not
touch; records carry `now()`, which is aware UTC.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from pathlib import Path
from typing import Protocol
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")
TRADING_DAY_STARTS = time_of_day(17, 0)
"""Requirement TM-05: the trading day begins at 17:00 New York time, as IBKR's own day does."""


class Clock(Protocol):
    """Time as the product sees it."""

    def now(self) -> datetime:
        """The current time, aware UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that only ever grow; comparable between processes that share a `boot_id`."""
        ...

    @property
    def boot_id(self) -> str:
        """Names the origin of `monotonic()`; two readings compare only under the same id."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds` of this clock; may be cancelled at any time."""
        ...


def trading_day(moment: datetime) -> date:
    """The trading day that `moment` belongs to: from 17:00 New York time on it is the next calendar day's.

    Daylight saving is New York's, so the boundary moves in UTC twice a year.
    """
    local = moment.astimezone(NEW_YORK)
    return local.date() + timedelta(days=1) if local.time() >= TRADING_DAY_STARTS else local.date()


def next_trading_day_starts(moment: datetime) -> datetime:
    """When the trading day of `moment` ends, aware UTC."""
    day = trading_day(moment)
    return datetime.combine(day, TRADING_DAY_STARTS, tzinfo=NEW_YORK).astimezone(UTC)


def _machine_boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        # Without a boot id readings of another process cannot be trusted: a fresh id makes them incomparable.
        return f"process-{time.monotonic_ns()}"


class SystemClock:
    """The machine's clocks."""

    def __init__(self) -> None:
        self._boot_id = _machine_boot_id()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    @property
    def boot_id(self) -> str:
        return self._boot_id

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class ManualClock:
    """A clock that stands still until it is told to move; for tests and scripted runs.

    `advance` moves both readings and wakes the sleepers that fall due, in order. `step_wall` moves only `now()`,
    as an operator or NTP would.
    """

    def __init__(self, start: datetime = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)) -> None:
        self._now = start
        self._monotonic = 1_000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    @property
    def boot_id(self) -> str:
        return "manual-clock"

    async def sleep(self, seconds: float) -> None:
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._monotonic + max(0.0, seconds), next(self._order), wake))
        await wake

    def step_wall(self, by: timedelta) -> None:
        """Move `now()` alone, forwards or backwards."""
        self._now += by

    async def advance(self, seconds: float) -> None:
        """Move time on by `seconds`, stopping at each sleeper on the way so that it runs at its own moment."""
        end = self._monotonic + seconds
        while self._sleepers and self._sleepers[0][0] <= end:
            due, _, wake = heapq.heappop(self._sleepers)
            self._move_to(max(due, self._monotonic))
            if not wake.done():
                wake.set_result(None)
                await _let_others_run()
        self._move_to(end)
        await self._settle()

    async def leap(self, seconds: float) -> None:
        """Move time on at one blow, as on a machine that was suspended: all sleepers that fell due wake at the end."""
        self._move_to(self._monotonic + seconds)
        await self.advance(0)

    def _move_to(self, monotonic: float) -> None:
        self._now += timedelta(seconds=monotonic - self._monotonic)
        self._monotonic = monotonic

    async def _settle(self) -> None:
        """Let what was woken run before `advance` returns."""
        await _let_others_run()


async def _let_others_run() -> None:
    for _ in range(10):
        await asyncio.sleep(0)
