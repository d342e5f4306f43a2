"""A limit is raised for a while by two people, and by nobody else; a factor makes limits of size smaller (CFG-21)."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.clock import ManualClock, next_trading_day_starts
from ibkr_mcp_server.domain.agents import AgentLimits
from ibkr_mcp_server.errors import Refused
from ibkr_mcp_server.operations.limit_raises import read_until, read_wish, restore_limit
from ibkr_mcp_server.safety.approval_queue import SecondPersonNeeded
from ibkr_mcp_server.safety.limits_in_force import AS_CONFIGURED, RAISABLE, SIZE_LIMITS, LimitsInForce
from ibkr_mcp_server.safety.policy import Policy
from ibkr_mcp_server.safety.roles import Role
from ibkr_mcp_server.safety.snapshot import Recorded
from ibkr_mcp_server.safety.state import EffectiveState
from ibkr_mcp_server.settings.model import Settings
from ibkr_mcp_server.simulator.server import PaperGateway
from tests.harness import running
from tests.people import people, raised
from tests.unit.safety import builders


async def test_two_risk_managers_raise_a_limit_which_falls_back_by_itself(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """KS-17, CFG-21."""
    async with running(tmp_path, gateway, clock, max_order_value_usd=5_000, max_order_size=100) as world:
        known = await people(world, ben=Role.RISK_MANAGER, cat=Role.SENIOR)
        until = clock.now() + timedelta(minutes=2)
        assert (await world.buy(40))["code"] == "ORDER_VALUE_LIMIT"

        with pytest.raises(Refused, match="ROLE_TOO_LOW"):
            await raised(world, known["cat"], "20000", until)
        with pytest.raises(SecondPersonNeeded):
            await raised(world, known["ann"], "20000", until)
        with pytest.raises(Refused, match="SAME_PERSON"):
            await raised(world, known["ann"], "20000", until)
        with pytest.raises(SecondPersonNeeded):
            await raised(world, known["ben"], "30000", until)  # not what ann approved
        assert (await world.buy(40))["code"] == "ORDER_VALUE_LIMIT"

        made = await raised(world, known["ben"], "20000", until)
        assert made.approved_by == "ann and ben"
        assert (await world.buy(40))["success"]
        status = await world.call("get_safety_status")
        [told] = status["overrides"]
        assert told.startswith("IBKR_MAX_ORDER_VALUE_USD is 20000 instead of 5000 until ")
        assert "ann and ben: a roll" in told
        [limit] = [one for one in status["limits"] if one["name"] == "order_value_usd"]
        assert limit["limit"] == "20000"
        [record] = await world.records(EventType.LIMIT_RAISED)
        assert (record.actor["id"], record.outcome["approved_by"], record.outcome["configured"]) == (
            "ben", "ann and ben", "5000",
        )  # fmt: skip

        clock.step_wall(timedelta(minutes=-20))  # setting the clock back makes it no longer
        await clock.advance(117)
        await world.until_watched()
        await world.until_up()
        assert (await world.buy(40))["success"]
        await clock.advance(3)
        assert (await world.buy(40))["code"] == "ORDER_VALUE_LIMIT"
        assert (await world.call("get_safety_status"))["overrides"] == []
        later = clock.now() + timedelta(minutes=5)
        with pytest.raises(SecondPersonNeeded):
            await raised(world, known["ann"], "20000", later)
        await raised(world, known["ben"], "20000", later)
        assert await restore_limit(
            "max_order_value_usd",
            known["cat"],
            database=world.app.desk.database,
            audit=world.app.desk.audit,
            clock=clock,
        )
        assert (await world.buy(40))["code"] == "ORDER_VALUE_LIMIT"
        assert len(await world.records(EventType.LIMIT_RESTORED)) == 1


def test_no_raise_reaches_beyond_the_ceilings_or_the_day(clock: ManualClock) -> None:
    """CFG-21, C-06, C-08: section 1's ceilings are those of the settings."""
    settings = Settings()
    end = next_trading_day_starts(clock.now())
    read_wish(settings, clock, "max_position_size_pct", "30", end)
    for name, value, until, code in (
        ("IBKR_MAX_POSITION_SIZE_PCT", "30.01", end, "LIMIT_ABOVE_CEILING"),
        ("max_position_size_pct", "nan", end, "LIMIT_ABOVE_CEILING"),
        ("max_leverage", "4.1", end, "LIMIT_ABOVE_CEILING"),
        ("max_position_value_usd", "50001", end, "LIMIT_ABOVE_CEILING"),  # above what all positions may come to
        ("max_position_size_pct", "5", end, "NOT_A_RAISE"),
        ("max_position_size_pct", "6", end + timedelta(seconds=1), "RAISE_TOO_LONG"),
        ("max_position_size_pct", "6", clock.now(), "RAISE_TOO_LONG"),
        ("price_collar_pct", "30", end, "LIMIT_NOT_RAISABLE"),
        ("enable_trading", "true", end, "LIMIT_NOT_RAISABLE"),
    ):
        with pytest.raises(Refused, match=code):
            read_wish(settings, clock, name, value, until)
    live = Settings.model_construct(**{**settings.model_dump(), "broker_mode": "live"})
    with pytest.raises(Refused, match="LIMIT_ABOVE_CEILING"):
        read_wish(live, clock, "max_leverage", "2.5", end)
    assert read_until("16:30", clock) == datetime.fromisoformat("2026-11-20T16:30:00-05:00")
    assert read_until("09:00", clock) == datetime.fromisoformat("2026-11-21T09:00:00-05:00")
    for odd in ("soon", "25:00", "2026-11-20T16:30:00"):
        with pytest.raises(Refused, match="TIME_NOT_UNDERSTOOD"):
            read_until(odd, clock)


def test_the_factor_multiplies_sizes_and_a_stored_raise_beyond_the_ceiling_counts_for_nothing() -> None:
    """RM-03, RC-03."""
    settings = Settings()
    half = LimitsInForce(factor=Decimal("0.5"), raised=(("max_order_value_usd", Decimal(20_000)),)).of(settings)
    assert (half.max_order_size, half.max_order_value_usd, half.max_position_size_pct, half.max_daily_orders) == (
        500, Decimal(10_000), Decimal("2.5"), 25,
    )  # fmt: skip
    assert (half.max_orders_per_minute, half.max_concurrent_positions) == (5, 10)
    for name, value in (
        ("max_position_size_pct", Decimal(31)),
        ("max_order_value_usd", Decimal(9_000)),  # lower than configured: a raise never tightens
        ("enable_trading", Decimal(1)),
    ):
        assert LimitsInForce(raised=((name, value),)).of(settings) == settings
    own = AgentLimits(max_orders_per_minute=3, max_daily_orders=5, max_order_value_usd=Decimal(4_000))
    assert LimitsInForce(factor=Decimal("0.5")).of_agent(own) == AgentLimits(
        max_orders_per_minute=3, max_daily_orders=2, max_order_value_usd=Decimal(2_000)
    )
    assert LimitsInForce(raised=(("max_order_value_usd", Decimal(20_000)),)).of_agent(own) == own
    assert set(SIZE_LIMITS) < set(RAISABLE) <= Settings.model_fields.keys()

    policy, seen = Policy(builders.settings()), builders.snapshot(builders.order(quantity=Decimal(60)))
    assert policy.review(builders.placement(), seen).is_safe
    reduced = builders.snapshot(
        builders.order(quantity=Decimal(60)),
        recorded=Recorded(state=EffectiveState(), limits=LimitsInForce(factor=Decimal("0.5"))),
    )
    failures = policy.review(builders.placement(), reduced).failures
    assert [(found.code, found.limit) for _, found in failures] == [("ORDER_VALUE_LIMIT", "5,000.00 USD")]
    assert policy.within(AS_CONFIGURED) is policy
    assert policy.within(reduced.recorded.limits) is policy.within(LimitsInForce(factor=Decimal("0.5")))
