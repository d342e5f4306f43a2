"""Value at risk and expected shortfall of what is held now, by what its prices did on past days (PL-17).

Information only: no rule rests on it. The limit called value at risk is another thing, see `safety/checks/capital.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from itertools import pairwise

CONFIDENCE_PCT = 95
FEWEST_DAYS = 20
"""Of fewer days the worst twentieth is less than one."""


@dataclass(frozen=True, kw_only=True)
class RiskFigures:
    """In US dollars over one day, with 95 % confidence; None where there are too few days."""

    value_at_risk_usd: Decimal | None
    """The loss that all but the worst twentieth of days stayed below; 0 when even those did not lose."""
    expected_shortfall_usd: Decimal | None
    """The mean of the days in that worst twentieth."""
    sample_size: int
    """Days that all instruments share."""
    held_usd: Decimal
    """Long and short together, of what was counted."""
    left_out: tuple[str, ...]
    """Held, and without a value or a history."""
    as_of: datetime


def daily_results(values: Mapping[int, Decimal], closes: Mapping[int, Mapping[date, Decimal]]) -> list[Decimal]:
    """What the holdings, at today's `values` by contract, would have gained on each past day that all of them know."""
    if not values:
        return []
    days = sorted(set.intersection(*(set(closes[con_id]) for con_id in values)))
    return [
        sum(
            (value * (closes[con_id][day] / closes[con_id][before] - 1) for con_id, value in values.items()),
            Decimal(0),
        )
        for before, day in pairwise(days)
    ]


def tail_of(results: Sequence[Decimal]) -> tuple[Decimal | None, Decimal | None]:
    """Value at risk and expected shortfall of daily results."""
    if len(results) < FEWEST_DAYS:
        return None, None
    worst = sorted(results)[: math.ceil(len(results) * (100 - CONFIDENCE_PCT) / 100)]
    return max(Decimal(0), -worst[-1]), max(Decimal(0), -sum(worst, Decimal(0)) / len(worst))
