"""CB-32: the store could not be written. Nothing may be done that cannot be recorded, so this stops at once."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from ibkr_mcp_server.safety.triggers.base import Kind, Ladder, Metrics, Reading


@dataclass(frozen=True, kw_only=True)
class StoreFailure:
    number: str = "CB-32"

    def read(self, metrics: Metrics) -> tuple[Reading, ...]:
        if metrics.store_trouble is None:
            return ()
        ladder = Ladder(warn=None, kill=Decimal(0))
        return (Kind(number=self.number, metric="failed writes of the store", ladder=ladder).reading(1),)
