"""Trading at high speed while everything goes wrong at random: at the end both sides hold the same.

Two simulated minutes with one seed here; `make soak` plays an hour with several (SOAK_MINUTES, SOAK_SEEDS).
"""

from __future__ import annotations

import asyncio
import os
import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ibkr_mcp_server.broker.base import LinkState
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.simulator.server import PaperGateway
from ibkr_mcp_server.store import intents, reconciliations
from tests.harness import World, running, time_passing

MINUTES = float(os.environ.get("SOAK_MINUTES", "2"))
SEEDS = [int(seed) for seed in os.environ.get("SOAK_SEEDS", "7").split(",")]
DEADLINE_SECONDS = 0.5 if MINUTES < 10 else 2.0
"""Real ones. An hour leaves thousands of finished orders, and a list of them takes its time on a busy machine."""
ACCOUNT = "DU9000001"
SYMBOLS = ("AAPL", "MSFT", "SPY")
BREAKER_FAR_AWAY: dict[str, Any] = {
    "win_rate_warning_pct": "0.02",
    "min_win_rate_pct": "0.01",
    "fees_warning_pct": 99,
    "max_fees_pct": 100,
    "strategy_max_drawdown_pct": 100,
    "unknown_order_warning_seconds": 3_000,
    "max_unknown_order_seconds": 3_300,
    "unknown_order_kill_seconds": 3_600,
    "mismatch_kill_seconds": 3_600,
}
"""Whoever trades at random loses, and the circuit breaker would rightly end that within minutes."""
FAULTS = (
    "drop_next_order_ack",
    "duplicate_next_order_ack",
    "disconnect_before_order",
    "disconnect_after_order",
    "reject_next_order",
    "warn_next_order:399",
    "fill_before_cancel",
    "drop_next_message:3",
    "drop_next_message:5",
    "drop_next_message:11",
    "duplicate_next_message:11",
    "cut_next_frame",
    "pace_next_requests",
    "disconnect",
    "partial_fills:100",
    "partial_frames:7",
    "connectivity_lost",
    "farm_lost:market",
    "freeze",
    "garbage:length",
    "commissions_first",
    "roll_back_order_ids:5",
)


@pytest.mark.parametrize("seed", SEEDS)
async def test_after_random_trading_with_random_faults_both_sides_hold_the_same(seed: int, tmp_path: Path) -> None:
    chance, clock = random.Random(seed), ManualClock()
    gateway = PaperGateway(clock=clock, seed=seed, accounts=(ACCOUNT,), market_always_open=True)
    settings: dict[str, Any] = {
        **BREAKER_FAR_AWAY,
        "broker_deadline_seconds": DEADLINE_SECONDS,
        "connect_timeout_seconds": 0.5,
        "max_orders_per_minute": 3000,
        "max_daily_orders": 100_000,
        "daily_orders_warning": 100_000,
        "max_market_data_requests_per_minute": 3000,
        "max_order_value_usd": 1_000_000,
    }
    async with gateway, running(tmp_path, gateway, clock, **settings) as world:
        end = clock.monotonic() + MINUTES * 60
        while clock.monotonic() < end:
            if chance.random() < 0.08:
                gateway.faults.apply(chance.choice(FAULTS))
            elif chance.random() < 0.25:
                _mend(gateway)
            async with asyncio.timeout(20):
                await _act(world, chance)
            await clock.advance(chance.choice((0.2, 0.5, 1.0, 2.0)))
        await _settle(world)
        await _assert_equal(world)


async def _act(world: World, chance: random.Random) -> None:
    """One thing that an agent might do; whatever comes of it is judged at the end."""
    symbol, action = chance.choice(SYMBOLS), chance.choice(("BUY", "SELL"))
    quantity, kind = 100 * chance.randint(1, 5), chance.random()  # so that commissions do not make each trade a loss
    working = [order for order in world.app.desk.broker.known_orders() if order.is_working and order.placed_here]
    if kind < 0.35:
        await world.call("place_market_order", symbol=symbol, action=action, quantity=quantity)
    elif kind < 0.7:
        price = round(await world.last_price(symbol) * chance.uniform(0.99, 1.01), 2)
        order = {"symbol": symbol, "action": action, "quantity": quantity, "limit_price": price}
        await world.call("place_limit_order", **order)
    elif working and kind < 0.85:
        await world.call("cancel_order", perm_id=chance.choice(working).perm_id)
    elif working:
        await world.call("modify_order", perm_id=chance.choice(working).perm_id, quantity=quantity + 100)


def _mend(gateway: PaperGateway) -> None:
    gateway.faults.clear()
    gateway.faults.thaw()


async def _settle(world: World) -> None:
    """Let time pass, without faults, until nothing is unknown and the newest comparison found agreement."""
    _mend(world.gateway)
    if world.app.desk.broker.link.state is LinkState.BROKER_OFFLINE:
        world.gateway.faults.connectivity_restored()
    desk, readiness = world.app.desk, world.app.desk.safety.readiness
    unknown: list[intents.Intent] = []
    try:
        async with asyncio.timeout(60), time_passing(world.clock):
            while True:
                unknown = await desk.database.read(intents.unresolved)
                if desk.broker.link.is_up and readiness.is_settled and not unknown and not readiness.findings:
                    return
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"not settled: {desk.broker.link}, {readiness.findings}, settled {readiness.is_settled}, {unknown}")


async def _assert_equal(world: World) -> None:
    gateway, account = world.gateway, world.gateway.accounts.by_code[ACCOUNT]
    await world.clock.advance(2)
    gateway.faults.freeze_quotes()
    for symbol in SYMBOLS:
        gateway.halt(symbol, True)
    async with time_passing(world.clock):
        portfolio = await world.call("get_portfolio")
        orders = await world.call("get_open_orders")
        executions = await world.call("get_executions")
        summary = await world.call("get_account_summary")
    assert {row["con_id"]: Decimal(str(row["quantity"])) for row in portfolio["positions"]} == {
        con_id: held.quantity for con_id, held in account.positions.items() if held.quantity
    }
    assert {row["perm_id"]: Decimal(str(row["filled"])) for row in orders["orders"]} == {
        order.perm_id: order.filled for order in gateway.exchange.open_orders()
    }
    assert len(gateway.exchange.executions()) > MINUTES, "hardly anything was traded"
    assert {row["execution_id"] for row in executions["executions"]} == {
        fill.exec_id for fill in gateway.exchange.executions()
    }
    told = {row["currency"]: Decimal(str(row["amount"])) for row in summary["cash_balances"]}
    assert told == {currency: round(cash, 2) for currency, cash in account.cash.items()}
    references = [order.terms.order_ref for order in gateway.exchange.orders() if order.terms.order_ref]
    assert len(references) == len(set(references)), "an order was doubled"
    for order in gateway.exchange.orders():
        intent = await world.app.desk.database.read(
            lambda connection, order=order: intents.find_by_ref(connection, order.terms.order_ref)  # type: ignore[misc]  # the loop's order
        )
        assert intent is not None
        if (intent.filled_quantity or Decimal()) != order.filled:
            known = world.app.desk.broker.known_order(order.perm_id)
            pytest.fail("\n".join(map(str, (intent, order, known, *await _story(world, intent)))))
    report = await world.app.desk.database.read(reconciliations.newest)
    assert report is not None
    assert report.clean, report


async def _story(world: World, intent: intents.Intent) -> list[str]:
    """What was recorded of one order."""
    return [
        f"{record.timestamp} {record.event_type} {record.order_data} {record.outcome}"
        for record in await world.records()
        if intent.order_ref in str(record.broker_ids)
    ]
