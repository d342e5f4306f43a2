"""Every setting of the product, read once at the start and frozen from then on (CFG-09, CFG-16).

What applies to a setting is said once, in its line of `Settings`: type, rule, default and description. Mistakes,
`config show`, `.env.example` and `docs/settings.md` are all made from that line. Values come from the command line, the
environment and an explicitly named file, in this order of precedence; nothing is ever read from the working directory
(CFG-15). A variable that is unknown, misspelt or out of bounds refuses the start (CFG-10 to CFG-12).
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

from dotenv.parser import parse_stream
from pydantic import Field, PrivateAttr, SecretStr, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from ibkr_mcp_server import setting_rules as rules
from ibkr_mcp_server.domain.agents import DEFAULT_AGENT
from ibkr_mcp_server.domain.daily_window import DailyWindow
from ibkr_mcp_server.domain.orders import OrderType, TimeInForce
from ibkr_mcp_server.domain.toolsets import ToolChoice, Toolset
from ibkr_mcp_server.errors import ConfigurationError
from ibkr_mcp_server.risk_settings import WARN_PAUSE_KILL, RiskSettings
from ibkr_mcp_server.setting_rules import Privacy, Rule, is_loopback
from ibkr_mcp_server.state_dir import StateDirectory
from ibkr_mcp_server.thresholds_file import read_thresholds

PREFIX = "IBKR_"
LIVE_TRADING_ACKNOWLEDGEMENT = "I accept that orders trade real money"
DISABLED_CONTROLS_ACKNOWLEDGEMENT = "I accept that controls of this account are off"
PAPER_PORTS = frozenset({7497, 4002})
"""Requirement ACC-08: TWS and IB Gateway listen here for paper accounts unless told otherwise."""
LIVE_PORTS = frozenset({7496, 4001})
BROKER_MESSAGES_PER_MINUTE = 3_000
"""IBKR takes 50 messages a second from one client (RL-04); a limit above that would limit nothing."""
PORT = 65_535
ALIASES = {"KILL_SWITCH_SECRET": "IBKR_KILL_SWITCH_SECRET"}
"""Names of the environment that other documents use (C-18, C-22)."""


class BrokerMode(StrEnum):
    """Whom the server trades with (CFG-08)."""

    SIMULATOR = "simulator"
    PAPER = "paper"
    LIVE = "live"


class LogLevel(StrEnum):
    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


class Origin(StrEnum):
    """Where a value came from, weakest first."""

    BUILT_IN = "built-in"
    FILE = "file"
    ENVIRONMENT = "environment"
    COMMAND_LINE = "command line"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting as `config show` tells it."""

    name: str
    variable: str
    value: str | None
    """As an environment variable would carry it, redacted; None when it is not set."""
    origin: Origin
    description: str


class Settings(RiskSettings):
    """The configuration; made by `load_settings`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, strict=True, extra="forbid", hide_input_in_errors=True
    )

    # Broker
    broker_mode: Annotated[BrokerMode, rules.one_of(BrokerMode)] = Field(
        default=BrokerMode.SIMULATOR,
        description="Whom to trade with: the built-in paper gateway, an IBKR paper account, or a live account.",
    )
    host: Annotated[str, rules.host()] = Field(
        default="127.0.0.1",
        description="Where TWS or IB Gateway runs; in simulator mode, the loopback address to listen on.",
    )
    port: Annotated[
        int | None, rules.whole_number(1, PORT, unset="4002 for paper, 4001 for live, a free one for the simulator")
    ] = Field(default=None, description="Port of TWS or IB Gateway; in simulator mode, the port to listen on.")
    client_id: Annotated[int, rules.whole_number(1, 2_000_000_000)] = Field(
        default=17, description="TWS API client id. Each program on the same gateway needs its own."
    )
    reader_client_id_offset: Annotated[int, rules.whole_number(1, 1_000_000)] = Field(
        default=100,
        description="Added to the client id by a server that only reads, because another one on this state directory "
        "writes. Up to eight of them take an id each, counting up from there.",
    )
    state_dir: Annotated[Path | None, rules.absolute_path(unset="the user's state directory of this platform")] = Field(
        default=None,
        description="Private directory (mode 0700) for the database, the stop file and logs; never a temporary one.",
    )
    broker_deadline_seconds: Annotated[float, rules.seconds(30)] = Field(
        default=4.0, description="How long any request waits for the broker's answer."
    )
    connect_timeout_seconds: Annotated[float, rules.seconds(30)] = Field(
        default=4.0, description="How long one attempt to connect may take; attempts are repeated in the background."
    )
    heartbeat_seconds: Annotated[float, rules.seconds(60)] = Field(
        default=5.0, description="How long the gateway may be silent before it is asked for a sign of life."
    )
    link_dead_after_seconds: Annotated[float, rules.seconds(120)] = Field(
        default=15.0,
        description="How long the gateway may be silent before the link counts as dead and is made again; more than "
        "the heartbeat.",
    )
    restart_windows: Annotated[tuple[DailyWindow, ...], rules.daily_windows()] = Field(
        default=(DailyWindow.read("23:40-00:10"),),
        description="Daily times, in New York, in which IBKR or the gateway restarts: nothing is opened then. Not used "
        "by the simulator.",
    )
    reconcile_seconds: Annotated[float, rules.seconds(300)] = Field(
        default=30.0, description="How often orders, fills, positions and cash are compared with the broker's records."
    )
    auto_cancel_orders_on_disconnect: Annotated[bool, rules.switch()] = Field(
        default=True,
        description="After an outage, once the records agree, cancels this program's working entry orders; protective "
        "ones stay.",
    )
    cash_account: Annotated[bool, rules.switch()] = Field(
        default=False, description="The account has no margin: negative cash or shares sold short hold trading back."
    )
    api_rate_limit_buffer: Annotated[float, rules.factor(1)] = Field(
        default=0.8, description="Share of the broker's own message limit (50 a second) that this program uses."
    )

    urgent_reserve_pct: Annotated[Decimal, rules.percent("0", "50")] = Field(
        default=Decimal(20),
        description="Share of those messages that is kept for cancels and for orders that protect or reduce.",
    )

    # Gates
    enable_trading: Annotated[bool, rules.switch()] = Field(
        default=False, description="Master switch: without it no order is placed or changed."
    )
    enable_forex_trading: Annotated[bool, rules.switch()] = Field(
        default=False, description="Allows currency orders, besides the master switch."
    )
    enable_international_trading: Annotated[bool, rules.switch()] = Field(
        default=False,
        description="Allows orders that are listed outside the US or priced in another currency than USD.",
    )
    enable_stop_loss_orders: Annotated[bool, rules.switch()] = Field(
        default=False, description="Allows placing stop-loss orders; listing and cancelling them is always allowed."
    )
    dry_run: Annotated[bool, rules.switch()] = Field(
        default=False, description="Checks and records every order as usual, and sends none."
    )
    safe_mode: Annotated[bool, rules.switch()] = Field(
        default=False, description="Holds the server in its SAFE state, whatever else is set."
    )
    live_trading: Annotated[bool, rules.switch()] = Field(
        default=False, description="One of the conditions for orders in live mode."
    )
    live_trading_ack: Annotated[str, rules.phrase(LIVE_TRADING_ACKNOWLEDGEMENT)] = Field(
        default="", description="One of the conditions for orders in live mode: the acknowledgement, word for word."
    )
    live_accounts: Annotated[tuple[str, ...], rules.accounts(may_be_empty=True, privacy=Privacy.ACCOUNTS)] = Field(
        default=(), repr=False, description="The exact accounts that may trade in live mode; none by default."
    )
    safety_mode: Annotated[bool, rules.switch()] = Field(
        default=True, description="Safety checks of orders; can be off only with the simulator."
    )
    enable_kill_switch: Annotated[bool, rules.switch()] = Field(
        default=True,
        description="A stop holds orders back. Off, stops are only recorded; never in live mode, in paper mode only "
        "with the acknowledgement below.",
    )
    enable_audit_logging: Annotated[bool, rules.switch()] = Field(
        default=True,
        description="Each call and order is recorded. Off, only starts, switches, people and what is unclear are; as "
        "above.",
    )
    disabled_controls_ack: Annotated[str, rules.phrase(DISABLED_CONTROLS_ACKNOWLEDGEMENT)] = Field(
        default="", description="Lets a control be off in paper mode: the acknowledgement, word for word."
    )

    # Accounts
    require_paper_account_verification: Annotated[bool, rules.switch()] = Field(
        default=True,
        description="Blocks all orders unless every account of the link is a paper account; off in paper mode only "
        "with the acknowledgement above. In live mode the list of live accounts decides besides.",
    )
    allowed_account_prefixes: Annotated[tuple[str, ...], rules.account_prefixes()] = Field(
        default=("DU", "DUH"),
        description="What paper accounts begin with, before the first digit; not used in live mode.",
    )
    account_verification_max_age_seconds: Annotated[float, rules.seconds(600)] = Field(
        default=60.0, description="How old the broker's own list of accounts may be when an order is sent."
    )

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

    # Confirmation
    confirm_above_usd: Annotated[Decimal, rules.us_dollars(1_000_000_000)] = Field(
        default=Decimal(5_000),
        description="In paper mode an order that opens for more takes a second step of the agent.",
    )
    human_confirm_above_usd: Annotated[
        Decimal | None, rules.us_dollars(1_000_000_000, unset="no amount needs a person; live orders always do")
    ] = Field(default=None, description="In every mode an order that opens for more takes the word of a person.")
    confirmation_seconds: Annotated[float, rules.seconds(600)] = Field(
        default=60.0, description="How long a prepared order can be committed."
    )
    person_confirmation_seconds: Annotated[float, rules.seconds(3_600)] = Field(
        default=900.0, description="The same for an order that a person must confirm."
    )
    max_pending_confirmations: Annotated[int, rules.whole_number(1, 100)] = Field(
        default=3, description="Prepared orders that may wait for a yes: an agent's own, and of all for people."
    )
    max_confirmations_per_hour: Annotated[int, rules.whole_number(1, 1_000)] = Field(
        default=20, description="Orders that may be prepared for a yes in an hour; counted likewise."
    )

    # Stop
    kill_cancel_entry_orders: Annotated[bool, rules.switch()] = Field(
        default=True, description="A stop also cancels working orders that would open or add to a position."
    )

    kill_switch: Annotated[bool, rules.switch()] = Field(
        default=False, description="Stops trading at each start; false ends no stop that there is."
    )
    redis_url: Annotated[SecretStr | None, rules.redis_url(unset="no Redis is asked")] = Field(
        default=None,
        description="Redis in which a key can stop trading; while it does not answer, nothing is opened. Never shown.",
    )
    kill_switch_redis_key: Annotated[str, rules.redis_key()] = Field(
        default="ibkr:kill_switch:active",
        description="The key that stops trading while it is set; removing it ends no stop.",
    )
    cancel_entries_on_shutdown: Annotated[bool, rules.switch()] = Field(
        default=False, description="A server that is told to end cancels its working entry orders first."
    )

    # Safety chain
    decision_timeout_seconds: Annotated[float, rules.seconds(30)] = Field(
        default=2.0, description="How long the checks of one request may take before it is refused."
    )

    # Store
    database_url: Annotated[SecretStr | None, rules.postgresql_url(unset="SQLite in the state directory")] = Field(
        default=None, description="One PostgreSQL database for several machines that share an account. Never shown."
    )

    # Files
    config_file: Annotated[Path | None, rules.absolute_path(unset="no file")] = Field(
        default=None,
        description="TOML or YAML file with thresholds, by the names of these settings in small letters and without "
        "the prefix; secrets in it only as ${NAME}. Everything else here wins over it.",
    )

    # Logs
    log_level: Annotated[LogLevel, rules.one_of(LogLevel)] = Field(
        default=LogLevel.INFO, description="Least severity that is logged."
    )
    log_file: Annotated[Path | None, rules.absolute_path(within=" under the state directory", unset="stderr only")] = (
        Field(default=None, description="File that the log goes to as well.")
    )
    audit_log_file: Annotated[
        Path | None, rules.absolute_path(within=" under the state directory", unset="named on the command line")
    ] = Field(default=None, description="Where `audit export` writes unless told otherwise.")

    audit_checkpoint_file: Annotated[Path | None, rules.absolute_path(unset="in the state directory")] = Field(
        default=None,
        description="Second place for signed checkpoints of the audit log; better on another disk or machine.",
    )
    audit_key_file: Annotated[
        Path | None, rules.absolute_path(unset="made at the first start, in the state directory")
    ] = Field(default=None, description="File with the key that signs the checkpoints, as 64 hexadecimal digits.")

    # Tools
    toolsets: Annotated[tuple[Toolset, ...], rules.list_of(Toolset)] = Field(
        default=tuple(Toolset), description="Families of tools that are shown; the safety family always is."
    )
    read_only: Annotated[bool, rules.switch()] = Field(
        default=False, description="Shows no tool that can place, change or cancel orders or switch the account."
    )

    # Agents
    agent: Annotated[str, rules.agent_name()] = Field(
        default=DEFAULT_AGENT,
        description="Who uses this server over stdio, or with IBKR_HTTP_TOKEN: the name for limits, stops and records. "
        "Agents with tokens of their own are named with `ibkr-mcp-server agents`.",
    )

    # HTTP
    http_host: Annotated[str, rules.loopback_host()] = Field(
        default="127.0.0.1", description="Address of the HTTP transport, which only this machine can reach."
    )
    http_port: Annotated[int, rules.whole_number(0, PORT)] = Field(
        default=8765, description="Port of the HTTP transport; 0 takes a free one."
    )
    http_token: Annotated[SecretStr | None, rules.token(unset="made at the first start, in the state directory")] = (
        Field(default=None, description="Bearer token that HTTP clients must send. Never shown.")
    )

    # Control API
    kill_switch_secret: Annotated[SecretStr | None, rules.shared_secret(unset="no such key")] = Field(
        default=None,
        description="Key that stops trading over the control API; KILL_SWITCH_SECRET is read, too. Never shown.",
    )
    control_status_secret: Annotated[SecretStr | None, rules.shared_secret(unset="no such key")] = Field(
        default=None, description="Key that reads the status over the control API. Never shown."
    )
    control_reset_secret: Annotated[SecretStr | None, rules.shared_secret(unset="no such key")] = Field(
        default=None, description="Key that asks for a reset over the control API. Never shown."
    )
    control_keys_file: Annotated[Path | None, rules.absolute_path(unset="no file")] = Field(
        default=None,
        description="TOML file, mode 0600, with more keys of the control API: [[key]] with id, role (trigger, status, "
        "reset), secret and perhaps not_before, not_after.",
    )
    control_host: Annotated[str, rules.host()] = Field(
        default="127.0.0.1",
        description="Address of the control API; other than loopback only with a certificate.",
    )
    control_port: Annotated[int, rules.whole_number(0, PORT)] = Field(
        default=8766, description="Port of the control API; 0 takes a free one."
    )
    control_tls_certificate: Annotated[Path | None, rules.absolute_path(unset="no TLS")] = Field(
        default=None, description="PEM file with the certificate of the control API."
    )
    control_tls_key: Annotated[Path | None, rules.absolute_path(unset="no TLS")] = Field(
        default=None, description="PEM file with the certificate's private key."
    )
    enable_performance_monitoring: Annotated[bool, rules.switch()] = Field(
        default=True, description="Offers /metrics of the control API; no decision looks at it."
    )
    enable_health_checks: Annotated[bool, rules.switch()] = Field(
        default=True, description="Offers /healthz and /readyz of the control API; no decision looks at them."
    )
    http_reset_enabled: Annotated[bool, rules.switch()] = Field(
        default=False,
        description="Offers the reset path of the control API, which asks for a reset that a person must approve.",
    )

    # Simulator
    simulator_seed: Annotated[int, rules.whole_number(0, 2_147_483_647)] = Field(
        default=1, description="Same seed, same prices."
    )
    simulator_accounts: Annotated[tuple[str, ...], rules.accounts()] = Field(
        default=("DU9000001", "DU9000002"), description="Accounts that the built-in paper gateway serves."
    )
    simulator_market_always_open: Annotated[bool, rules.switch()] = Field(
        default=True, description="The simulated market never closes; false keeps the exchange's hours."
    )
    simulator_speed: Annotated[float, rules.factor(1_000)] = Field(
        default=1.0, description="Simulated seconds for each real one."
    )

    _origins: dict[str, Origin] = PrivateAttr(default_factory=dict)

    @property
    def gateway_port(self) -> int | None:
        """The port to connect to; None lets the simulator take a free one."""
        if self.port is not None:
            return self.port
        return {BrokerMode.PAPER: 4002, BrokerMode.LIVE: 4001}.get(self.broker_mode)

    @property
    def no_entry_windows(self) -> tuple[DailyWindow, ...]:
        """The restart windows that apply: the built-in gateway has none."""
        return () if self.broker_mode is BrokerMode.SIMULATOR else self.restart_windows

    @property
    def opens_on_weekends(self) -> bool:
        """Whether orders may open on a weekend: the built-in market that never closes has none."""
        never_closes = self.broker_mode is BrokerMode.SIMULATOR and self.simulator_market_always_open
        return self.allow_weekend_trading or never_closes

    @property
    def previews_margin(self) -> bool:
        """PL-13: the built-in gateway's margin is a plain model, so that it is asked only on demand."""
        return self.broker_mode is not BrokerMode.SIMULATOR if self.margin_preview is None else self.margin_preview

    @property
    def instruments_to_open(self) -> tuple[str, ...]:
        """C-09: in live mode nothing may be opened until it is listed."""
        if self.allowed_symbols is not None:
            return self.allowed_symbols
        return () if self.broker_mode is BrokerMode.LIVE else ("*",)

    @property
    def state_directory(self) -> Path:
        """Where the state directory is or will be; `open_state_directory` checks it."""
        if self.state_dir is not None:
            return self.state_dir
        from platformdirs import user_state_path  # only needed, and only loaded, without a setting

        return user_state_path("ibkr-mcp-server", appauthor=False)

    @property
    def tool_choice(self) -> ToolChoice:
        """The tools that are shown."""
        return ToolChoice(toolsets=self.toolsets, read_only=self.read_only)

    def store_location(self, state: StateDirectory) -> str:
        """Where the store is: a PostgreSQL URL, secrets included, or the database file of `state`."""
        return str(state.database) if self.database_url is None else self.database_url.get_secret_value()

    def checkpoint_places(self, state: StateDirectory) -> tuple[Path, Path]:
        """The file of the audit log's checkpoints, and that of their key."""
        return self.audit_checkpoint_file or state.audit_checkpoints, self.audit_key_file or state.audit_key

    def secrets(self) -> list[str]:
        """The secrets themselves, for those who must keep them out of what they write."""
        values = (getattr(self, name) for name in type(self).model_fields)
        return [value.get_secret_value() for value in values if isinstance(value, SecretStr)]

    def effective(self) -> list[Setting]:
        """Every setting as it applies, in the order of the documentation."""
        applied = {"port": self.gateway_port, "state_dir": self.state_directory}
        return [
            Setting(
                name=name,
                variable=variable_of(name),
                value=rule_of(name).redacted(applied.get(name, getattr(self, name))),
                origin=self._origins.get(name, Origin.BUILT_IN),
                description=description_of(name),
            )
            for name in setting_names()
        ]

    def effective_redacted(self) -> dict[str, str | None]:
        """Variable to value, as the audit log records it at each start (CFG-16)."""
        return {setting.variable: setting.value for setting in self.effective()}

    def fingerprint(self) -> str:
        """SHA-256 of what applies, in hexadecimal.

        It is taken from the redacted values, so that it betrays nothing: another password or token does not change it.
        """
        canonical = json.dumps(self.effective_redacted(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode("utf-8")).hexdigest()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Nothing is read behind the caller's back: `load_settings` is given its sources and knows each origin."""
        return (init_settings,)

    @model_validator(mode="after")
    def _fits_together(self) -> Settings:
        problems = list(_contradictions(self, wrong=frozenset()))
        if problems:
            raise ValueError("\n".join(problems))
        return self


def load_settings(*, environ: Mapping[str, str], env_file: Path | None = None, **overrides: object) -> Settings:
    """The settings from all sources; later ones win: built-in, `IBKR_CONFIG_FILE`, `env_file`, `environ`, `overrides`.

    Overrides are named like the fields and come from the command line; None means that an option was not given.

    Raises:
        ConfigurationError: all that is wrong at once, one sentence per problem.
    """
    problems: list[str] = []
    given: dict[str, tuple[object, Origin]] = {}
    from_file = _read_env_file(env_file, problems) if env_file else {}
    from_environment = {variable: text for variable, text in environ.items() if variable.upper().startswith(PREFIX)}
    for alias, variable in ALIASES.items():
        if alias in environ and environ[alias] != from_environment.setdefault(variable, environ[alias]):
            problems.append(f"{alias} and {variable} are both set and differ; keep one.")
    from_command_line = {variable_of(name): value for name, value in overrides.items() if value is not None}
    for origin, source in (
        (Origin.FILE, from_file),
        (Origin.ENVIRONMENT, from_environment),
        (Origin.COMMAND_LINE, from_command_line),
    ):
        for variable, value in source.items():
            name = variable.removeprefix(PREFIX).lower()
            if name in Settings.model_fields and variable == variable_of(name):
                given[name] = (value, origin)
            else:
                problems.append(_unknown_variable(variable, origin))

    if "config_file" in given:
        given = {**_from_thresholds_file(given["config_file"][0], environ, problems), **given}
    values: dict[str, Any] = {}  # each of the type that its own rule makes
    for name, (value, origin) in given.items():
        try:
            values[name] = rule_of(name).value_of(value)
        except ValueError:
            problems.append(_wrong_value(name, value, origin))
    problems += _contradictions(Settings.model_construct(**values), wrong=given.keys() - values.keys())
    if problems:
        raise ConfigurationError(problems)
    settings = Settings(**values)
    settings._origins = {name: origin for name, (_, origin) in given.items()}
    return settings


def _from_thresholds_file(
    given: object, environ: Mapping[str, str], problems: list[str]
) -> dict[str, tuple[object, Origin]]:
    """What `IBKR_CONFIG_FILE` sets; it may hold thresholds, and secrets by reference, and no switch of any kind."""
    try:
        path = rule_of("config_file").value_of(given)
    except ValueError:
        return {}  # told with the other values
    assert isinstance(path, Path)
    found: dict[str, tuple[object, Origin]] = {}
    for name, read in read_thresholds(path, environ, problems).items():
        if name not in Settings.model_fields:
            nearest = difflib.get_close_matches(name, Settings.model_fields, n=1)
            hint = f" Did you mean {nearest[0]}?" if nearest else ""
            problems.append(f"{name[:80]!r} in the configuration file {path} is not a setting.{hint}")
        elif rule_of(name).privacy is Privacy.SECRET:
            if read.is_reference:
                found[name] = (read.value, Origin.FILE)
            else:
                problems.append(f"The configuration file {path} holds {name} written out; use ${{NAME}} instead.")
        elif not _is_threshold(name):
            problems.append(f"{name} is no threshold; set {variable_of(name)} instead of writing it in {path}.")
        else:
            found[name] = (read.value, Origin.FILE)
    return found


def _is_threshold(name: str) -> bool:
    """A number that limits something; what opens a door or says where it is has to stand in the environment."""
    value = Settings.model_fields[name].default
    is_number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    return is_number and not name.endswith(("_port", "client_id", "_offset")) and not name.startswith("simulator_")


def setting_names() -> list[str]:
    """All settings in the order of the documentation; pydantic has those of a base class first."""
    return sorted(Settings.model_fields, key=lambda name: name in RiskSettings.model_fields)


def variable_of(name: str) -> str:
    """The environment variable of a setting."""
    return f"{PREFIX}{name.upper()}"


def rule_of(name: str) -> Rule:
    """What a setting allows."""
    return next(item for item in Settings.model_fields[name].metadata if isinstance(item, Rule))


def description_of(name: str) -> str:
    return Settings.model_fields[name].description or ""


# -- What must fit together ------------------------------------------------------------------------------------------

Contradiction = Callable[[Settings], str | None]
"""Says what is wrong between settings that are each allowed, or None."""


def _contradictions(settings: Settings, *, wrong: frozenset[str] | set[str]) -> Iterator[str]:
    """All contradictions, but for those that involve a setting whose own value is `wrong` already."""
    for names, contradiction in _CONTRADICTIONS:
        if wrong.isdisjoint(names) and (problem := contradiction(settings)):
            yield problem


def _in_order(lower: str, upper: str) -> tuple[tuple[str, ...], Contradiction]:
    def contradiction(settings: Settings) -> str | None:
        low, high = getattr(settings, lower), getattr(settings, upper)
        if low <= high:
            return None
        return (
            f"{variable_of(lower)} is {low} and {variable_of(upper)} is {high}; the first must not be above the other."
        )

    return (lower, upper), contradiction


def _below(lower: str, upper: str) -> tuple[tuple[str, ...], Contradiction]:
    def contradiction(settings: Settings) -> str | None:
        low, high = getattr(settings, lower), getattr(settings, upper)
        if low < high:
            return None
        return (
            f"{variable_of(lower)} is {low:f} and {variable_of(upper)} is {high:f}; the first must be below the other."
        )

    return (lower, upper), contradiction


def _only_off_with_the_simulator(name: str) -> tuple[tuple[str, ...], Contradiction]:
    """CFG-17, CFG-18, T-33."""

    def contradiction(settings: Settings) -> str | None:
        if getattr(settings, name) or settings.broker_mode is BrokerMode.SIMULATOR:
            return None
        return f"{variable_of(name)} can be off only with IBKR_BROKER_MODE=simulator, and it is {settings.broker_mode}."

    return (name, "broker_mode"), contradiction


def _never_off_in_live_mode(name: str) -> tuple[tuple[str, ...], Contradiction]:
    """CFG-18."""

    def contradiction(settings: Settings) -> str | None:
        if getattr(settings, name) or settings.broker_mode is BrokerMode.SIMULATOR:
            return None
        if settings.broker_mode is BrokerMode.LIVE:
            return f"{variable_of(name)} cannot be off with IBKR_BROKER_MODE=live."
        if settings.disabled_controls_ack == DISABLED_CONTROLS_ACKNOWLEDGEMENT:
            return None
        return (
            f"{variable_of(name)} can be off in paper mode only with IBKR_DISABLED_CONTROLS_ACK="
            f'"{DISABLED_CONTROLS_ACKNOWLEDGEMENT}".'
        )

    return (name, "broker_mode", "disabled_controls_ack"), contradiction


def _dead_before_asked(settings: Settings) -> str | None:
    if settings.heartbeat_seconds < settings.link_dead_after_seconds:
        return None
    return (
        f"IBKR_HEARTBEAT_SECONDS is {settings.heartbeat_seconds:g} and IBKR_LINK_DEAD_AFTER_SECONDS is "
        f"{settings.link_dead_after_seconds:g}; the first must be below the other."
    )


def _port_of_another_mode(settings: Settings) -> str | None:
    """ACC-08; that a port looks right proves nothing (FD-19), that it looks wrong stops the start."""
    ports, kind = (PAPER_PORTS, "paper") if settings.broker_mode is BrokerMode.LIVE else (LIVE_PORTS, "live")
    if settings.port not in ports:
        return None
    return (
        f"IBKR_PORT is {settings.port}, where TWS or IB Gateway serves {kind} accounts, and IBKR_BROKER_MODE is "
        f"{settings.broker_mode}; correct one of them."
    )


def _simulator_elsewhere(settings: Settings) -> str | None:
    if settings.broker_mode is not BrokerMode.SIMULATOR or is_loopback(settings.host):
        return None
    return (
        f"IBKR_HOST is {settings.host!r}, and IBKR_BROKER_MODE is simulator, which runs on this machine; set "
        "IBKR_BROKER_MODE to paper or live to use a gateway elsewhere, or remove IBKR_HOST."
    )


def _leverage_without_acknowledgement(settings: Settings) -> str | None:
    """C-08."""
    acknowledged = settings.live_trading_ack == LIVE_TRADING_ACKNOWLEDGEMENT
    if settings.max_leverage <= 2 or settings.broker_mode is not BrokerMode.LIVE or acknowledged:
        return None
    return f"IBKR_MAX_LEVERAGE is {settings.max_leverage:f}; above 2 in live mode it needs IBKR_LIVE_TRADING_ACK."


def _prefix_of_live_accounts(settings: Settings) -> str | None:
    """IBKR's paper accounts begin with D (DU, DF, DI); any other prefix would let a live account pass as one."""
    others = [prefix for prefix in settings.allowed_account_prefixes if not prefix.startswith("D")]
    if settings.broker_mode is not BrokerMode.PAPER or not others:
        return None
    return (
        f"IBKR_ALLOWED_ACCOUNT_PREFIXES contains {', '.join(others)}, and IBKR_BROKER_MODE is paper; paper accounts "
        "begin with D."
    )


def _log_outside_the_state_directory(name: str) -> tuple[tuple[str, ...], Contradiction]:
    """AUD-08: outside, a log could lie where others read it or where a reboot erases it."""

    def contradiction(settings: Settings) -> str | None:
        target: Path | None = getattr(settings, name)
        if target is None:
            return None
        directory = StateDirectory(path=Path(os.path.realpath(settings.state_directory)))
        resolved = Path(os.path.realpath(target))
        if directory.path not in resolved.parents:
            return f"{variable_of(name)} is '{target}'; it must lie under the state directory {directory.path}."
        if any(resolved == own or own in resolved.parents for own in directory.own_files):
            return f"{variable_of(name)} is '{target}', which the server keeps for itself; choose another name."
        return None

    return (name, "state_dir"), contradiction


def _control_api_in_the_open(settings: Settings) -> str | None:
    """SIG-07: whoever listens on the way could otherwise hold requests back."""
    if is_loopback(settings.control_host) or settings.control_tls_certificate is not None:
        return None
    return (
        f"IBKR_CONTROL_HOST is {settings.control_host!r}, which other machines can reach; set "
        "IBKR_CONTROL_TLS_CERTIFICATE and IBKR_CONTROL_TLS_KEY, or leave it on loopback behind a proxy of this machine."
    )


def _half_a_certificate(settings: Settings) -> str | None:
    if (settings.control_tls_certificate is None) == (settings.control_tls_key is None):
        return None
    return "IBKR_CONTROL_TLS_CERTIFICATE and IBKR_CONTROL_TLS_KEY need each other; one of them is not set."


def _one_file_for_two_logs(settings: Settings) -> str | None:
    if settings.log_file is None or settings.log_file != settings.audit_log_file:
        return None
    return f"IBKR_LOG_FILE and IBKR_AUDIT_LOG_FILE are both '{settings.log_file}'; each needs a file of its own."


_CONTRADICTIONS: tuple[tuple[tuple[str, ...], Contradiction], ...] = (
    _in_order("daily_orders_warning", "max_daily_orders"),
    _in_order("messages_per_fill_warning", "max_messages_per_fill"),
    _in_order("max_orders_per_minute", "max_daily_orders"),
    _in_order("max_position_size_pct", "max_position_pct_per_strategy"),
    _in_order("max_position_pct_per_strategy", "max_total_exposure_pct"),
    _in_order("max_position_value_usd", "max_total_exposure_usd"),
    (("max_leverage", "broker_mode", "live_trading_ack"), _leverage_without_acknowledgement),
    (("heartbeat_seconds", "link_dead_after_seconds"), _dead_before_asked),
    _only_off_with_the_simulator("safety_mode"),
    _never_off_in_live_mode("enable_kill_switch"),
    _never_off_in_live_mode("enable_audit_logging"),
    _never_off_in_live_mode("require_paper_account_verification"),
    (("broker_mode", "port"), _port_of_another_mode),
    (("broker_mode", "host"), _simulator_elsewhere),
    (("broker_mode", "allowed_account_prefixes"), _prefix_of_live_accounts),
    _log_outside_the_state_directory("log_file"),
    _log_outside_the_state_directory("audit_log_file"),
    (("log_file", "audit_log_file"), _one_file_for_two_logs),
    (("control_host", "control_tls_certificate"), _control_api_in_the_open),
    (("control_tls_certificate", "control_tls_key"), _half_a_certificate),
    *(_below(lower, upper) for names in WARN_PAUSE_KILL for lower, upper in pairwise(names)),
)


# -- What people read about mistakes ---------------------------------------------------------------------------------


def _wrong_value(name: str, value: object, origin: Origin) -> str:
    rule = rule_of(name)
    return f"{variable_of(name)} is {rule.quoted(value)} ({origin}); it must be {rule.allowed}."


def _unknown_variable(variable: str, origin: Origin) -> str:
    """Never quotes the value: a misspelt secret is still a secret."""
    known = [variable_of(name) for name in Settings.model_fields]
    spelling = variable.upper() if variable.upper().startswith(PREFIX) else PREFIX + variable.upper()
    nearest = difflib.get_close_matches(spelling, known, n=1)
    hint = f"Did you mean {nearest[0]}?" if nearest else "docs/settings.md lists all settings."
    return f"{variable[:80]!r} ({origin}) is not a setting. {hint}"


# -- The file ---------------------------------------------------------------------------------------------------------


def _read_env_file(path: Path, problems: list[str]) -> dict[str, str]:
    """The `NAME=value` lines of `path`; adds to `problems` what is wrong with the file or a line of it.

    python-dotenv's own reader skips lines that it does not understand and fills in `${NAME}` from the environment;
    a limit must not get lost that way, so its parser is used directly.
    """
    try:
        with path.open(encoding="utf-8") as file:
            found, bindings = os.fstat(file.fileno()), list(parse_stream(file))
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"The settings file {path} cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8'}.")
        return {}
    variables: dict[str, str] = {}
    for binding in bindings:
        line = f"Line {binding.original.line} of the settings file {path}"
        if binding.error or (binding.key is not None and binding.value is None):
            problems.append(f"{line} is not of the form NAME=value.")
        elif binding.key in variables:
            problems.append(f"{line} sets {binding.key} a second time; keep one of the lines.")
        elif binding.key is not None and binding.value is not None:
            variables[binding.key] = binding.value
    if os.name == "posix":
        problems += _file_access_problems(path, found, variables)
    return variables


def _file_access_problems(path: Path, found: os.stat_result, variables: Mapping[str, str]) -> Iterator[str]:
    """Whoever writes to the file decides whether trading is on; whoever reads it has its secrets."""
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid not in (0, os.geteuid()):
        yield f"The settings file {path} belongs to another user (number {found.st_uid}); use a file of your own."
    if mode & 0o022:
        yield f"Other users can change the settings file {path} (mode {mode:04o}); run: chmod 600 '{path}'"
    secrets = [
        variable
        for name in Settings.model_fields
        if (variable := variable_of(name)) in variables and rule_of(name).privacy is Privacy.SECRET
    ]
    if mode & 0o044 and secrets:
        yield f"Other users can read {', '.join(secrets)} in the settings file {path}; run: chmod 600 '{path}'"
