"""Value at risk and expected shortfall against numbers that can be reckoned by hand."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

from ibkr_mcp_server.domain.portfolio_risk import daily_results, tail_of

MONDAY = date(2026, 11, 16)


def prices(*closes: int, start: date = MONDAY) -> dict[date, Decimal]:
    return {start + timedelta(days=number): Decimal(close) for number, close in enumerate(closes)}


def test_past_days_are_played_with_what_is_held_today() -> None:
    """PL-17: long and short, over the days that all instruments know."""
    results = daily_results(
        {1: Decimal(1_000), 2: Decimal(-500)},
        {1: prices(100, 110, 99, 99), 2: prices(50, 55, start=MONDAY + timedelta(days=1))},
    )
    assert results == [1_000 * Decimal("-0.1") + -500 * Decimal("0.1")]
    assert daily_results({}, {}) == []


def test_the_worst_twentieth_of_a_hundred_days_is_five() -> None:
    results = [Decimal(number) for number in range(-50, 50)]
    assert tail_of(results) == (Decimal(46), Decimal(48))
    assert tail_of([Decimal(1)] * 100) == (Decimal(0), Decimal(0))


def test_too_few_days_say_nothing() -> None:
    assert tail_of([Decimal(-1)] * 19) == (None, None)
    assert tail_of([Decimal(-1)] * 20) == (Decimal(1), Decimal(1))
