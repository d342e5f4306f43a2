"""Placing, changing and cancelling: what reaches the gateway, and what the adapter says of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest

from ibkr_mcp_server.broker.base import BrokerEventKind
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.domain.orders import OrderStatus, OrderType, TimeInForce
from ibkr_mcp_server.errors import Fault, OutcomeUnknown, Refused, Unavailable
from ibkr_mcp_server.simulator.server import PaperGateway
from tests.flow.broker_kit import (
    ACCOUNT,
    Events,
    Gate,
    TamperedLine,
    aapl,
    approved,
    cancellation,
    change,
    connected,
    marketable,
    resting,
    until_up,
)


async def test_placed_order_returns_the_brokers_first_word(gateway: PaperGateway, clock: ManualClock) -> None:
    async with connected(gateway, clock) as broker:
        gate = Gate()
        placed = await broker.place_order(approved(resting(await aapl(broker), time_in_force=TimeInForce.GTC)), gate)
        assert placed.perm_id > 0
        assert placed.status in (OrderStatus.PRE_SUBMITTED, OrderStatus.SUBMITTED)
        assert (placed.client_id, placed.placed_here) == (7, True)
        assert (placed.order.account, placed.order.time_in_force) == (ACCOUNT, TimeInForce.GTC)
        assert (gate.entered, gate.left) == (1, 1)
        [sent] = gateway.received_orders
        assert (sent.terms.account, sent.terms.order_ref) == (ACCOUNT, "ibmcp-test-1")
        assert [known.perm_id for known in broker.known_orders()] == [placed.perm_id]


async def test_prices_and_quantities_travel_digit_for_digit(gateway: PaperGateway, clock: ManualClock) -> None:
    async with connected(gateway, clock) as broker:
        order = resting(await aapl(broker), limit_price=Decimal("1.10"), quantity=Decimal("1E+2"))
        placed = await broker.place_order(approved(order), Gate())
        [sent] = gateway.received_orders
        assert (sent.terms.limit_price, sent.terms.quantity) == (Decimal("1.10"), Decimal(100))
        assert (placed.order.limit_price, placed.order.quantity) == (Decimal("1.10"), Decimal(100))


async def test_market_order_with_a_cap_travels_as_a_limit_order_at_the_cap(
    gateway: PaperGateway, clock: ManualClock
) -> None:
    """ORD-09."""
    gateway.market.set_quote(265598, bid="199.98", ask="200.00")
    async with connected(gateway, clock) as broker:
        order = resting(await aapl(broker), order_type=OrderType.MKT, limit_price=None, cap_price=Decimal("206.00"))
        placed = await broker.place_order(approved(order), Gate())
        [sent] = gateway.received_orders
        assert (sent.terms.order_type, sent.terms.limit_price) == ("LMT", Decimal(206))
        assert placed.status is OrderStatus.FILLED
        assert (placed.filled, placed.average_fill_price) == (Decimal(10), Decimal(200))


async def test_stop_price_travels_in_its_own_field(gateway: PaperGateway, clock: ManualClock) -> None:
    """FD-51."""
    async with connected(gateway, clock) as broker:
        order = resting(await aapl(broker), order_type=OrderType.STP, limit_price=None, stop_price=Decimal("9000.00"))
        placed = await broker.place_order(approved(order), Gate())
        [sent] = gateway.received_orders
        assert (sent.terms.order_type, sent.terms.aux_price) == ("STP", Decimal(9000))
        assert (placed.order.stop_price, placed.order.limit_price) == (Decimal(9000), None)


async def test_closed_gate_keeps_everything_off_the_wire(gateway: PaperGateway, clock: ManualClock) -> None:
    """TW-11."""
    async with connected(gateway, clock) as broker:
        instrument = await aapl(broker)
        placed = await broker.place_order(approved(resting(instrument)), Gate())
        before = len(gateway.received_writes)
        closed = Gate(refuse_with=Refused("STATE_CHANGED", "Trading was stopped."))
        for write in (
            broker.place_order(approved(resting(instrument)), closed),
            broker.modify_order(change(placed, quantity=Decimal(11)), closed),
            broker.cancel_order(cancellation(placed), closed),
        ):
            with pytest.raises(Refused, match="STATE_CHANGED"):
                await write
        await broker.verify_accounts()
        assert len(gateway.received_writes) == before


async def test_rejected_order_carries_the_brokers_code_and_words(gateway: PaperGateway, clock: ManualClock) -> None:
    gateway.faults.reject_next_order(201, "Order rejected - reason:\x07Not enough margin")
    async with connected(gateway, clock) as broker:
        with pytest.raises(Refused) as refusal:
            await broker.place_order(approved(resting(await aapl(broker))), Gate())
        assert (refusal.value.code, refusal.value.broker_code) == ("BROKER_REJECTED", 201)
        assert refusal.value.broker_text == "Order rejected - reason: Not enough margin"
        assert refusal.value.next_step
        assert await broker.open_orders() == []


async def test_order_refused_at_validation_is_rejected_though_no_status_ever_comes(
    gateway: PaperGateway, clock: ManualClock
) -> None:
    async with connected(gateway, clock) as broker:
        order = resting(await aapl(broker), limit_price=Decimal("1.001"))
        with pytest.raises(Refused) as refusal:
            await broker.place_order(approved(order), Gate())
        assert refusal.value.broker_code == 110
        assert broker.known_orders() == []


@pytest.mark.parametrize(
    ("order_type", "code"),
    [(OrderType.TRAIL, "ORDER_INCOMPLETE"), (OrderType.OTHER, "ORDER_TYPE_UNSUPPORTED")],
)
async def test_order_that_cannot_be_said_is_refused_before_anything_is_sent(
    gateway: PaperGateway, clock: ManualClock, order_type: OrderType, code: str
) -> None:
    async with connected(gateway, clock) as broker:
        with pytest.raises(Refused, match=code):
            await broker.place_order(approved(resting(await aapl(broker), order_type=order_type)), Gate())
        with pytest.raises(Refused, match="ORDER_INCOMPLETE"):
            await broker.place_order(approved(resting(await aapl(broker), limit_price=None)), Gate())
        await broker.verify_accounts()
        assert gateway.received_orders == []


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (10349, "Order TIF was set to DAY based on order preset."),
        (399, "Order Message: Warning: your order will not be placed at the exchange until 09:30 US/Eastern."),
        (77777, "Something new."),
    ],
)
@pytest.mark.parametrize("echo_arrives", [True, False])
async def test_remark_about_a_living_order_does_not_kill_it(
    gateway: PaperGateway, clock: ManualClock, code: int, text: str, echo_arrives: bool
) -> None:
    """ID-12: what the library would mark as cancelled or in error is alive at the broker."""
    seen = {"5": 0}

    def remark_first(fields: list[str]) -> list[list[str]]:
        if fields[0] == "5" and not seen["5"]:
            seen["5"] += 1
            remark = ["4", "2", fields[1], str(code), text, ""]
            return [remark, fields] if echo_arrives else [remark]
        if fields[0] == "3" and not echo_arrives and seen["5"] == 1:
            return []
        if fields[0] == "5":
            seen["5"] += 1
        return [fields]

    async with (
        TamperedLine(gateway.port) as line,
        connected(gateway, clock, port=line.port, deadline_seconds=1.0) as broker,
    ):
        instrument = await aapl(broker)
        line.tamper = remark_first
        placed = await broker.place_order(approved(resting(instrument)), Gate())
        assert placed.is_working
        assert placed.perm_id > 0
        assert [known.status.is_final for known in broker.known_orders()] == [False]


async def test_unknown_message_about_an_order_that_is_not_listed_is_its_rejection(
    gateway: PaperGateway, clock: ManualClock
) -> None:
    gateway.faults.reject_next_order(77777, "Computer says no")

    def only_the_message(fields: list[str]) -> list[list[str]]:
        return [] if fields[0] in ("3", "5") else [fields]

    async with (
        TamperedLine(gateway.port) as line,
        connected(gateway, clock, port=line.port, deadline_seconds=1.0) as broker,
    ):
        instrument = await aapl(broker)
        line.tamper = only_the_message
        with pytest.raises(Refused) as refusal:
            await broker.place_order(approved(resting(instrument)), Gate())
        assert refusal.value.broker_code == 77777


async def test_order_held_in_another_account_is_a_fault(gateway: PaperGateway, clock: ManualClock) -> None:
    """ACC-09."""

    def other_account(fields: list[str]) -> list[list[str]]:
        if fields[0] == "5":
            fields = ["DU9000002" if field == ACCOUNT else field for field in fields]
        return [fields]

    async with TamperedLine(gateway.port) as line, connected(gateway, clock, port=line.port) as broker:
        instrument = await aapl(broker)
        line.tamper = other_account
        with pytest.raises(Fault) as fault:
            await broker.place_order(approved(resting(instrument)), Gate())
        assert fault.value.code == "ACCOUNT_ECHO_MISMATCH"
        assert fault.value.details == ("sent: DU9000001", "told: DU9000002")


async def test_lost_acknowledgement_is_an_unknown_outcome_and_the_order_is_found_by_its_reference(
    gateway: PaperGateway, clock: ManualClock
) -> None:
    """ID-08."""
    gateway.faults.drop_next_order_ack()
    async with connected(gateway, clock, deadline_seconds=0.3) as broker:
        with pytest.raises(OutcomeUnknown) as unknown:
            await broker.place_order(approved(resting(await aapl(broker))), Gate())
        assert "ibmcp-test-1" in unknown.value.details[0]
        assert broker.known_orders() == []  # what was only sent is not known
        [found] = await broker.open_orders()
        assert found.order.order_ref == "ibmcp-test-1"
        assert len(gateway.received_orders) == 1


@pytest.mark.parametrize(("fault", "survives"), [("disconnect_before_order", False), ("disconnect_after_order", True)])
async def test_link_lost_around_an_order_is_an_unknown_outcome_until_the_reconnected_truth(
    gateway: PaperGateway, clock: ManualClock, fault: str, survives: bool
) -> None:
    async with connected(gateway, clock) as broker:
        instrument = await aapl(broker)
        gateway.faults.apply(fault)
        events = Events(broker)
        with pytest.raises(OutcomeUnknown):
            await broker.place_order(approved(resting(instrument)), Gate())
        await events.until(lambda: BrokerEventKind.LINK_DOWN in events.kinds())
        await until_up(broker, clock)
        found = [order.order.order_ref for order in broker.known_orders()]
        assert found == (["ibmcp-test-1"] if survives else [])
        assert len(gateway.received_orders) == 1


async def test_changed_order_keeps_its_identity_and_what_was_not_changed(
    gateway: PaperGateway, clock: ManualClock
) -> None:
    """FD-43."""
    async with connected(gateway, clock) as broker:
        order = resting(await aapl(broker), time_in_force=TimeInForce.GTC, outside_rth=True)
        placed = await broker.place_order(approved(order), Gate())
        changed = await broker.modify_order(change(placed, quantity=Decimal(20), limit_price=Decimal("1.05")), Gate())
        assert changed.perm_id == placed.perm_id
        assert (changed.order.quantity, changed.order.limit_price) == (Decimal(20), Decimal("1.05"))
        sent = gateway.received_orders[-1]
        assert sent.order_id == placed.order_id
        assert (sent.terms.tif, sent.terms.outside_rth, sent.terms.account) == ("GTC", True, ACCOUNT)
        assert sent.terms.order_ref == "ibmcp-test-1"


async def test_rejected_change_leaves_the_order_as_it_was(gateway: PaperGateway, clock: ManualClock) -> None:
    async with connected(gateway, clock) as broker:
        placed = await broker.place_order(approved(resting(await aapl(broker))), Gate())
        with pytest.raises(Refused) as refusal:
            await broker.modify_order(change(placed, limit_price=Decimal("1.001")), Gate())
        assert refusal.value.broker_code == 110
        [still] = await broker.open_orders()
        assert (still.perm_id, still.order.limit_price, still.is_working) == (placed.perm_id, Decimal(1), True)


async def test_orders_can_be_changed_and_cancelled_after_a_reconnect(gateway: PaperGateway, clock: ManualClock) -> None:
    """FD-42."""
    async with connected(gateway, clock) as first:
        placed = await first.place_order(approved(resting(await aapl(first))), Gate())
    async with connected(gateway, clock) as broker:
        [known] = broker.known_orders()
        assert (known.perm_id, known.placed_here) == (placed.perm_id, True)
        changed = await broker.modify_order(change(known, quantity=Decimal(3)), Gate())
        assert changed.order.quantity == 3
        assert (await broker.cancel_order(cancellation(changed), Gate())).status in (
            OrderStatus.PENDING_CANCEL,
            OrderStatus.CANCELLED,
        )


async def test_finished_order_is_never_changed(gateway: PaperGateway, clock: ManualClock) -> None:
    async with connected(gateway, clock) as broker:
        filled = await broker.place_order(approved(marketable(await aapl(broker))), Gate())
        with pytest.raises(Refused, match="ORDER_NOT_WORKING"):
            await broker.modify_order(change(filled, quantity=Decimal(11)), Gate())
        await broker.verify_accounts()
        assert len(gateway.received_orders) == 1


async def test_order_of_another_client_is_neither_changed_nor_cancelled(
    gateway: PaperGateway, clock: ManualClock
) -> None:
    async with connected(gateway, clock, client_id=8) as other, connected(gateway, clock) as broker:
        await other.place_order(approved(resting(await aapl(other))), Gate())
        [theirs] = await broker.open_orders()
        before = len(gateway.received_writes)
        for write in (
            broker.modify_order(change(theirs, quantity=Decimal(1)), Gate()),
            broker.cancel_order(cancellation(theirs), Gate()),
        ):
            with pytest.raises(Refused) as refusal:
                await write
            assert refusal.value.code == "NOT_OUR_ORDER"
            assert refusal.value.next_step
        await broker.verify_accounts()
        assert len(gateway.received_writes) == before


async def test_cancelled_order_is_reported_in_the_brokers_words(gateway: PaperGateway, clock: ManualClock) -> None:
    async with connected(gateway, clock) as broker:
        placed = await broker.place_order(approved(resting(await aapl(broker))), Gate())
        ended = await broker.cancel_order(cancellation(placed), Gate())
        assert ended.status in (OrderStatus.PENDING_CANCEL, OrderStatus.CANCELLED)
        assert await broker.open_orders() == []
        again = await broker.cancel_order(cancellation(placed), Gate())
        assert again.status is OrderStatus.CANCELLED
        assert len(gateway.received_writes) == 2


async def test_cancelling_a_filled_order_returns_the_fill(gateway: PaperGateway, clock: ManualClock) -> None:
    async with connected(gateway, clock) as broker:
        filled = await broker.place_order(approved(marketable(await aapl(broker))), Gate())
        assert (await broker.cancel_order(cancellation(filled), Gate())).status is OrderStatus.FILLED


async def test_fill_that_wins_against_the_cancellation_is_reported(gateway: PaperGateway, clock: ManualClock) -> None:
    gateway.market.set_quote(265598, bid="199.98", ask="200.00")
    blind = False

    def unseen(fields: list[str]) -> list[list[str]]:
        return [] if blind and fields[0] in ("3", "5", "11", "59") else [fields]

    async with TamperedLine(gateway.port) as line:
        line.tamper = unseen
        async with connected(gateway, clock, port=line.port) as broker:
            placed = await broker.place_order(
                approved(resting(await aapl(broker), limit_price=Decimal("150.00"))), Gate()
            )
            blind = True  # the fill happens and its news is lost
            gateway.market.set_quote(265598, bid="148.00", ask="149.00")
            await gateway.tick()
            won = await broker.cancel_order(cancellation(placed), Gate())
            assert won.status is OrderStatus.FILLED


async def test_caller_that_goes_away_while_it_waits_takes_its_order_with_it(
    gateway: PaperGateway, clock: ManualClock
) -> None:
    async with connected(gateway, clock) as broker:
        instrument = await aapl(broker)
        holding, reached = asyncio.Event(), asyncio.Event()

        @asynccontextmanager
        async def slow_gate() -> AsyncIterator[None]:
            reached.set()
            await holding.wait()
            yield

        task = asyncio.ensure_future(broker.place_order(approved(resting(instrument)), slow_gate))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        holding.set()
        await broker.verify_accounts()
        assert gateway.received_orders == []


async def test_caller_that_goes_away_after_the_send_still_gets_the_outcome(
    gateway: PaperGateway, clock: ManualClock
) -> None:
    gateway.faults.delay_acks(10)
    async with connected(gateway, clock) as broker:
        instrument = await aapl(broker)
        task = asyncio.ensure_future(broker.place_order(approved(resting(instrument)), Gate()))
        async with asyncio.timeout(5):
            await gateway.wait_for(lambda: gateway.received_orders)
        task.cancel()
        await broker.verify_accounts()
        assert not task.done()
        await clock.advance(10)
        assert (await task).order.order_ref == "ibmcp-test-1"


async def test_frozen_gateway_bounds_a_placement_and_leaves_it_unknown(
    gateway: PaperGateway, clock: ManualClock
) -> None:
    async with connected(gateway, clock, deadline_seconds=0.2) as broker:
        instrument = await aapl(broker)
        gateway.faults.freeze()
        with pytest.raises(OutcomeUnknown) as unknown:
            async with asyncio.timeout(10):
                await broker.place_order(approved(resting(instrument)), Gate())
        assert "0.2 s" in unknown.value.message


async def test_orders_that_wait_for_room_are_dropped_when_the_link_is_lost(
    gateway: PaperGateway, clock: ManualClock
) -> None:
    """EM-02: three queued orders, none of them ever sent."""
    async with connected(gateway, clock, messages_per_second=10, deadline_seconds=3) as broker:
        instrument = await aapl(broker)
        while True:  # use up the second; the clock stands still
            try:
                async with asyncio.timeout(0.1):
                    await broker.verify_accounts()
            except TimeoutError:
                break
        waiting = [
            asyncio.ensure_future(broker.place_order(approved(resting(instrument, order_ref=f"ibmcp-{n}")), Gate()))
            for n in range(3)
        ]
        await asyncio.sleep(0)
        gateway.disconnect_all()
        for outcome in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(outcome, Unavailable)
        await until_up(broker, clock)
        await clock.advance(5)
        await broker.open_orders()
        assert gateway.received_orders == []


async def test_nothing_is_added_to_bytes_that_the_gateway_does_not_take(
    gateway: PaperGateway, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EM-02: what lies in the socket's buffer would reach a gateway that comes back to life, however late."""
    async with connected(gateway, clock) as broker:
        instrument = await aapl(broker)
        working = await broker.place_order(approved(resting(instrument)), Gate())
        transport = broker._link.up().session.client.conn.transport
        assert transport is not None
        monkeypatch.setattr(transport, "get_write_buffer_size", lambda: 1)
        with pytest.raises(Unavailable, match="does not take what is sent"):
            await broker.place_order(approved(resting(instrument)), Gate())
        with pytest.raises(Unavailable, match="does not take what is sent"):
            await broker.cancel_order(cancellation(working), Gate())
        monkeypatch.undo()
        assert (await broker.cancel_order(cancellation(working), Gate())).status is OrderStatus.CANCELLED
    assert len(gateway.received_orders) == 1
