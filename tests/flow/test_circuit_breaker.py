"""The circuit breaker through the whole product: the gateway's prices, fills and faults trip it, never a call of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.domain.operations import BY_THRESHOLD
from ibkr_mcp_server.errors import Refused
from ibkr_mcp_server.operations.recovery import promote_stage, reset_breaker
from ibkr_mcp_server.simulator.server import PaperGateway
from ibkr_mcp_server.store.breaker import BreakerState, Mode, Stage
from ibkr_mcp_server.store.latches import current
from tests.agents_kit import write_agent
from tests.flow.breaker_kit import ACCOUNT, SLOWLY, invested, priced, state_of, tick
from tests.harness import World, running
from tests.people import proof


async def test_a_fall_without_an_order_warns_pauses_and_kills_within_two_seconds_each(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """A4: CB-01, CB-04, CB-05, CB-13, RM-02, RM-03."""
    write_agent(tmp_path, max_order_value_usd=4_000)
    invested(gateway)
    async with running(tmp_path, gateway, clock, **SLOWLY) as world:
        await tick(world)
        assert (await state_of(world)).mode is Mode.NORMAL
        called: list[Mapping[str, object]] = []
        for occasion in ("trip", "mode_change"):
            world.app.desk.safety.kill_switch.callbacks.register(occasion, called.append)

        await tick(world, "96.02")  # 1.99 %
        assert (await state_of(world)).mode is Mode.NORMAL
        assert await tick(world, "95.98") <= 2  # 2.01 %
        await world.until_quiet()
        warned = await state_of(world)
        assert (warned.mode, warned.is_open) == (Mode.REDUCE, False)
        told = await world.call("get_safety_status")
        assert told["overrides"] == ["Every limit of size is multiplied by 0.5."]
        assert [one["limit"] for one in told["limits"] if one["name"] == "order_value_usd"] == ["5000"]
        assert (await world.buy(60, limit_price=95.0))["code"] == "ORDER_VALUE_LIMIT"  # RM-03
        async with world.agent("momentum") as momentum:
            own = await momentum.buy(30, limit_price=95.0)
            assert (own["code"], own["limit"]) == ("AGENT_ORDER_LIMIT", "2,000.00 USD")
            told = await momentum.call("get_safety_status")
            assert [one["limit"] for one in told["limits"] if one["name"] == "own_order_value_usd"] == ["2000"]

        assert await tick(world, "93.98") <= 2  # 3.01 %
        paused = await state_of(world)
        assert paused.is_open
        assert paused.first is not None
        assert (paused.first.trigger, paused.first.level, paused.first.limit) == ("CB-13", "PAUSE", Decimal(3))
        assert paused.first.observed == Decimal("3.01")
        assert paused.opened_at == paused.first.at
        refused = await world.buy(1, limit_price=93.0)
        assert refused["code"] == "CIRCUIT_BREAKER_OPEN"
        assert "CB-13" in refused["error"]
        assert not (await world.app.desk.database.read(current)).active

        assert await tick(world, "89.98") <= 2  # 5.01 %
        latch = await world.app.desk.database.read(current)
        assert latch.active
        assert "CB-13" in latch.reason
        assert latch.auth == BY_THRESHOLD  # its end takes two people (KS-17)

        await world.until(lambda: len(called) >= 2)
        assert {"trip", "mode_change"} == {str(news["occasion"]) for news in called}  # KS-21
        assert {news["trigger"] for news in called if news["occasion"] == "trip"} == {"CB-13"}

        await tick(world, "100.00")
        assert (await state_of(world)).is_open  # CB-02: a recovery closes nothing
        status = await world.call("get_safety_status")
        trips = await world.records(EventType.CIRCUIT_BREAKER_TRIP)
        modes = await world.records(EventType.MODE_CHANGE)
    assert status["effective_state"] == "HALT"
    assert {cause["code"] for cause in status["causes"]} >= {"KILL_SWITCH_ACTIVE", "CIRCUIT_BREAKER_OPEN"}
    assert modes[0].outcome["trigger"] == "CB-13"
    assert [(trip.outcome["trigger"], trip.outcome["level"]) for trip in trips][:2] == [
        ("CB-13", "PAUSE"),
        ("CB-13", "KILL"),
    ]
    assert world.sent == 0


async def refusal(world: World, power: Callable[..., Awaitable[BreakerState]], **more: Any) -> Refused:
    desk = world.app.desk
    with pytest.raises(Refused) as caught:
        await power(desk.database, desk.audit, desk.clock, desk.settings, await proof(world), "looked into", **more)
    return caught.value


async def compared(world: World) -> None:
    """Half a minute passes, and with it a comparison with the broker."""
    for _ in range(32):
        await world.clock.advance(1)
        await asyncio.sleep(0.002)
    await world.until_quiet()


async def test_after_a_loss_trading_comes_back_only_by_people_and_by_stages(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """RC-01 to RC-06, CB-02, CB-03: cool-down, what stands against it, and the stages; a restart changes nothing."""
    write_agent(tmp_path, max_order_value_usd=4_000)
    priced(gateway, "100.00")
    gateway.add_position(ACCOUNT, "AAPL", 1_000, 100)  # a tenth of the equity
    async with running(tmp_path, gateway, clock, **SLOWLY) as world:
        await tick(world)
        await tick(world, "61.50")  # 3.5 %
        assert (await state_of(world)).is_open
    async with running(tmp_path, gateway, clock, **SLOWLY, stage_decisions=2) as world:
        desk = world.app.desk
        assert (await state_of(world)).is_open
        assert (await refusal(world, reset_breaker)).code == "COOLING_DOWN"

        clock.step_wall(timedelta(minutes=61))
        await compared(world)
        await tick(world)
        standing = await refusal(world, reset_breaker)
        assert standing.code == "NOT_RESUMABLE"
        assert any("Cause: CB-13 daily loss" in text for text in standing.details)
        reset = (desk.database, desk.audit, desk.clock, desk.settings, await proof(world))
        state = await reset_breaker(*reset, "it was earnings day", acknowledge=["CB-13"])
        assert (state.is_open, state.stage) == (False, Stage.PAPER)
        await tick(world)
        assert not (await state_of(world)).is_open  # what was acknowledged does not open it again

        on_paper = await world.buy(1, symbol="MSFT", limit_price=60.0)
        assert (on_paper["success"], on_paper["outcome"]) == (True, "dry_run"), on_paper
        assert world.sent == 0
        assert (await refusal(world, promote_stage)).code == "STAGE_NOT_RIPE"

        clock.step_wall(timedelta(days=1))
        await compared(world)
        await tick(world)
        assert (await world.buy(1, symbol="MSFT", limit_price=60.0))["success"]
        state = await promote_stage(*reset, "a calm day")
        assert state.stage is Stage.QUARTER
        async with world.agent("momentum") as momentum:
            own = await momentum.buy(20, symbol="MSFT", limit_price=60.0)
        assert (own["code"], own["limit"]) == ("AGENT_ORDER_LIMIT", "500.00 USD")  # a quarter, in REDUCE
        sent = await world.buy(1, symbol="MSFT", limit_price=60.0)
        assert (sent["success"], sent["outcome"]) == (True, "accepted")
        status = await world.call("get_safety_status")
        stages = [record.outcome["stage"] for record in await world.records(EventType.STAGE_CHANGE)]
        assert len(await world.records(EventType.CIRCUIT_BREAKER_RESET)) == 1
    assert world.sent == 1
    assert "RECOVERY_STAGE" in {cause["code"] for cause in status["causes"]}
    assert stages == ["PAPER", "QUARTER"]


async def test_the_market_of_what_is_held_is_watched_too(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """CB-17, CB-18, CB-25, CB-28, RM-04: prices, spreads and a farm that breaks; no order is needed for any of it."""
    for symbol in ("AAPL", "MSFT", "IBM"):
        gateway.add_position(ACCOUNT, symbol, 200, 100)
    priced(gateway, "100.00")
    limits: dict[str, Any] = {
        "max_total_exposure_usd": 61_000,
        "max_position_value_usd": 61_000,
        "exposure_drift_pause_pct": 101,
        "feed_silence_warning_seconds": 5,
        "max_feed_silence_seconds": 15,
    }

    async with running(tmp_path, gateway, clock, **SLOWLY, **limits) as world:
        market = world.app.risk_monitor.market

        async def levels() -> dict[str, str]:
            await tick(world)
            return {one.trigger: one.level for one in (await state_of(world)).breaches.values()}

        async def sampled(price: str | None) -> None:
            """Ten seconds at this price, and with them a sample."""
            taken = market.taken
            if price is not None:
                priced(gateway, price)
            while market.taken == taken:
                await clock.advance(2)
                async with world.app.risk_monitor.working:
                    await asyncio.sleep(0)
                while market.is_sampling:  # noqa: ASYNC110 - it has no event, and its questions are bounded
                    await asyncio.sleep(0.001)

        await sampled("100.00")
        assert await levels() == {}
        for step in range(31):  # all together, up and down by three percent
            await sampled(f"{100 + (3 if step % 2 else -3) + 0.1 * (step % 3):.2f}")
        moved = await levels()
        assert {"CB-17": "PAUSE", "CB-18": "PAUSE", "RM-04": "PAUSE"}.items() <= moved.items()
        assert not {"CB-25", "CB-28"} & moved.keys()

        for symbol in ("AAPL", "MSFT", "IBM"):
            gateway.market.set_quote(gateway.con_id(symbol), bid="95.00", ask="105.00")
        await sampled(None)
        assert (await levels())["CB-28"] == "PAUSE"

        gateway.faults.farm_lost("history")
        for _ in range(3):
            assert "CB-25" not in await levels()
        gateway.faults.farm_lost("market")
        begun = clock.monotonic()
        while clock.monotonic() < begun + 7:
            await tick(world)
        assert (await levels())["CB-25"] == "WARN"
        await clock.advance(10)
        assert (await levels())["CB-25"] == "PAUSE"
