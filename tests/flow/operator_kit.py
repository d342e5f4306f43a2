"""What an operator does at a shell, for tests of what comes before and after it."""

from __future__ import annotations

import asyncio

from ibkr_mcp_server.operations.recovery import reset_breaker
from ibkr_mcp_server.store.breaker import BreakerState
from tests.flow.test_stopping import proof
from tests.harness import World


async def breaker_closed(world: World, *acknowledge: str) -> BreakerState:
    """As `breaker-reset` does it, once the watch has told how things stand now."""
    desk = world.app.desk
    watch = desk.safety.breaker
    for _ in range(2):
        looked = watch.looked_at
        async with asyncio.timeout(10):
            while watch.looked_at < looked + 6:
                await world.clock.advance(1)
                await asyncio.sleep(0.001)
    async with world.app.risk_monitor.working:
        pass
    return await reset_breaker(
        desk.database, desk.audit, desk.clock, desk.settings, await proof(world), "looked into", acknowledge=acknowledge
    )
