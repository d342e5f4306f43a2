"""One process writes for an account; the others read, and name it (LK-01, LK-02, LK-05)."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from ibkr_mcp_server.app import open_app
from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.safety.writer import CLAIM_SECONDS
from ibkr_mcp_server.settings.loading import load_settings
from ibkr_mcp_server.simulator.server import PaperGateway
from ibkr_mcp_server.state_dir import open_state_directory
from ibkr_mcp_server.store import intents
from tests.harness import running


async def test_of_two_servers_on_one_state_directory_one_writes_and_the_other_names_it(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    async with (
        running(tmp_path, gateway, clock, client_id=17) as one,
        running(tmp_path, gateway, clock, client_id=18) as other,
    ):
        placed = await one.buy()
        refused = await other.buy()
        cancelled = await other.call("cancel_order", perm_id=placed["perm_id"])
        read = await other.call("get_open_orders")
        status = await other.call("get_safety_status")
        stopped = await other.call("emergency_stop")
        after = await one.buy()

    assert placed["success"]
    assert (refused["code"], cancelled["code"]) == ("NOT_THE_WRITER", "NOT_THE_WRITER")
    assert f"process {os.getpid()}" in refused["error"]
    assert [order["perm_id"] for order in read["orders"]] == [placed["perm_id"]]
    assert status["not_the_writer"] == refused["error"]
    assert stopped["kill_switch_active"], "anybody may stop"
    assert after["code"] == "KILL_SWITCH_ACTIVE"
    assert one.sent == 1


async def test_orders_of_the_writer_are_left_alone_by_the_others(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """What the writer has reserved is in flight; another process must neither release nor resolve it."""
    async with running(tmp_path, gateway, clock, client_id=17) as one:
        async with one.app.desk.safety._gate.held():  # the moment before the socket, held open
            placing = asyncio.create_task(one.buy(client_request_id="in-flight-1"))
            await one.until(lambda: one.app.desk.database.read_blocking(intents.unresolved))
            async with running(tmp_path, gateway, clock, client_id=18) as other:
                await clock.advance(2)  # its first looks for lost orders
                await other.app.follower.settled()
                intent = await other.intent("in-flight-1")
        placed = await placing
    assert intent.state == "RESERVED"
    assert placed["success"]


async def test_when_the_writer_ends_the_next_takes_over_with_all_counters(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    limits: dict[str, Any] = {"max_orders_per_minute": 2}
    async with running(tmp_path, gateway, clock, client_id=17, **limits) as one:
        assert (await one.buy())["success"]
    async with AsyncExitStack() as first:
        state = open_state_directory(tmp_path / "state", allow_temporary=True)
        settings = load_settings(environ={}, broker_mode="paper", port=gateway.port, client_id=17)
        await first.enter_async_context(open_app(settings, state, clock=clock))
        async with running(tmp_path, gateway, clock, client_id=18, **limits) as other:
            assert (await other.buy())["code"] == "NOT_THE_WRITER"
            await first.aclose()
            await clock.advance(CLAIM_SECONDS)
            await other.until(lambda: other.app.desk.safety.writer.is_writer)
            await other.until(lambda: other.app.desk.safety.readiness.is_ready)  # after the checks of a start
            admitted, refused = await other.buy(), await other.buy()
            grants = await other.records(EventType.WRITER_GRANTED)
    assert admitted["success"]
    assert refused["code"] == "RATE_LIMIT"
    assert [record.outcome["fence"] for record in grants] == [1, 2, 3]


async def test_a_process_that_lost_its_lock_sends_nothing_more_and_trading_is_stopped(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    async with running(tmp_path, gateway, clock) as world:
        lock = world.state.path / "state.db-writer"
        lock.unlink()
        lock.touch(mode=0o600)
        refused = await world.buy()
        await clock.advance(CLAIM_SECONDS)
        await world.until(lambda: world.app.desk.safety.kill_switch.status_now().latch.active)
        status = await world.call("get_safety_status")
    assert refused["code"] == "NOT_THE_WRITER"
    assert world.sent == 0
    assert status["effective_state"] == "HALT"
