"""CB-14: losing round trips in a row, of all agents together; one winner ends the streak."""

from __future__ import annotations

from dataclasses import dataclass

from ibkr_mcp_server.safety.triggers.base import Kind, Ladder, Metrics, Reading


@dataclass(frozen=True, kw_only=True)
class LosingStreak:
    ladder: Ladder
    number: str = "CB-14"

    def read(self, metrics: Metrics) -> tuple[Reading, ...]:
        if metrics.losses_in_a_row is None:
            return ()
        kind = Kind(number=self.number, metric="losses in a row", ladder=self.ladder, loses_money=True)
        return (kind.reading(metrics.losses_in_a_row),)
