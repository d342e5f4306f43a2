"""The settings of the circuit breaker, the risk modes and the recovery after a trip; part of `Settings`.

A trigger has up to three levels: the warning reduces the size limits, the limit opens the breaker, the last one stops
trading. Windows admit their figure and act beyond it; streaks act when they reach it.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import Field

from ibkr_mcp_server.settings import rules
from ibkr_mcp_server.settings.base import SettingGroup

MOST_EVENTS = 100_000


class RiskSettings(SettingGroup):
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

    # Circuit breaker: counts
    consecutive_losses_warning: Annotated[int, rules.whole_number(1, MOST_EVENTS)] = Field(
        default=7, description="Losing round trips in a row, of all agents, that reduce the size limits."
    )
    max_consecutive_losses: Annotated[int, rules.whole_number(1, MOST_EVENTS)] = Field(
        default=10, description="Losing round trips in a row, of all agents, that open the breaker."
    )
    order_failures_warning: Annotated[int, rules.whole_number(1, MOST_EVENTS)] = Field(
        default=3,
        description="Orders in a row that the broker rejected, or that were lost, that reduce the size limits.",
    )
    max_order_failures: Annotated[int, rules.whole_number(1, MOST_EVENTS)] = Field(
        default=5, description="Orders in a row that the broker rejected, or that were lost, that open the breaker."
    )
    failed_trades_warning: Annotated[int, rules.whole_number(1, MOST_EVENTS)] = Field(
        default=3, description="Orders rejected or lost in any hour above which the size limits are reduced."
    )
    max_failed_trades_per_hour: Annotated[int, rules.whole_number(1, MOST_EVENTS)] = Field(
        default=5, description="Orders rejected or lost in any hour above which the breaker opens."
    )
    error_rate_warning_pct: Annotated[Decimal, rules.percent("0.01", "100")] = Field(
        default=Decimal(5), description="Failed requests and orders, of all in 15 minutes, that reduce the size limits."
    )
    max_error_rate_pct: Annotated[Decimal, rules.percent("0.01", "100")] = Field(
        default=Decimal(10), description="Failed requests and orders, of all in 15 minutes, that open the breaker."
    )
    api_errors_warning: Annotated[int, rules.whole_number(1, MOST_EVENTS)] = Field(
        default=2, description="Errors that the broker reports in a minute above which the size limits are reduced."
    )
    max_api_errors_per_minute: Annotated[int, rules.whole_number(1, MOST_EVENTS)] = Field(
        default=3, description="Errors that the broker reports in a minute above which the breaker opens."
    )
    api_errors_kill: Annotated[int, rules.whole_number(1, MOST_EVENTS)] = Field(
        default=10, description="Errors that the broker reports in a minute above which trading stops."
    )
    trades_per_hour_warning: Annotated[int, rules.whole_number(1, MOST_EVENTS)] = Field(
        default=40, description="Orders that traded in any hour above which the size limits are reduced."
    )
    max_trades_per_hour: Annotated[int, rules.whole_number(1, MOST_EVENTS)] = Field(
        default=50, description="Orders that traded in any hour above which the breaker opens."
    )
    trades_per_hour_kill: Annotated[int, rules.whole_number(1, MOST_EVENTS)] = Field(
        default=100, description="Orders that traded in any hour above which trading stops."
    )
    fees_warning_pct: Annotated[Decimal, rules.percent("0.01", "100")] = Field(
        default=Decimal("0.25"), description="Commissions of the day, of the equity, that reduce the size limits."
    )
    max_fees_pct: Annotated[Decimal, rules.percent("0.01", "100")] = Field(
        default=Decimal("0.5"), description="Commissions of the day, of the equity, that open the breaker."
    )
    unknown_order_warning_seconds: Annotated[float, rules.seconds(3600)] = Field(
        default=15.0, description="How long an outcome may be unknown before the size limits are reduced."
    )
    max_unknown_order_seconds: Annotated[float, rules.seconds(3600)] = Field(
        default=60.0,
        description="How long an outcome may be unknown before the breaker opens; two such orders stop trading.",
    )
    unknown_order_kill_seconds: Annotated[float, rules.seconds(3600)] = Field(
        default=300.0, description="How long an outcome may be unknown before trading stops."
    )
    mismatch_kill_seconds: Annotated[float, rules.seconds(3600)] = Field(
        default=300.0,
        description="How long records that disagree with the broker's, and opened the breaker at once, may do so.",
    )
    clock_offset_warning_seconds: Annotated[float, rules.seconds(3600)] = Field(
        default=1.0, description="How far the clocks may certainly be apart before the size limits are reduced."
    )
    max_clock_offset_seconds: Annotated[float, rules.seconds(3600)] = Field(
        default=2.0, description="How far the clocks may certainly be apart before the breaker opens."
    )

    # Circuit breaker: single agents
    strategy_max_drawdown_pct: Annotated[Decimal, rules.percent("0.01", "100")] = Field(
        default=Decimal(5),
        description="Fall of one agent's profit from its highest, of the equity, that halts the agent.",
    )
    strategy_max_consecutive_losses: Annotated[int, rules.whole_number(1, MOST_EVENTS)] = Field(
        default=5, description="Losing round trips of one agent in a row that halt the agent."
    )
    win_rate_warning_pct: Annotated[Decimal, rules.percent("0.01", "100")] = Field(
        default=Decimal(35),
        description="Winners among one agent's last 50 round trips below which the size limits are reduced.",
    )
    min_win_rate_pct: Annotated[Decimal, rules.percent("0.01", "100")] = Field(
        default=Decimal(30),
        description="Winners among one agent's last 50 round trips, from 20 on, below which the agent is halted.",
    )
    min_account_win_rate_pct: Annotated[Decimal, rules.percent("0", "80")] = Field(
        default=Decimal(0),
        description="Winners of all agents' last 50 round trips, from 20 on, below which the breaker opens; 0: never.",
    )
    repeated_executions_warning: Annotated[int, rules.whole_number(1, MOST_EVENTS)] = Field(
        default=10,
        description="One agent's orders in a row in one instrument and direction above which size limits are reduced.",
    )
    max_repeated_executions: Annotated[int, rules.whole_number(1, MOST_EVENTS)] = Field(
        default=20,
        description="One agent's orders in a row in one instrument and direction above which the agent is halted.",
    )

    # Circuit breaker: the market
    volatility_warning: Annotated[Decimal, rules.times(1_000)] = Field(
        default=Decimal(2), description="Range of a held instrument in five minutes, in usual ones, that warns."
    )
    max_volatility_ratio: Annotated[Decimal, rules.times(1_000)] = Field(
        default=Decimal(3), description="The same figure that opens the breaker; usual is the median of 20 days."
    )
    correlation_warning_pct: Annotated[Decimal, rules.percent("1", "100")] = Field(
        default=Decimal(70), description="Mean correlation of three or more positions that reduces the size limits."
    )
    max_correlation_pct: Annotated[Decimal, rules.percent("1", "100")] = Field(
        default=Decimal(80), description="Mean correlation of three or more positions that opens the breaker."
    )
    feed_silence_warning_seconds: Annotated[float, rules.seconds(600)] = Field(
        default=5.0, description="How long the data of positions may be lost before the size limits are reduced."
    )
    max_feed_silence_seconds: Annotated[float, rules.seconds(600)] = Field(
        default=15.0, description="How long the data of positions may be lost before the breaker opens."
    )
    max_illiquid_positions: Annotated[int, rules.whole_number(1, 1_000)] = Field(
        default=3, description="Positions in too wide or one-sided markets, in regular hours, that open the breaker."
    )
    exposure_drift_pause_pct: Annotated[Decimal, rules.percent("101", "1000")] = Field(
        default=Decimal(110),
        description="Exposure, of its limit, that opens the breaker; above the limit itself size limits are reduced.",
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
    ("consecutive_losses_warning", "max_consecutive_losses"),
    ("order_failures_warning", "max_order_failures"),
    ("failed_trades_warning", "max_failed_trades_per_hour"),
    ("error_rate_warning_pct", "max_error_rate_pct"),
    ("api_errors_warning", "max_api_errors_per_minute", "api_errors_kill"),
    ("trades_per_hour_warning", "max_trades_per_hour", "trades_per_hour_kill"),
    ("fees_warning_pct", "max_fees_pct"),
    ("unknown_order_warning_seconds", "max_unknown_order_seconds", "unknown_order_kill_seconds"),
    ("clock_offset_warning_seconds", "max_clock_offset_seconds"),
    ("min_win_rate_pct", "win_rate_warning_pct"),
    ("repeated_executions_warning", "max_repeated_executions"),
    ("volatility_warning", "max_volatility_ratio"),
    ("correlation_warning_pct", "max_correlation_pct"),
    ("feed_silence_warning_seconds", "max_feed_silence_seconds"),
    ("max_daily_drawdown_pct", "max_weekly_drawdown_pct", "max_total_drawdown_pct"),
)
"""Each must be below the next (CFG-10)."""
