"""What a trigger reads and what it says: the figures, the levels, and a reading of one figure against them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import IntEnum
from typing import Protocol

CALM = Decimal("0.8")
"""RM-05: below this share of its warning a figure is calm."""


class Level(IntEnum):
    """What a breach brings about, mildest first."""

    NONE = 0
    WARN = 1
    PAUSE = 2
    KILL = 3


@dataclass(frozen=True, kw_only=True)
class AccountFigures:
    """The money of one account; None is unknown."""

    account: str
    equity: Decimal | None
    day_start: Decimal | None = None
    """Equity when the trading day began; like the marks below, moved along with what was paid in and out (T-43)."""
    day_peak: Decimal | None = None
    week_peak: Decimal | None = None
    high_water: Decimal | None = None
    peak_of_five_minutes: Decimal | None = None
    maintenance_margin: Decimal | None = None


@dataclass(frozen=True, kw_only=True)
class StrategyFigures:
    """One agent."""

    name: str
    drawdown_pct: Decimal | None = None
    """Fall of its profit from its highest, of the equity."""
    losses_in_a_row: int = 0
    win_rate_pct: Decimal | None = None
    """None while it has closed too little."""
    repeats: int = 0
    """Its newest orders of one instrument and direction in a row."""


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Everything that triggers look at, at one moment; None is not known, or not to be measured."""

    at: datetime
    accounts: tuple[AccountFigures, ...] = ()
    strategies: tuple[StrategyFigures, ...] = ()
    losses_in_a_row: int | None = None
    win_rate_pct: Decimal | None = None
    """Of all agents together; None while too little was closed."""
    order_failures_in_a_row: int | None = None
    order_failures_in_the_hour: int | None = None
    failed_operations: int = 0
    operations: int = 0
    api_errors: int | None = None
    trades_in_the_hour: int | None = None
    fees_pct: Decimal | None = None
    unknown_seconds: tuple[float, ...] = ()
    """How long the outcome of each lost order has been unknown while the broker answered."""
    mismatch_seconds: float | None = None
    """Since when the records disagree with the broker's; None while they agree."""
    clock_offset_seconds: float | None = None
    """How far the clocks are apart for certain."""
    store_trouble: str | None = None
    volatility: tuple[tuple[str, Decimal], ...] = ()
    """By instrument: the range of the last five minutes, in usual ones."""
    correlation_pct: Decimal | None = None
    feed_lost_seconds: float | None = None
    """Since when positions get no market data; None while they do, or while nothing is held."""
    illiquid: int = 0
    """Positions whose market is too wide or one-sided, in regular hours."""
    exposure_pct: Decimal | None = None
    """Value of all positions, of the tighter limit."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One figure against its levels."""

    trigger: str
    """The requirement's number, such as `CB-13`."""
    metric: str
    level: Level
    observed: Decimal
    limit: Decimal | None
    """Of the level reached; None at NONE."""
    unit: str
    is_calm: bool
    """So far from its warning that nothing speaks for reduced sizes any more."""
    loses_money: bool
    """It tells of lost money: a breaker that it opened is closed by stages (RC-07)."""
    scope: str = ""
    """Whom it concerns; empty for all."""
    is_floor: bool = False
    """A small figure is the bad one."""

    @property
    def text(self) -> str:
        limit = "" if self.limit is None else f", limit {shown(self.limit)}{self.unit}"
        whose = f" of {self.scope}" if self.scope else ""
        return f"{self.trigger} {self.metric}{whose} {shown(self.observed)}{self.unit}{limit}"


class Trigger(Protocol):
    """One trigger; it keeps nothing."""

    @property
    def number(self) -> str: ...

    def read(self, metrics: Metrics) -> tuple[Reading, ...]:
        """Its readings; none while there is nothing to measure, or too little."""
        ...


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """The levels of a figure that is bad when it is high; None where a level is not used."""

    warn: Decimal | None
    pause: Decimal | None = None
    kill: Decimal | None = None
    at_least: bool = False
    """A level is reached by its own figure; otherwise only beyond it."""
    is_floor: bool = False
    """Bad when it is low instead."""

    def reached(self, value: Decimal) -> tuple[Level, Decimal | None]:
        for level, limit in ((Level.KILL, self.kill), (Level.PAUSE, self.pause), (Level.WARN, self.warn)):
            if limit is None:
                continue
            beyond = value < limit if self.is_floor else value > limit
            if beyond or (self.at_least and value == limit):
                return level, limit
        return Level.NONE, None

    def is_calm(self, value: Decimal) -> bool:
        first = next(limit for limit in (self.warn, self.pause, self.kill) if limit is not None)
        if self.is_floor:
            return value > first / CALM
        return value < CALM * first or (not value and first > 0)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What all readings of a trigger share."""

    number: str
    metric: str
    ladder: Ladder
    unit: str = ""
    loses_money: bool = False

    def reading(self, value: Decimal | int, *, scope: str = "") -> Reading:
        value = Decimal(value)
        level, limit = self.ladder.reached(value)
        return Reading(
            trigger=self.number,
            metric=self.metric,
            level=level,
            observed=value,
            limit=limit,
            unit=self.unit,
            is_calm=self.ladder.is_calm(value),
            loses_money=self.loses_money,
            scope=scope,
            is_floor=self.ladder.is_floor,
        )


def fall_pct(mark: Decimal | None, equity: Decimal | None) -> Decimal | None:
    """How far `equity` lies below `mark`, in percent points; None where either is unknown or makes no sense."""
    if mark is None or equity is None or mark <= 0:
        return None
    return max(Decimal(0), (mark - equity) / mark * 100)


def shown(value: Decimal) -> str:
    """A figure for people: at most two decimals, never an exponent."""
    text = f"{value:.2f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
