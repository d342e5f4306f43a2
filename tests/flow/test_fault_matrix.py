"""Every fault of the paper gateway against reading, placing, changing and cancelling, as one table.

Each cell says what the caller is told. Whatever it is: the call ends in time, no order is doubled, success is told only
of what the gateway holds, and once the fault is over the product's records say what the gateway's say.
"""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ibkr_mcp_server.broker.base import LinkState
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.simulator.faults import FAULTS
from ibkr_mcp_server.simulator.server import PaperGateway
from ibkr_mcp_server.store import intents
from tests.harness import World, running, time_passing

OK = "OK"
UNKNOWN = "OUTCOME_UNKNOWN"
ACTS = ("read", "place", "modify", "cancel")
CALL_SECONDS = 8.0
"""No call may take longer, whatever the fault; the deadline of a request is half a second where one runs out."""

LOST = "LINK_DOWN|BROKER_OFFLINE|RECONCILING"
"""Told before anything is sent."""
MUTE = ("BROKER_TIMEOUT|LINK_DOWN", UNKNOWN, UNKNOWN, UNKNOWN)
HARMLESS = (OK, OK, OK, OK)
NO_LINK = (LOST, LOST, LOST, LOST)

TABLE: dict[str, tuple[str, str, str, str]] = {
    # fault: what is told to who reads, places, modifies, cancels; divided by `|` where it is chance what comes first
    "clear": HARMLESS,
    # orders
    "drop_next_order_ack": (OK, UNKNOWN, UNKNOWN, OK),
    "duplicate_next_order_ack": HARMLESS,
    "disconnect_before_order": (OK, UNKNOWN, UNKNOWN, OK),
    "disconnect_after_order": (OK, UNKNOWN, UNKNOWN, OK),
    "reject_next_order": (OK, "BROKER_REJECTED", "BROKER_REJECTED", OK),
    "inactive_next_order": (OK, "BROKER_REJECTED", f"{UNKNOWN}|BROKER_REJECTED", OK),
    "warn_next_order:10349": HARMLESS,
    "warn_next_order:399": HARMLESS,
    "warn_next_order:404": HARMLESS,
    "spare_next_orders": HARMLESS,
    "fill_before_cancel": HARMLESS,
    "slow_cancels:5": HARMLESS,
    "preset_tif:true": HARMLESS,
    "partial_fills:1": HARMLESS,
    "commissions_first": HARMLESS,
    # messages
    "drop_next_message:3": HARMLESS,
    "drop_next_message:5": (OK, OK, UNKNOWN, OK),
    "drop_next_message:53": ("BROKER_TIMEOUT|LINK_DOWN", OK, OK, OK),
    "duplicate_next_message:3": HARMLESS,
    "duplicate_next_message:5": HARMLESS,
    "cut_next_frame": (LOST, f"{OK}|{UNKNOWN}|LINK_DOWN", f"{OK}|{UNKNOWN}|LINK_DOWN", f"{OK}|{UNKNOWN}|LINK_DOWN"),
    "pace_next_requests": MUTE,
    "pace_next_history": HARMLESS,
    "pace_next_real_time_bars": HARMLESS,
    "delay_acks:2.5": (OK, UNKNOWN, UNKNOWN, UNKNOWN),
    "slow_reader:2": MUTE,
    "partial_frames:3": HARMLESS,
    "garbage:length": MUTE,
    "garbage:fields": MUTE,
    "garbage:noise": MUTE,
    "garbage:frame": HARMLESS,
    # the link
    "freeze": MUTE,
    "thaw": HARMLESS,
    "refuse_connections": HARMLESS,
    "disconnect": NO_LINK,
    "restart": NO_LINK,
    "connectivity_lost": NO_LINK,
    "connectivity_restored": (f"{OK}|{LOST}", f"{OK}|{LOST}", f"{OK}|{LOST}", f"{OK}|{LOST}"),
    "error_flood:200": NO_LINK,
    "farm_lost:market": HARMLESS,
    "farm_lost:history": HARMLESS,
    "farm_lost:definitions": HARMLESS,
    "farm_restored:market": HARMLESS,
    # the account, the clock and others who trade
    "clock_skew:30": HARMLESS,
    "roll_back_order_ids:10": HARMLESS,
    "account_change:U1234567": (
        f"{OK}|{LOST}",
        f"ACCOUNT_NOT_ACCEPTED|{LOST}",
        f"ACCOUNT_NOT_ACCEPTED|{LOST}",
        f"{OK}|{LOST}",
    ),
    "raise_margin:2": HARMLESS,
    "manual_trade:AAPL:BUY:5": HARMLESS,
    "manual_order:AAPL:BUY:5:1.00": HARMLESS,
    # the market
    "deny_live_data": HARMLESS,
    "competing_session": (OK, "NO_REFERENCE_PRICE", "NO_REFERENCE_PRICE", OK),
    "freeze_quotes": HARMLESS,
    "absurd_quote:AAPL:huge": (OK, "BROKER_REJECTED", "BROKER_REJECTED", OK),
    "set_quote:AAPL:199.98:200.00": HARMLESS,
    "withdraw_quote:AAPL": (OK, f"{OK}|NO_REFERENCE_PRICE", f"{OK}|NO_REFERENCE_PRICE", OK),
    "release_quote:AAPL": HARMLESS,
    "halt:AAPL": HARMLESS,
    "resume:AAPL": HARMLESS,
}


def test_every_fault_of_the_gateway_is_in_the_table() -> None:
    assert {fault.partition(":")[0] for fault in TABLE} == set(FAULTS)


def _worlds() -> list[list[str]]:
    """The rows that are played in one world: those of a fault that changes nothing follow each other in a few."""
    harmless = [fault for fault, outcomes in TABLE.items() if outcomes == HARMLESS]
    others = [[fault] for fault, outcomes in TABLE.items() if outcomes != HARMLESS]
    return [harmless[first : first + 8] for first in range(0, len(harmless), 8)] + others


@pytest.mark.parametrize("faults", _worlds(), ids=lambda faults: faults[0])
async def test_row_of_the_fault_matrix(faults: list[str], tmp_path: Path, clock: ManualClock) -> None:
    """EM-02, EM-05, ID-08 to ID-10, ID-12: each act meets the fault in a world that has healed from the act before."""
    gateway = PaperGateway(clock=clock, market_always_open=True)
    settings: dict[str, Any] = {
        "broker_deadline_seconds": 3.0 if TABLE[faults[0]] == HARMLESS else 0.5,
        "connect_timeout_seconds": 0.5,
        "auto_cancel_orders_on_disconnect": False,
        "max_orders_per_minute": 50,
    }
    async with gateway, running(tmp_path, gateway, clock, **settings) as world:
        for fault in faults:
            await _play_row(world, fault)


async def _play_row(world: World, fault: str) -> None:
    gateway, clock, outcomes = world.gateway, world.clock, TABLE[fault]
    price = round(await world.last_price("AAPL") * 0.9, 2)
    resting = await world.buy(client_request_id=f"resting-order:{fault}", limit_price=price)
    await clock.advance(2)  # the messages of the start count no more
    for act, expected in zip(ACTS, outcomes, strict=True):
        gateway.faults.apply(fault)
        await clock.advance(0)  # what the gateway says of it arrives first
        async with asyncio.timeout(CALL_SECONDS):
            answer = await _act(world, act, resting["perm_id"], fault, price)
        told = OK if answer["success"] else answer["code"]
        assert told in expected.split("|"), (fault, act, answer)
        if told == OK and act == "place":
            assert answer["perm_id"] in {order.perm_id for order in gateway.exchange.orders()}, (fault, answer)
        await clock.advance(0.5)
        if outcomes != HARMLESS:
            await _heal(world)
            await clock.advance(2)  # what was read anew counts no more, however quickly that went
            await world.call_while_time_passes("get_market_data", symbols=["AAPL"])  # the next act needs no other
    await _heal(world)
    await _assert_same_records(world, fault)


async def _act(world: World, act: str, perm_id: int, fault: str, price: float) -> dict[str, Any]:
    if act == "read":
        return await world.call("get_open_orders")
    if act == "place":
        return await world.buy(2, client_request_id=f"order-in-trouble:{fault}", limit_price=price)
    if act == "modify":
        return await world.call("modify_order", perm_id=perm_id, quantity=3)
    return await world.call("cancel_order", perm_id=perm_id)


async def _heal(world: World) -> None:
    """End the fault, and let time pass until nothing is unknown any more."""
    faults = world.gateway.faults
    faults.clear()
    faults.thaw()
    faults.refuse_connections(False)
    faults.release_quote("AAPL")
    faults.resume("AAPL")
    if world.gateway.accounts.served != ("DU9000001", "DU9000002"):
        world.gateway.set_accounts("DU9000001", "DU9000002")
    if world.app.desk.broker.link.state is LinkState.BROKER_OFFLINE:
        faults.connectivity_restored()
    readiness = world.app.desk.safety.readiness
    async with asyncio.timeout(30), time_passing(world.clock):
        while True:
            unknown = await world.app.desk.database.read(intents.unresolved)
            is_up = world.app.desk.broker.link.is_up and readiness.is_settled
            if is_up and not unknown and (await world.call("get_open_orders"))["success"]:
                break
            await asyncio.sleep(0.01)


async def _assert_same_records(world: World, fault: str) -> None:
    """What the product says of its orders is what the gateway holds, and each intent is at most one order."""
    await world.app.follower.settled()
    held = [order for order in world.gateway.exchange.orders() if order.terms.order_ref]
    references = [order.terms.order_ref for order in held]
    assert len(references) == len(set(references)), "an order was doubled"
    open_orders = await world.call_while_time_passes("get_open_orders")
    told = {order["perm_id"]: order for order in open_orders["orders"]}
    working = {order.perm_id: order for order in world.gateway.exchange.open_orders()}
    assert set(told) == set(working)
    for perm_id, order in working.items():
        filled, remaining = Decimal(str(told[perm_id]["filled"])), Decimal(str(told[perm_id]["remaining"]))
        assert (filled, filled + remaining) == (order.filled, order.quantity)
    for key in (f"resting-order:{fault}", f"order-in-trouble:{fault}"):
        intent = await world.app.desk.database.read(lambda connection, key=key: intents.find_by_key(connection, key))  # type: ignore[misc]  # the loop's key
        if intent is None:
            continue
        reached = intent.order_ref in references
        assert reached == (intent.state in ("ACCEPTED", "FILLED", "CANCELLED")) or intent.state == "REJECTED", intent
