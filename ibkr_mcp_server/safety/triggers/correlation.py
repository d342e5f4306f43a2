"""CB-18: the positions move together, so that they are one bet."""

from __future__ import annotations

from dataclasses import dataclass

from ibkr_mcp_server.safety.triggers.base import Kind, Ladder, Metrics, Reading


@dataclass(frozen=True, kw_only=True)
class Correlation:
    ladder: Ladder
    number: str = "CB-18"

    def read(self, metrics: Metrics) -> tuple[Reading, ...]:
        if metrics.correlation_pct is None:
            return ()
        kind = Kind(number=self.number, metric="correlation of the positions", ladder=self.ladder, unit=" %")
        return (kind.reading(metrics.correlation_pct),)
