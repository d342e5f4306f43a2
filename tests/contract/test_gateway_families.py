"""Orders that depend on one another, through the client library: brackets and groups, with parts filled and changes."""

from __future__ import annotations

from copy import copy
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from ib_async import Contract, LimitOrder, Trade

from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.simulator.server import PaperGateway
from tests.contract.clients import ACCOUNT, Client, connected

AAPL = 265598


@pytest.fixture(autouse=True)
def quoted(gateway: PaperGateway) -> None:
    gateway.market.set_quote(AAPL, bid="199.98", ask="200.00", last="200.00")


async def bracket(ib: Client, contract: Contract, **entry: Any) -> list[Trade]:
    """Entry, profit and loss, once all three are told."""
    orders = ib.bracketOrder("BUY", 10, limitPrice=195, takeProfitPrice=210, stopLossPrice=180, tif="GTC")
    for name, value in entry.items():
        setattr(orders[0], name, value)
    for order in orders:
        order.account = ACCOUNT
    trades = [ib.placeOrder(contract, order) for order in orders]
    await ib.until(lambda: all(trade.order.permId for trade in trades))
    return trades


def kept(gateway: PaperGateway) -> list[tuple[str, int]]:
    return [(order.why_held, int(order.quantity)) for order in gateway.exchange.open_orders()]


async def test_children_say_what_holds_them_and_are_released_by_the_whole_fill(
    gateway: PaperGateway, clock: ManualClock
) -> None:
    async with connected(gateway) as ib:
        _, profit, loss = await bracket(ib, await ib.stock("AAPL"))
        assert [profit.orderStatus.whyHeld, loss.orderStatus.whyHeld] == ["child", "child,trigger"]
        gateway.market.set_quote(AAPL, bid="194.98", ask="195.00")
        await clock.advance(1)
        await ib.until(lambda: profit.orderStatus.status == "Submitted" and loss.orderStatus.whyHeld == "trigger")
        assert [profit.orderStatus.whyHeld, loss.orderStatus.status] == ["", "PreSubmitted"]


async def test_children_stay_held_while_the_parent_is_filled_in_part(gateway: PaperGateway, clock: ManualClock) -> None:
    gateway.faults.partial_fills(Decimal(4))
    async with connected(gateway) as ib:
        entry, _, _ = await bracket(ib, await ib.stock("AAPL"))
        gateway.market.set_quote(AAPL, bid="194.98", ask="195.00")
        await clock.advance(1)
        await ib.until(lambda: entry.filled() == 4)
        assert kept(gateway)[1:] == [("child", 10), ("child,trigger", 10)]


async def test_parent_cancelled_after_a_part_leaves_children_that_protect_the_part(
    gateway: PaperGateway, clock: ManualClock
) -> None:
    gateway.faults.partial_fills(Decimal(4))
    async with connected(gateway) as ib:
        entry, profit, loss = await bracket(ib, await ib.stock("AAPL"))
        gateway.market.set_quote(AAPL, bid="194.98", ask="195.00")
        await clock.advance(1)
        await ib.until(lambda: entry.filled() == 4)
        ib.cancel(entry)
        await ib.until(entry.isDone)
        await clock.advance(1)
        await ib.until(lambda: profit.orderStatus.status == "Submitted" and loss.orderStatus.whyHeld == "trigger")
        assert [quantity for _, quantity in kept(gateway)] == [4, 4]
        gateway.market.set_quote(AAPL, bid="179.00", ask="179.02", last="179.00")
        await clock.advance(1)
        await ib.until(lambda: loss.isDone() and profit.isDone())
        await ib.until(lambda: not ib.positions())
        assert (loss.orderStatus.status, loss.filled(), profit.orderStatus.status) == ("Filled", 4, "Cancelled")


async def test_parent_cancelled_before_any_fill_takes_its_children_along(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib:
        trades = await bracket(ib, await ib.stock("AAPL"))
        ib.cancel(trades[0])
        await ib.until(lambda: ib.errors.codes() == [202, 202, 202])
        assert [trade.orderStatus.status for trade in trades] == ["Cancelled"] * 3


async def test_child_cancelled_alone_leaves_the_others(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib:
        entry, profit, loss = await bracket(ib, await ib.stock("AAPL"))
        ib.cancel(profit)
        await ib.until(profit.isDone)
        assert [trade.isActive() for trade in (entry, loss)] == [True, True]


async def test_child_that_is_immediate_waits_for_its_parent_too(gateway: PaperGateway, clock: ManualClock) -> None:
    async with connected(gateway) as ib:
        aapl = await ib.stock("AAPL")
        parent = LimitOrder("BUY", 10, 195, account=ACCOUNT, transmit=False)
        entry = ib.placeOrder(aapl, parent)
        exit_order = LimitOrder("SELL", 10, 190, account=ACCOUNT, tif="IOC", parentId=parent.orderId)
        leave = await ib.place(aapl, exit_order, until=("PreSubmitted",))
        assert leave.orderStatus.whyHeld == "child"
        gateway.market.set_quote(AAPL, bid="194.98", ask="195.00")
        await clock.advance(1)
        await ib.until(lambda: entry.isDone() and leave.isDone())
        assert leave.orderStatus.avgFillPrice == 194.98


async def test_changing_a_child_keeps_its_place_in_the_bracket(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib:
        aapl = await ib.stock("AAPL")
        entry, _, loss = await bracket(ib, aapl)
        loss.order.auxPrice = 185
        ib.placeOrder(aapl, loss.order)
        await ib.until(lambda: gateway.exchange.open_orders()[-1].stop_price == 185)
        order = gateway.exchange.open_orders()[-1]
        assert (order.oca_group, order.oca_type) == (str(entry.order.permId), 3)
        assert order.parent_perm_id == entry.order.permId


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"ocaGroup": "another"}, 10326),
        ({"ocaGroup": "pair", "ocaType": 2}, 10327),
        ({"parentId": 1}, 10341),
        ({"action": "SELL"}, 105),
        ({"account": "DU9000002"}, 105),
        ({"orderType": "TRAIL", "auxPrice": 5}, 329),
    ],
)
async def test_what_an_order_belongs_to_cannot_be_changed(
    gateway: PaperGateway, change: dict[str, Any], code: int
) -> None:
    async with connected(gateway) as ib:
        aapl = await ib.stock("AAPL")
        await ib.place(aapl, LimitOrder("BUY", 1, 1), until=("Submitted",))
        grouped = LimitOrder("BUY", 1, 2, ocaGroup="pair", ocaType=1)
        trade = await ib.place(aapl, grouped, until=("Submitted",))
        before = gateway.exchange.order(1, trade.order.orderId)
        for name, value in change.items():
            setattr(trade.order, name, value)
        ib.send_order(aapl, trade.order)
        await ib.until(lambda: ib.errors.codes() == [code])
        assert gateway.exchange.order(1, trade.order.orderId) == before


async def test_group_of_type_two_is_reduced_by_each_fill(gateway: PaperGateway, clock: ManualClock) -> None:
    gateway.faults.partial_fills(Decimal(4))
    async with connected(gateway) as ib:
        aapl = await ib.stock("AAPL")
        terms = {"ocaGroup": "pair", "ocaType": 2, "account": ACCOUNT}
        near = await ib.place(aapl, LimitOrder("BUY", 10, 195, **terms), until=("Submitted",))
        far = await ib.place(aapl, LimitOrder("BUY", 20, 190, **terms), until=("Submitted",))
        gateway.market.set_quote(AAPL, bid="194.98", ask="195.00")
        for filled in (4, 8, 10):
            await clock.advance(1)
            await ib.until(lambda filled=filled: near.filled() == filled)  # type: ignore[misc]
        await ib.until(lambda: far.order.totalQuantity == 10)
        assert (near.orderStatus.status, far.isActive()) == ("Filled", True)


async def test_groups_of_the_same_name_in_two_accounts_are_two(gateway: PaperGateway, clock: ManualClock) -> None:
    async with connected(gateway) as ib:
        aapl = await ib.stock("AAPL")
        filled = await ib.place(aapl, LimitOrder("BUY", 1, 195, ocaGroup="pair", ocaType=1), until=("Submitted",))
        other = LimitOrder("BUY", 1, 190, ocaGroup="pair", ocaType=1, account="DU9000002")
        rests = await ib.place(aapl, other, until=("Submitted",))
        gateway.market.set_quote(AAPL, bid="194.98", ask="195.00")
        await clock.advance(1)
        await ib.until(filled.isDone)
        assert rests.isActive()


async def test_old_parent_in_a_change_is_135_once_the_gateway_forgot_it(
    gateway: PaperGateway, clock: ManualClock
) -> None:
    async with connected(gateway) as ib:
        aapl = await ib.stock("AAPL")
        entry, _, loss = await bracket(ib, aapl)
        gateway.market.set_quote(AAPL, bid="194.98", ask="195.00")
        await clock.advance(1)
        await ib.until(entry.isDone)
        clock.step_wall(timedelta(days=1))
        await clock.advance(1)  # what ended yesterday is forgotten
        changed = copy(loss.order)
        changed.auxPrice = 185
        ib.send_order(aapl, changed)
        await ib.until(lambda: 135 in ib.errors.codes(loss.order.orderId))
        changed.parentId = 0
        ib.send_order(aapl, changed)
        await ib.until(lambda: gateway.exchange.open_orders()[-1].stop_price == 185)
