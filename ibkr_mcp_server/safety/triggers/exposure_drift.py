"""RM-04: prices have carried the positions beyond the exposure limit; nothing is sold for it."""

from __future__ import annotations

from dataclasses import dataclass

from ibkr_mcp_server.safety.triggers.base import Kind, Ladder, Metrics, Reading


@dataclass(frozen=True, kw_only=True)
class ExposureDrift:
    ladder: Ladder
    number: str = "RM-04"

    def read(self, metrics: Metrics) -> tuple[Reading, ...]:
        if metrics.exposure_pct is None:
            return ()
        kind = Kind(number=self.number, metric="exposure, of its limit", ladder=self.ladder, unit=" %")
        return (kind.reading(metrics.exposure_pct),)
