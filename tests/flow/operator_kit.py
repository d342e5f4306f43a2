"""What an operator does at a shell, for tests of what comes before and after it."""

from __future__ import annotations

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
        await world.clock.advance(6)
        await world.until(lambda looked=looked: watch.looked_at > looked)  # type: ignore[misc]  # the loop's moment
    async with world.app.risk_monitor.working:
        pass
    return await reset_breaker(
        desk.database, desk.audit, desk.clock, desk.settings, await proof(world), "looked into", acknowledge=acknowledge
    )
