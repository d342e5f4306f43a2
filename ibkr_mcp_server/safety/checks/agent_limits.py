"""What the operator allows one agent, within the limits of all (LLM-09)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from ibkr_mcp_server.clock import next_trading_day_starts
from ibkr_mcp_server.domain.agents import AgentLimits
from ibkr_mcp_server.domain.money import Money
from ibkr_mcp_server.domain.operations import Operation, Problem
from ibkr_mcp_server.safety.checks.order_rate import WINDOW_SECONDS, wait_for_room
from ibkr_mcp_server.safety.codes import Code, problem
from ibkr_mcp_server.safety.decision import PASSED, Findings
from ibkr_mcp_server.safety.snapshot import Snapshot


@dataclass(frozen=True, kw_only=True)
class AgentOrders:
    """Holds opening orders to the limits of the agent that asks; agents without any have those of all."""

    limits: Mapping[str, AgentLimits]

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        limits = self.limits.get(operation.actor.id)
        if limits is None or not seen.opens:
            return PASSED
        mine = [earlier for earlier in seen.recorded.openings if earlier.agent == operation.actor.id]
        minute = tuple(one.age_seconds for one in mine if one.age_seconds < WINDOW_SECONDS)
        today = sum(one.is_today for one in mine)
        found = (
            _rate(limits.max_orders_per_minute, minute),
            _day(limits.max_daily_orders, today, seen),
            _value(limits.max_order_value_usd, seen),
        )
        return Findings(problems=tuple(one for one in found if one is not None))


def _rate(limit: int | None, ages: tuple[float, ...]) -> Problem | None:
    if limit is None or len(ages) < limit:
        return None
    text = f"This agent opened {len(ages)} orders in the last 60 s; its own limit is {limit}."
    wait = wait_for_room(ages, limit, 1)
    return problem(
        Code.AGENT_ORDER_LIMIT,
        text,
        observed=f"{len(ages)} in the last 60 s",
        limit=f"{limit} per 60 s",
        retry_after_seconds=wait,
    )


def _day(limit: int | None, today: int, seen: Snapshot) -> Problem | None:
    if limit is None or today < limit:
        return None
    text = f"This agent opened {today} orders in this trading day; its own limit is {limit}."
    wait = (next_trading_day_starts(seen.now) - seen.now).total_seconds()
    return problem(
        Code.AGENT_ORDER_LIMIT,
        text,
        observed=f"{today} today",
        limit=f"{limit} per trading day",
        retry_after_seconds=wait,
    )


def _value(limit: Decimal | None, seen: Snapshot) -> Problem | None:
    if limit is None or seen.observed.value_usd is None or seen.observed.value_usd <= limit:
        return None  # an unknown value is refused by order_value
    value, most = Money(amount=seen.observed.value_usd, currency="USD"), Money(amount=limit, currency="USD")
    text = f"The order is worth {value} at its worst price; this agent's own limit is {most} per order."
    return problem(Code.AGENT_ORDER_LIMIT, text, observed=value, limit=most)
