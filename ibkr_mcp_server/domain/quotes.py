"""Prices as they were seen, each with its age."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from ibkr_mcp_server.domain.options import Greeks


class MarketDataType(StrEnum):
    """What kind of data the broker sends (reqMarketDataType 1 to 4)."""

    LIVE = "live"
    FROZEN = "frozen"
    DELAYED = "delayed"
    DELAYED_FROZEN = "delayed-frozen"


@dataclass(frozen=True, kw_only=True)
class Quote:
    """The newest prices of one instrument; None where the broker sent none."""

    con_id: int
    received_at: datetime
    """When the broker last told one of its prices, aware UTC; a price that is told again without a change counts."""
    changed_at: datetime | None = None
    """When bid, ask or last became what it is, as far as this connection saw."""
    last_at: datetime | None = None
    """When `last` was traded, as the exchange dates it."""
    data_type: MarketDataType
    bid: Decimal | None = None
    ask: Decimal | None = None
    last: Decimal | None = None
    bid_size: Decimal | None = None
    ask_size: Decimal | None = None
    last_size: Decimal | None = None
    volume: Decimal | None = None
    average_volume: Decimal | None = None
    """Of a day, over 90 days, as the broker tells it; of stocks only."""
    open: Decimal | None = None
    high: Decimal | None = None
    low: Decimal | None = None
    close: Decimal | None = None
    """Previous session's close."""
    halted: bool | None = None
    shortable: Decimal | None = None
    """IBKR's grade: above 2.5 at least 1,000 shares can be borrowed, above 1.5 if they can be found; of stocks only."""
    shortable_shares: Decimal | None = None
    """How many can be borrowed, where the broker tells it."""
    open_interest: Decimal | None = None
    """Contracts open at the last settlement; of options only."""
    greeks: Greeks | None = None
    """Of options only."""

    def age_seconds(self, now: datetime) -> float:
        """Seconds since the broker last told a price; never negative."""
        return max(0.0, (now - self.received_at).total_seconds())
