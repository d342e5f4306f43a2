"""Stops: placed to protect, seen, moved closer, and hard to take away."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.simulator.orders import Order
from ibkr_mcp_server.simulator.server import PaperGateway
from tests.harness import World, running

Run = Callable[..., AbstractAsyncContextManager[World]]


@pytest.fixture
def run(tmp_path: Path, gateway: PaperGateway, clock: ManualClock) -> Run:
    return partial(
        running,
        tmp_path,
        gateway,
        clock,
        enable_stop_loss_orders=True,
        allowed_order_types="MKT,LMT,STP,STP LMT,TRAIL,TRAIL LIMIT",
    )


async def hold(world: World, quantity: int = 10) -> float:
    """Buy at the market; returns the market's price."""
    bought = await world.call("place_market_order", symbol="AAPL", action="BUY", quantity=quantity)
    assert bought["outcome"] == "filled", bought
    await world.until(lambda: world.app.desk.broker.known_positions())
    return await world.last_price("AAPL")


async def protect(world: World, price: float, quantity: int = 10, **terms: Any) -> dict[str, Any]:
    given = {"stop_price": round(price * 0.95, 2)} | terms
    return await world.call("place_stop_loss", symbol="AAPL", action="SELL", quantity=quantity, **given)


def at_gateway(world: World, perm_id: int) -> Order:
    (found,) = [order for order in world.gateway.exchange.orders() if order.perm_id == perm_id]
    return found


@pytest.mark.parametrize(
    ("terms", "wire"),
    [
        ({"order_type": "STP"}, {"order_type": "STP", "aux_price": 0.95}),
        ({"order_type": "STP LMT", "limit_price": 0.94}, {"aux_price": 0.95, "limit_price": 0.94}),
        ({"order_type": "TRAIL", "stop_price": None, "trailing_amount": 5}, {"aux_price": 5}),
        ({"order_type": "TRAIL", "stop_price": None, "trailing_percent": 2.5}, {"trailing_percent": 2.5}),
        (
            {"order_type": "TRAIL LIMIT", "trailing_amount": 5, "limit_offset": 0.5},
            {"aux_price": 5, "limit_price_offset": 0.5, "trail_stop_price": 0.95},
        ),
    ],
)
async def test_each_kind_of_stop_protects_and_reaches_the_book_with_its_terms(
    run: Run, terms: dict[str, Any], wire: dict[str, Any]
) -> None:
    async with run() as world:
        price = await hold(world)
        for name in ("limit_price",):
            if name in terms:
                terms = terms | {name: round(price * terms[name], 2)}
        placed = await protect(world, price, **terms)
        assert (placed["success"], placed["outcome"], placed["terms"]["tif"]) == (True, "accepted", "GTC"), placed

        held = at_gateway(world, placed["perm_id"]).terms
        for name, value in wire.items():
            expected = round(price * value, 2) if isinstance(value, float) and 0.9 < value < 1 else value
            told = getattr(held, name)
            assert told == expected if isinstance(expected, str) else float(told) == expected, name
        listed = await world.call("get_stop_losses")
        (stop,) = listed["stop_losses"]
        assert (stop["protects"], stop["order"]["perm_id"]) == (True, placed["perm_id"])
        (cover,) = listed["positions"]
        assert (cover["quantity"], cover["covered"], cover["uncovered"]) == ("10", "10", "0")


async def test_without_the_flag_no_stop_is_placed_but_those_there_are_listed_moved_and_cancelled(
    run: Run, tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """CFG-04, T-27."""
    async with run() as world:
        price = await hold(world)
        placed = await protect(world, price)
    async with run(enable_stop_loss_orders=False) as world:
        refused = await protect(world, price)
        assert refused["code"] == "STOP_LOSS_DISABLED"
        assert [stop["order"]["perm_id"] for stop in (await world.call("get_stop_losses"))["stop_losses"]] == [
            placed["perm_id"]
        ]
        moved = await world.call("modify_stop_loss", perm_id=placed["perm_id"], stop_price=round(price * 0.96, 2))
        assert moved["success"], moved
        cancelled = await world.call("cancel_stop_loss", perm_id=placed["perm_id"])
        assert cancelled["outcome"] in ("cancelled", "pending")


async def test_a_stop_on_the_wrong_side_is_refused_and_a_buy_stop_when_flat_is_an_opening_order(run: Run) -> None:
    """ORD-11."""
    async with run(max_orders_per_minute=2) as world:
        price = await hold(world)
        above = await protect(world, price, stop_price=round(price * 1.02, 2))
        assert above["code"] == "STOP_ON_WRONG_SIDE"
        flat = {"symbol": "MSFT", "action": "BUY", "quantity": 1}
        last = await world.last_price("MSFT")
        opening = await world.call("place_stop_loss", stop_price=round(last * 1.02, 2), **flat)
        assert opening["code"] == "TIME_IN_FORCE_NOT_ALLOWED", "GTC is for protective orders"
        opening = await world.call("place_stop_loss", stop_price=round(last * 1.02, 2), tif="DAY", **flat)
        assert opening["success"], opening
        again = await world.call("place_stop_loss", stop_price=round(last * 1.03, 2), tif="DAY", **flat)
        assert again["code"] == "RATE_LIMIT", "the first one used the quota of opening orders"
        assert (await protect(world, price))["success"], "a protective stop needs none"


async def test_a_stop_beyond_the_position_is_an_opening_order(run: Run) -> None:
    async with run() as world:
        price = await hold(world)
        assert (await protect(world, price, quantity=11))["code"] == "TIME_IN_FORCE_NOT_ALLOWED"
        assert (await protect(world, price, quantity=6))["success"]
        assert (await protect(world, price, quantity=5))["code"] == "TIME_IN_FORCE_NOT_ALLOWED"
        listed = await world.call("get_stop_losses")
        assert listed["positions"][0]["uncovered"] == "4"
        assert "has no stop" in listed["warnings"][0]


async def test_while_stopped_protection_may_be_added_and_tightened_but_not_weakened_or_removed(run: Run) -> None:
    """Table 0.1, KS-13: a stop moved far away would be a cancellation by another name."""
    async with run() as world:
        price = await hold(world)
        placed = await protect(world, price, quantity=5)
        perm_id, stop = placed["perm_id"], round(price * 0.95, 2)
        await world.call("emergency_stop")
        for tool, change in (
            ("cancel_stop_loss", {}),
            ("cancel_order", {}),
            ("modify_stop_loss", {"stop_price": round(stop * 0.5, 2)}),
            ("modify_order", {"stop_price": round(stop * 0.5, 2)}),
            ("modify_stop_loss", {"quantity": 1}),
            ("modify_stop_loss", {"tif": "DAY"}),
        ):
            refused = await world.call(tool, perm_id=perm_id, **change)
            assert (refused["success"], refused["code"]) == (False, "PROTECTIVE_ORDER"), (tool, change)
        tightened = await world.call("modify_stop_loss", perm_id=perm_id, stop_price=round(price * 0.97, 2))
        assert tightened["success"], tightened
        assert (await protect(world, price, quantity=5))["success"], "new protection is possible"
        assert float(at_gateway(world, perm_id).terms.aux_price or 0) == round(price * 0.97, 2)


async def test_a_trailing_stop_keeps_its_distance_and_where_it_stands_when_its_size_changes(run: Run) -> None:
    """FD-43."""
    async with run() as world:
        price = await hold(world)
        placed = await protect(world, price, quantity=4, order_type="TRAIL", stop_price=None, trailing_percent=5)
        before = at_gateway(world, placed["perm_id"])
        changed = await world.call("modify_stop_loss", order_request_id=placed["client_request_id"], quantity=8)
        after = at_gateway(world, placed["perm_id"])
        assert changed["success"], changed
        assert (str(after.quantity), str(after.terms.trailing_percent)) == ("8", "5")
        assert (after.terms.order_type, after.tif) == ("TRAIL", "GTC")
        assert before.stop_price is not None
        assert after.stop_price is not None
        assert after.stop_price >= before.stop_price, "it never moves back"
        closer = await world.call("modify_stop_loss", perm_id=placed["perm_id"], trailing_amount=3)
        assert (closer["terms"]["trailing_amount"], "trailing_percent" in closer["terms"]) == ("3", False)
        again = await world.call("modify_stop_loss", perm_id=placed["perm_id"], trailing_percent=2)
        assert (again["terms"]["trailing_percent"], "trailing_amount" in again["terms"]) == ("2", False)


async def test_the_stop_loss_tools_touch_no_other_order(run: Run) -> None:
    async with run() as world:
        entry = await world.buy()
        for tool, change in (("modify_stop_loss", {"quantity": 2}), ("cancel_stop_loss", {})):
            refused = await world.call(tool, perm_id=entry["perm_id"], **change)
            assert (refused["success"], refused["code"]) == (False, "NOT_A_STOP_ORDER")
        assert [order.status for order in world.gateway.exchange.open_orders()] == ["Submitted"]


async def test_one_key_is_one_stop(run: Run) -> None:
    """ID-01, ID-04."""
    async with run() as world:
        price = await hold(world)
        first = await protect(world, price, client_request_id="one-stop-1")
        again = await protect(world, price, client_request_id="one-stop-1")
        assert (again["replayed"], again["perm_id"]) == (True, first["perm_id"])
        assert len(world.gateway.exchange.open_orders()) == 1


async def test_a_stop_limit_has_neither_a_default_size_nor_a_default_limit_nor_one_on_the_wrong_side(run: Run) -> None:
    """FD-45."""
    async with run() as world:
        price = await hold(world)
        level = round(price * 0.95, 2)
        given = {"symbol": "AAPL", "action": "SELL", "order_type": "STP LMT", "stop_price": level}
        sizeless = await world.call("place_stop_loss", **given, limit_price=level - 1)
        priceless = await world.call("place_stop_loss", **given, quantity=10)
        wrong = await world.call("place_stop_loss", **given, quantity=10, limit_price=round(level + 0.01, 2))
        assert (sizeless["code"], "quantity is missing" in sizeless["error"]) == ("INVALID_ARGUMENTS", True)
        assert priceless["code"] == "PRICE_MISSING"
        assert wrong["code"] == "STOP_ON_WRONG_SIDE"
        assert world.sent == 1
        right = await world.call("place_stop_loss", **given, quantity=10, limit_price=round(level - 0.01, 2))
        assert right["success"], right
