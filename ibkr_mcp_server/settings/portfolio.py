"""The limits of what is held: positions, exposure, cash and margin."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import Field

from ibkr_mcp_server.settings import rules
from ibkr_mcp_server.settings.base import SettingGroup


class PortfolioSettings(SettingGroup):
    """What all positions together may come to."""

    # Portfolio
    max_position_size_pct: Annotated[Decimal, rules.percent("0.01", "30")] = Field(
        default=Decimal(5), description="Of the equity, the most that one instrument may come to; at most the total."
    )
    max_position_value_usd: Annotated[Decimal, rules.us_dollars(10_000_000)] = Field(
        default=Decimal(10_000), description="The most that one instrument may come to; at most the total."
    )
    max_total_exposure_pct: Annotated[Decimal, rules.percent("0.1", "400")] = Field(
        default=Decimal(90), description="Of the equity, the most that all positions may come to, long and short."
    )
    max_total_exposure_usd: Annotated[Decimal, rules.us_dollars(100_000_000)] = Field(
        default=Decimal(50_000), description="The most that all positions may come to, long and short."
    )
    max_position_pct_per_strategy: Annotated[Decimal, rules.percent("0.1", "400")] = Field(
        default=Decimal(60),
        description="Of the equity, the most that the positions of one agent may come to; between that of one "
        "instrument and the total.",
    )
    max_sector_exposure_pct: Annotated[Decimal, rules.percent("0.1", "400")] = Field(
        default=Decimal(40),
        description="Of the equity, the most that one sector may come to; what the broker names no sector for is one.",
    )
    max_portfolio_value_at_risk: Annotated[Decimal, rules.times(1)] = Field(
        default=Decimal("0.20"),
        description="Fraction of the equity that may be lost if every stop is hit; what has no stop counts in full.",
    )
    cash_reserve_pct: Annotated[Decimal, rules.percent("0", "100")] = Field(
        default=Decimal(10), description="Of the equity, the settled cash that purchases leave untouched."
    )
    cash_reserve_usd: Annotated[Decimal, rules.us_dollars(1_000_000_000, from_zero=True)] = Field(
        default=Decimal(0), description="The same as a sum; the larger of the two holds."
    )
    fee_estimate_bps: Annotated[Decimal, rules.basis_points(1_000)] = Field(
        default=Decimal(10), description="What a purchase is taken to cost in fees, in hundredths of a percent."
    )
    max_concurrent_positions: Annotated[int, rules.whole_number(1, 1_000)] = Field(
        default=10, description="Instruments that may be held or about to be; adding to one is no new one."
    )
    max_leverage: Annotated[Decimal, rules.times(4)] = Field(
        default=Decimal(1),
        description="How many times the equity all positions may come to; above 2 in live mode only with the "
        "acknowledgement.",
    )
    allowed_symbols: Annotated[
        tuple[str, ...] | None, rules.instruments(unset="* for simulator and paper, nothing for live")
    ] = Field(default=None, description="What may be opened; closing is always allowed.")
    allow_short: Annotated[bool, rules.switch()] = Field(
        default=False, description="Allows selling more than is held; currency pairs do not need it."
    )
    value_at_risk_seconds: Annotated[float, rules.pause(86_400)] = Field(
        default=3_600.0,
        description="How often value at risk and expected shortfall are reckoned anew for the status, from a year of "
        "daily prices; also when the holdings change.",
    )
    margin_preview: Annotated[bool | None, rules.switch(unset="true for paper and live, false for the simulator")] = (
        Field(
            default=None,
            description="Asks the broker for the margin after each new order that opens, which takes one exchange with "
            "it; above IBKR_MARGIN_USE_WARNING_PCT the order is refused.",
        )
    )
    balances_max_age_seconds: Annotated[float, rules.seconds(600)] = Field(
        default=60.0, description="How old the broker's word about the equity may be when something is opened."
    )
