"""A gateway with a state directory is the same gateway after a restart, however it ended."""

from __future__ import annotations

import shutil
from decimal import Decimal
from pathlib import Path

from ib_async import LimitOrder, MarketOrder, Order

from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.simulator.server import PaperGateway
from tests.contract.clients import ACCOUNT, connected

AAPL = 265598


def kept(clock: ManualClock, directory: Path) -> PaperGateway:
    return PaperGateway(clock=clock, market_always_open=True, state_dir=directory)


async def test_world_survives_a_kill(clock: ManualClock, tmp_path: Path) -> None:
    async with kept(clock, tmp_path / "a") as gateway:
        gateway.market.set_quote(AAPL, bid="199.98", ask="200.00")
        async with connected(gateway) as ib:
            aapl = await ib.stock("AAPL")
            filled = await ib.place(aapl, MarketOrder("BUY", 10, orderRef="filled"), until=("Filled",))
            resting = await ib.place(
                aapl, LimitOrder("SELL", 10, 300, tif="GTC", orderRef="open"), until=("Submitted",)
            )
            trail = Order(action="SELL", totalQuantity=10, orderType="TRAIL", auxPrice=5, tif="GTC")
            await ib.place(aapl, trail, until=("PreSubmitted",))
            # What a kill leaves behind is the directory as it is now, perhaps with a half-written line.
            shutil.copytree(tmp_path / "a", tmp_path / "b")
            with (tmp_path / "b" / "world.jsonl").open("ab") as journal:
                journal.write(b'{"orders":{"1500000001":{"perm_id"')
            before = gateway.exchange.orders(), gateway.exchange.executions(), gateway.accounts.by_code[ACCOUNT]

    async with kept(clock, tmp_path / "b") as gateway:
        after = gateway.exchange.orders(), gateway.exchange.executions(), gateway.accounts.by_code[ACCOUNT]
        assert after == before
        async with connected(gateway) as ib:
            assert {trade.order.orderRef for trade in ib.openTrades()} == {"open", ""}
            assert ib.client.getReqId() > resting.order.orderId
            [position] = ib.positions(ACCOUNT)
            assert position.position == 10
            again = await ib.place(await ib.stock("AAPL"), LimitOrder("BUY", 1, 1), until=("Submitted",))
            assert again.order.permId > max(filled.order.permId, resting.order.permId)


async def test_orderly_restart_keeps_cash_and_scripted_market(clock: ManualClock, tmp_path: Path) -> None:
    async with kept(clock, tmp_path) as gateway:
        gateway.market.set_quote(AAPL, bid="199.98", ask="200.00")
        async with connected(gateway) as ib:
            await ib.place(await ib.stock("AAPL"), MarketOrder("BUY", 10), until=("Filled",))
    async with kept(clock, tmp_path) as gateway:
        assert gateway.accounts.by_code[ACCOUNT].cash == {"USD": Decimal(997_999)}
        assert gateway.market.quote(AAPL).ask == Decimal("200.00")


async def test_gateway_with_other_hours_keeps_the_account(clock: ManualClock, tmp_path: Path) -> None:
    async with kept(clock, tmp_path) as gateway:
        gateway.add_position(ACCOUNT, "AAPL", 5, 100)
    async with PaperGateway(clock=clock, state_dir=tmp_path) as gateway:
        assert gateway.accounts.by_code[ACCOUNT].positions[AAPL].quantity == 5
