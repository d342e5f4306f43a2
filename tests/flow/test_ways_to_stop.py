"""Each way to stop, alone (KS-07): environment, Redis key, signal, program; and the end of a server in order."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.clock import ManualClock, SystemClock
from ibkr_mcp_server.errors import Refused
from ibkr_mcp_server.kill_switch import KillSwitchMode, get_kill_switch
from ibkr_mcp_server.simulator.server import PaperGateway
from ibkr_mcp_server.store import intents, latches
from ibkr_mcp_server.store.database import Database
from tests.harness import running, time_passing
from tests.people import proof
from tests.private_state import private_state
from tests.server_process import serving
from tests.stores import REDIS


async def test_the_environments_flag_stops_at_the_start_and_ends_nothing(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """KS-07, KS-05: the stop outlives the flag."""
    async with running(tmp_path, gateway, clock, kill_switch=True) as world:
        refused = await world.buy()
        assert (refused["code"], "IBKR_KILL_SWITCH is true" in refused["error"]) == ("KILL_SWITCH_ACTIVE", True)
    async with running(tmp_path, gateway, clock) as world:
        assert (await world.buy())["code"] == "KILL_SWITCH_ACTIVE"
        (record,) = await world.records(EventType.KILL_SWITCH_ACTIVATE)
    assert record.actor["auth"] == "environment"


@pytest.fixture
async def key() -> AsyncIterator[str]:
    """A key of the machine's Redis that nobody else uses; skips where there is none."""
    redis = pytest.importorskip("redis.asyncio", reason="the package redis is not installed")
    client, name = redis.Redis.from_url(REDIS, socket_connect_timeout=1), f"ibkr:test:{uuid4().hex}"
    try:
        await client.ping()
    except Exception as error:
        pytest.skip(f"no Redis at {REDIS}: {type(error).__name__}")
    try:
        yield name
    finally:
        await client.delete(name)
        await client.aclose()


async def test_the_key_in_redis_stops_and_cannot_resume_and_no_redis_opens_nothing(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock, key: str
) -> None:
    """KS-07, T-32, C-12: set, flushed and out of reach."""
    redis = pytest.importorskip("redis.asyncio")
    client = redis.Redis.from_url(REDIS)
    async with running(tmp_path, gateway, clock, redis_url=REDIS, kill_switch_redis_key=key) as world:
        async with time_passing(clock):
            await world.until(lambda: not world.app.desk.safety.standing.conditions())
        await client.set(key, "false")
        await clock.advance(1)
        assert (await world.buy())["success"], "a value that says no is none"
        await client.hset(f"{key}:other", "a", "b")
        await client.rename(f"{key}:other", key)  # of another type: still a stop
        switch = world.app.desk.safety.kill_switch
        async with time_passing(clock):
            await world.until(lambda: switch.status_now().latch.active)
        assert (await world.buy())["code"] == "KILL_SWITCH_ACTIVE"
        await client.delete(key)
        await clock.advance(1)
        assert (await world.buy())["code"] == "KILL_SWITCH_ACTIVE", "a flush resumes nothing"
        await switch.clear(await proof(world), "the key was set by mistake")
        await clock.advance(1)
        assert (await world.buy())["success"]
    await client.aclose()
    nowhere = "redis://127.0.0.1:1/0"
    async with running(tmp_path, gateway, clock, redis_url=nowhere, kill_switch_redis_key=key) as world:
        await clock.advance(1)
        refused, status = await world.buy(), await world.call("get_safety_status")
    assert refused["code"] == "STOP_KEY_UNREADABLE"
    assert (status["effective_state"], status["causes"][0]["ends"]) == ("OBSERVE", "by itself")


def test_a_program_stops_and_is_refused_a_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    """KS-07, KS-10, KS-21: the Python names of the sources; a close takes people."""
    told: list[object] = []
    monkeypatch.delenv("IBKR_TEST_SERVICES_REQUIRED", raising=False)  # of the suite, and no setting
    with private_state("program-") as state:
        monkeypatch.setenv("IBKR_STATE_DIR", str(state))
        switch = get_kill_switch()
        assert not switch.is_active()
        switch.register_callback("strategy_halt", told.append)
        assert not switch.halt_strategy("momentum", "too keen").active
        with pytest.raises(Refused, match="CLOSING_TAKES_PEOPLE"):
            switch.activate(KillSwitchMode.CLOSE_POSITIONS, "out")
        assert not switch.is_active()
        status = switch.trigger("odd prices", triggered_by="cron")
        assert (status.active, status.mode, status.reason) == (True, KillSwitchMode.HALT_ONLY, "odd prices")
        assert switch.emergency_stop("cron").mode is KillSwitchMode.LOCKDOWN
        assert switch.activate(KillSwitchMode.HALT_ONLY, "again").mode is KillSwitchMode.LOCKDOWN
        with pytest.raises(Refused, match="RESET_TAKES_A_PERSON"):
            switch.deactivate("me")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGUSR1")
async def test_a_signal_stops_and_a_server_that_is_told_to_end_ends_in_order() -> None:
    """KS-07, EM-09, PERF-04: SIGUSR1 stops; SIGTERM under load ends it in order, in time."""
    clock = SystemClock()
    async with PaperGateway(clock=clock, market_always_open=True) as gateway:
        with private_state("signal-") as state:
            order = {"symbol": "AAPL", "action": "BUY", "quantity": 1, "limit_price": 20.0}
            async with serving(
                state, gateway, IBKR_CANCEL_ENTRIES_ON_SHUTDOWN="true", IBKR_KILL_CANCEL_ENTRY_ORDERS="false"
            ) as server:
                calls = [server.call("place_limit_order", **order) for _ in range(20)]
                async with asyncio.timeout(20):
                    await gateway.wait_for(lambda: len(gateway.received_orders) >= 3)
                server.process.send_signal(signal.SIGUSR1)
                await server.until(lambda status: status["kill_switch_active"])
                assert gateway.exchange.open_orders() != []
                calls += [server.call("get_open_orders") for _ in range(20)]
                begun = clock.monotonic()
                server.process.send_signal(signal.SIGTERM)
                async with asyncio.timeout(20):
                    await server.process.wait()
                took = clock.monotonic() - begun
                for call in calls:
                    call.cancel()
            assert took < 5.0, f"ending took {took:.1f} s"
            assert gateway.exchange.open_orders() == [], "entries were to be cancelled"
            database = Database.open(state / "state.db", read_only=True)
            latch, unresolved = database.read_blocking(latches.current), database.read_blocking(intents.unresolved)
            database.close()
            assert (latch.active, latch.auth) == (True, "signal")
            assert [one.state for one in unresolved if one.kind == "place"] == []
