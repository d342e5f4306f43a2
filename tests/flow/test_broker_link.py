"""The life of the connection: what is missing is said at once, and nothing of a lost link survives into the next."""

from __future__ import annotations

import asyncio
import logging
import socket
from decimal import Decimal

import pytest

from ibkr_mcp_server.broker.base import BrokerEventKind, LinkState
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.domain.orders import OrderStatus
from ibkr_mcp_server.errors import OutcomeUnknown, Unavailable
from ibkr_mcp_server.simulator.requests import Request, StartApi
from ibkr_mcp_server.simulator.server import PaperGateway
from tests.flow.broker_kit import (
    ACCOUNT,
    Events,
    Gate,
    TamperedLine,
    aapl,
    approved,
    broker_at,
    connected,
    resting,
    until,
    until_up,
)


def starts(gateway: PaperGateway) -> list[Request]:
    return [entry.request for entry in gateway.received if isinstance(entry.request, StartApi)]


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_absent_gateway_is_told_at_once_with_its_repair(clock: ManualClock, free_port: int) -> None:
    async with broker_at(free_port, clock) as broker:
        with pytest.raises(Unavailable):  # while the first attempt is still under way
            await broker.open_orders()
        async with asyncio.timeout(10):
            await until(lambda: broker.link.state is LinkState.LOST)
        with pytest.raises(Unavailable) as unavailable:
            await broker.open_orders()
        assert unavailable.value.code == "LINK_DOWN"
        assert f"127.0.0.1:{free_port}" in unavailable.value.message
        assert "IBKR_PORT" in unavailable.value.message


async def test_connecting_backs_off_from_one_second_to_sixty(clock: ManualClock, gateway: PaperGateway) -> None:
    """EM-07."""
    gateway.faults.refuse_connections()
    async with broker_at(gateway.port, clock) as broker:
        pauses = []
        for _ in range(9):
            await until(lambda: broker.link.state is LinkState.LOST)
            attempt = broker.link.attempts
            started = clock.monotonic()
            while broker.link.attempts == attempt:
                await clock.advance(1)
                await _let_the_network_work()
            pauses.append(clock.monotonic() - started)
        doubled = [4 / 3, 8 / 3, 16 / 3, 32 / 3, 64 / 3, 128 / 3, 60, 60, 60]
        for pause, longest in zip(pauses, doubled, strict=True):
            assert 0.75 * longest <= pause <= longest + 1  # the clock goes in seconds here
        gateway.faults.refuse_connections(False)
        await until(lambda: broker.link.state is LinkState.LOST or broker.link.is_up)
        await clock.advance(60)
        assert (await broker.wait_until_up(5)).attempts == 0


async def test_who_takes_the_writers_role_over_while_the_gateway_is_away_connects_with_its_id_at_once(
    clock: ManualClock, gateway: PaperGateway
) -> None:
    """LK-01: only the writer's client id may change and cancel the orders that it placed."""
    gateway.faults.refuse_connections()
    async with broker_at(gateway.port, clock, client_id=117) as broker:
        await until(lambda: broker.link.state is LinkState.LOST)
        gateway.faults.refuse_connections(False)
        broker.connect_as(17)  # no time passes: it does not wait for the pause to end
        assert (await broker.wait_until_up(5)).client_id == 17
        broker.connect_as(17)
        assert broker.link.is_up


async def test_hung_handshake_is_told_as_such(clock: ManualClock, gateway: PaperGateway) -> None:
    gateway.faults.freeze()
    async with broker_at(gateway.port, clock, connect_timeout_seconds=0.1) as broker:
        await until(lambda: broker.link.state is LinkState.LOST)
        assert broker.link.problem is not None
        assert "does not answer" in broker.link.problem


async def test_gateway_that_hangs_up_in_the_handshake_is_told_as_such(
    clock: ManualClock, gateway: PaperGateway
) -> None:
    gateway.faults.refuse_connections()
    async with broker_at(gateway.port, clock) as broker:
        await until(lambda: broker.link.state is LinkState.LOST)
        assert broker.link.problem is not None
        assert "during the handshake" in broker.link.problem


async def test_client_id_in_use_is_told_and_never_replaced(clock: ManualClock, gateway: PaperGateway) -> None:
    """LK-04."""
    async with connected(gateway, clock) as holder, broker_at(gateway.port, clock) as broker:
        await until(lambda: broker.link.state is LinkState.LOST)
        assert broker.link.problem is not None
        assert "IBKR_CLIENT_ID" in broker.link.problem
        await clock.advance(59)
        assert len(starts(gateway)) == 2
        await holder.close()
        await until(lambda: gateway.client_ids == [])
        await clock.advance(1)
        assert (await broker.wait_until_up(5)).is_up
        assert {start.client_id for start in starts(gateway) if isinstance(start, StartApi)} == {7}


async def test_gateway_without_accounts_is_told_as_such(clock: ManualClock, gateway: PaperGateway) -> None:
    def no_accounts(fields: list[str]) -> list[list[str]]:
        return [["15", "1", ""]] if fields[0] == "15" else [fields]

    async with TamperedLine(gateway.port) as line:
        line.tamper = no_accounts
        async with broker_at(line.port, clock) as broker:
            await until(lambda: broker.link.state is LinkState.LOST)
            assert broker.link.problem is not None
            assert "lists no account" in broker.link.problem


async def test_read_only_api_is_told_as_such(clock: ManualClock, gateway: PaperGateway) -> None:
    def read_only(fields: list[str]) -> list[list[str]]:
        if fields[0] == "53":
            text = "Error validating request.-'bW' : cause - The API interface is currently in Read-Only mode."
            return [["4", "2", "-1", "321", text, ""]]
        return [fields]

    async with TamperedLine(gateway.port) as line:
        line.tamper = read_only
        async with broker_at(line.port, clock) as broker:
            await until(lambda: broker.link.state is LinkState.LOST)
            assert broker.link.problem is not None
            assert "Untick Read-Only API" in broker.link.problem


async def test_link_is_up_only_after_orders_fills_and_positions_were_read(
    clock: ManualClock, gateway: PaperGateway
) -> None:
    gateway.add_position(ACCOUNT, "AAPL", 100, 150)
    async with connected(gateway, clock, client_id=8) as other:
        placed = await other.place_order(approved(resting(await aapl(other))), Gate())
        async with broker_at(gateway.port, clock) as broker:
            events = Events(broker)
            assert broker.known_positions() is None
            await broker.wait_until_up(5)
            assert [order.perm_id for order in broker.known_orders()] == [placed.perm_id]
            assert [held.quantity for held in broker.known_positions() or ()] == [100]
            order_told = events.kinds().index(BrokerEventKind.ORDER_CHANGED)
            assert order_told < events.kinds().index(BrokerEventKind.LINK_UP)


async def test_lost_end_marker_ends_the_link_instead_of_shifting_every_later_answer(
    clock: ManualClock, gateway: PaperGateway
) -> None:
    async with (
        TamperedLine(gateway.port) as line,
        connected(gateway, clock, port=line.port, deadline_seconds=0.1) as broker,
    ):
        line.tamper = lambda fields: [] if fields[0] == "53" else [fields]
        with pytest.raises(Unavailable) as unavailable:
            await broker.open_orders()
        assert unavailable.value.code == "BROKER_TIMEOUT"
        await until(lambda: not broker.link.is_up)
        assert broker.link.problem is not None
        assert "never finished its answer about open orders" in broker.link.problem


async def test_frozen_gateway_bounds_every_read_and_the_link_is_made_anew(
    clock: ManualClock, gateway: PaperGateway
) -> None:
    async with connected(gateway, clock, deadline_seconds=0.2) as broker:
        instrument = await aapl(broker)
        events = Events(broker)
        gateway.faults.freeze()
        reads = (
            broker.open_orders(),
            broker.completed_orders(),
            broker.executions(),
            broker.positions(),
            broker.account_summary(ACCOUNT),
            broker.verify_accounts(),
            broker.search("AA"),
        )
        async with asyncio.timeout(10):
            outcomes = await asyncio.gather(*reads, broker.quotes([instrument]), return_exceptions=True)
        assert all(isinstance(outcome, Unavailable) for outcome in outcomes[:-1]), outcomes
        await events.until(lambda: BrokerEventKind.LINK_DOWN in events.kinds())
        assert broker.link.problem is not None
        assert "stopped answering" in broker.link.problem
        gateway.faults.thaw()
        await until_up(broker, clock)


async def test_one_slow_answer_does_not_end_a_link_that_is_alive(clock: ManualClock, gateway: PaperGateway) -> None:
    async with (
        TamperedLine(gateway.port) as line,
        connected(gateway, clock, port=line.port, deadline_seconds=0.2) as broker,
    ):
        line.tamper = lambda fields: [] if fields[0] in ("10", "52") else [fields]
        with pytest.raises(Unavailable, match="BROKER_TIMEOUT"):
            await aapl(broker)
        line.tamper = lambda fields: [fields]
        await broker.verify_accounts()
        assert (await aapl(broker)).symbol == "AAPL"
        assert broker.link.is_up


async def test_lost_link_is_told_and_made_again(clock: ManualClock, gateway: PaperGateway) -> None:
    async with connected(gateway, clock) as broker:
        events = Events(broker)
        gateway.disconnect_all()
        await events.until(lambda: BrokerEventKind.LINK_DOWN in events.kinds())
        with pytest.raises(Unavailable):
            await broker.positions()
        await until_up(broker, clock)
        assert BrokerEventKind.LINK_UP in events.kinds()


async def test_fill_during_an_outage_is_found_on_reconnect(clock: ManualClock, gateway: PaperGateway) -> None:
    """EM-05."""
    gateway.market.set_quote(265598, bid="199.98", ask="200.00")
    async with connected(gateway, clock) as broker:
        placed = await broker.place_order(approved(resting(await aapl(broker), limit_price=Decimal("150.00"))), Gate())
        events = Events(broker)
        gateway.disconnect_all()
        gateway.market.set_quote(265598, bid="148.00", ask="149.00")
        await gateway.tick()
        await events.until(lambda: BrokerEventKind.LINK_DOWN in events.kinds())
        await until_up(broker, clock)
        [order] = broker.known_orders()
        assert (order.perm_id, order.status, order.filled) == (placed.perm_id, OrderStatus.FILLED, Decimal(10))
        assert [
            event.execution.quantity for event in events if event.kind is BrokerEventKind.EXECUTION and event.execution
        ]


@pytest.mark.parametrize("data_lost", [False, True])
async def test_broker_offline_is_told_and_everything_is_read_anew_when_it_returns(
    clock: ManualClock, gateway: PaperGateway, data_lost: bool
) -> None:
    async with connected(gateway, clock) as broker:
        instrument = await aapl(broker)
        await broker.quotes([instrument])
        events = Events(broker)
        gateway.faults.connectivity_lost()
        await until(lambda: broker.link.state is LinkState.BROKER_OFFLINE)
        with pytest.raises(Unavailable) as unavailable:
            await broker.place_order(approved(resting(instrument)), Gate())
        assert unavailable.value.code == "BROKER_OFFLINE"
        gateway.faults.connectivity_restored(data_lost)
        assert (await broker.wait_until_up(5)).is_up
        assert events.kinds().count(BrokerEventKind.LINK_DOWN) == 1
        [quote] = await broker.quotes([instrument])
        assert getattr(quote, "bid", None) is not None
        assert gateway.received_orders == []


async def test_account_swapped_during_a_reconnect_is_told(clock: ManualClock, gateway: PaperGateway) -> None:
    """ACC-07."""
    async with connected(gateway, clock) as broker:
        events = Events(broker)
        gateway.disconnect_all()
        gateway.set_accounts("U1234567")
        await events.until(lambda: BrokerEventKind.LINK_DOWN in events.kinds())
        link = await until_up(broker, clock)
        assert link.accounts == ("U1234567",)
        [changed] = [event for event in events if event.kind is BrokerEventKind.ACCOUNTS_CHANGED]
        assert changed.accounts == ("U1234567",)


async def test_account_swapped_under_a_living_link_is_told(clock: ManualClock, gateway: PaperGateway) -> None:
    async with connected(gateway, clock) as broker:
        events = Events(broker)
        gateway.set_accounts("DU9000001", "U7")
        await events.until(lambda: BrokerEventKind.ACCOUNTS_CHANGED in events.kinds())
        assert broker.link.accounts == ("DU9000001", "U7")
        await until(lambda: broker.link.is_up)


async def test_broken_data_farm_is_named_until_it_is_back(clock: ManualClock, gateway: PaperGateway) -> None:
    def broken(fields: list[str]) -> list[list[str]]:
        if fields[:1] == ["4"] and fields[3] == "2106":
            return [["4", "2", "-1", "2105", "HMDS data farm connection is broken:ushmds", ""]]
        return [fields]

    async with TamperedLine(gateway.port) as line:
        line.tamper = broken
        async with connected(gateway, clock, port=line.port) as broker:
            assert broker.link.broken_farms == ("ushmds",)


async def test_unreadable_order_message_ends_the_link_instead_of_being_missed(
    clock: ManualClock, gateway: PaperGateway, caplog: pytest.LogCaptureFixture
) -> None:
    async with TamperedLine(gateway.port) as line, connected(gateway, clock, port=line.port) as broker:
        instrument = await aapl(broker)
        line.tamper = lambda fields: [["5", "7", ACCOUNT]] if fields[0] == "5" else [fields]
        with pytest.raises(OutcomeUnknown):
            await broker.place_order(approved(resting(instrument)), Gate())
        await until(lambda: broker.link.state is LinkState.LOST)
        assert broker.link.problem is not None
        assert "could not be read" in broker.link.problem
    assert ACCOUNT not in caplog.text


async def test_burst_of_reads_stays_below_the_rate_in_every_second(clock: ManualClock, gateway: PaperGateway) -> None:
    """RL-04: 200 reads, at most 40 messages in any second at the gateway."""
    async with connected(gateway, clock, deadline_seconds=30) as broker:
        reads = [asyncio.ensure_future(broker.executions()) for _ in range(200)]
        while not all(read.done() for read in reads):
            await clock.advance(0.1)
            await _let_the_network_work()
        times = [entry.at.timestamp() for entry in gateway.received]
        for start in times:
            assert sum(start <= moment < start + 1 for moment in times) <= 40


async def test_the_event_loop_is_left_as_it_is(clock: ManualClock, gateway: PaperGateway) -> None:
    """FD-55: the client library brings a patch that lets a running loop be entered again, and nothing applies it."""
    async with connected(gateway, clock):
        nothing = asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="already running"):
            asyncio.get_running_loop().run_until_complete(nothing)
        nothing.close()


async def test_client_library_logs_no_account_ids(
    clock: ManualClock, gateway: PaperGateway, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG):
        async with connected(gateway, clock) as broker:
            await broker.account_summary(ACCOUNT)
            await broker.place_order(approved(resting(await aapl(broker))), Gate())
    ours = [record for record in caplog.records if record.name.startswith(("ib_async", "ibkr_mcp_server.broker"))]
    assert not any(ACCOUNT in record.getMessage() for record in ours)
    assert capsys.readouterr().out == ""


async def _let_the_network_work() -> None:
    for _ in range(20):
        await asyncio.sleep(0)
