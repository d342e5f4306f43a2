"""Each scripted fault, seen by the client library: what it hears, and what became of the order."""

from __future__ import annotations

import asyncio

import pytest
from ib_async import LimitOrder

from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.simulator.server import PaperGateway
from tests.contract.clients import ACCOUNT, Client, connected

AAPL = 265598


def resting() -> LimitOrder:
    return LimitOrder("BUY", 1, 1, account=ACCOUNT, orderRef="mine")


async def test_dropped_acknowledgement_leaves_a_working_order(gateway: PaperGateway) -> None:
    gateway.faults.drop_next_order_ack()
    async with connected(gateway) as ib:
        aapl = await ib.stock("AAPL")
        lost = ib.placeOrder(aapl, resting())
        heard = await ib.place(aapl, resting(), until=("Submitted",))
        assert lost.orderStatus.status == "PendingSubmit"
        assert len(gateway.exchange.open_orders()) == 2
        assert heard.orderStatus.status == "Submitted"


async def test_delayed_acknowledgement_comes_when_the_clock_says_so(gateway: PaperGateway, clock: ManualClock) -> None:
    gateway.faults.delay_acks(30)
    async with connected(gateway) as ib:
        trade = ib.placeOrder(await ib.stock("AAPL"), resting())
        async with asyncio.timeout(5):
            await gateway.wait_for(gateway.exchange.open_orders)
            await ib.reqCurrentTimeAsync()
        assert trade.orderStatus.status == "PendingSubmit"
        await clock.advance(30)
        await ib.until(lambda: trade.orderStatus.status == "Submitted")


@pytest.mark.parametrize(("fault", "survives"), [("disconnect_before_order", False), ("disconnect_after_order", True)])
async def test_link_dying_around_an_order(gateway: PaperGateway, fault: str, survives: bool) -> None:
    gateway.faults.apply(fault)
    async with connected(gateway) as ib:
        ib.placeOrder(await ib.stock("AAPL"), resting())
        async with asyncio.timeout(5):
            await gateway.wait_for(lambda: gateway.client_ids == [])
        assert len(gateway.received_orders) == 1
        assert [order.terms.order_ref for order in gateway.exchange.open_orders()] == (["mine"] if survives else [])
    async with connected(gateway) as again:
        assert [trade.order.orderRef for trade in again.openTrades()] == (["mine"] if survives else [])


async def test_frozen_gateway_answers_nothing_and_catches_up_when_thawed(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib:
        aapl = await ib.stock("AAPL")
        gateway.faults.freeze()
        trade = ib.placeOrder(aapl, resting())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ib.reqCurrentTimeAsync(), timeout=0.1)
        assert gateway.received_orders == []
        assert ib.isConnected()
        gateway.faults.thaw()
        await ib.until(lambda: trade.orderStatus.status == "Submitted")


async def test_scripted_rejection_is_reported_and_leaves_the_order_inactive(gateway: PaperGateway) -> None:
    gateway.faults.reject_next_order(201, "Order rejected - reason:Because")
    async with connected(gateway) as ib:
        trade = await ib.place(await ib.stock("AAPL"), resting(), until=("Inactive", "Cancelled"))
        await ib.until(lambda: gateway.exchange.completed_orders())
        assert ib.errors.codes(trade.order.orderId) == [201]
        assert [order.status for order in gateway.exchange.completed_orders()] == ["Inactive"]


async def test_lost_connectivity_stalls_requests_until_it_is_restored(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib:
        aapl = await ib.stock("AAPL")
        ticker = ib.reqMktData(aapl)
        await ib.until(ticker.hasBidAsk)
        gateway.faults.connectivity_lost()
        trade = ib.placeOrder(aapl, resting())
        async with asyncio.timeout(5):
            await ib.reqCurrentTimeAsync()
        assert (ib.errors.codes(), trade.orderStatus.status) == ([1100], "PendingSubmit")
        gateway.faults.connectivity_restored(data_lost=True)
        await ib.until(lambda: trade.orderStatus.status == "Submitted")
        assert ib.errors.codes() == [1100, 1101]


async def test_refused_connection_ends_at_once(gateway: PaperGateway) -> None:
    gateway.faults.refuse_connections()
    with pytest.raises((ConnectionError, TimeoutError)):
        await Client().connectAsync(gateway.host, gateway.port, clientId=3, timeout=0.5)
    gateway.faults.refuse_connections(False)
    async with connected(gateway):
        pass


async def test_dropping_every_connection_frees_the_client_ids_at_once(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib:
        gateway.disconnect_all()
        assert gateway.client_ids == []
        async with asyncio.timeout(5):
            await ib.disconnectedEvent
        async with connected(gateway):
            pass


async def test_account_change_is_announced(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib:
        gateway.set_accounts("U1234567")
        async with asyncio.timeout(5):
            while ib.wrapper.accounts != ["U1234567"]:
                await ib.updateEvent


@pytest.mark.parametrize("text", ["no_such_fault", "delay_acks", "delay_acks:soon", "freeze:1"])
def test_misspelt_fault_is_refused(gateway: PaperGateway, text: str) -> None:
    with pytest.raises(ValueError, match=r"fault|argument|convert|most"):
        gateway.faults.apply(text)
