"""When orders may be placed, by the hours that the broker tells of the instrument's own exchange.

Market orders of any kind only in regular hours (ORD-10); what opens only in regular hours, not on weekends and not in
the last minutes (TM-01, TM-02, TM-04, TM-07). Nothing here holds back a reducing or protective order (TM-03).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property, lru_cache

from ibkr_mcp_server.domain.instruments import Instrument, TradingSession
from ibkr_mcp_server.domain.operations import Operation, Problem
from ibkr_mcp_server.domain.order_types import CAPPED_AS
from ibkr_mcp_server.safety.codes import Code, problem
from ibkr_mcp_server.safety.decision import PASSED, Findings, beyond, passes, refuses
from ibkr_mcp_server.safety.snapshot import Snapshot


@dataclass(frozen=True, kw_only=True)
class MarketOrderHours:
    """Unknown hours are closed hours."""

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        order = seen.order
        if order is None or order.order_type not in CAPPED_AS:
            return PASSED
        instrument = order.instrument
        if instrument.in_regular_hours(seen.now):
            return PASSED
        if instrument.liquid_hours is None:
            text = f"The trading hours of {instrument.label} are not known, so they count as closed."
            return refuses(problem(Code.OUTSIDE_REGULAR_HOURS, text, observed=f"{seen.now:%Y-%m-%d %H:%M} UTC"))
        return refuses(_outside(instrument, seen.now))


@dataclass(frozen=True, kw_only=True)
class TradingHours:
    """Holds opening orders to the regular hours of the exchange, away from their edges, and off weekends."""

    regular_only: bool
    weekends: bool
    first_minutes: int
    """After the beginning of regular hours, in which nothing is opened."""
    last_minutes: int
    """Before their end."""

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        order = seen.order
        if order is None or not seen.opens:
            return PASSED
        instrument, now = order.instrument, seen.now
        session = instrument.regular_session(now)
        if session is None and order.order_type in CAPPED_AS:
            return PASSED  # refused by market_order_hours
        if not instrument.knows_hours(now):
            text = f"The trading hours of {instrument.label} are not known, so they count as closed."
            return refuses(problem(Code.HOURS_UNKNOWN, text, observed=f"{now:%Y-%m-%d %H:%M} UTC"))
        if not self.weekends and instrument.is_weekend(now):
            text = f"It is the weekend at the exchange of {instrument.label}: nothing is opened."
            return refuses(problem(Code.WEEKEND, text, observed=f"{now:%A %H:%M} UTC"))
        if session is not None:
            return self._edges(instrument, session, now)
        return refuses(_outside(instrument, now)) if self.regular_only else PASSED

    @cached_property
    def _limit(self) -> str:
        return f"not in the first {self.first_minutes} and the last {self.last_minutes} min of regular hours"

    @cached_property
    def _first(self) -> timedelta:
        return timedelta(minutes=self.first_minutes)

    @cached_property
    def _last(self) -> timedelta:
        return timedelta(minutes=self.last_minutes)

    def _edges(self, instrument: Instrument, session: TradingSession, now: datetime) -> Findings:
        limit = self._limit
        opens, closes = session.start + self._first, session.end - self._last
        observed = f"{now.time().isoformat('seconds')} UTC in {_hours(session.start, session.end)} UTC"
        if opens <= now < closes:
            return passes(observed, limit)
        if now < opens:
            text = f"The regular hours of {instrument.label} began only at {session.start:%H:%M} UTC."
            again: datetime | None = opens
        else:
            text = f"The regular hours of {instrument.label} end at {session.end:%H:%M} UTC."
            upcoming = instrument.next_regular_start(now)
            again = None if upcoming is None else upcoming + self._first
        wait = None if again is None else (again - now).total_seconds()
        return beyond(problem(Code.SESSION_EDGE, text, observed=observed, limit=limit, retry_after_seconds=wait))


@lru_cache(maxsize=64)
def _hours(start: datetime, end: datetime) -> str:
    return f"{start:%H:%M} to {end:%H:%M}"


def _outside(instrument: Instrument, now: datetime) -> Problem:
    upcoming = instrument.next_regular_start(now)
    until = "" if upcoming is None else f"; the next regular session begins {upcoming:%Y-%m-%d %H:%M} UTC"
    text = f"{instrument.label} is outside its regular hours{until}."
    wait = None if upcoming is None else (upcoming - now).total_seconds()
    return problem(Code.OUTSIDE_REGULAR_HOURS, text, observed=f"{now:%Y-%m-%d %H:%M} UTC", retry_after_seconds=wait)
