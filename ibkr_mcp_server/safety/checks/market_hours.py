"""Market orders only while the instrument's own exchange trades regularly (ORD-10, TM-04)."""

from __future__ import annotations

from dataclasses import dataclass

from ibkr_mcp_server.domain.operations import Operation
from ibkr_mcp_server.domain.order_types import CAPPED_AS
from ibkr_mcp_server.safety.decision import PASSED, Code, Findings, problem, refuses
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
        upcoming = [session.start for session in instrument.liquid_hours if session.start > seen.now]
        until = f"; the next regular session begins {min(upcoming):%Y-%m-%d %H:%M} UTC" if upcoming else ""
        text = f"{instrument.label} is outside its regular hours{until}."
        wait = (min(upcoming) - seen.now).total_seconds() if upcoming else None
        return refuses(
            problem(
                Code.OUTSIDE_REGULAR_HOURS,
                text,
                observed=f"{seen.now:%Y-%m-%d %H:%M} UTC",
                retry_after_seconds=wait,
            )
        )
