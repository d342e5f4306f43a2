"""CB-33: an agent that trades one instrument in one direction again and again, untouched by a person."""

from __future__ import annotations

from dataclasses import dataclass

from ibkr_mcp_server.safety.triggers.base import Kind, Ladder, Metrics, Reading


@dataclass(frozen=True, kw_only=True)
class RepeatedExecutions:
    ladder: Ladder
    number: str = "CB-33"

    def read(self, metrics: Metrics) -> tuple[Reading, ...]:
        kind = Kind(number=self.number, metric="repeated executions", ladder=self.ladder)
        return tuple(kind.reading(one.repeats, scope=one.name) for one in metrics.strategies)
