"""Figures of the market from samples of prices; pure."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise

RANGE_SECONDS = 300.0
RANGE_SAMPLES = 20
"""CB-17: fewer samples of five minutes say nothing."""
RETURNS, INSTRUMENTS = 30, 3
"""CB-18: what a correlation takes at least."""
KEPT = 61


@dataclass(kw_only=True)
class Samples:
    """Prices of the held instruments, all taken at the same moments."""

    moments: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))
    prices: dict[int, deque[float | None]] = field(default_factory=dict)

    def add(self, moment: float, prices: Mapping[int, float | None]) -> None:
        """What is not held any more is forgotten; what is new was not known before."""
        self.moments.append(moment)
        for con_id in set(self.prices) - set(prices):
            del self.prices[con_id]
        for con_id, price in prices.items():
            known = self.prices.setdefault(con_id, deque([None] * (len(self.moments) - 1), maxlen=KEPT))
            known.append(price)

    def range_of(self, con_id: int, now: float) -> float | None:
        """Logarithm of highest over lowest price of the last five minutes."""
        pairs = zip(self.moments, self.prices.get(con_id, ()), strict=False)
        recent = [price for moment, price in pairs if price is not None and now - moment <= RANGE_SECONDS]
        return log_range(max(recent), min(recent)) if len(recent) >= RANGE_SAMPLES else None

    def correlation_pct(self) -> Decimal | None:
        """Mean of the pairwise correlations; None while there is too little to say."""
        returns = [series for one in self.prices.values() if (series := _returns(one)) is not None]
        if len(returns) < INSTRUMENTS:
            return None
        found = []
        for index, first in enumerate(returns):
            for second in returns[index + 1 :]:
                length = min(len(first), len(second))
                one, other = first[-length:], second[-length:]
                if len(set(one)) > 1 and len(set(other)) > 1:
                    found.append(statistics.correlation(one, other))
        return Decimal(str(round(statistics.fmean(found) * 100, 4))) if found else None


def log_range(high: float, low: float) -> float | None:
    return math.log(high / low) if high > 0 and low > 0 else None


def usual_range(ranges: Sequence[float]) -> float | None:
    """The median of what a stretch of five minutes comes to; None where there is nothing to compare with."""
    moving = [one for one in ranges if one > 0]
    return statistics.median(moving) if moving else None


def _returns(prices: Sequence[float | None]) -> list[float] | None:
    """Logarithmic returns of the unbroken newest stretch."""
    newest: list[float] = []
    for price in reversed(prices):
        if price is None or price <= 0:
            break
        newest.append(price)
    newest.reverse()
    found = [math.log(after / before) for before, after in pairwise(newest)]
    return found if len(found) >= RETURNS else None
