"""The limits that a decision is judged by: what is configured, or what two people raised it to, times a factor.

The factor is 1 or less: a warning, or a stage of the recovery, makes every limit of size smaller (RM-03, RC-03). A
raise never reaches beyond what the setting itself may be; one that does counts for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from decimal import ROUND_DOWN, Decimal
from typing import Any

from sqlalchemy import Connection

from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.domain.agents import AgentLimits
from ibkr_mcp_server.settings.model import Settings, rule_of
from ibkr_mcp_server.settings.rules import as_text
from ibkr_mcp_server.store import limit_raises

SIZE_LIMITS = (
    "max_order_size",
    "max_order_value_usd",
    "max_cycle_value_usd",
    "max_daily_value_usd",
    "max_daily_orders",
    "max_position_size_pct",
    "max_position_value_usd",
    "max_position_pct_per_strategy",
    "max_sector_exposure_pct",
    "max_portfolio_value_at_risk",
    "max_total_exposure_pct",
    "max_total_exposure_usd",
    "max_leverage",
)
"""What the factor multiplies: sizes and values of orders, positions and days."""
OWN_SIZE_LIMITS = tuple(one.name for one in fields(AgentLimits) if one.name in SIZE_LIMITS)
"""The same of an agent."""
RAISABLE = (
    *SIZE_LIMITS,
    "max_orders_per_minute",
    "max_working_orders",
    "max_working_orders_per_symbol",
    "max_concurrent_positions",
)
"""What people may raise for a while."""


@dataclass(frozen=True, kw_only=True)
class LimitsInForce:
    """How the limits differ from the configured ones at one moment."""

    factor: Decimal = Decimal(1)
    raised: tuple[tuple[str, Decimal], ...] = ()
    """Names of settings with what they were raised to."""

    def of(self, configured: Settings) -> Settings:
        """The settings with the limits of this moment."""
        values = {name: value for name, value in map(_as_setting, self.raised) if value is not None}
        values = {name: value for name, value in values.items() if value > getattr(configured, name)}
        if self.factor < 1:
            values |= {name: _scaled(values.get(name, getattr(configured, name)), self.factor) for name in SIZE_LIMITS}
        return configured.model_copy(update=values) if values else configured

    def of_agent(self, own: AgentLimits) -> AgentLimits:
        """An agent's own limits at this moment: the factor is for them as well, a raise for the limits of all alone."""
        if self.factor >= 1:
            return own
        told = ((name, getattr(own, name)) for name in OWN_SIZE_LIMITS)
        scaled: dict[str, Any] = {name: _scaled(limit, self.factor) for name, limit in told if limit is not None}
        return replace(own, **scaled)


AS_CONFIGURED = LimitsInForce()


def limits_in_force(connection: Connection, clock: Clock, factor: Decimal) -> LimitsInForce:
    """What holds now, `factor` being what risk mode and recovery stage multiply by (RM-03, RC-03)."""
    raised = tuple((one.name, one.value) for one in limit_raises.in_force(connection, clock))
    if factor >= 1 and not raised:
        return AS_CONFIGURED
    return LimitsInForce(factor=min(Decimal(1), max(Decimal(0), factor)), raised=raised)


def _as_setting(raised: tuple[str, Decimal]) -> tuple[str, int | Decimal | None]:
    """The raised value as the setting's own rule reads it; None for what that does not allow."""
    name, value = raised
    if name not in RAISABLE:
        return name, None
    try:
        read = rule_of(name).value_of(value)
    except ValueError:
        return name, None
    assert isinstance(read, int | Decimal)
    return name, read


def _scaled(limit: int | Decimal, factor: Decimal) -> int | Decimal:
    scaled = limit * factor
    return int(scaled.to_integral_value(ROUND_DOWN)) if isinstance(limit, int) else Decimal(as_text(scaled))
