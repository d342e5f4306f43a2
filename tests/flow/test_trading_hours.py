"""When new exposure may be taken on: the hours of the instrument's own exchange, as the broker tells them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.simulator.server import PaperGateway
from tests.harness import World, running

NEW_YORK = ZoneInfo("America/New_York")
FRIDAY = datetime(2026, 11, 20, tzinfo=NEW_YORK)
AFTER_THANKSGIVING = datetime(2026, 11, 27, tzinfo=NEW_YORK)


def at(day: datetime, time: str) -> datetime:
    """That time of the day in New York."""
    hour, minute, second = (int(part) for part in (*time.split(":"), "0")[:3])
    return day.replace(hour=hour, minute=minute, second=second).astimezone(UTC)


@asynccontextmanager
async def trading_at(
    moment: datetime, tmp_path: Path, *, always_open: bool = False, **settings: Any
) -> AsyncIterator[World]:
    """A server and a gateway that keeps the exchanges' hours, both at `moment`."""
    clock = ManualClock(moment)
    chosen = {"allow_weekend_trading": False, "quote_max_age_seconds": 300, "restart_windows": "", **settings}
    chosen.setdefault("decision_timeout_seconds", 20)  # real seconds; only the hour is in question here
    async with (
        PaperGateway(clock=clock, market_always_open=always_open) as gateway,
        running(tmp_path, gateway, clock, **chosen) as world,
    ):
        yield world


async def entry(world: World, symbol: str = "AAPL", **arguments: Any) -> str | None:
    """The code of a refusal to open for want of the right hour; None if the hour is right."""
    answer = await world.buy(symbol=symbol, **arguments)
    told = [detail.partition(":")[0] for detail in answer.get("details") or ()]
    hours = {"OUTSIDE_REGULAR_HOURS", "WEEKEND", "HOURS_UNKNOWN", "SESSION_EDGE"}
    return next((code for code in told if code in hours), None)


@pytest.mark.parametrize(
    ("day", "time", "code"),
    [
        (FRIDAY, "09:29:59", "OUTSIDE_REGULAR_HOURS"),
        (FRIDAY, "09:30", None),
        (FRIDAY, "15:54:59", None),
        (FRIDAY, "15:55", "SESSION_EDGE"),
        (FRIDAY, "15:59:59", "SESSION_EDGE"),
        (FRIDAY, "16:00", "OUTSIDE_REGULAR_HOURS"),
        (AFTER_THANKSGIVING, "12:54", None),
        (AFTER_THANKSGIVING, "12:57", "SESSION_EDGE"),
        (AFTER_THANKSGIVING, "13:05", "OUTSIDE_REGULAR_HOURS"),
        (AFTER_THANKSGIVING - timedelta(days=1), "12:00", "OUTSIDE_REGULAR_HOURS"),
        (FRIDAY + timedelta(days=1), "12:00", "WEEKEND"),
    ],
)
async def test_entries_keep_to_the_exchanges_own_hours_holidays_and_early_closes_included(
    tmp_path: Path, day: datetime, time: str, code: str | None
) -> None:
    """TM-01, TM-02, TM-07, T-49."""
    async with trading_at(at(day, time), tmp_path) as world:
        assert await entry(world) == code


@pytest.mark.parametrize(
    ("day", "time", "code"),
    [
        (FRIDAY, "16:54", None),
        (FRIDAY, "16:56", "SESSION_EDGE"),
        (FRIDAY + timedelta(days=1), "12:00", "WEEKEND"),
        (FRIDAY + timedelta(days=2), "16:00", "WEEKEND"),
        (FRIDAY + timedelta(days=2), "17:16", None),
    ],
)
async def test_the_week_of_currencies_begins_on_sunday_evening(
    tmp_path: Path, day: datetime, time: str, code: str | None
) -> None:
    """TM-02: that evening belongs to Monday."""
    async with trading_at(at(day, time), tmp_path, enable_forex_trading=True) as world:
        assert await entry(world, "EUR.USD") == code


async def test_a_foreign_listing_follows_its_own_exchange(tmp_path: Path) -> None:
    """TM-01: at 10:00 in New York Frankfurt trades; at 12:00 it does not and New York does."""
    for time, foreign in (("10:00", None), ("12:00", "OUTSIDE_REGULAR_HOURS")):
        world_at = trading_at(at(FRIDAY, time), tmp_path, enable_international_trading=True)
        async with world_at as world:
            assert (await entry(world, "SAP.IBIS.EUR", limit_price=40.0), await entry(world)) == (foreign, None)


async def test_the_refusal_tells_when_the_next_session_begins(tmp_path: Path) -> None:
    async with trading_at(at(FRIDAY, "16:30"), tmp_path, no_entry_first_minutes=10) as world:
        closed = await world.buy()
        assert (closed["code"], closed["retry_after_s"]) == ("OUTSIDE_REGULAR_HOURS", 65 * 3600.0)
    async with trading_at(at(FRIDAY, "15:58"), tmp_path, no_entry_first_minutes=10) as world:
        edge = await world.buy()
        assert (edge["code"], edge["retry_after_s"]) == ("SESSION_EDGE", (65 * 60 + 42) * 60.0)
    assert world.sent == 0


async def test_cancels_and_reductions_are_not_held_back_by_the_hour(tmp_path: Path) -> None:
    """TM-03: what was opened in the session can be taken back and closed after it, and protected too."""
    async with trading_at(at(FRIDAY, "15:50"), tmp_path, enable_stop_loss_orders=True) as world:
        bought = await world.call("place_market_order", symbol="AAPL", action="BUY", quantity=10)
        resting = await world.buy()
        await world.clock.advance(3)
        await world.until(lambda: world.app.desk.broker.known_positions())
        assert bought["success"], bought
        world.clock.step_wall(timedelta(minutes=30))
        await world.clock.advance(1)
        await world.until_watched()
        await world.until_up()
        price = round(await world.last_price("AAPL"), 2)
        stop = await world.call(
            "place_stop_loss", symbol="AAPL", action="SELL", quantity=4, stop_price=round(price * 0.9, 2)
        )
        assert stop["success"], stop
        sell = await world.call("place_limit_order", symbol="AAPL", action="SELL", quantity=5, limit_price=price)
        assert sell["success"], sell
        assert (await world.call("cancel_order", perm_id=resting["perm_id"]))["success"]
        refused = await world.buy()
        assert refused["code"] == "OUTSIDE_REGULAR_HOURS", refused


async def test_with_regular_hours_not_asked_for_only_the_weekend_holds_back(tmp_path: Path) -> None:
    """TM-01, TM-02: what the operator may loosen, one by one."""
    async with trading_at(at(FRIDAY, "18:00"), tmp_path, trading_hours_only=False) as world:
        assert await entry(world) is None
    saturday = at(FRIDAY + timedelta(days=1), "12:00")
    async with trading_at(saturday, tmp_path, trading_hours_only=False) as world:
        assert await entry(world) == "WEEKEND"
    async with trading_at(saturday, tmp_path, trading_hours_only=False, allow_weekend_trading=True) as world:
        assert await entry(world) is None


async def test_a_market_that_never_closes_has_no_edges_and_the_built_in_one_no_weekend(tmp_path: Path) -> None:
    saturday = FRIDAY + timedelta(days=1)
    async with trading_at(at(FRIDAY, "23:58"), tmp_path, always_open=True) as world:
        assert await entry(world) is None
    async with running(tmp_path / "own", None, ManualClock(at(saturday, "12:00")), allow_weekend_trading=False) as own:
        assert await entry(own) is None
