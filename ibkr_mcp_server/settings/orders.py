"""The limits of single orders: their size and price, when they may open, and how many in what time."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import Field

from ibkr_mcp_server.domain.orders import OrderType, TimeInForce
from ibkr_mcp_server.settings import rules
from ibkr_mcp_server.settings.base import SettingGroup

BROKER_MESSAGES_PER_MINUTE = 3_000
"""IBKR takes 50 messages a second from one client (RL-04); a limit above that would limit nothing."""


class OrderSettings(SettingGroup):
    """What one order may be, and how often one may come."""

    # Order rules
    max_order_size: Annotated[int, rules.whole_number(1, 1_000_000)] = Field(
        default=1_000, description="Units in one order."
    )
    max_order_value_usd: Annotated[Decimal, rules.us_dollars(10_000_000)] = Field(
        default=Decimal(10_000),
        description="Value of one order at its worst price, multiplier and exchange rate included.",
    )
    price_collar_pct: Annotated[Decimal, rules.percent("0.1", "30")] = Field(
        default=Decimal(3), description="How far an order's price may lie beyond the market."
    )
    quote_max_age_seconds: Annotated[float, rules.seconds(300)] = Field(
        default=15.0, description="How old a quote may be to value an order."
    )
    allowed_order_types: Annotated[tuple[OrderType, ...], rules.list_of(OrderType)] = Field(
        default=(OrderType.MKT, OrderType.LMT, OrderType.STP, OrderType.STP_LMT, OrderType.TRAIL),
        description="Order types that may be used.",
    )
    allowed_time_in_force: Annotated[tuple[TimeInForce, ...], rules.list_of(TimeInForce)] = Field(
        default=(TimeInForce.DAY, TimeInForce.GTC), description="Times in force that may be used."
    )
    max_spread_pct: Annotated[Decimal, rules.percent("0.01", "50")] = Field(
        default=Decimal(1), description="Spread, of its middle, above which nothing is opened; not of options."
    )
    max_average_volume_pct: Annotated[Decimal, rules.percent("0.01", "100")] = Field(
        default=Decimal(5), description="Share of a stock's average daily volume above which nothing is opened."
    )
    max_quote_jump_pct: Annotated[Decimal, rules.percent("1", "100")] = Field(
        default=Decimal(10), description="Jump of a quote, without a trade there, after which nothing is opened."
    )
    max_price_walk_pct: Annotated[Decimal, rules.percent("0.1", "100")] = Field(
        default=Decimal(5), description="How far own opening prices in one instrument may walk in the time below."
    )
    price_walk_seconds: Annotated[float, rules.seconds(86_400)] = Field(
        default=300.0, description="The time over which own opening prices are compared."
    )

    # Hours
    trading_hours_only: Annotated[bool, rules.switch()] = Field(
        default=True, description="Opens only in the regular hours of the instrument's own exchange."
    )
    allow_weekend_trading: Annotated[bool, rules.switch()] = Field(
        default=False,
        description="Opens on Saturdays and Sundays too, where an exchange trades; the simulated market that never "
        "closes always may.",
    )
    max_session_duration_hours: Annotated[float, rules.hours(8_760)] = Field(
        default=12.0,
        description="Hours of running, restarts included, after which nothing is opened until a person runs `rearm`.",
    )
    no_entry_first_minutes: Annotated[int, rules.whole_number(0, 120)] = Field(
        default=0, description="Minutes after the beginning of regular hours in which nothing is opened."
    )
    no_entry_last_minutes: Annotated[int, rules.whole_number(0, 120)] = Field(
        default=5, description="Minutes before the end of regular hours in which nothing is opened."
    )

    # Limits
    order_cooldown_seconds: Annotated[float, rules.pause(3_600)] = Field(
        default=10.0, description="Pause between opening orders on the same instrument and side."
    )
    repeated_order_seconds: Annotated[float, rules.pause(3_600)] = Field(
        default=10.0, description="How long an opening order that says the same under another key is held back."
    )
    stale_entry_seconds: Annotated[float, rules.pause(604_800)] = Field(
        default=0.0,
        description="How long an order that opens may wait for its fill before it is cancelled, such as 900; what "
        "protects or lowers a position never is.",
    )
    take_profit_bps: Annotated[Decimal, rules.basis_points(1_000)] = Field(
        default=Decimal(0),
        description="What a bracket's take-profit must bring beyond fee and slippage, such as 10; 0 asks for nothing.",
    )
    slippage_bps: Annotated[Decimal, rules.basis_points(1_000)] = Field(
        default=Decimal(5), description="What a fill is taken to be worse than its price, for the rule above."
    )
    max_working_orders: Annotated[int, rules.whole_number(1, 10_000)] = Field(
        default=10, description="Working orders in an account above which nothing more is opened."
    )
    max_working_orders_per_symbol: Annotated[int, rules.whole_number(1, 10_000)] = Field(
        default=3, description="Working orders in one instrument above which nothing more is opened in it."
    )
    max_stop_loss_orders: Annotated[int, rules.whole_number(1, 10_000)] = Field(
        default=25, description="Working stops above which nothing more is opened; a protective stop always passes."
    )
    max_cycle_value_usd: Annotated[Decimal, rules.us_dollars(100_000_000)] = Field(
        default=Decimal(25_000), description="Worst-case value of all opening orders in one cycle."
    )
    cycle_seconds: Annotated[float, rules.seconds(86_400)] = Field(
        default=3_600.0, description="Length of the rolling cycle."
    )
    max_daily_value_usd: Annotated[Decimal, rules.us_dollars(1_000_000_000)] = Field(
        default=Decimal(50_000), description="Worst-case value of all opening orders in one trading day."
    )
    max_orders_per_minute: Annotated[int, rules.whole_number(1, BROKER_MESSAGES_PER_MINUTE)] = Field(
        default=5, description="Opening orders in any 60 seconds; at most the daily limit."
    )
    max_daily_orders: Annotated[int, rules.whole_number(1, 100_000)] = Field(
        default=50, description="Opening orders in one trading day, which begins at 17:00 New York time."
    )
    daily_orders_warning: Annotated[int, rules.whole_number(1, 100_000)] = Field(
        default=20,
        description="Opening orders in one trading day after which results carry a warning; at most the daily limit.",
    )
    max_market_data_requests_per_minute: Annotated[int, rules.whole_number(1, BROKER_MESSAGES_PER_MINUTE)] = Field(
        default=30, description="Market-data requests in any 60 seconds, counted per symbol."
    )
    max_attempts_per_minute: Annotated[int, rules.whole_number(1, 100_000)] = Field(
        default=60, description="Calls of one agent in any 60 seconds, refused ones included; one more is a timeout."
    )
    agent_timeout_seconds: Annotated[float, rules.seconds(86_400)] = Field(
        default=300.0, description="How long an agent that called too often is refused; cancels and stops never are."
    )
    max_account_reads_per_minute: Annotated[int, rules.whole_number(1, BROKER_MESSAGES_PER_MINUTE)] = Field(
        default=30, description="Reads of account and orders in any 60 seconds."
    )
    max_modifications_per_minute: Annotated[int, rules.whole_number(1, BROKER_MESSAGES_PER_MINUTE)] = Field(
        default=10, description="Changes of working orders in any 60 seconds; those of orders that close always pass."
    )
    messages_per_fill_warning: Annotated[int, rules.whole_number(1, 100_000)] = Field(
        default=10,
        description="Submits, changes and cancels in a trading day, for each order that traded plus one, from which "
        "on results carry a warning; at most the limit.",
    )
    max_messages_per_fill: Annotated[int, rules.whole_number(1, 100_000)] = Field(
        default=20, description="The same figure from which on nothing more is opened in that trading day."
    )
