"""Remembers the last plausible price of each instrument, so that one absurd tick is told from the market (ORD-25)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from ibkr_mcp_server.domain.quotes import Quote

REMEMBERED_SECONDS = 3_600.0
"""After an hour without a look, a price says nothing about the next one."""


def jumped(before: Decimal, price: Decimal, last: Decimal | None, max_jump_pct: Decimal) -> bool:
    """Whether `price` is too far from `before`, and the last trade does not stand beside it."""
    if abs(price - before) / before * 100 <= max_jump_pct:
        return False
    return last is None or abs(price - last) / price * 100 > max_jump_pct


@dataclass(kw_only=True)
class PlausiblePrices:
    """Per instrument, the newest price that was no unconfirmed jump."""

    max_jump_pct: Decimal
    _seen: dict[int, tuple[Decimal, datetime]] = field(default_factory=dict)

    def before(self, quote: Quote | None, price: Decimal | None, now: datetime) -> Decimal | None:
        """What `price` is to be compared with; it is remembered if it is plausible itself."""
        if quote is None or price is None:
            return None
        earlier, at = self._seen.get(quote.con_id, (None, now))
        if earlier is None or (now - at).total_seconds() > REMEMBERED_SECONDS:
            earlier = quote.close if quote.close is not None and quote.close > 0 else None
        if earlier is None or not jumped(earlier, price, quote.last, self.max_jump_pct):
            self._seen[quote.con_id] = (price, now)
        return earlier
