"""CB-21: errors that the broker reported in the last minute; what only informs is none."""

from __future__ import annotations

from dataclasses import dataclass

from ibkr_mcp_server.safety.triggers.base import Kind, Ladder, Metrics, Reading


@dataclass(frozen=True, kw_only=True)
class ApiErrors:
    ladder: Ladder
    number: str = "CB-21"

    def read(self, metrics: Metrics) -> tuple[Reading, ...]:
        if metrics.api_errors is None:
            return ()
        kind = Kind(number=self.number, metric="API errors in a minute", ladder=self.ladder)
        return (kind.reading(metrics.api_errors),)
