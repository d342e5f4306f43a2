"""The settings of the circuit breaker, the risk modes and the recovery after a trip; part of `Settings`.

A trigger has up to three levels: the warning reduces the size limits, the limit opens the breaker, the last one stops
trading. Windows admit their figure and act beyond it; streaks act when they reach it.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings

from ibkr_mcp_server import setting_rules as rules

MOST_EVENTS = 100_000


class RiskSettings(BaseSettings):
    """What stops trading by itself, and how it comes back."""

    # Circuit breaker: losses
    daily_drawdown_warning_pct: Annotated[Decimal, rules.percent("0.01", "100")] = Field(
        default=Decimal(4), description="Fall from the day's highest equity that halves the size limits."
    )
    max_daily_drawdown_pct: Annotated[Decimal, rules.percent("0.01", "100")] = Field(
        default=Decimal(5), description="Fall from the day's highest equity that opens the breaker."
    )
    weekly_drawdown_warning_pct: Annotated[Decimal, rules.percent("0.01", "100")] = Field(
        default=Decimal(8), description="Fall from the week's highest equity that halves the size limits."
    )
    max_weekly_drawdown_pct: Annotated[Decimal, rules.percent("0.01", "100")] = Field(
        default=Decimal(10), description="Fall from the week's highest equity that opens the breaker."
    )
    total_drawdown_warning_pct: Annotated[Decimal, rules.percent("0.01", "100")] = Field(
        default=Decimal(10), description="Fall from the highest equity ever that halves the size limits."
    )
    total_drawdown_pause_pct: Annotated[Decimal, rules.percent("0.01", "100")] = Field(
        default=Decimal(15), description="Fall from the highest equity ever that opens the breaker."
    )
    max_total_drawdown_pct: Annotated[Decimal, rules.percent("0.01", "100")] = Field(
        default=Decimal(20), description="Fall from the highest equity ever that stops trading."
    )
    daily_loss_warning_pct: Annotated[Decimal, rules.percent("0.01", "10")] = Field(
        default=Decimal(2), description="Loss since the trading day began that halves the size limits."
    )
    max_daily_loss_pct: Annotated[Decimal, rules.percent("0.01", "10")] = Field(
        default=Decimal(3), description="Loss since the trading day began that opens the breaker."
    )
    daily_loss_kill_pct: Annotated[Decimal, rules.percent("0.01", "10")] = Field(
        default=Decimal(5), description="Loss since the trading day began that stops trading."
    )
    loss_velocity_warning_pct: Annotated[Decimal, rules.percent("0.01", "100")] = Field(
        default=Decimal(1), description="Loss of equity within five minutes that halves the size limits."
    )
    max_loss_velocity_pct: Annotated[Decimal, rules.percent("0.01", "100")] = Field(
        default=Decimal("1.5"), description="Loss of equity within five minutes that opens the breaker."
    )
    loss_velocity_kill_pct: Annotated[Decimal, rules.percent("0.01", "100")] = Field(
        default=Decimal(3), description="Loss of equity within five minutes that stops trading."
    )
    margin_use_warning_pct: Annotated[Decimal, rules.percent("1", "100")] = Field(
        default=Decimal(75), description="Maintenance margin, of the equity, that halves the size limits."
    )
    max_margin_use_pct: Annotated[Decimal, rules.percent("1", "100")] = Field(
        default=Decimal(90), description="Maintenance margin, of the equity, that opens the breaker."
    )
    margin_use_kill_pct: Annotated[Decimal, rules.percent("1", "100")] = Field(
        default=Decimal(95), description="Maintenance margin, of the equity, that stops trading."
    )
    breaker_input_grace_seconds: Annotated[float, rules.seconds(600)] = Field(
        default=30.0, description="How long the equity may be unknown, or the watch silent, before nothing is opened."
    )

    # Risk modes and recovery
    reduce_factor: Annotated[float, rules.factor(1)] = Field(
        default=0.5, description="What a warning multiplies the size limits by."
    )
    reduce_ends_after_minutes: Annotated[int, rules.whole_number(1, 1_440)] = Field(
        default=30,
        description="How long every figure must stay below 80 % of its warning before the size limits are whole again.",
    )
    breaker_cooldown_minutes: Annotated[int, rules.whole_number(0, 10_080)] = Field(
        default=60, description="After a breaker that opened for a loss, the time before a person may reset it."
    )
    stage_decisions: Annotated[int, rules.whole_number(1, 10_000)] = Field(
        default=10, description="Decisions without a warning that a recovery stage takes at least, besides a day."
    )
    stage_minor_pauses: Annotated[bool, rules.switch()] = Field(
        default=False,
        description="After a reset, recovery stages follow every trip; false leaves them to those that lost money.",
    )


WARN_PAUSE_KILL = (
    ("daily_drawdown_warning_pct", "max_daily_drawdown_pct"),
    ("weekly_drawdown_warning_pct", "max_weekly_drawdown_pct"),
    ("total_drawdown_warning_pct", "total_drawdown_pause_pct", "max_total_drawdown_pct"),
    ("daily_loss_warning_pct", "max_daily_loss_pct", "daily_loss_kill_pct"),
    ("loss_velocity_warning_pct", "max_loss_velocity_pct", "loss_velocity_kill_pct"),
    ("margin_use_warning_pct", "max_margin_use_pct", "margin_use_kill_pct"),
    ("max_daily_drawdown_pct", "max_weekly_drawdown_pct", "max_total_drawdown_pct"),
)
"""Each must be below the next (CFG-10)."""
