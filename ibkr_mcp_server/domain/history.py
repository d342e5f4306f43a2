"""Prices of the past, and when an exchange was open, as the broker keeps them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from ibkr_mcp_server.domain.instruments import Instrument, TradingSession

SCHEDULE = "SCHEDULE"
"""The whatToShow that asks for trading sessions instead of prices."""


@dataclass(frozen=True, kw_only=True)
class BarRequest:
    """Which bars: TWS's own words for size, duration and kind."""

    instrument: Instrument
    bar_size: str
    """`1 min`, `1 hour`, `1 day`; see the tool for all of them."""
    duration: str
    """How far back from the end: a number and S, D, W, M or Y."""
    what_to_show: str
    regular_hours_only: bool
    end: datetime | None = None
    """Aware UTC; None is now."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """The trades, or the quotes, of one stretch of time; prices as the instrument is quoted."""

    start: datetime | date
    """Aware UTC for bars within a day; a session's date for longer ones."""
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal | None
    """None where bars are not made of trades."""
    average: Decimal | None
    """Volume-weighted."""
    trades: int | None


@dataclass(frozen=True, kw_only=True)
class History:
    """Bars, the oldest first; the newest may still change while its time has not passed."""

    bars: tuple[Bar, ...]
    received_at: datetime


@dataclass(frozen=True, kw_only=True)
class ScheduledSession:
    """One trading session of the past."""

    day: date
    """The trading day that it counts for."""
    hours: TradingSession


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When the exchange was open, the oldest session first."""

    time_zone_id: str
    sessions: tuple[ScheduledSession, ...]
    received_at: datetime
