"""The rules for each order type: its terms, its worst price, where its stop lies, how long it lives."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from ibkr_mcp_server.domain.order_types import CAPPED_AS, ORDER_TERMS, Term
from ibkr_mcp_server.domain.orders import OrderType, Side, TimeInForce
from ibkr_mcp_server.safety import valuation
from ibkr_mcp_server.safety.codes import Code
from ibkr_mcp_server.safety.state import Action
from tests.unit.safety import builders as world


@pytest.mark.parametrize(
    ("side", "terms", "worst"),
    [
        # bid 99.98, ask 100.00, collar 3 %
        (Side.BUY, {"order_type": OrderType.MKT, "cap_price": Decimal("103.00")}, "103.00"),
        (Side.BUY, {"order_type": OrderType.MOC, "cap_price": Decimal("103.00")}, "103.00"),
        (Side.BUY, {"order_type": OrderType.LOC, "limit_price": Decimal("98")}, "98"),
        (Side.BUY, {"order_type": OrderType.STP, "stop_price": Decimal("110")}, "113.30"),
        (Side.BUY, {"order_type": OrderType.MIT, "stop_price": Decimal("90")}, "103.00"),
        (Side.BUY, {"order_type": OrderType.STP_LMT, "stop_price": Decimal(110), "limit_price": Decimal(111)}, "111"),
        (Side.BUY, {"order_type": OrderType.LIT, "stop_price": Decimal("90"), "limit_price": Decimal("91")}, "91"),
        (Side.BUY, {"order_type": OrderType.TRAIL, "trailing_amount": Decimal("5")}, "108.15"),
        (Side.BUY, {"order_type": OrderType.TRAIL, "trailing_percent": Decimal("10")}, "113.30"),
        (
            Side.BUY,
            {"order_type": OrderType.TRAIL, "trailing_amount": Decimal(5), "stop_price": Decimal(120)},
            "123.60",
        ),
        (
            Side.BUY,
            {"order_type": OrderType.TRAIL_LIMIT, "trailing_amount": Decimal("5"), "limit_offset": Decimal("0.50")},
            "105.50",
        ),
        (
            Side.BUY,
            {"order_type": OrderType.REL, "limit_price": Decimal("101"), "limit_offset": Decimal("0.02")},
            "101",
        ),
        (Side.BUY, {"order_type": OrderType.MIDPRICE, "limit_price": Decimal("100.50")}, "100.50"),
        (Side.SELL, {"order_type": OrderType.MIT, "stop_price": Decimal("110")}, "110"),
        (Side.SELL, {"order_type": OrderType.STP, "stop_price": Decimal("90")}, "100.00"),
        (Side.SELL, {"order_type": OrderType.TRAIL, "trailing_percent": Decimal("10")}, "100.00"),
        (Side.SELL, {"order_type": OrderType.MOC, "cap_price": Decimal("97.00")}, "100.00"),
    ],
)
def test_every_type_is_valued_at_the_worst_price_it_could_fill_at(
    side: Side, terms: dict[str, Any], worst: str
) -> None:
    """ORD-07, ORD-08, FD-3: nothing is worth zero, and nothing is valued below what may be paid."""
    placed = world.order(side=side, **{"limit_price": None, **terms})
    assert valuation.worst_case_price(placed, world.quote(), world.NOON, 15, Decimal(3)) == Decimal(worst)
    assert valuation.worst_case_price(placed, None, world.NOON, 15, Decimal(3)) is None


@pytest.mark.parametrize("order_type", list(ORDER_TERMS))
def test_a_term_that_a_type_needs_must_be_there_and_one_that_it_lacks_must_not(order_type: OrderType) -> None:
    """ORD-02, ORD-05."""
    terms = ORDER_TERMS[order_type]
    allowed: dict[str, Any] = {"allowed_order_types": tuple(ORDER_TERMS), "enable_stop_loss_orders": True}
    bare = world.order(order_type=order_type, limit_price=None, cap_price=Decimal("103.00"))
    needed = [name for name in ("limit_price", "stop_price", "limit_offset") if getattr(terms, name) is Term.REQUIRED]
    missing = [found for found in world.codes(world.snapshot(bare), **allowed) if found == Code.PRICE_MISSING]
    assert len(missing) == len(needed) + terms.trails
    full = replace(
        bare,
        limit_price=Decimal("100.00"),
        stop_price=Decimal("100.00"),
        trailing_amount=Decimal("1.00"),
        limit_offset=Decimal("0.10"),
    )
    surplus = [found for found in world.codes(world.snapshot(full), **allowed) if found == Code.PRICE_NOT_EXPECTED]
    lacking = [name for name in ("limit_price", "stop_price", "limit_offset") if getattr(terms, name) is Term.NONE]
    assert len(surplus) == len(lacking) + (not terms.trails)


def test_a_trailing_order_has_an_amount_or_a_percentage_and_not_both() -> None:
    allowed: dict[str, Any] = {"enable_stop_loss_orders": True}
    trail = world.order(order_type=OrderType.TRAIL, limit_price=None, trailing_amount=Decimal("1.00"))
    assert world.codes(world.snapshot(trail), **allowed) == []
    both = replace(trail, trailing_percent=Decimal(2))
    assert world.codes(world.snapshot(both), **allowed) == [Code.PRICE_NOT_EXPECTED]
    for percent in ("100", "NaN", "0"):
        wild = replace(trail, trailing_amount=None, trailing_percent=Decimal(percent))
        assert world.codes(world.snapshot(wild), **allowed) == [Code.INVALID_PRICE], percent
    off_grid = replace(trail, trailing_amount=Decimal("1.005"))
    assert world.codes(world.snapshot(off_grid), **allowed) == [Code.PRICE_TICK]


@pytest.mark.parametrize(
    ("side", "terms", "waits"),
    [
        (Side.SELL, {"order_type": OrderType.STP, "stop_price": Decimal("99.97")}, True),
        (Side.SELL, {"order_type": OrderType.STP, "stop_price": Decimal("99.98")}, False),
        (Side.BUY, {"order_type": OrderType.STP, "stop_price": Decimal("100.01")}, True),
        (Side.BUY, {"order_type": OrderType.STP, "stop_price": Decimal("100.00")}, False),
        (Side.BUY, {"order_type": OrderType.MIT, "stop_price": Decimal("99.99")}, True),
        (Side.BUY, {"order_type": OrderType.MIT, "stop_price": Decimal("100.00")}, False),
        (Side.SELL, {"order_type": OrderType.MIT, "stop_price": Decimal("100.01")}, True),
        (Side.SELL, {"order_type": OrderType.MIT, "stop_price": Decimal("99.98")}, False),
        (Side.SELL, {"order_type": OrderType.STP_LMT, "stop_price": Decimal(95), "limit_price": Decimal(95)}, True),
        (Side.SELL, {"order_type": OrderType.STP_LMT, "stop_price": Decimal(95), "limit_price": Decimal(96)}, False),
        (Side.BUY, {"order_type": OrderType.STP_LMT, "stop_price": Decimal(105), "limit_price": Decimal(104)}, False),
    ],
)
def test_a_stop_must_lie_where_it_waits_and_its_limit_where_it_fills(
    side: Side, terms: dict[str, Any], waits: bool
) -> None:
    """ORD-11, FD-45."""
    placed = world.order(side=side, **{"limit_price": None, **terms})
    reference = Decimal("100.00") if side is Side.BUY else Decimal("99.98")
    seen = world.snapshot(placed, reference_price=reference, value_usd=Decimal(1000))
    found = world.codes(seen, allowed_order_types=tuple(ORDER_TERMS), enable_stop_loss_orders=True)
    assert found == ([] if waits else [Code.STOP_ON_WRONG_SIDE])


def test_the_collar_of_a_stop_limit_is_measured_from_its_stop() -> None:
    """ORD-09: a protective stop-limit lies far from today's market by its nature."""
    allowed: dict[str, Any] = {"enable_stop_loss_orders": True, "allowed_order_types": tuple(ORDER_TERMS)}
    far = world.order(
        side=Side.SELL, order_type=OrderType.STP_LMT, stop_price=Decimal("80.00"), limit_price=Decimal("77.60")
    )
    assert world.codes(world.snapshot(far), **allowed) == []
    beyond = replace(far, limit_price=Decimal("77.59"))
    assert world.codes(world.snapshot(beyond), **allowed) == [Code.PRICE_COLLAR]
    trail = world.order(
        side=Side.SELL, order_type=OrderType.TRAIL_LIMIT, limit_price=None, trailing_amount=Decimal("9.00"),
        limit_offset=Decimal("3.01"),
    )  # fmt: skip
    assert world.codes(world.snapshot(trail), **allowed) == [Code.PRICE_COLLAR]
    assert world.codes(world.snapshot(replace(trail, limit_offset=Decimal("2.00"))), **allowed) == []


def test_a_market_order_that_cannot_be_capped_is_refused() -> None:
    """ORD-09: without a price step there is no cap, and without a cap no bound."""
    for order_type in CAPPED_AS:
        placed = world.order(order_type=order_type, limit_price=None)
        found = world.codes(world.snapshot(placed, value_usd=Decimal(1)), allowed_order_types=tuple(ORDER_TERMS))
        assert found == [Code.CONTRACT_RULES_UNKNOWN]


@pytest.mark.parametrize("tif", list(TimeInForce))
@pytest.mark.parametrize("order_type", list(ORDER_TERMS))
def test_a_time_in_force_passes_only_with_the_types_that_have_it(order_type: OrderType, tif: TimeInForce) -> None:
    """ORD-10: even if the operator allows every time in force."""
    placed = world.order(order_type=order_type, time_in_force=tif, good_till_date=world.NOON + timedelta(hours=1))
    every = tuple(name for name in TimeInForce if name is not TimeInForce.OTHER)
    found = world.codes(
        world.snapshot(placed, action=Action.PROTECT),
        allowed_time_in_force=every,
        allowed_order_types=tuple(ORDER_TERMS),
        enable_stop_loss_orders=True,
    )
    assert (Code.TIME_IN_FORCE_NOT_ALLOWED not in found) is (tif in ORDER_TERMS[order_type].times_in_force)


def test_an_entry_may_not_outlive_the_trading_day_by_a_date_either() -> None:
    """ORD-10; the trading day of NOON ends at 17:00 in New York, which is 22:00 UTC."""
    allowed: dict[str, Any] = {"allowed_time_in_force": "DAY,GTD"}
    end = datetime(2026, 11, 20, 22, 0, tzinfo=UTC)
    gtd = world.order(time_in_force=TimeInForce.GTD, good_till_date=end)
    assert world.codes(world.snapshot(gtd), **allowed) == []
    later = replace(gtd, good_till_date=end + timedelta(seconds=1))
    assert world.codes(world.snapshot(later), **allowed) == [Code.TIME_IN_FORCE_NOT_ALLOWED]
    for wrong in (
        replace(gtd, good_till_date=None),
        replace(gtd, good_till_date=world.NOON),
        world.order(good_till_date=end),
    ):
        assert world.codes(world.snapshot(wrong), **allowed) == [Code.GOOD_TILL_DATE]
