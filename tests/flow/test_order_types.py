"""Every order type, from the tool to the gateway's book."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.simulator.orders import Order
from ibkr_mcp_server.simulator.server import PaperGateway
from tests.harness import World, running

Run = Callable[..., AbstractAsyncContextManager[World]]
EVERY_TYPE = "MKT,LMT,STP,STP LMT,TRAIL,TRAIL LIMIT,MOC,LOC,MIT,LIT,REL,MIDPRICE"
EVERY_TIF = "DAY,GTC,GTD,IOC,FOK,OPG"


@pytest.fixture
def run(tmp_path: Path, gateway: PaperGateway, clock: ManualClock) -> Run:
    """Opens the product with every type and time in force allowed."""
    return partial(
        running,
        tmp_path,
        gateway,
        clock,
        enable_stop_loss_orders=True,
        allowed_order_types=EVERY_TYPE,
        allowed_time_in_force=EVERY_TIF,
    )


async def _order(world: World, tool: str, **arguments: Any) -> tuple[dict[str, Any], Order]:
    """Buy one AAPL; prices are given in parts of the market, such as 0.95."""
    last = await world.last_price("AAPL")
    for name in ("limit_price", "stop_price"):
        if name in arguments:
            arguments[name] = round(last * arguments[name], 2)
    answer = await world.call(tool, symbol="AAPL", action="BUY", quantity=1, **arguments)
    assert answer["success"], answer
    found = [order for order in world.gateway.exchange.orders() if order.perm_id == answer["perm_id"]]
    return answer, found[0]


async def test_the_types_of_limit_orders_reach_the_book_with_their_terms(run: Run) -> None:
    async with run() as world:
        for kind, terms in (
            ("LMT", {"limit_price": 0.95}),
            ("LOC", {"limit_price": 0.95}),
            ("LIT", {"limit_price": 0.96, "trigger_price": round(await world.last_price("AAPL") * 0.95, 2)}),
            ("REL", {"limit_price": 1.01, "limit_offset": 0.01}),
        ):
            answer, held = await _order(world, "place_limit_order", order_type=kind, **terms)
            assert (answer["terms"]["order_type"], held.terms.order_type) == (kind, kind)
            assert str(held.terms.limit_price) == answer["terms"]["limit_price"]
            told = await world.call("get_order_status", perm_id=answer["perm_id"])
            assert told["order"]["terms"]["order_type"] == kind


async def test_a_midprice_order_has_a_cap_and_fills_inside_the_spread(run: Run) -> None:
    async with run() as world:
        answer, held = await _order(world, "place_limit_order", order_type="MIDPRICE", limit_price=1.01)
        assert (held.terms.order_type, answer["outcome"]) == ("MIDPRICE", "filled")
        quote = world.gateway.market.quote(world.gateway.con_id("AAPL"))
        assert quote.bid is not None
        assert quote.ask is not None
        assert quote.bid <= Decimal(answer["average_fill_price"]) <= quote.ask


async def test_the_types_of_market_orders_reach_the_book_and_never_without_a_bound(run: Run) -> None:
    async with run() as world:
        filled, _ = await _order(world, "place_market_order")
        assert filled["outcome"] == "filled"
        at_close, held = await _order(world, "place_market_order", order_type="MOC")
        assert (held.terms.order_type, str(held.terms.limit_price)) == ("LOC", at_close["terms"]["market_cap_price"])
        touched, held = await _order(world, "place_market_order", order_type="MIT", stop_price=0.95)
        assert (held.terms.order_type, str(held.terms.aux_price)) == ("MIT", touched["terms"]["stop_price"])


async def test_times_in_force_reach_the_book(run: Run) -> None:
    """EM-04: what names none ends with the day, so that an entry does not outlive a long outage."""
    async with run(max_orders_per_minute=9) as world:
        _, held = await _order(world, "place_limit_order", limit_price=0.95)
        assert held.tif == "DAY"
        killed, held = await _order(world, "place_limit_order", limit_price=0.95, tif="IOC")
        assert (killed["outcome"], held.tif) == ("cancelled", "IOC")
        _, held = await _order(world, "place_limit_order", limit_price=0.95, tif="FOK")
        assert held.tif == "FOK"
        _, held = await _order(world, "place_limit_order", limit_price=0.99, tif="OPG")
        assert held.tif == "OPG"
        until, held = await _order(
            world, "place_limit_order", limit_price=0.95, tif="GTD", good_till_date="20261120 14:30:00 US/Eastern"
        )
        assert (held.tif, held.expires_at) == ("GTD", world.clock.now().replace(hour=19, minute=30))
        assert until["terms"]["good_till_date"] == "2026-11-20T19:30:00Z"
        told = await world.call("get_order_status", perm_id=until["perm_id"])
        assert told["order"]["terms"]["good_till_date"] == "2026-11-20T19:30:00Z"


async def test_terms_that_do_not_go_together_are_refused_and_nothing_is_sent(run: Run) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"order_type": "LIT"}, "PRICE_MISSING"),
        ({"order_type": "LMT", "stop_price": 0.9}, "PRICE_NOT_EXPECTED"),
        ({"order_type": "LOC", "tif": "IOC"}, "TIME_IN_FORCE_NOT_ALLOWED"),
        ({"order_type": "LIT", "stop_price": 1.05}, "STOP_ON_WRONG_SIDE"),
        ({"order_type": "REL", "limit_price": 1.05}, "PRICE_COLLAR"),
        ({"tif": "GTD"}, "GOOD_TILL_DATE"),
        ({"tif": "GTD", "good_till_date": "2026-11-20"}, "GOOD_TILL_DATE"),
        ({"tif": "GTD", "good_till_date": "2026-11-25T15:00:00Z"}, "TIME_IN_FORCE_NOT_ALLOWED"),
        ({"order_type": "PEG MID"}, "INVALID_ARGUMENTS"),
    ]
    async with run() as world:
        last = await world.last_price("AAPL")
        for arguments, code in wrong:
            given = {"limit_price": 0.95} | arguments
            for name in ("limit_price", "stop_price"):
                if name in given:
                    given[name] = round(last * given[name], 2)
            refused = await world.call("place_limit_order", symbol="AAPL", action="BUY", quantity=1, **given)
            assert (refused["success"], refused["code"]) == (False, code), (arguments, refused)
        assert world.sent == 0


async def test_check_order_judges_every_type(run: Run) -> None:
    async with run() as world:
        last = await world.last_price("AAPL")
        checked = await world.call(
            "check_order", symbol="AAPL", action="BUY", quantity=1, order_type="TRAIL", trail_percent=10
        )
        assert checked["would_be_approved"], checked
        assert Decimal(checked["worst_case_value_usd"]) == pytest.approx(
            Decimal(last) * Decimal("1.133"), rel=Decimal("0.01")
        )
        assert world.sent == 0


async def test_a_change_keeps_what_it_does_not_name_of_every_type(run: Run) -> None:
    """FD-43."""
    async with run(max_orders_per_minute=9) as world:
        trigger = round(await world.last_price("AAPL") * 0.95, 2)
        for tool, terms in (
            ("place_limit_order", {"order_type": "LIT", "limit_price": 0.96, "trigger_price": trigger}),
            ("place_limit_order", {"order_type": "REL", "limit_price": 1.01, "limit_offset": 0.01}),
            ("place_limit_order", {"tif": "GTD", "good_till_date": "2026-11-20T19:30:00Z", "limit_price": 0.95}),
            ("place_market_order", {"order_type": "MIT", "stop_price": 0.95}),
        ):
            placed, before = await _order(world, tool, **terms)
            changed = await world.call("modify_order", perm_id=placed["perm_id"], quantity=2)
            assert changed["success"], changed
            (after,) = [one for one in world.gateway.exchange.orders() if one.perm_id == placed["perm_id"]]
            assert after.quantity == 2
            for name in ("order_type", "limit_price", "aux_price", "tif", "good_till_date", "order_ref"):
                assert getattr(after.terms, name) == getattr(before.terms, name), name
