"""The gateway's own idea of the time, which a fault can make wrong."""

from __future__ import annotations

from datetime import datetime, timedelta

from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.simulator.faults import Faults


class SkewedClock:
    """The clock that the gateway was given, ahead by the skew of its faults; durations are not affected."""

    def __init__(self, clock: Clock, faults: Faults) -> None:
        self._clock = clock
        self._faults = faults

    def now(self) -> datetime:
        return self._clock.now() + timedelta(seconds=self._faults.clock_skew_seconds)

    def monotonic(self) -> float:
        return self._clock.monotonic()

    @property
    def boot_id(self) -> str:
        return self._clock.boot_id

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
