"""Losses, drawdowns, margin and silence, each level by what the gateway does, with restarts in between."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.simulator.server import PaperGateway
from tests.flow.breaker_kit import ACCOUNT, SHARES, SLOWLY, invested, priced, tick
from tests.harness import World, running

PNL = 94
"""The message in which the gateway tells an account's profit."""
LATE_LOSSES: dict[str, Any] = {"daily_loss_warning_pct": 8, "max_daily_loss_pct": 9, "daily_loss_kill_pct": 10}
"""For steps in which the loss of the day is not the point."""


async def rises(world: World) -> list[str]:
    """Every level that was reached so far, in the order of the audit log."""
    of_breaker = (EventType.MODE_CHANGE, EventType.CIRCUIT_BREAKER_TRIP)
    told = [record.outcome for record in await world.records() if record.event_type in of_breaker]
    return [f"{one['trigger']} {one['level']}" for one in told if "trigger" in one]


async def refused_with(world: World) -> str | None:
    """Why a small order is refused now; None if it is not."""
    answer = await world.buy(1, symbol="SPY")
    return None if answer["success"] else answer["code"]


async def seen(world: World) -> None:
    """What the watch saw last is what the gateway's account comes to; balances are asked for every 15 seconds."""
    accounts = world.gateway.accounts

    def differ() -> bool:
        metrics, (_, margin) = world.app.risk_monitor.metrics, accounts.margin(ACCOUNT)
        own = [one for one in (() if metrics is None else metrics.accounts) if one.account.endswith(ACCOUNT[-3:])]
        if not own or own[0].equity is None or own[0].maintenance_margin is None:
            return True
        differences = own[0].equity - accounts.equity(ACCOUNT), own[0].maintenance_margin - margin
        return max(map(abs, differences)) > Decimal("0.05")

    await tick(world)
    async with asyncio.timeout(30):
        while differ():
            await world.clock.advance(4)
            await tick(world)


async def fallen(world: World, before: str, now: str) -> None:
    """The shares fall until a drawdown that stood at `before` percent stands at `now`; whatever was paid in or out."""
    gateway = world.gateway
    equity = gateway.accounts.equity(ACCOUNT)
    lost = equity - equity * (100 - Decimal(now)) / (100 - Decimal(before))
    price = Decimal(str(await world.last_price("AAPL"))) - lost / SHARES
    priced(gateway, str(price.quantize(Decimal("0.01"))))
    await seen(world)


async def test_drawdowns_of_day_week_and_all_time_act_at_their_levels_whatever_is_restarted_or_paid_in(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """CB-03, CB-05, CB-10, CB-11, CB-12: with prices alone, from Friday to Monday; a week is one until Sunday."""
    invested(gateway)
    settings = SLOWLY | LATE_LOSSES
    cash = gateway.accounts.by_code[ACCOUNT].cash
    async with running(tmp_path, gateway, clock, **settings) as world:
        await seen(world)
        priced(gateway, "110.00")
        await seen(world)  # 2,100,000, the highest of all; 2,000,000 was the day's start
        await fallen(world, "0", "3.98")
        assert await rises(world) == []
        await fallen(world, "3.98", "4.02")
        assert await rises(world) == ["CB-10 WARN"]
        cash["USD"] += Decimal(500_000)  # nobody's profit
        await seen(world)
        await fallen(world, "4.02", "4.98")
        assert await rises(world) == ["CB-10 WARN"]
        await fallen(world, "4.98", "5.02")
        assert await rises(world) == ["CB-10 WARN", "CB-10 PAUSE"]
        assert await refused_with(world) == "CIRCUIT_BREAKER_OPEN"

        clock.step_wall(timedelta(days=1))
        await seen(world)
        await fallen(world, "5.02", "7.98")  # of the week's highest; the new day has lost 3.1 %
        assert (await rises(world))[2:] == []
        await fallen(world, "7.98", "8.02")
        assert (await rises(world))[2:] == ["CB-11 WARN"]

    cash["USD"] -= Decimal(800_000)  # nobody's loss
    async with running(tmp_path, gateway, clock, **settings) as world:
        await seen(world)
        await fallen(world, "8.02", "9.98")
        assert (await rises(world))[3:] == []
        await fallen(world, "9.98", "10.02")  # two at once: both are told
        assert (await rises(world))[3:] == ["CB-11 PAUSE", "CB-12 WARN"]
        clock.step_wall(timedelta(days=1))
        await seen(world)
        await fallen(world, "10.02", "15.02")  # 5.6 % of them today
        assert (await rises(world))[5:] == ["CB-12 PAUSE"]
        status = await world.call("get_safety_status")
        (reason,) = [one["reason"] for one in status["causes"] if one["code"] == "CIRCUIT_BREAKER_OPEN"]
        assert reason.index("CB-10") < reason.index("CB-11") < reason.index("CB-12")  # all told, the earliest first
        assert not status["kill_switch_active"]

    clock.step_wall(timedelta(days=1))
    async with running(tmp_path, gateway, clock, **settings) as world:
        await seen(world)
        await fallen(world, "15.02", "20.02")  # of Friday's highest; a week that is new has lost 5.9 %
        assert (await rises(world))[6:] == ["CB-12 KILL"]
        assert await refused_with(world) == "KILL_SWITCH_ACTIVE"
        stopped = (await world.call("get_safety_status"))["kill_switch"]
        assert "CB-12 total drawdown" in stopped["reason"]
    assert world.sent == 0


async def test_what_five_minutes_lost_is_known_after_a_restart_and_under_another_boot(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CB-03, CB-16: each run sees only a part of the fall; one that takes longer than five minutes is none."""
    invested(gateway)
    settings = LATE_LOSSES | {"max_price_walk_pct": 100, "max_quote_jump_pct": 100}
    settings |= {"daily_drawdown_warning_pct": 20, "max_daily_drawdown_pct": 25}
    settings |= {"weekly_drawdown_warning_pct": 26, "max_weekly_drawdown_pct": 30, "max_total_drawdown_pct": 40}
    async with running(tmp_path, gateway, clock, **settings) as world:
        await seen(world)
        await fallen(world, "0", "0.95")
        assert await rises(world) == []
    await clock.advance(301)
    async with running(tmp_path, gateway, clock, **settings) as world:
        await seen(world)
        await fallen(world, "0", "0.95")  # as much again, after more than five minutes
        assert await rises(world) == []
    monkeypatch.setattr(ManualClock, "boot_id", "the-next-boot")
    clock._monotonic += 100_000  # after a reboot the machine's seconds begin elsewhere
    async with running(tmp_path, gateway, clock, **settings) as world:
        await seen(world)
        await fallen(world, "0.95", "1.05")
        assert await rises(world) == ["CB-16 WARN"]
        await fallen(world, "1.05", "1.55")
        assert await rises(world) == ["CB-16 WARN", "CB-16 PAUSE"]
        await fallen(world, "1.55", "3.05")
        assert (await rises(world))[2:] == ["CB-16 KILL"]
        assert await refused_with(world) == "KILL_SWITCH_ACTIVE"


async def test_margin_that_the_broker_raises_warns_pauses_and_stops(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """CB-19, PL-13: the shares tie up a tenth of the equity; the broker asks for more of it, and no price moves."""
    invested(gateway)
    async with running(tmp_path, gateway, clock) as world:

        async def asked(times: str) -> list[str]:
            gateway.faults.raise_margin(Decimal(times))
            await seen(world)
            return await rises(world)

        assert await asked("7.4") == []
        assert await asked("7.6") == ["CB-19 WARN"]
        assert await asked("9.1") == ["CB-19 WARN", "CB-19 PAUSE"]
        assert await refused_with(world) == "CIRCUIT_BREAKER_OPEN"
        assert await asked("9.6") == ["CB-19 WARN", "CB-19 PAUSE", "CB-19 KILL"]
        assert "CB-19 margin use" in (await world.call("get_safety_status"))["kill_switch"]["reason"]
        assert await refused_with(world) == "KILL_SWITCH_ACTIVE"


async def test_an_equity_that_nobody_tells_opens_nothing_until_it_is_told_again(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """CB-06: half a minute of grace; reducing goes on; a condition, so that it ends by itself. CB-25: and silence."""
    priced(gateway, "100.00")
    gateway.add_position(ACCOUNT, "AAPL", 10, 100)
    limits: dict[str, Any] = {
        "breaker_input_grace_seconds": 30,
        "feed_silence_warning_seconds": 5,
        "max_feed_silence_seconds": 15,
    }
    async with running(tmp_path, gateway, clock, **limits) as world:
        await tick(world)
        gateway.faults.drop_next_message(PNL, 1_000)

        async def passed(seconds: int) -> None:
            for _ in range(0, seconds, 4):
                await clock.advance(4)
                await world.call("get_open_orders")  # the link is alive, and what was on its way has been read
            looked = world.app.desk.safety.breaker.looked_at
            async with asyncio.timeout(10):
                while world.app.desk.safety.breaker.looked_at == looked:
                    await clock.advance(0.02)  # a look takes real time, and hardly any of the clock's
                    await asyncio.sleep(0.005)

        await passed(16)
        assert await refused_with(world) is None
        await passed(20)
        refused = await world.buy(1, symbol="SPY")
        assert (refused["code"], "equity" in refused["error"]) == ("RISK_UNKNOWN", True)
        assert (await world.call("get_safety_status"))["effective_state"] == "OBSERVE"
        sold = await world.call("place_market_order", symbol="AAPL", action="SELL", quantity=1)
        assert sold["success"], sold
        gateway.faults.clear()
        await tick(world)
        assert await refused_with(world) is None
        assert await rises(world) == []

        gateway.faults.freeze()  # it says nothing at all any more, and the link does not count as dead yet
        silent_since = clock.monotonic()
        async with asyncio.timeout(10):
            while not await rises(world):
                await clock.advance(0.5)
                await asyncio.sleep(0.005)
        assert await rises(world) == ["CB-25 WARN"]
        assert 10 <= clock.monotonic() - silent_since <= 15
        gateway.faults.thaw()


async def test_reduced_sizes_last_until_all_has_been_calm_for_long_enough_and_a_relapse_begins_anew(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """RM-05: below the warning is not calm yet, and a figure that goes to and fro does not flap."""
    invested(gateway)
    settings = SLOWLY | {"volatility_warning": 999, "max_volatility_ratio": 1_000, "reduce_ends_after_minutes": 1}
    async with running(tmp_path, gateway, clock, **settings) as world:

        async def modes() -> list[str]:
            return [record.outcome["mode"] for record in await world.records(EventType.MODE_CHANGE)]

        async def after(price: str, seconds: float) -> list[str]:
            await tick(world, price)
            await clock.advance(seconds - 2)
            await tick(world)
            return await modes()

        await tick(world)
        assert await after("95.90", 2) == ["REDUCE"]  # 2.05 % of the day's start
        assert await after("96.30", 90) == ["REDUCE"]  # 1.85 %: no warning, and more than 80 % of one
        assert await after("97.20", 45) == ["REDUCE"]  # 1.4 %: calm
        assert await after("96.30", 10) == ["REDUCE"]
        assert await after("97.20", 45) == ["REDUCE"]
        assert (await world.buy(60, symbol="SPY"))["code"] == "ORDER_VALUE_LIMIT"
        gateway.disconnect_all()  # what nobody saw was not calm
        await world.until(lambda: not world.app.desk.broker.link.is_up)
        await world.reconnected()
        assert await after("97.20", 45) == ["REDUCE"]
        assert await after("97.20", 20) == ["REDUCE", "NORMAL"]
        assert (await world.call("get_safety_status"))["effective_state"] == "NORMAL"
