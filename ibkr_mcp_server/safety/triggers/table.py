"""All triggers, in the order of their numbers, with the levels of the settings (requirements 2.7).

CB-26, a quote too old to value an order, holds that order back and nothing else: `safety/checks/order_price.py`.
"""

from __future__ import annotations

from decimal import Decimal

from ibkr_mcp_server.safety.triggers.account_win_rate import AccountWinRate
from ibkr_mcp_server.safety.triggers.api_errors import ApiErrors
from ibkr_mcp_server.safety.triggers.base import CALM, Ladder, Trigger
from ibkr_mcp_server.safety.triggers.clock_offset import ClockOffset
from ibkr_mcp_server.safety.triggers.correlation import Correlation
from ibkr_mcp_server.safety.triggers.daily_drawdown import DailyDrawdown
from ibkr_mcp_server.safety.triggers.daily_loss import DailyLoss
from ibkr_mcp_server.safety.triggers.error_rate import ErrorRate
from ibkr_mcp_server.safety.triggers.exposure_drift import ExposureDrift
from ibkr_mcp_server.safety.triggers.failed_trades import FailedTrades
from ibkr_mcp_server.safety.triggers.fee_budget import FeeBudget
from ibkr_mcp_server.safety.triggers.feed_health import FeedHealth
from ibkr_mcp_server.safety.triggers.illiquid_positions import IlliquidPositions
from ibkr_mcp_server.safety.triggers.losing_streak import LosingStreak
from ibkr_mcp_server.safety.triggers.loss_velocity import LossVelocity
from ibkr_mcp_server.safety.triggers.margin_use import MarginUse
from ibkr_mcp_server.safety.triggers.mismatch import Mismatch
from ibkr_mcp_server.safety.triggers.order_failures import OrderFailures
from ibkr_mcp_server.safety.triggers.repeated_executions import RepeatedExecutions
from ibkr_mcp_server.safety.triggers.store_failure import StoreFailure
from ibkr_mcp_server.safety.triggers.strategy_drawdown import StrategyDrawdown
from ibkr_mcp_server.safety.triggers.strategy_losses import StrategyLosses
from ibkr_mcp_server.safety.triggers.total_drawdown import TotalDrawdown
from ibkr_mcp_server.safety.triggers.trade_rate import TradeRate
from ibkr_mcp_server.safety.triggers.unknown_orders import UnknownOrders
from ibkr_mcp_server.safety.triggers.volatility import Volatility
from ibkr_mcp_server.safety.triggers.weekly_drawdown import WeeklyDrawdown
from ibkr_mcp_server.safety.triggers.win_rate import WinRate
from ibkr_mcp_server.settings.model import Settings


def triggers_of(settings: Settings) -> tuple[Trigger, ...]:
    """Those that open the breaker or stop trading."""
    return (
        DailyDrawdown(ladder=Ladder(warn=settings.daily_drawdown_warning_pct, pause=settings.max_daily_drawdown_pct)),
        WeeklyDrawdown(
            ladder=Ladder(warn=settings.weekly_drawdown_warning_pct, pause=settings.max_weekly_drawdown_pct)
        ),
        TotalDrawdown(
            ladder=_three(
                settings.total_drawdown_warning_pct, settings.total_drawdown_pause_pct, settings.max_total_drawdown_pct
            )
        ),
        DailyLoss(
            ladder=_three(settings.daily_loss_warning_pct, settings.max_daily_loss_pct, settings.daily_loss_kill_pct)
        ),
        LosingStreak(ladder=_streak(settings.consecutive_losses_warning, settings.max_consecutive_losses)),
        LossVelocity(
            ladder=_three(
                settings.loss_velocity_warning_pct, settings.max_loss_velocity_pct, settings.loss_velocity_kill_pct
            )
        ),
        Volatility(ladder=_three(settings.volatility_warning, settings.max_volatility_ratio)),
        Correlation(ladder=_three(settings.correlation_warning_pct, settings.max_correlation_pct)),
        MarginUse(
            ladder=_three(settings.margin_use_warning_pct, settings.max_margin_use_pct, settings.margin_use_kill_pct)
        ),
        ErrorRate(ladder=Ladder(warn=settings.error_rate_warning_pct, pause=settings.max_error_rate_pct)),
        ApiErrors(
            ladder=_three(settings.api_errors_warning, settings.max_api_errors_per_minute, settings.api_errors_kill)
        ),
        OrderFailures(ladder=_streak(settings.order_failures_warning, settings.max_order_failures)),
        FailedTrades(ladder=_three(settings.failed_trades_warning, settings.max_failed_trades_per_hour)),
        TradeRate(
            ladder=_three(settings.trades_per_hour_warning, settings.max_trades_per_hour, settings.trades_per_hour_kill)
        ),
        FeedHealth(
            ladder=Ladder(
                warn=_exact(settings.feed_silence_warning_seconds), pause=_exact(settings.max_feed_silence_seconds)
            )
        ),
        FeeBudget(ladder=Ladder(warn=settings.fees_warning_pct, pause=settings.max_fees_pct)),
        IlliquidPositions(ladder=_streak(None, settings.max_illiquid_positions)),
        UnknownOrders(
            ladder=Ladder(
                warn=_exact(settings.unknown_order_warning_seconds),
                pause=_exact(settings.max_unknown_order_seconds),
                kill=_exact(settings.unknown_order_kill_seconds),
                at_least=True,
            )
        ),
        Mismatch(
            ladder=Ladder(warn=None, pause=Decimal(0), kill=_exact(settings.mismatch_kill_seconds), at_least=True)
        ),
        ClockOffset(
            ladder=Ladder(
                warn=_exact(settings.clock_offset_warning_seconds), pause=_exact(settings.max_clock_offset_seconds)
            )
        ),
        StoreFailure(),
        ExposureDrift(ladder=_three(100, settings.exposure_drift_pause_pct)),
        *_account_win_rate(settings.min_account_win_rate_pct),
    )


def _account_win_rate(pause: Decimal) -> tuple[Trigger, ...]:
    """Without a level there is no trigger; it warns where a figure that is bad when high would."""
    return (AccountWinRate(ladder=Ladder(warn=pause / CALM, pause=pause, is_floor=True)),) if pause else ()


def strategy_triggers_of(settings: Settings) -> tuple[Trigger, ...]:
    """Those that halt one agent; a warning of them is a warning to all."""
    return (
        WinRate(ladder=Ladder(warn=settings.win_rate_warning_pct, pause=settings.min_win_rate_pct, is_floor=True)),
        RepeatedExecutions(ladder=_three(settings.repeated_executions_warning, settings.max_repeated_executions)),
        StrategyDrawdown(ladder=Ladder(warn=None, pause=settings.strategy_max_drawdown_pct)),
        StrategyLosses(ladder=_streak(None, settings.strategy_max_consecutive_losses)),
    )


def _three(warn: Decimal | int, pause: Decimal | int, kill: Decimal | int | None = None) -> Ladder:
    return Ladder(warn=Decimal(warn), pause=Decimal(pause), kill=None if kill is None else Decimal(kill))


def _streak(warn: int | None, pause: int) -> Ladder:
    """A streak acts when it reaches its limit."""
    return Ladder(warn=None if warn is None else Decimal(warn), pause=Decimal(pause), at_least=True)


def _exact(seconds: float) -> Decimal:
    return Decimal(str(seconds))
