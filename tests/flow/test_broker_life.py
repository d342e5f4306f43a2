"""A link that nobody uses is watched, a dead one is noticed in time, and what comes back does not grow."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from ibkr_mcp_server.broker.base import BrokerEventKind, FarmState, LinkState
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.domain.daily_window import DailyWindow
from ibkr_mcp_server.domain.instruments import InstrumentQuery
from ibkr_mcp_server.errors import ProductError
from ibkr_mcp_server.simulator.requests import PlaceOrder, ReqCurrentTime, ReqMarketData
from ibkr_mcp_server.simulator.server import PaperGateway
from tests.flow.broker_kit import Events, Gate, aapl, approved, broker_at, connected, resting, until, until_up


def questions(gateway: PaperGateway) -> int:
    return sum(isinstance(entry.request, ReqCurrentTime) for entry in gateway.received)


async def test_silent_death_is_noticed_without_anybody_asking_and_the_link_is_made_again(
    clock: ManualClock, gateway: PaperGateway
) -> None:
    """EM-06."""
    async with connected(gateway, clock, deadline_seconds=0.2) as broker:
        await until(lambda: broker.link.clock_offset is not None)
        events = Events(broker)
        gateway.faults.freeze()
        await clock.advance(5)
        await events.until(lambda: BrokerEventKind.LINK_DOWN in events.kinds())
        assert "did not even tell the time" in (broker.link.problem or "")
        gateway.faults.thaw()
        await until_up(broker, clock)


async def test_gateway_that_talks_is_not_asked_for_a_sign_of_life(clock: ManualClock, gateway: PaperGateway) -> None:
    async with connected(gateway, clock) as broker:
        await until(lambda: broker.link.clock_offset is not None)
        before = questions(gateway)
        for _ in range(10):
            await clock.advance(4)
            await broker.verify_accounts()
        assert questions(gateway) == before
        await clock.advance(5)
        await until(lambda: questions(gateway) == before + 1)
        assert broker.link.is_up


async def test_the_clocks_are_compared_at_the_connect_and_at_least_every_five_minutes(
    clock: ManualClock, gateway: PaperGateway
) -> None:
    """SIG-10: on a line that is never silent, so that no sign of life is asked for."""
    async with connected(gateway, clock) as broker:
        await until(lambda: broker.link.clock_offset is not None)
        measured = []
        for _ in range(0, 600, 4):
            await clock.advance(4)
            await broker.verify_accounts()
            assert broker.link.clock_offset is not None
            measured.append(broker.link.clock_offset.measured_at)
        pauses = [(after - before).total_seconds() for before, after in pairwise(dict.fromkeys(measured))]
    assert measured[0] == clock.now() - timedelta(seconds=600)
    assert len(pauses) >= 8
    assert max(pauses) <= 70, "a minute, and a heartbeat"


async def test_the_bound_of_a_dead_link_holds_whatever_the_deadline_of_requests(
    clock: ManualClock, gateway: PaperGateway
) -> None:
    async with connected(
        gateway, clock, deadline_seconds=30.0, heartbeat_seconds=5.0, dead_after_seconds=5.1
    ) as broker:
        await until(lambda: broker.link.clock_offset is not None)
        gateway.faults.freeze()
        await clock.advance(5)
        async with asyncio.timeout(10):  # of real seconds: the gateway has a tenth of one
            await until(lambda: not broker.link.is_up)


@pytest.mark.parametrize("skew", [-90.0, 0.0, 2.5])
async def test_clocks_are_compared_and_the_comparison_narrows(
    clock: ManualClock, gateway: PaperGateway, skew: float
) -> None:
    gateway.faults.clock_skew(skew)
    async with connected(gateway, clock) as broker:
        for _ in range(12):
            asked = questions(gateway)
            await clock.advance(5.37)
            await until(lambda asked=asked: questions(gateway) > asked)  # type: ignore[misc]  # the loop's number
            await broker.verify_accounts()
        offset = broker.link.clock_offset
        assert offset is not None
        assert offset.lowest <= skew <= offset.highest
        assert offset.uncertainty_seconds < 0.2
        assert offset.at_least_seconds == pytest.approx(abs(skew), abs=0.4)


async def test_clock_that_is_set_while_the_link_is_up_is_measured_anew(
    clock: ManualClock, gateway: PaperGateway
) -> None:
    async with connected(gateway, clock) as broker:
        await until(lambda: broker.link.clock_offset is not None)
        gateway.faults.clock_skew(-40)
        await clock.advance(5)
        await until(lambda: broker.link.clock_offset and broker.link.clock_offset.highest < -30)


async def test_programs_that_lose_the_same_gateway_do_not_all_come_back_in_the_same_moment(
    clock: ManualClock, gateway: PaperGateway
) -> None:
    """EM-07: the spread comes from a seed, so that a run can be repeated."""

    async def attempts(seed: int) -> list[float]:
        begun, moments = clock.monotonic(), []
        async with broker_at(gateway.port, clock, jitter_seed=seed) as broker:
            for _ in range(4):
                await until(lambda: broker.link.state is LinkState.LOST)
                attempt = broker.link.attempts
                while broker.link.attempts == attempt:
                    await clock.advance(0.125)
                moments.append(clock.monotonic() - begun)
        return moments

    gateway.faults.refuse_connections()
    first, other, again = await attempts(1), await attempts(2), await attempts(1)
    assert first == again
    assert first != other


@pytest.mark.parametrize("data_lost", [False, True])
async def test_fifty_interruptions_leave_one_subscription_of_each_kind(
    clock: ManualClock, gateway: PaperGateway, data_lost: bool
) -> None:
    async with connected(gateway, clock) as broker:
        instruments = [await broker.resolve(InstrumentQuery(symbol=symbol)) for symbol in ("AAPL", "MSFT")]
        await broker.quotes(instruments)
        lines = sum(isinstance(entry.request, ReqMarketData) for entry in gateway.received)
        for _ in range(50):
            gateway.faults.connectivity_lost()
            await until(lambda: broker.link.state is LinkState.BROKER_OFFLINE)
            gateway.faults.connectivity_restored(data_lost)
            await until_up(broker, clock)
            await broker.quotes(instruments)
            await clock.advance(1.2)  # the room for messages is the same in each round
        [client] = gateway._desk.clients.values()
        assert len(client.market_feeds) == 2
        assert len(client.summaries) == 0
        asked = sum(isinstance(entry.request, ReqMarketData) for entry in gateway.received)
        assert asked == lines * (51 if data_lost else 1), "1102 keeps the lines, 1101 takes each once anew"


async def test_what_waited_for_its_turn_when_the_link_was_lost_is_never_sent(
    clock: ManualClock, gateway: PaperGateway
) -> None:
    """EM-02: three orders wait behind the rate limit; the link goes and comes back; none of them is sent."""
    async with connected(gateway, clock, messages_per_second=20, deadline_seconds=5.0) as broker:
        instrument = await aapl(broker)
        reads = [asyncio.ensure_future(broker.executions()) for _ in range(30)]
        await until(lambda: len(gateway.received) >= 20)
        orders = [
            asyncio.ensure_future(broker.place_order(approved(resting(instrument, order_ref=f"ibmcp-{n}")), Gate()))
            for n in range(3)
        ]
        await asyncio.sleep(0)
        gateway.disconnect_all()
        outcomes = await asyncio.gather(*orders, *reads, return_exceptions=True)
        assert all(isinstance(outcome, ProductError) for outcome in outcomes[:3]), outcomes[:3]
        await until_up(broker, clock)
        await clock.advance(10)
        await broker.open_orders()
        assert [entry for entry in gateway.received if isinstance(entry.request, PlaceOrder)] == []


async def test_state_of_each_data_farm_is_shown_and_follows_the_gateway(
    clock: ManualClock, gateway: PaperGateway
) -> None:
    async with connected(gateway, clock) as broker:
        assert {farm.name: farm.state for farm in broker.link.farms} == {
            "usfarm": FarmState.OK,
            "ushmds": FarmState.OK,
            "secdefnj": FarmState.OK,
        }
        gateway.faults.farm_lost("market")
        await until(lambda: broker.link.broken_farms == ("usfarm",))
        gateway.faults.farm_restored("market")
        await until(lambda: broker.link.broken_farms == ())
        gateway.faults.error_flood(2, 2108, "Market data farm connection is inactive but should be available:usfarm")
        await until(lambda: [farm.state for farm in broker.link.farms if farm.name == "usfarm"] == [FarmState.IDLE])
        assert broker.link.is_up


async def test_loss_in_the_nightly_restart_window_is_told_as_such(gateway: PaperGateway) -> None:
    """EM-08."""
    clock = ManualClock(datetime(2026, 11, 21, 4, 50, tzinfo=UTC))  # 23:50 in New York
    windows = (DailyWindow.read("23:40-00:10"),)
    async with connected(gateway, clock, restart_windows=windows) as broker:
        gateway.faults.refuse_connections()
        gateway.disconnect_all()
        await until(lambda: broker.link.state is LinkState.LOST)
        assert "nightly restarts (23:40-00:10 New York time)" in (broker.link.problem or "")
        assert "00:10" in (broker.link.problem or "")


async def test_only_a_person_can_free_a_client_id(clock: ManualClock, gateway: PaperGateway) -> None:
    """LK-04."""
    async with connected(gateway, clock), broker_at(gateway.port, clock) as broker:
        await until(lambda: broker.link.state is LinkState.LOST)
        assert broker.link.needs_a_person
        assert "IBKR_CLIENT_ID" in (broker.link.problem or "")
