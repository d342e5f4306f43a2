"""Bars that are computed from other bars: bid and ask in one, and how much an instrument has moved of late."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from statistics import stdev

from ibkr_mcp_server.simulator.bars import NOT_TRADED, Bar

VOLATILITY_SESSIONS = 30
"""The returns that IBKR's historical volatility looks back on."""
SESSIONS_A_YEAR = 252
_DIGITS = Decimal("0.000001")


def bid_ask_bars(bids: Sequence[Bar], asks: Sequence[Bar]) -> list[Bar]:
    """whatToShow BID_ASK: open is the average bid, high the highest ask, low the lowest bid, close the average ask.

    The average over time is taken as that of each bar's four prices.
    """
    return [
        Bar(
            start=bid.start,
            open=_average(bid),
            high=ask.high,
            low=bid.low,
            close=_average(ask),
            volume=NOT_TRADED,
            wap=NOT_TRADED,
            count=-1,
        )
        for bid, ask in zip(bids, asks, strict=True)
    ]


def _average(bar: Bar) -> Decimal:
    return ((bar.open + bar.high + bar.low + bar.close) / 4).quantize(_DIGITS)


def implied_volatility_bars(bars: Sequence[Bar], volatility: float) -> list[Bar]:
    """whatToShow OPTION_IMPLIED_VOLATILITY: at the money, a year's. The options of this world keep theirs."""
    return [_level(bar, Decimal(str(volatility))) for bar in bars]


def volatility_bars(days: Sequence[Bar], *, count: int) -> list[Bar]:
    """whatToShow HISTORICAL_VOLATILITY: for the last `count` of `days`, a year's volatility of the sessions before.

    0.25 is 25 %. Days without enough sessions before them are left out.
    """
    returns = [math.log(after.close / before.close) for before, after in pairwise(days)]
    bars = []
    for number in range(max(len(days) - count, VOLATILITY_SESSIONS), len(days)):
        spread = stdev(returns[number - VOLATILITY_SESSIONS : number]) * math.sqrt(SESSIONS_A_YEAR)
        bars.append(_level(days[number], Decimal(spread).quantize(_DIGITS)))
    return bars


def _level(bar: Bar, value: Decimal) -> Bar:
    return Bar(
        start=bar.start,
        open=value,
        high=value,
        low=value,
        close=value,
        volume=NOT_TRADED,
        wap=NOT_TRADED,
        count=-1,
    )
