"""Every fault of the paper gateway, as a client finds it on the wire: one test for each name in `FAULTS`.

How the product answers to them is shown in `tests/flow`; here it is only shown that they occur as TWS would show them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import UTC, datetime
from decimal import Decimal
from typing import TypeVar

import pytest
from ib_async import LimitOrder, MarketOrder, Order, Ticker

from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.simulator.faults import ABSURD_QUOTES, FAULTS, GARBAGE, parameters_of
from ibkr_mcp_server.simulator.server import PaperGateway
from tests.contract.clients import ACCOUNT, DEADLINE_SECONDS, Client, RawClient, connected, raw_client

AAPL = 265598
DONE = ("Filled", "Cancelled", "Inactive")
T = TypeVar("T")


def test_every_fault_has_a_test_and_says_what_it_does() -> None:
    shown = [name for name in globals() if name.startswith("test_")]
    assert [fault for fault in FAULTS if not any(f"_{fault}_" in name for name in shown)] == []
    assert [fault for fault, switch in FAULTS.items() if not (switch.__doc__ or "").strip()] == []


@pytest.mark.parametrize(
    "line",
    [
        "drop_next_order_ack",  # the acknowledgement is lost, or late
        "delay_acks:2",
        "duplicate_next_message:11",  # a fill
        "disconnect_before_order",
        "disconnect_after_order",
        "restart:5:10",  # with the newest order ids forgotten
        "freeze_quotes",
        "error_flood:10",
        "clock_skew:30",
        "account_change:DU7654321",
        "manual_trade:AAPL:BUY:5",
    ],
)
async def test_each_fault_that_was_asked_for_can_be_chosen_by_its_name(gateway: PaperGateway, line: str) -> None:
    """SIM-02."""
    gateway.faults.apply(line)


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_can_be_written_as_a_line_or_says_what_it_lacks(gateway: PaperGateway, fault: str) -> None:
    needed = [entry for entry in parameters_of(fault) if entry.default is entry.empty]
    if needed:
        with pytest.raises(ValueError, match=needed[0].name):
            gateway.faults.apply(fault)
    with pytest.raises(ValueError, match="fault"):
        gateway.faults.apply(f"{fault}s_and_more")


def resting(**terms: object) -> LimitOrder:
    return LimitOrder("BUY", 1, 1, account=ACCOUNT, **{"tif": "DAY", **terms})


async def soon(answer: Awaitable[T]) -> T:
    async with asyncio.timeout(DEADLINE_SECONDS):
        return await answer


async def settled(gateway: PaperGateway, ib: Client) -> None:
    """Everything that the client sent so far has been answered."""
    await soon(ib.reqCurrentTimeAsync())


async def quiet(raw: RawClient) -> None:
    """Start the API and read all that the gateway says to that."""
    await raw.handshake()
    raw.send(49, 1)
    await raw.next_of(49)


async def streaming(ib: Client) -> Ticker:
    ticker = ib.reqMktData(await ib.stock("AAPL"))
    await ib.until(ticker.hasBidAsk)
    return ticker


# --- the next orders ---


async def test_drop_next_order_ack_leaves_a_working_order_that_was_never_told(gateway: PaperGateway) -> None:
    gateway.faults.apply("drop_next_order_ack")
    async with connected(gateway) as ib:
        trade = ib.placeOrder(await ib.stock("AAPL"), resting())
        await settled(gateway, ib)
        assert (trade.orderStatus.status, len(gateway.exchange.open_orders())) == ("PendingSubmit", 1)
        assert [found.order.permId for found in await soon(ib.reqAllOpenOrdersAsync())] != []


async def test_duplicate_next_order_ack_tells_one_order_twice(gateway: PaperGateway) -> None:
    gateway.faults.apply("duplicate_next_order_ack")
    async with connected(gateway) as ib, raw_client(gateway) as raw:
        aapl = await ib.stock("AAPL")
        await raw.handshake(client_id=2)
        trade = await ib.place(aapl, resting(), until=("Submitted",))
        told = [entry.status for entry in trade.log]
        await settled(gateway, ib)
        assert (len(gateway.exchange.open_orders()), told.count("Submitted")) == (1, 1)
        assert len(await soon(ib.reqAllOpenOrdersAsync())) == 1


async def test_disconnect_before_order_loses_it_with_the_link(gateway: PaperGateway) -> None:
    gateway.faults.apply("disconnect_before_order")
    async with connected(gateway) as ib:
        ib.placeOrder(await ib.stock("AAPL"), resting())
        await soon(gateway.wait_for(lambda: not gateway.client_ids))
        assert (len(gateway.received_orders), gateway.exchange.orders()) == (1, [])


async def test_disconnect_after_order_keeps_it_and_loses_the_link(gateway: PaperGateway) -> None:
    gateway.faults.apply("disconnect_after_order")
    async with connected(gateway) as ib:
        ib.placeOrder(await ib.stock("AAPL"), resting())
        await soon(gateway.wait_for(lambda: not gateway.client_ids))
        assert len(gateway.exchange.open_orders()) == 1


async def test_spare_next_orders_lets_them_pass_and_the_fault_meets_the_one_after(gateway: PaperGateway) -> None:
    gateway.faults.spare_next_orders(1)
    gateway.faults.reject_next_order(201, "Order rejected - reason:The second")
    async with connected(gateway) as ib:
        aapl = await ib.stock("AAPL")
        first = await ib.place(aapl, resting(), until=("Submitted",))
        second = await ib.place(aapl, resting(), until=("Inactive", "Cancelled"))
        assert (first.orderStatus.status, ib.errors.codes(second.order.orderId)) == ("Submitted", [201])
        third = await ib.place(aapl, resting(), until=("Submitted",))
        assert third.orderStatus.status == "Submitted"


async def test_reject_next_order_leaves_a_new_order_inactive_and_a_changed_one_as_it_was(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib:
        aapl = await ib.stock("AAPL")
        gateway.faults.apply("reject_next_order:201:Order rejected - reason:Because: of this")
        refused = await ib.place(aapl, resting(), until=("Inactive",))
        assert ib.errors[-1][1:] == (201, "Order rejected - reason:Because: of this")
        kept = await ib.place(aapl, resting(), until=("Submitted",))
        gateway.faults.apply("reject_next_order:201:Too late")
        kept.order.lmtPrice = 2
        ib.placeOrder(aapl, kept.order)
        await ib.until(lambda: 201 in ib.errors.codes(kept.order.orderId))
        assert refused.orderStatus.status == "Inactive"
        assert [order.limit_price for order in gateway.exchange.open_orders()] == [1]


async def test_inactive_next_order_ends_without_a_reason(gateway: PaperGateway) -> None:
    gateway.faults.apply("inactive_next_order")
    async with connected(gateway) as ib:
        trade = await ib.place(await ib.stock("AAPL"), resting(), until=("Inactive",))
        assert ib.errors.codes(trade.order.orderId) == []


@pytest.mark.parametrize("code", [10349, 399, 404])
async def test_warn_next_order_comes_with_an_order_that_is_alive(gateway: PaperGateway, code: int) -> None:
    gateway.faults.apply(f"warn_next_order:{code}")
    async with connected(gateway) as ib:
        trade = ib.placeOrder(await ib.stock("AAPL"), resting())
        await ib.until(lambda: ib.errors.codes(trade.order.orderId) == [code])
        await settled(gateway, ib)
        assert [order.status for order in gateway.exchange.open_orders()] == ["Submitted"]


async def test_spare_next_orders_lets_them_pass_and_the_fault_meets_the_next(gateway: PaperGateway) -> None:
    gateway.faults.apply("spare_next_orders:2")
    gateway.faults.apply("inactive_next_order")
    async with connected(gateway) as ib:
        aapl = await ib.stock("AAPL")
        for expected in ("Submitted", "Submitted", "Inactive"):
            await ib.place(aapl, resting(), until=(expected,))


async def test_fill_before_cancel_lets_the_fill_win(gateway: PaperGateway) -> None:
    gateway.faults.apply("fill_before_cancel")
    async with connected(gateway) as ib:
        trade = await ib.place(await ib.stock("AAPL"), resting(), until=("Submitted",))
        ib.send_cancel(trade.order.orderId)
        await ib.until(lambda: ib.errors.codes() == [10148])
        assert (trade.orderStatus.status, trade.orderStatus.avgFillPrice) == ("Filled", 1)


# --- orders, until switched back ---


async def test_slow_cancels_stay_pending_refuse_a_second_one_and_can_still_fill(
    gateway: PaperGateway, clock: ManualClock
) -> None:
    gateway.faults.apply("slow_cancels:30")
    async with connected(gateway) as ib:
        aapl = await ib.stock("AAPL")
        filled = await ib.place(aapl, resting(), until=("Submitted",))
        cancelled = await ib.place(aapl, LimitOrder("BUY", 1, 0.5, account=ACCOUNT), until=("Submitted",))
        for trade in (filled, cancelled):
            ib.cancel(trade)
            ib.send_cancel(trade.order.orderId)
        await ib.until(lambda: ib.errors.codes() == [161, 161])
        assert {order.status for order in gateway.exchange.open_orders()} == {"PendingCancel"}
        gateway.market.set_quote(AAPL, bid="0.99", ask="1.00")
        await clock.advance(1)
        await ib.until(lambda: filled.orderStatus.status == "Filled")
        await clock.advance(30)
        await ib.until(lambda: cancelled.orderStatus.status == "Cancelled")
        assert ib.errors.codes() == [161, 161, 202]


async def test_preset_tif_makes_it_a_day_order_and_says_so(gateway: PaperGateway) -> None:
    gateway.faults.apply("preset_tif")
    async with connected(gateway) as ib:
        aapl = await ib.stock("AAPL")
        preset, named = ib.placeOrder(aapl, resting(tif="")), ib.placeOrder(aapl, resting())
        await ib.until(lambda: named.orderStatus.status == "Submitted")
        assert (ib.errors.codes(preset.order.orderId), ib.errors.codes(named.order.orderId)) == ([10349], [])
        assert [order.tif for order in gateway.exchange.open_orders()] == ["DAY", "DAY"]


# --- the next messages and requests ---


async def test_drop_next_message_swallows_an_end_marker(gateway: PaperGateway) -> None:
    async with raw_client(gateway) as raw:
        await raw.handshake()
        gateway.faults.apply("drop_next_message:62")
        raw.send(61, 1)
        raw.send(49, 1)
        assert (await raw.next_of(49))[0] == "49"
        raw.send(61, 1)
        assert await raw.next_of(62) == ["62", "1"]


async def test_duplicate_next_message_sends_it_twice(gateway: PaperGateway) -> None:
    async with raw_client(gateway) as raw:
        await raw.handshake()
        gateway.faults.apply("duplicate_next_message:49")
        raw.send(49, 1)
        assert await raw.next_of(49) == await raw.next()


async def test_cut_next_frame_ends_the_link_in_the_middle_of_a_message(gateway: PaperGateway) -> None:
    async with raw_client(gateway) as raw:
        await raw.handshake()
        gateway.faults.apply("cut_next_frame")
        raw.send(49, 1)
        assert await raw.closed_by_peer()
        assert raw.unfinished


async def test_pace_next_requests_drops_them_with_100(gateway: PaperGateway) -> None:
    async with raw_client(gateway) as raw:
        await quiet(raw)
        gateway.faults.apply("pace_next_requests:2")
        for _ in range(3):
            raw.send(49, 1)
        errors = [await raw.next_of(4), await raw.next_of(4)]
        assert [(fields[2], fields[3]) for fields in errors] == [("-1", "100")] * 2
        assert (await raw.next_of(49))[0] == "49"


async def test_pace_next_history_is_162_with_the_words_of_pacing(gateway: PaperGateway) -> None:
    gateway.faults.apply("pace_next_history")
    async with connected(gateway) as ib:
        aapl = await ib.stock("AAPL")
        assert not await soon(ib.reqHistoricalDataAsync(aapl, "", "5 D", "1 day", "TRADES", True))
        assert ib.errors.codes() == [162]
        assert "pacing violation" in ib.errors[-1][2]
        assert await soon(ib.reqHistoricalDataAsync(aapl, "", "5 D", "1 day", "TRADES", True))


async def test_pace_next_real_time_bars_is_420(gateway: PaperGateway) -> None:
    gateway.faults.apply("pace_next_real_time_bars")
    async with connected(gateway) as ib:
        ib.reqRealTimeBars(await ib.stock("AAPL"), 5, "TRADES", True)
        await ib.until(lambda: 420 in ib.errors.codes())


# --- the line, until switched back ---


async def test_delay_acks_holds_them_until_the_clock_says_so(gateway: PaperGateway, clock: ManualClock) -> None:
    gateway.faults.apply("delay_acks:30")
    async with connected(gateway) as ib:
        trade = ib.placeOrder(await ib.stock("AAPL"), resting())
        await settled(gateway, ib)
        assert (trade.orderStatus.status, len(gateway.exchange.open_orders())) == ("PendingSubmit", 1)
        await clock.advance(30)
        await ib.until(lambda: trade.orderStatus.status == "Submitted")


async def test_slow_reader_takes_one_request_after_the_other(gateway: PaperGateway, clock: ManualClock) -> None:
    async with raw_client(gateway) as raw:
        await raw.handshake()
        seen = len(gateway.received)
        gateway.faults.apply("slow_reader:10")
        for _ in range(2):
            raw.send(49, 1)
        for count in (1, 2):
            began = clock.monotonic()
            async with asyncio.timeout(DEADLINE_SECONDS):
                while len(gateway.received) < seen + count:
                    await clock.advance(1)
            assert clock.monotonic() - began >= 10
            assert (await raw.next_of(49))[0] == "49"


async def test_partial_frames_arrive_in_pieces_and_are_whole(gateway: PaperGateway) -> None:
    gateway.faults.apply("partial_frames:3")
    async with connected(gateway) as ib:
        trade = await ib.place(await ib.stock("AAPL"), resting(orderRef="in pieces"), until=("Submitted",))
        assert trade.order.permId


async def test_freeze_and_thaw_hold_everything_back_and_then_answer_it(gateway: PaperGateway) -> None:
    async with raw_client(gateway) as raw:
        await quiet(raw)
        seen = len(gateway.received)
        gateway.faults.apply("freeze")
        raw.send(49, 1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(raw.next(), timeout=0.1)
        assert len(gateway.received) == seen
        gateway.faults.apply("thaw")
        assert (await raw.next_of(49))[0] == "49"


async def test_refuse_connections_ends_new_ones_and_keeps_the_old(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib:
        gateway.faults.apply("refuse_connections")
        async with raw_client(gateway) as raw:
            assert await raw.closed_by_peer()
        assert ib.isConnected()
        gateway.faults.apply("refuse_connections:no")
        async with connected(gateway, client_id=2):
            pass


async def test_disconnect_ends_every_connection(gateway: PaperGateway) -> None:
    async with raw_client(gateway) as one, raw_client(gateway) as two:
        await one.handshake(client_id=1)
        await two.handshake(client_id=2)
        gateway.faults.apply("disconnect")
        assert await one.closed_by_peer()
        assert await two.closed_by_peer()
        assert gateway.client_ids == []


@pytest.mark.parametrize("kind", GARBAGE)
async def test_garbage_arrives_as_it_is(gateway: PaperGateway, kind: str) -> None:
    async with raw_client(gateway) as raw:
        await quiet(raw)
        gateway.faults.apply(f"garbage:{kind}")
        assert await soon(raw.next_bytes(len(GARBAGE[kind]))) == GARBAGE[kind]


# --- IBKR behind the gateway ---


async def test_connectivity_lost_is_1100_and_stalls_all_but_the_gateways_own_answers(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib:
        aapl = await ib.stock("AAPL")
        gateway.faults.apply("connectivity_lost")
        trade = ib.placeOrder(aapl, resting())
        await settled(gateway, ib)
        assert (ib.errors.codes(), trade.orderStatus.status) == ([1100], "PendingSubmit")
        assert gateway.exchange.orders() == []


@pytest.mark.parametrize(("fault", "code"), [("connectivity_restored", 1102), ("connectivity_restored:yes", 1101)])
async def test_connectivity_restored_answers_what_stalled(gateway: PaperGateway, fault: str, code: int) -> None:
    async with connected(gateway) as ib:
        aapl = await ib.stock("AAPL")
        gateway.faults.apply("connectivity_lost")
        trade = ib.placeOrder(aapl, resting())
        gateway.faults.apply(fault)
        await ib.until(lambda: trade.orderStatus.status == "Submitted")
        assert ib.errors.codes() == [1100, code]


async def test_connectivity_restored_with_data_lost_ends_the_streams(gateway: PaperGateway, clock: ManualClock) -> None:
    async with connected(gateway) as ib:
        ticker = await streaming(ib)
        gateway.faults.connectivity_lost()
        gateway.faults.connectivity_restored(data_lost=True)
        gateway.market.set_quote(AAPL, bid="10.00", ask="10.01")
        await clock.advance(1)
        await settled(gateway, ib)
        assert ticker.bid != 10


@pytest.mark.parametrize(("farm", "broken", "well"), [("market", 2103, 2104), ("history", 2105, 2106)])
async def test_farm_lost_and_restored_are_told_by_their_codes(
    gateway: PaperGateway, farm: str, broken: int, well: int
) -> None:
    async with connected(gateway) as ib:
        gateway.faults.apply(f"farm_lost:{farm}")
        await ib.until(lambda: broken in ib.errors.codes())
        heard = len(ib.errors)
        gateway.faults.apply(f"farm_restored:{farm}")
        await ib.until(lambda: len(ib.errors) > heard)
        assert ib.errors[-1][:2] == (-1, well)


async def test_farm_lost_stops_quotes_and_history(gateway: PaperGateway, clock: ManualClock) -> None:
    async with connected(gateway) as ib:
        ticker = await streaming(ib)
        gateway.faults.farm_lost("market")
        gateway.faults.farm_lost("history")
        gateway.market.set_quote(AAPL, bid="10.00", ask="10.01")
        await clock.advance(1)
        aapl = await ib.stock("AAPL")
        assert not await soon(ib.reqHistoricalDataAsync(aapl, "", "5 D", "1 day", "TRADES", True))
        assert (162 in ib.errors.codes(), ticker.bid == 10) == (True, False)


async def test_farm_restored_catches_the_streams_up(gateway: PaperGateway, clock: ManualClock) -> None:
    async with connected(gateway) as ib:
        ticker = await streaming(ib)
        gateway.faults.farm_lost("market")
        gateway.market.set_quote(AAPL, bid="10.00", ask="10.01")
        await clock.advance(1)
        gateway.faults.farm_restored("market")
        await ib.until(lambda: ticker.bid == 10)


async def test_farm_lost_of_definitions_stalls_look_ups_until_it_is_back(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib:
        gateway.faults.apply("farm_lost:definitions")
        asked = asyncio.create_task(ib.stock("AAPL"))
        await ib.until(lambda: 2157 in ib.errors.codes())
        await settled(gateway, ib)
        assert not asked.done()
        gateway.faults.apply("farm_restored:definitions")
        assert (await soon(asked)).conId == AAPL


async def test_deny_live_data_is_10089_and_10167_with_delayed_ticks(gateway: PaperGateway) -> None:
    gateway.faults.apply("deny_live_data")
    async with connected(gateway) as ib:
        ib.reqMktData(await ib.stock("AAPL"))
        await ib.until(lambda: ib.errors.codes() == [10089])
        ib.reqMarketDataType(3)
        ticker = ib.reqMktData(await ib.stock("MSFT"))
        await ib.until(lambda: ticker.hasBidAsk() and ticker.marketDataType == 3)
        assert ib.errors.codes() == [10089, 10167]


async def test_competing_session_is_10197_for_each_stream_which_falls_silent_until_it_ends(
    gateway: PaperGateway, clock: ManualClock
) -> None:
    async with connected(gateway) as ib:
        ticker = await streaming(ib)
        gateway.faults.apply("competing_session")
        await ib.until(lambda: ib.errors.codes() == [10197])
        gateway.market.set_quote(AAPL, bid="10.00", ask="10.01")
        await clock.advance(1)
        await settled(gateway, ib)
        assert ticker.bid != 10
        gateway.faults.apply("competing_session:no")
        await ib.until(lambda: ticker.bid == 10)


async def test_error_flood_tells_everybody_the_same_many_times(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib:
        gateway.faults.apply("error_flood:500:2110:Broken")
        await ib.until(lambda: ib.errors.codes() == [2110] * 500)
        await settled(gateway, ib)


# --- the gateway's own mistakes ---


async def test_clock_skew_moves_the_gateways_time(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib:
        gateway.faults.apply("clock_skew:-90")
        assert await soon(ib.reqCurrentTimeAsync()) == datetime(2026, 11, 20, 14, 58, 30, tzinfo=UTC)


async def test_restart_drops_all_refuses_for_a_while_and_forgets_ids(gateway: PaperGateway, clock: ManualClock) -> None:
    async with connected(gateway) as ib:
        trade = await ib.place(await ib.stock("AAPL"), resting(tif="GTC", orderRef="kept"), until=("Submitted",))
        used = trade.order.orderId
        gateway.faults.apply(f"restart:60:{used}")
        await soon(gateway.wait_for(lambda: not gateway.client_ids))
    async with raw_client(gateway) as raw:
        assert await raw.closed_by_peer()
    await clock.advance(60)
    async with raw_client(gateway) as raw:
        assert await next_valid_id(raw) == 1
    async with connected(gateway, client_id=2) as ib:
        assert [found.order.orderRef for found in await soon(ib.reqAllOpenOrdersAsync())] == ["kept"]


async def next_valid_id(raw: RawClient) -> int:
    await raw.handshake(client_id=None)
    raw.send(71, 2, 1, "")
    return int((await raw.next_of(9))[2])


async def test_roll_back_order_ids_names_used_ones_and_their_reuse_is_an_error(gateway: PaperGateway) -> None:
    gateway.market.set_quote(AAPL, bid="189.98", ask="190.00")
    async with connected(gateway) as ib:
        done = await ib.place(await ib.stock("AAPL"), MarketOrder("BUY", 1), until=DONE)
        gateway.faults.apply("roll_back_order_ids:1")
    async with connected(gateway) as ib:
        assert gateway.exchange.next_valid_id(1) == done.order.orderId
        again = resting(orderId=done.order.orderId)
        ib.send_order(await ib.stock("AAPL"), again)
        await ib.until(lambda: ib.errors.codes() == [104])


async def test_account_change_is_announced_to_everybody(gateway: PaperGateway) -> None:
    async with raw_client(gateway) as raw:
        await raw.handshake()
        gateway.faults.apply("account_change:U1234567,U7654321")
        assert await raw.next_of(15) == ["15", "1", "U1234567,U7654321"]


async def test_manual_trade_moves_the_position_without_an_order_of_ours(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib:
        gateway.faults.apply("manual_trade:AAPL:BUY:7")
        await ib.until(lambda: [row.position for row in ib.positions()] == [7])
        assert (ib.trades(), ib.errors.codes()) == ([], [])
        assert [fill.execution.orderId for fill in await soon(ib.reqExecutionsAsync())] == [0]


async def test_manual_order_is_open_and_nobodys(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib:
        gateway.faults.apply("manual_order:AAPL:SELL:7:999.5")
        [seen] = await soon(ib.reqAllOpenOrdersAsync())
        assert (seen.order.orderId, seen.order.lmtPrice, seen.order.totalQuantity) == (0, 999.5, 7)


async def test_commissions_first_overtake_their_executions(gateway: PaperGateway) -> None:
    gateway.faults.apply("commissions_first")
    async with connected(gateway) as ib, raw_client(gateway) as raw:
        aapl = await ib.stock("AAPL")
        await raw.handshake(client_id=2)
        raw.send(*placement(1, aapl.conId))
        kinds = []
        while "11" not in kinds:
            kinds.append((await raw.next())[0])
        assert "59" in kinds


async def test_raise_margin_asks_for_more_of_what_is_held_and_of_what_is_bought(gateway: PaperGateway) -> None:
    gateway.add_position(ACCOUNT, "AAPL", 100, 150)
    gateway.market.set_quote(AAPL, bid="99.99", ask="100.01", last="100.00")
    async with connected(gateway) as ib:

        async def margins() -> tuple[float, float]:
            order = LimitOrder("BUY", 50, 1, account=ACCOUNT, tif="DAY")
            preview = await soon(ib.whatIfOrderAsync(await ib.stock("AAPL"), order))
            return float(preview.maintMarginBefore), float(preview.maintMarginChange)

        held, bought = await margins()
        gateway.faults.apply("raise_margin:3")
        assert await margins() == (3 * held, 3 * bought) == (6_000, 3_000)
        gateway.faults.clear()
        assert await margins() == (held, bought)


def placement(order_id: int, con_id: int) -> list[object]:
    """A market order for one share, as it looks on the wire at version 178."""
    head = [3, order_id, con_id, "AAPL", "STK", "", 0, "", "", "SMART", "", "USD", "", "", "", ""]
    terms = ["BUY", 1, "MKT", "", "", "DAY", "", ACCOUNT, "O", 0, "", 1, 0, 0, 0, 0, 0, 0, 0]
    rest: list[object] = [""] * (114 - len(head) - len(terms))
    return [*head, *terms, *rest]


# --- the market ---


async def test_freeze_quotes_leaves_them_where_they_are(gateway: PaperGateway, clock: ManualClock) -> None:
    async with connected(gateway) as ib:
        ticker = await streaming(ib)
        gateway.faults.apply("freeze_quotes")
        before = (ticker.bid, ticker.ask, ticker.bidSize, ticker.askSize)
        for _ in range(20):
            await clock.advance(1)
        await settled(gateway, ib)
        assert (ticker.bid, ticker.ask, ticker.bidSize, ticker.askSize) == before
        gateway.faults.apply("freeze_quotes:no")
        await clock.advance(20)
        await ib.until(lambda: (ticker.bid, ticker.ask, ticker.bidSize, ticker.askSize) != before)


@pytest.mark.parametrize("kind", ABSURD_QUOTES)
async def test_absurd_quote_is_shown_as_it_is(gateway: PaperGateway, clock: ManualClock, kind: str) -> None:
    async with raw_client(gateway) as raw:
        await raw.handshake()
        gateway.faults.apply(f"absurd_quote:AAPL:{kind}")
        raw.send(1, 11, 9, AAPL, "", "", "", 0, "", "", "SMART", "", "", "", "", 0, "", 1, 0, "")
        shown: dict[str, Decimal] = {}
        while len(shown) < 3:
            fields = await raw.next_of(1)
            if fields[3] in ("1", "2", "4"):
                shown[fields[3]] = Decimal(fields[4])
        assert list(shown.values()) == [Decimal(price) for price in ABSURD_QUOTES[kind]]


async def test_set_quote_holds_it_and_release_quote_lets_it_go(gateway: PaperGateway, clock: ManualClock) -> None:
    async with connected(gateway) as ib:
        ticker = await streaming(ib)
        gateway.faults.apply("set_quote:AAPL:10.00:10.01")
        await clock.advance(5)
        await ib.until(lambda: (ticker.bid, ticker.ask) == (10.0, 10.01))
        gateway.faults.apply("release_quote:AAPL")
        await clock.advance(1)
        await ib.until(lambda: ticker.bid != 10)


async def test_withdraw_quote_is_minus_one_on_both_sides(gateway: PaperGateway, clock: ManualClock) -> None:
    async with connected(gateway) as ib:
        ticker = await streaming(ib)
        gateway.faults.apply("withdraw_quote:AAPL")
        await clock.advance(1)
        await ib.until(lambda: (ticker.bid, ticker.ask) == (-1, -1))


async def test_halt_keeps_orders_waiting_until_resume_lets_them_trade(
    gateway: PaperGateway, clock: ManualClock
) -> None:
    async with connected(gateway) as ib:
        ticker = await streaming(ib)
        gateway.faults.apply("halt:AAPL")
        await clock.advance(1)
        await ib.until(lambda: ticker.halted == 1)
        trade = ib.placeOrder(await ib.stock("AAPL"), MarketOrder("BUY", 1, account=ACCOUNT, tif="DAY"))
        await settled(gateway, ib)
        await clock.advance(5)
        assert trade.isActive()
        gateway.faults.apply("resume:AAPL")
        await clock.advance(1)
        await ib.until(lambda: trade.orderStatus.status == "Filled" and ticker.halted == 0)


async def test_partial_fills_are_no_larger_than_asked_for(gateway: PaperGateway, clock: ManualClock) -> None:
    gateway.faults.apply("partial_fills:4")
    gateway.market.set_quote(AAPL, bid="189.98", ask="190.00")
    async with connected(gateway) as ib:
        order = Order(action="BUY", totalQuantity=10, orderType="MKT", account=ACCOUNT, tif="DAY")
        trade = ib.placeOrder(await ib.stock("AAPL"), order)
        await ib.until(lambda: trade.filled() == 4)
        await clock.advance(1)
        await clock.advance(1)
        await ib.until(trade.isDone)
        assert [fill.execution.shares for fill in trade.fills] == [4, 4, 2]


# --- all of it ---


async def test_clear_ends_every_switch_and_forgets_what_is_due(gateway: PaperGateway, clock: ManualClock) -> None:
    for line in (
        *("drop_next_order_ack", "reject_next_order", "warn_next_order", "delay_acks:60", "slow_cancels:60"),
        *("preset_tif", "refuse_connections", "farm_lost:definitions", "competing_session", "clock_skew:60"),
        *("partial_fills:1", "freeze_quotes", "deny_live_data", "connectivity_lost", "partial_frames:1", "freeze"),
    ):
        gateway.faults.apply(line)
    gateway.faults.apply("clear")
    gateway.market.set_quote(AAPL, bid="189.98", ask="190.00")
    async with connected(gateway) as ib:
        trade = await ib.place(await ib.stock("AAPL"), MarketOrder("BUY", 10), until=DONE)
        assert (trade.orderStatus.status, ib.errors.codes()) == ("Filled", [])
        assert await soon(ib.reqCurrentTimeAsync()) == clock.now()
