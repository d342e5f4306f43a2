"""CB-25: positions are held and their market data is lost, although the link is up."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from ibkr_mcp_server.safety.triggers.base import Kind, Ladder, Metrics, Reading


@dataclass(frozen=True, kw_only=True)
class FeedHealth:
    ladder: Ladder
    number: str = "CB-25"

    def read(self, metrics: Metrics) -> tuple[Reading, ...]:
        if metrics.feed_lost_seconds is None:
            return ()
        kind = Kind(number=self.number, metric="market data lost for", ladder=self.ladder, unit=" s")
        return (kind.reading(Decimal(round(metrics.feed_lost_seconds))),)
