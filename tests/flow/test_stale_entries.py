"""Old entries are taken back; protection has a quota and a life of its own."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.simulator.server import PaperGateway
from tests.harness import running


async def test_an_aged_entry_is_cancelled_and_a_stop_that_needed_no_quota_is_kept(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """ORD-23, RL-12: no step of the wall clock ages an order, and a restart forgets no age."""
    settings: dict[str, Any] = {
        "stale_entry_seconds": 900, "max_orders_per_minute": 2, "enable_stop_loss_orders": True,
    }  # fmt: skip
    async with running(tmp_path, gateway, clock, **settings) as world:
        assert (await world.call("place_market_order", symbol="AAPL", action="BUY", quantity=5))["success"]
        await clock.advance(3)
        await world.until(lambda: world.app.desk.broker.known_positions())
        entry = await world.buy()
        assert (await world.buy())["code"] == "RATE_LIMIT"
        price = await world.last_price("AAPL")
        stop = await world.call("place_stop_loss", symbol="AAPL", action="SELL", quantity=5,
                                stop_price=round(price * 0.8, 2))  # fmt: skip
        assert stop["success"], stop
        clock.step_wall(timedelta(minutes=20))
        await world.sleep_through(600)
        assert len(world.working_orders()) == 2
    await clock.advance(200)
    async with running(tmp_path, gateway, clock, **settings) as world:
        assert len(world.working_orders()) == 2
        for _ in range(24):
            await clock.advance(5)
        await world.until(lambda: len(world.working_orders()) == 1)
        await world.app.follower.settled()
        assert (await world.intent(entry["client_request_id"])).state == "CANCELLED"
        assert (await world.intent(stop["client_request_id"])).state == "ACCEPTED"
