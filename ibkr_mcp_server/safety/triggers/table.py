"""All triggers, in the order of their numbers, with the levels of the settings (requirements 2.7)."""

from __future__ import annotations

from ibkr_mcp_server.safety.triggers.base import Ladder, Trigger
from ibkr_mcp_server.safety.triggers.daily_drawdown import DailyDrawdown
from ibkr_mcp_server.safety.triggers.daily_loss import DailyLoss
from ibkr_mcp_server.safety.triggers.loss_velocity import LossVelocity
from ibkr_mcp_server.safety.triggers.margin_use import MarginUse
from ibkr_mcp_server.safety.triggers.total_drawdown import TotalDrawdown
from ibkr_mcp_server.safety.triggers.weekly_drawdown import WeeklyDrawdown
from ibkr_mcp_server.settings import Settings


def triggers_of(settings: Settings) -> tuple[Trigger, ...]:
    return (
        DailyDrawdown(ladder=Ladder(warn=settings.daily_drawdown_warning_pct, pause=settings.max_daily_drawdown_pct)),
        WeeklyDrawdown(
            ladder=Ladder(warn=settings.weekly_drawdown_warning_pct, pause=settings.max_weekly_drawdown_pct)
        ),
        TotalDrawdown(
            ladder=Ladder(
                warn=settings.total_drawdown_warning_pct,
                pause=settings.total_drawdown_pause_pct,
                kill=settings.max_total_drawdown_pct,
            )
        ),
        DailyLoss(
            ladder=Ladder(
                warn=settings.daily_loss_warning_pct,
                pause=settings.max_daily_loss_pct,
                kill=settings.daily_loss_kill_pct,
            )
        ),
        LossVelocity(
            ladder=Ladder(
                warn=settings.loss_velocity_warning_pct,
                pause=settings.max_loss_velocity_pct,
                kill=settings.loss_velocity_kill_pct,
            )
        ),
        MarginUse(
            ladder=Ladder(
                warn=settings.margin_use_warning_pct,
                pause=settings.max_margin_use_pct,
                kill=settings.margin_use_kill_pct,
            )
        ),
    )
