"""While IBKR and the gateway restart at night nothing is opened; cancelling stays possible."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.simulator.server import PaperGateway
from tests.harness import running

BEFORE = datetime(2026, 11, 21, 4, 39, tzinfo=UTC)
"""23:39 in New York."""


async def test_order_in_the_restart_window_is_refused_until_its_end_and_a_cancel_is_not(tmp_path: Path) -> None:
    """EM-08."""
    clock = ManualClock(BEFORE)
    async with (
        PaperGateway(clock=clock, market_always_open=True) as gateway,
        running(tmp_path, gateway, clock) as world,
    ):
        resting = await world.buy()
        assert resting["success"]
        await world.sleep_through(6 * 60)
        refused = await world.buy()
        assert refused["code"] == "RESTART_WINDOW"
        assert "before 00:10 New York time" in refused["error"]
        assert world.sent == 1
        cancelled = await world.call("cancel_order", perm_id=resting["perm_id"])
        assert cancelled["success"]
        await world.sleep_through(25 * 60)
        assert (await world.buy())["success"]


async def test_simulator_knows_no_restart_window(tmp_path: Path) -> None:
    async with running(tmp_path, None, ManualClock(BEFORE.replace(minute=50))) as world:
        assert (await world.buy())["success"]
