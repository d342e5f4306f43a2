"""Ranges and correlations from samples of prices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal

from ibkr_mcp_server.safety.market_figures import Samples, usual_range


def sampled(*series: Sequence[float | None]) -> Samples:
    samples = Samples()
    for index, prices in enumerate(zip(*series, strict=True)):
        samples.add(index * 10.0, dict(enumerate(prices)))
    return samples


def test_the_range_of_five_minutes_takes_twenty_samples() -> None:
    calm = [100.0] * 18
    assert sampled([*calm, 110.0]).range_of(0, 180.0) is None
    assert sampled([*calm, 110.0, 100.0]).range_of(0, 190.0) == math.log(1.1)
    assert sampled([110.0, *calm, *calm]).range_of(0, 360.0) == 0.0  # older than five minutes
    assert usual_range([0.0, 0.01, 0.03, 0.02]) == 0.02
    assert usual_range([]) is None


def test_correlation_takes_three_instruments_and_thirty_returns() -> None:
    """CB-18, T-29: one that did not move, or was just bought, says nothing."""
    up = [100.0 + (index % 3) for index in range(31)]
    down = [200.0 - (index % 3) for index in range(31)]
    assert sampled(up, up).correlation_pct() is None
    assert sampled(up[1:], up[1:], up[1:]).correlation_pct() is None
    together = sampled(up, up, up).correlation_pct()
    assert together is not None
    assert abs(together - 100) < Decimal("0.1")
    apart = sampled(up, up, down).correlation_pct()
    assert apart is not None
    assert apart < 0
    assert sampled(up, up, [None, *up[1:]]).correlation_pct() is None
    assert sampled(up, [100.0] * 31, [100.0] * 31).correlation_pct() is None


def test_what_is_not_held_any_more_is_forgotten() -> None:
    samples = sampled([100.0] * 25, [100.0] * 25)
    samples.add(250.0, {0: 100.0})
    assert set(samples.prices) == {0}
    samples.add(260.0, {0: 100.0, 1: 50.0})
    assert samples.range_of(1, 260.0) is None
