"""Whom the server trades with, and how the link to it is kept."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from ibkr_mcp_server.domain.daily_window import DailyWindow
from ibkr_mcp_server.settings import rules
from ibkr_mcp_server.settings.base import SettingGroup

PAPER_PORTS = frozenset({7497, 4002})
"""Requirement ACC-08: TWS and IB Gateway listen here for paper accounts unless told otherwise."""
LIVE_PORTS = frozenset({7496, 4001})


class BrokerMode(StrEnum):
    """Whom the server trades with (CFG-08)."""

    SIMULATOR = "simulator"
    PAPER = "paper"
    LIVE = "live"


class BrokerSettings(SettingGroup):
    """The broker and the link to it."""

    # Broker
    broker_mode: Annotated[BrokerMode, rules.one_of(BrokerMode)] = Field(
        default=BrokerMode.SIMULATOR,
        description="Whom to trade with: the built-in paper gateway, an IBKR paper account, or a live account.",
    )
    host: Annotated[str, rules.host()] = Field(
        default="127.0.0.1",
        description="Where TWS or IB Gateway runs; in simulator mode, the loopback address to listen on.",
    )
    port: Annotated[int | None, rules.port(unset="4002 for paper, 4001 for live, a free one for the simulator")] = (
        Field(default=None, description="Port of TWS or IB Gateway; in simulator mode, the port to listen on.")
    )
    client_id: Annotated[int, rules.whole_number(1, 2_000_000_000)] = Field(
        default=17, description="TWS API client id. Each program on the same gateway needs its own."
    )
    reader_client_id_offset: Annotated[int, rules.whole_number(1, 1_000_000)] = Field(
        default=100,
        description="Added to the client id by a server that only reads, because another one on this state directory "
        "writes. Up to eight of them take an id each, counting up from there.",
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
