"""A take-profit that must bring something."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from ibkr_mcp_server.domain.orders import Exits, OrderType, Side
from ibkr_mcp_server.safety.codes import Code
from ibkr_mcp_server.safety.state import Action
from tests.unit.safety import builders as world


@pytest.mark.parametrize(
    ("side", "target", "asked", "codes"),
    [
        (Side.BUY, "100.25", 10, []),
        (Side.BUY, "100.24", 10, [Code.TAKE_PROFIT_EDGE]),
        (Side.BUY, "100.01", 0, []),
        (Side.SELL, "99.75", 10, []),
        (Side.SELL, "99.76", 10, [Code.TAKE_PROFIT_EDGE]),
    ],
)
def test_a_take_profit_pays_fee_slippage_and_profit_where_that_is_asked_for(
    side: Side, target: str, asked: int, codes: list[Code]
) -> None:
    """ORD-17: off by default; 10 + 5 + 10 basis points of an entry at 100."""
    back = Side.SELL if side is Side.BUY else Side.BUY
    stop_price = Decimal("99.00") if side is Side.BUY else Decimal("101.00")
    exits = Exits(
        take_profit=world.order(side=back, limit_price=Decimal(target)),
        stop_loss=world.order(side=back, order_type=OrderType.STP, limit_price=None, stop_price=stop_price),
    )
    seen = world.snapshot(world.order(side=side), exits=exits)
    settings: dict[str, Any] = {"enable_stop_loss_orders": True, "allow_short": True}
    assert world.codes(seen, take_profit_bps=asked, **settings) == codes
    assert world.codes(seen, **settings) == []


def test_a_stop_that_loses_and_a_reduction_are_never_held_to_a_profit() -> None:
    """T-41."""
    stop = world.order(side=Side.SELL, order_type=OrderType.STP, limit_price=None, stop_price=Decimal("50.00"))
    for order, action in ((stop, Action.PROTECT), (world.order(side=Side.SELL), Action.REDUCE)):
        found = world.codes(world.snapshot(order, action=action), take_profit_bps=1_000, enable_stop_loss_orders=True)
        assert Code.TAKE_PROFIT_EDGE not in found
