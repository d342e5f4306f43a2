"""Limits and counters: durable, exact under concurrency, deaf to the wall clock."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ibkr_mcp_server.clock import ManualClock, next_trading_day_starts, trading_day
from ibkr_mcp_server.simulator.server import PaperGateway
from tests.harness import running


async def test_the_sixth_opening_order_in_a_minute_is_refused_and_passes_when_the_first_has_left(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """RL-01, with the time to wait that the refusal names."""
    async with running(tmp_path, gateway, clock) as world:
        await world.buy()
        await clock.advance(20)
        for _ in range(4):
            assert (await world.buy())["success"]
        refused = await world.buy()
        assert (refused["code"], refused["retry_after_s"]) == ("RATE_LIMIT", 40.0)
        await clock.advance(39.9)
        assert (await world.buy())["code"] == "RATE_LIMIT"
        await clock.advance(0.2)
        assert (await world.buy())["success"]
    assert world.sent == 6


@pytest.mark.parametrize("step", [timedelta(days=1), timedelta(days=-1), timedelta(hours=1)])
async def test_a_step_of_the_wall_clock_neither_frees_nor_freezes_the_window(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock, step: timedelta
) -> None:
    """RL-03, A8."""
    settings: dict[str, Any] = {
        "max_orders_per_minute": 2, "account_verification_max_age_seconds": 600, "trading_hours_only": False,
        "allow_weekend_trading": True,
    }  # fmt: skip
    async with running(tmp_path, gateway, clock, **settings) as w:
        await w.buy()
        await w.buy()
        clock.step_wall(step)
        await clock.advance(1)  # the gateway's quotes are of the new time
        await w.until_watched()
        assert (await w.buy())["code"] == "RATE_LIMIT"
        await clock.advance(60)
        await w.until_watched()
        assert (await w.buy())["success"]


async def test_counters_survive_a_restart(tmp_path: Path, gateway: PaperGateway, clock: ManualClock) -> None:
    """RL-09, T-11."""
    async with running(tmp_path, gateway, clock) as world:
        for _ in range(5):
            assert (await world.buy())["success"]
    async with running(tmp_path, gateway, clock) as world:
        assert (await world.buy())["code"] == "RATE_LIMIT"
        assert (await world.call("get_safety_status"))["daily_stats"]["opening_orders"] == 5
    assert world.sent == 5


async def test_the_day_warns_refuses_and_begins_anew_at_seventeen_in_new_york(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """RL-05, RL-07, TM-05."""
    small: dict[str, Any] = {"max_daily_orders": 3, "daily_orders_warning": 2, "max_orders_per_minute": 3}
    async with running(tmp_path, gateway, clock, **small) as world:
        assert not (await world.buy()).get("warnings")
        assert not (await world.buy()).get("warnings")
        assert "opening order 3 of the trading day" in (await world.buy())["warnings"][0]
        await clock.advance(61)
        refused = await world.buy()
        assert refused["code"] == "DAILY_LIMIT"
        until = next_trading_day_starts(clock.now())
        assert refused["retry_after_s"] == pytest.approx((until - clock.now()).total_seconds())
        clock.step_wall(until - clock.now())
        await clock.advance(1)
        assert (await world.buy())["success"]
        # Back across the boundary the old day is as full as it was: nothing is freed twice.
        clock.step_wall(timedelta(minutes=-5))
        await clock.advance(61)
        assert (await world.buy())["code"] == "DAILY_LIMIT"


def test_the_trading_day_follows_new_york_through_daylight_saving() -> None:
    """TM-05: 17:00 in New York is 21:00 or 22:00 UTC."""
    summer, winter = datetime(2026, 10, 30, 21, 0, tzinfo=UTC), datetime(2026, 11, 2, 21, 0, tzinfo=UTC)
    assert trading_day(summer) == datetime(2026, 10, 31, tzinfo=UTC).date()
    assert trading_day(winter) == datetime(2026, 11, 2, tzinfo=UTC).date()
    assert trading_day(winter + timedelta(hours=1)) == datetime(2026, 11, 3, tzinfo=UTC).date()


async def test_fifty_orders_at_once_with_room_for_three_send_exactly_three(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """TW-12, T-23; refused ones consume nothing (RL-08)."""
    async with running(tmp_path, gateway, clock, max_orders_per_minute=3) as world:
        answers = await asyncio.gather(*(world.buy() for _ in range(50)))
        status = await world.call("get_safety_status")
    assert sum(answer["success"] for answer in answers) == 3
    assert {answer["code"] for answer in answers if not answer["success"]} == {"RATE_LIMIT"}
    assert world.sent == 3
    assert status["daily_stats"]["opening_orders"] == 3


async def test_refused_orders_of_every_kind_leave_all_counters_alone(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """RL-08, FD-30, T-10."""
    async with running(tmp_path, gateway, clock) as world:
        wrong: tuple[dict[str, Any], ...] = (
            {"quantity": 5000},
            {"quantity": 0},
            {"quantity": 1.5},
            {"limit_price": 0.001},
            {"symbol": "ZZZZ", "limit_price": 10},
            {"action": "HOLD"},
            {"account": "DU1"},
            {"tif": "GTC"},
            {"nonsense": 1},
        )
        for bad in wrong:
            assert (await world.buy(**bad))["success"] is False, bad
        status = await world.call("get_safety_status")
    assert status["daily_stats"]["opening_orders"] == 0
    assert gateway.received_orders == []


async def test_cancels_modifications_downwards_and_reads_use_no_order_quota(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """RL-11, TW-09."""
    async with running(tmp_path, gateway, clock, max_orders_per_minute=1) as world:
        placed = await world.buy(10)
        assert (await world.call("modify_order", perm_id=placed["perm_id"], quantity=9))["success"]
        assert (await world.call("modify_order", perm_id=placed["perm_id"], quantity=10))["code"] == "RATE_LIMIT"
        assert (await world.call("get_open_orders"))["success"]
        assert (await world.call("cancel_order", perm_id=placed["perm_id"]))["success"]


async def test_market_data_is_limited_by_symbol_not_by_call(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """RL-02, T-48."""
    async with running(tmp_path, gateway, clock, max_market_data_requests_per_minute=5) as world:
        assert (await world.call("get_market_data", symbols=["AAPL", "MSFT", "SPY"]))["success"]
        refused = await world.call("get_market_data", symbols=["AAPL", "MSFT", "SPY"])
        assert (refused["code"], refused["retry_after_s"]) == ("MARKET_DATA_LIMIT", 60.0)
        assert (await world.call("get_market_data", symbols=["AAPL", "MSFT"]))["success"]
        too_many = await world.call("get_market_data", symbols=["AAPL"] * 51)
        assert too_many["success"] is False
        assert (await world.buy())["success"], "orders have quotes of their own"


async def test_safety_mode_off_waives_limits_on_the_built_in_gateway_only_and_says_so(tmp_path: Path) -> None:
    """CFG-17."""
    async with running(tmp_path, safety_mode=False, max_orders_per_minute=1) as world:
        await world.buy()
        waived = await world.buy()
        status = await world.call("get_safety_status")
    assert waived["success"]
    assert any("not enforced" in warning for warning in waived["warnings"])
    assert status["feature_flags"]["safety_mode"] is False


async def test_a_burst_of_reads_never_exceeds_the_share_of_the_brokers_message_limit(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """RL-04: at most 40 of the 50 messages a second, whatever is asked at once."""
    async with running(tmp_path, gateway, clock) as world:
        await clock.advance(5)
        before = len(gateway.received)
        reads = [asyncio.create_task(world.call("get_open_orders")) for _ in range(100)]
        for _ in range(40):
            await clock.advance(0.1)
        await asyncio.gather(*reads)
        stamps = [entry.at for entry in gateway.received[before:]]
    for place, stamp in enumerate(stamps):
        in_that_second = [later for later in stamps[place:] if later - stamp < timedelta(seconds=1)]
        assert len(in_that_second) <= 40
