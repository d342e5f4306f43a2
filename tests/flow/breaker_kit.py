"""What moves the circuit breaker, for the tests around it: prices, losses, rejections, and the person who closes it."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

from ibkr_mcp_server.operations.recovery import reset_breaker
from ibkr_mcp_server.simulator.server import PaperGateway
from ibkr_mcp_server.store import breaker
from ibkr_mcp_server.store.breaker import BreakerState
from tests.harness import World
from tests.people import proof

ACCOUNT = "DU9000001"
SHARES = 10_000
SLOWLY: dict[str, Any] = {
    "loss_velocity_warning_pct": 50,
    "max_loss_velocity_pct": 60,
    "loss_velocity_kill_pct": 70,
    "max_price_walk_pct": 100,
    "max_quote_jump_pct": 100,
}
"""For steps of the equity in which how fast it falls is not the point."""


def priced(gateway: PaperGateway, price: str) -> None:
    for symbol in ("AAPL", "MSFT", "IBM"):
        gateway.market.set_quote(gateway.con_id(symbol), bid=price, ask=price, last=price)


def invested(gateway: PaperGateway) -> None:
    """1,000,000 USD in cash and as much in shares of 100 USD: 1 USD is half a percent of the equity."""
    priced(gateway, "100.00")
    gateway.add_position(ACCOUNT, "AAPL", SHARES, 100)


async def looked_at(world: World) -> None:
    """The watch looks at how things stand now."""
    watch = world.app.desk.safety.breaker
    looked = watch.looked_at
    async with asyncio.timeout(10):
        while watch.looked_at <= looked:
            await world.clock.advance(0.25)
            async with world.app.risk_monitor.working:  # what it does takes real time, and none of the clock's
                await asyncio.sleep(0)
    async with world.app.risk_monitor.working:
        pass  # it has acted on what it saw


async def tick(world: World, price: str | None = None) -> float:
    """The price moves; returns after how many seconds the watch had acted on it (A4)."""
    if price is not None:
        priced(world.gateway, price)
    before, begun = world.clock.now(), world.clock.monotonic()
    await world.clock.advance(1)

    def told() -> bool:
        pnl = world.app.desk.broker.known_pnl(ACCOUNT)
        if pnl is None or pnl.daily is None or pnl.received_at <= before:
            return False
        return abs(pnl.daily - world.gateway.accounts.daily_pnl(ACCOUNT)) < Decimal("0.02")  # none that was under way

    await world.until(told)
    await looked_at(world)
    return world.clock.monotonic() - begun


async def state_of(world: World) -> BreakerState:
    return await world.app.desk.database.read(breaker.current)


async def breaches(world: World) -> dict[str, str]:
    """Trigger to level of everything that is breached."""
    await tick(world)
    await world.app.follower.settled()
    await tick(world)  # the look after everything was written down
    state = await world.app.desk.database.read(breaker.current)
    return {breach.trigger: breach.level for breach in state.breaches.values()}


async def rejected(world: World, times: int) -> None:
    for _ in range(times):
        await world.clock.advance(0.01)  # so that the store can tell their order
        world.gateway.faults.reject_next_order()
        assert (await world.buy(symbol="MSFT"))["outcome"] == "rejected"


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
