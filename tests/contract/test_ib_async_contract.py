"""The unmodified client library over TCP: what it needs from a TWS, it gets from the paper gateway."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from ib_async import LimitOrder, MarketOrder, Order, Stock, StopLimitOrder, StopOrder

from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.simulator.server import PaperGateway
from tests.contract.clients import ACCOUNT, NEWEST_VERSION, Client, connected

AAPL = 265598
RESTING = ("Submitted",)
DONE = ("Filled", "Cancelled", "Inactive")


# --- start-up ---


async def test_start_up_needs_no_timeout_and_agrees_on_the_newest_version(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib:
        assert ib.client.serverVersion() == NEWEST_VERSION
        assert ib.managedAccounts() == ["DU9000001", "DU9000002"]
        assert ib.client.getReqId() >= 1


async def test_a_live_looking_account_can_be_served(clock: ManualClock) -> None:
    async with PaperGateway(clock=clock, accounts=["U1234567"]) as gateway, connected(gateway, account="") as ib:
        assert ib.managedAccounts() == ["U1234567"]
        assert any(row.tag == "NetLiquidation" and row.account == "U1234567" for row in ib.accountValues())


async def test_second_client_with_the_same_id_gets_326_and_the_first_stays(gateway: PaperGateway) -> None:
    async with connected(gateway, client_id=7) as first:
        second = Client()
        with pytest.raises(TimeoutError):
            await second.connectAsync(gateway.host, gateway.port, clientId=7, timeout=0.5)
        assert second.errors.codes() == [326]
        assert first.isConnected()
        async with asyncio.timeout(5):
            assert await first.reqCurrentTimeAsync() == datetime(2026, 11, 20, 15, 0, tzinfo=UTC)


# --- accounts ---


async def test_account_summary_of_a_new_account_is_a_million_in_cash(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib, asyncio.timeout(5):
        rows = await ib.accountSummaryAsync(ACCOUNT)
    values = {(row.tag, row.currency): row.value for row in rows}
    assert values["NetLiquidation", "USD"] == "1000000.00"
    assert values["BuyingPower", "USD"] == "4000000.00"
    assert values["AccountType", ""] == "INDIVIDUAL"
    assert values["CashBalance", "BASE"] == "1000000.00"


async def test_fill_moves_cash_position_and_portfolio(gateway: PaperGateway) -> None:
    gateway.market.set_quote(AAPL, bid="199.90", ask="200.00")
    async with connected(gateway) as ib:
        aapl = await ib.stock("AAPL")
        await ib.place(aapl, MarketOrder("BUY", 10), until=DONE)
        await ib.until(ib.portfolio)
        [position] = ib.positions(ACCOUNT)
        assert position.position == 10
        assert position.avgCost == pytest.approx(200.10)  # 2000 and 1.00 commission
        [item] = ib.portfolio(ACCOUNT)
        assert item.unrealizedPNL == pytest.approx(10 * 199.95 - 2001)
        cash = {row.value for row in ib.accountValues(ACCOUNT) if (row.tag, row.currency) == ("CashBalance", "USD")}
        assert cash == {"997999.00"}


async def test_profit_and_loss_is_streamed(gateway: PaperGateway, clock: ManualClock) -> None:
    gateway.add_position(ACCOUNT, "AAPL", 100, 150)
    gateway.market.set_quote(AAPL, bid="199.90", ask="200.10", last="200.00")
    async with connected(gateway) as ib:
        pnl = ib.reqPnL(ACCOUNT)
        single = ib.reqPnLSingle(ACCOUNT, "", AAPL)
        await ib.until(lambda: pnl.unrealizedPnL == 5000 and single.value == 20_000)
        gateway.market.set_quote(AAPL, bid="200.90", ask="201.10", last="201.00")
        await clock.advance(1)
        await ib.until(lambda: pnl.unrealizedPnL == 5100 and single.unrealizedPnL == 5100)


async def test_positions_of_every_account_are_listed_and_kept_current(gateway: PaperGateway) -> None:
    gateway.add_position("DU9000002", "MSFT", "7", "25.5")
    async with connected(gateway) as ib:
        assert [(row.account, row.contract.symbol, row.position) for row in ib.positions()] == [
            ("DU9000002", "MSFT", 7)
        ]
        gateway.add_position("DU9000002", "MSFT", 0, 0)
        await ib.until(lambda: not ib.positions())


# --- reference data ---


async def test_contract_details_name_the_instrument_and_its_hours(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib, asyncio.timeout(5):
        aapl = await ib.stock("AAPL")
        [details] = await ib.reqContractDetailsAsync(aapl)
        [by_id] = await ib.reqContractDetailsAsync(type(aapl)(conId=AAPL))
        rule = await ib.reqMarketRuleAsync(26)
    assert (details.longName, details.minTick) == ("APPLE INC", 0.01)
    assert details.contract == by_id.contract
    assert details.contract is not None
    assert details.contract.conId == AAPL
    assert details.tradingHours
    assert [(step.lowEdge, step.increment) for step in rule or []] == [(0.0, 0.01)]


async def test_unknown_symbol_is_error_200_and_no_row(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib, asyncio.timeout(5):
        assert await ib.reqContractDetailsAsync(Stock("NOSUCH", "SMART", "USD")) == []
        assert ib.errors.codes() == [200]


async def test_symbol_search_finds_by_symbol_and_by_name(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib, asyncio.timeout(5):
        by_symbol = await ib.reqMatchingSymbolsAsync("IBM")
        by_name = await ib.reqMatchingSymbolsAsync("apple")
    assert [row.contract.symbol for row in by_symbol or [] if row.contract][:1] == ["IBM"]
    assert "AAPL" in [row.contract.symbol for row in by_name or [] if row.contract]


# --- market data ---


async def test_snapshot_carries_the_scripted_quote(gateway: PaperGateway) -> None:
    gateway.market.set_quote(AAPL, bid="199.98", ask="200.00", last="199.99")
    async with connected(gateway) as ib, asyncio.timeout(5):
        [ticker] = await ib.reqTickersAsync(await ib.stock("AAPL"))
    assert (ticker.bid, ticker.ask, ticker.last, ticker.marketDataType) == (199.98, 200.0, 199.99, 1)


async def test_stream_follows_the_market_until_cancelled(gateway: PaperGateway, clock: ManualClock) -> None:
    async with connected(gateway) as ib:
        aapl = await ib.stock("AAPL")
        ticker = ib.reqMktData(aapl)
        await ib.until(ticker.hasBidAsk)
        gateway.market.set_quote(AAPL, bid="150.00", ask="150.02")
        await clock.advance(1)
        await ib.until(lambda: ticker.bid == 150.0 and ticker.ask == 150.02)
        gateway.market.halt(AAPL)
        await clock.advance(1)
        await ib.until(lambda: ticker.halted == 1)
        gateway.market.halt(AAPL, False)
        gateway.market.withdraw_quote(AAPL)
        await clock.advance(1)
        await ib.until(lambda: ticker.bid == -1)
        ib.cancelMktData(aapl)
        async with asyncio.timeout(5):
            await ib.reqCurrentTimeAsync()
        assert ib.errors.codes() == []


async def test_delayed_data_says_so(gateway: PaperGateway) -> None:
    gateway.faults.deny_live_data()
    async with connected(gateway) as ib:
        aapl = await ib.stock("AAPL")
        ib.reqMktData(aapl)
        await ib.until(lambda: 10089 in ib.errors.codes())
        ib.reqMarketDataType(3)
        ticker = ib.reqMktData(await ib.stock("MSFT"))
        await ib.until(lambda: ticker.hasBidAsk() and ticker.marketDataType == 3)
        assert ib.errors.codes() == [10089, 10167]


async def test_historical_bars_end_at_the_clock_and_bad_sizes_are_321(
    gateway: PaperGateway, clock: ManualClock
) -> None:
    await clock.advance(60)  # a world just begun has no bar of today yet
    async with connected(gateway) as ib, asyncio.timeout(5):
        aapl = await ib.stock("AAPL")
        daily = await ib.reqHistoricalDataAsync(aapl, "", "10 D", "1 day", "TRADES", True)
        hourly = await ib.reqHistoricalDataAsync(aapl, "", "2 D", "1 hour", "MIDPOINT", True)
        head = await ib.reqHeadTimeStampAsync(aapl, "TRADES", True, 1)
        # `ib_async` takes 321 for a warning and would wait for its own 60 seconds: hear it instead.
        bad = asyncio.create_task(ib.reqHistoricalDataAsync(aapl, "", "2 D", "7 mins", "TRADES", True))
        await ib.until(lambda: ib.errors.codes() == [321])
        bad.cancel()
    assert len(daily) == 10
    assert daily[0].low <= daily[0].open <= daily[0].high
    assert all(isinstance(bar.date, datetime) and bar.date.tzinfo for bar in hourly)
    assert head < datetime(2010, 1, 1, tzinfo=getattr(head, "tzinfo", None))


async def test_bars_kept_up_to_date_follow_the_clock(gateway: PaperGateway, clock: ManualClock) -> None:
    await clock.advance(120)
    async with connected(gateway) as ib:
        aapl = await ib.stock("AAPL")
        async with asyncio.timeout(5):
            bars = await ib.reqHistoricalDataAsync(aapl, "", "3600 S", "1 min", "TRADES", True, keepUpToDate=True)
        last = bars[-1].date
        await clock.advance(65)
        await ib.until(lambda: bars[-1].date > last)


async def test_schedule_lists_the_sessions(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib, asyncio.timeout(5):
        schedule = await ib.reqHistoricalScheduleAsync(await ib.stock("AAPL"), 3, "20261120 16:00:00 US/Eastern")
    assert [session.refDate for session in schedule.sessions] == ["20261118", "20261119", "20261120"]
    assert schedule.timeZone == "US/Eastern"


# --- orders ---


async def test_market_order_fills_at_the_ask_with_execution_and_commission(gateway: PaperGateway) -> None:
    gateway.market.set_quote(AAPL, bid="199.98", ask="200.00")
    async with connected(gateway) as ib:
        trade = await ib.place(await ib.stock("AAPL"), MarketOrder("BUY", 10, orderRef="ref-1"), until=DONE)
        await ib.until(lambda: trade.fills and trade.fills[0].commissionReport.execId)
        [fill] = trade.fills
    assert trade.orderStatus.status == "Filled"
    assert (fill.execution.price, fill.execution.shares, fill.execution.side) == (200.0, 10, "BOT")
    assert (fill.execution.orderRef, fill.execution.acctNumber) == ("ref-1", ACCOUNT)
    assert (fill.commissionReport.commission, fill.commissionReport.currency) == (1.0, "USD")
    assert [entry.status for entry in trade.log][:2] == ["PendingSubmit", "PreSubmitted"]


async def test_closing_fill_reports_the_profit_it_realised(gateway: PaperGateway) -> None:
    gateway.add_position(ACCOUNT, "AAPL", 10, 150)
    gateway.market.set_quote(AAPL, bid="200.00", ask="200.02")
    async with connected(gateway) as ib:
        trade = await ib.place(await ib.stock("AAPL"), MarketOrder("SELL", 10), until=DONE)
        await ib.until(lambda: trade.fills and trade.fills[0].commissionReport.execId)
        assert trade.fills[0].commissionReport.realizedPNL == pytest.approx(499)
        await ib.until(lambda: not ib.positions())


async def test_resting_limit_is_modified_in_place_then_fills(gateway: PaperGateway) -> None:
    gateway.market.set_quote(AAPL, bid="199.98", ask="200.00")
    async with connected(gateway) as ib:
        aapl = await ib.stock("AAPL")
        trade = await ib.place(aapl, LimitOrder("BUY", 10, 190, orderRef="keep-me"), until=RESTING)
        perm_id = trade.order.permId
        trade.order.lmtPrice = 195
        trade.order.orderRef = ""
        ib.placeOrder(aapl, trade.order)
        await ib.until(lambda: trade.log[-1].message == "Modified")
        assert (trade.order.permId, trade.order.orderRef) == (perm_id, "keep-me")
        trade.order.lmtPrice = 200
        ib.placeOrder(aapl, trade.order)
        await ib.until(trade.isDone)
        assert trade.orderStatus.status == "Filled"
        assert [request.terms.limit_price for request in gateway.received_orders] == [190, 195, 200]


async def test_large_order_fills_in_parts_as_size_is_displayed(gateway: PaperGateway, clock: ManualClock) -> None:
    gateway.market.set_quote(AAPL, bid="19.98", ask="20.00")
    displayed = gateway.market.quote(AAPL).ask_size
    assert displayed is not None
    async with connected(gateway) as ib:
        quantity = int(displayed) * 2 + 1
        trade = await ib.place(await ib.stock("AAPL"), LimitOrder("BUY", quantity, 20), until=RESTING)
        assert trade.filled() == float(displayed)
        assert trade.remaining() == float(quantity - displayed)
        await clock.advance(1)
        await clock.advance(1)
        await ib.until(trade.isDone)
        assert [fill.execution.cumQty for fill in trade.fills] == [float(displayed), float(displayed * 2), quantity]
        commission = sum(Decimal(str(fill.commissionReport.commission)) for fill in trade.fills)
        assert commission == max(Decimal(1), quantity * Decimal("0.005"))


async def test_an_order_id_below_one_is_10149_and_makes_no_order(gateway: PaperGateway) -> None:
    """An order that was placed by hand has no id; a program that sends its copy of one back sends 0."""
    async with connected(gateway) as ib:
        aapl = await ib.stock("AAPL")
        for order_id in (0, -3):
            ib.send_order(aapl, LimitOrder("BUY", 1, 1, orderId=order_id, account=ACCOUNT, tif="DAY"))
            await ib.until(lambda order_id=order_id: ib.errors.codes(order_id) == [10149])  # type: ignore[misc]
        assert gateway.exchange.orders() == []


async def test_cancel_is_confirmed_by_status_and_202(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib:
        trade = await ib.place(await ib.stock("AAPL"), LimitOrder("BUY", 1, 1), until=RESTING)
        ib.cancel(trade)
        await ib.until(lambda: ib.errors.codes() == [202])
        assert trade.orderStatus.status == "Cancelled"
        ib.send_cancel(trade.order.orderId)
        ib.send_cancel(9999)
        await ib.until(lambda: ib.errors.codes() == [202, 10148, 10147])


async def test_global_cancel_reaches_every_client(gateway: PaperGateway) -> None:
    async with connected(gateway, client_id=1) as one, connected(gateway, client_id=2) as two:
        first = await one.place(await one.stock("AAPL"), LimitOrder("BUY", 1, 1), until=RESTING)
        second = await two.place(await two.stock("AAPL"), LimitOrder("BUY", 1, 1), until=RESTING)
        one.cancel_everything()
        await one.until(first.isDone)
        await two.until(second.isDone)
        assert gateway.exchange.open_orders() == []


async def test_immediate_or_cancel_takes_what_is_there_and_fill_or_kill_all_or_nothing(gateway: PaperGateway) -> None:
    gateway.market.set_quote(AAPL, bid="19.98", ask="20.00")
    displayed = int(gateway.market.quote(AAPL).ask_size or 0)
    async with connected(gateway) as ib:
        aapl = await ib.stock("AAPL")
        kill = await ib.place(aapl, LimitOrder("BUY", displayed + 1, 20, tif="FOK"), until=DONE)
        assert (kill.orderStatus.status, kill.filled()) == ("Cancelled", 0)
        part = await ib.place(aapl, LimitOrder("BUY", displayed + 1, 20, tif="IOC"), until=DONE)
        assert (part.orderStatus.status, part.filled()) == ("Cancelled", displayed)


async def test_stop_waits_for_its_trigger(gateway: PaperGateway, clock: ManualClock) -> None:
    gateway.add_position(ACCOUNT, "AAPL", 20, 150)
    gateway.market.set_quote(AAPL, bid="199.98", ask="200.00")
    async with connected(gateway) as ib:
        aapl = await ib.stock("AAPL")
        stop = await ib.place(aapl, StopOrder("SELL", 10, 190), until=("PreSubmitted",))
        limit = await ib.place(aapl, StopLimitOrder("SELL", 10, 189.5, 190), until=("PreSubmitted",))
        assert stop.orderStatus.whyHeld == "trigger"
        gateway.market.set_quote(AAPL, bid="189.00", ask="189.02")
        await clock.advance(1)
        await ib.until(stop.isDone)
        assert stop.orderStatus.avgFillPrice == 189.0
        await ib.until(lambda: limit.orderStatus.status == "Submitted")
        gateway.market.set_quote(AAPL, bid="189.50", ask="189.52")
        await clock.advance(1)
        await ib.until(limit.isDone)


async def test_trailing_stop_follows_and_never_moves_back(gateway: PaperGateway, clock: ManualClock) -> None:
    gateway.add_position(ACCOUNT, "AAPL", 10, 150)
    async with connected(gateway) as ib:
        aapl = await ib.stock("AAPL")
        gateway.market.set_quote(AAPL, bid="199.98", ask="200.02", last="200.00")
        trail = Order(action="SELL", totalQuantity=10, orderType="TRAIL", auxPrice=5, tif="GTC")
        trade = await ib.place(aapl, trail, until=("PreSubmitted",))
        for last, stop in (("210.00", 205), ("206.00", 205), ("204.00", None)):
            gateway.market.set_quote(AAPL, bid=last, ask=last, last=last)
            await clock.advance(1)
            if stop is not None:
                [order] = gateway.exchange.open_orders()
                assert order.stop_price == stop
        await ib.until(trade.isDone)
        assert trade.orderStatus.avgFillPrice == 204.0


async def test_bracket_children_wait_for_the_parent_and_then_exclude_each_other(
    gateway: PaperGateway, clock: ManualClock
) -> None:
    gateway.market.set_quote(AAPL, bid="199.98", ask="200.00")
    async with connected(gateway) as ib:
        aapl = await ib.stock("AAPL")
        orders = ib.bracketOrder("BUY", 10, limitPrice=195, takeProfitPrice=210, stopLossPrice=180)
        for order in orders:
            order.account = ACCOUNT
        entry, profit, loss = (ib.placeOrder(aapl, order) for order in orders)
        await ib.until(lambda: loss.orderStatus.status == profit.orderStatus.status == "PreSubmitted")
        assert len(gateway.exchange.open_orders()) == 3
        gateway.market.set_quote(AAPL, bid="194.98", ask="195.00")
        await clock.advance(1)
        await ib.until(lambda: entry.isDone() and profit.orderStatus.status == "Submitted")
        assert loss.orderStatus.status == "PreSubmitted"
        gateway.market.set_quote(AAPL, bid="210.00", ask="210.02")
        await clock.advance(1)
        await ib.until(lambda: profit.isDone() and loss.isDone())
        assert (profit.orderStatus.status, loss.orderStatus.status) == ("Filled", "Cancelled")
        assert ib.positions() == []


async def test_bracket_that_the_account_cannot_carry_is_refused_as_a_whole(gateway: PaperGateway) -> None:
    gateway.market.set_quote(AAPL, bid="199.98", ask="200.00")
    async with connected(gateway) as ib:
        aapl = await ib.stock("AAPL")
        orders = ib.bracketOrder("BUY", 100_000, limitPrice=200, takeProfitPrice=210, stopLossPrice=180)
        for order in orders:
            order.account = ACCOUNT
        trades = [ib.placeOrder(aapl, order) for order in orders]
        await ib.until(lambda: ib.errors.codes() == [201, 201, 201])
        await ib.until(lambda: {trade.orderStatus.status for trade in trades} == {"Inactive"})
        assert gateway.exchange.open_orders() == []


async def test_group_of_which_one_cancels_all_leaves_one_fill(gateway: PaperGateway, clock: ManualClock) -> None:
    gateway.market.set_quote(AAPL, bid="199.98", ask="200.00")
    async with connected(gateway) as ib:
        aapl = await ib.stock("AAPL")
        near = await ib.place(aapl, LimitOrder("BUY", 10, 195, ocaGroup="either", ocaType=1), until=RESTING)
        far = await ib.place(aapl, LimitOrder("BUY", 10, 190, ocaGroup="either", ocaType=1), until=RESTING)
        gateway.market.set_quote(AAPL, bid="189.00", ask="189.02")
        await clock.advance(1)
        await ib.until(lambda: near.isDone() and far.isDone())
        assert [near.orderStatus.status, far.orderStatus.status] == ["Filled", "Cancelled"]


async def test_untransmitted_order_is_silent_until_it_is_transmitted(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib:
        aapl = await ib.stock("AAPL")
        staged = LimitOrder("BUY", 1, 1, account=ACCOUNT, transmit=False)
        trade = ib.placeOrder(aapl, staged)
        async with asyncio.timeout(5):
            await ib.reqAllOpenOrdersAsync()
        assert trade.orderStatus.status == "PendingSubmit"
        assert gateway.exchange.open_orders() == []
        staged.transmit, staged.lmtPrice = True, 2
        ib.placeOrder(aapl, staged)
        await ib.until(lambda: trade.orderStatus.status == "Submitted")
        assert [order.limit_price for order in gateway.exchange.open_orders()] == [2]


async def test_what_if_answers_with_margins_and_keeps_nothing(gateway: PaperGateway) -> None:
    gateway.market.set_quote(AAPL, bid="199.98", ask="200.00", last="200.00")
    async with connected(gateway) as ib:
        async with asyncio.timeout(5):
            state = await ib.whatIfOrderAsync(await ib.stock("AAPL"), LimitOrder("BUY", 100, 200, account=ACCOUNT))
        assert float(state.initMarginChange) == 5000
        assert float(state.equityWithLoanBefore) == 1_000_000
        assert (state.commission, state.commissionCurrency) == (1.0, "USD")
        assert gateway.exchange.orders() == []
        assert gateway.received_orders == []


@pytest.mark.parametrize(
    ("order", "code"),
    [
        (LimitOrder("BUY", 10, 190.005), 110),
        (LimitOrder("BUY", 10, -5), 110),
        (LimitOrder("BUY", 10, 1e30), 110),
        (LimitOrder("BUY", 0, 190), 434),
        (LimitOrder("BUY", -5, 190), 321),
        (LimitOrder("BUY", 1e30, 190), 383),
        (LimitOrder("BUY", 0.00001, 190), 388),
        (Order(action="BUY", totalQuantity=1, orderType="NONSENSE"), 321),
        (LimitOrder("HOLD", 10, 190), 321),
        (LimitOrder("BUY", 10, 190, tif="SOON"), 321),
        (LimitOrder("BUY", 10, 190, account="DU1"), 321),
        (LimitOrder("BUY", 10, 190, parentId=4711), 135),
        (LimitOrder("BUY", 1_000_000, 190), 201),
        (MarketOrder("BUY", 10, orderId=1, account="DU9000002"), None),
    ],
)
async def test_bad_orders_are_refused_with_ibkrs_codes(gateway: PaperGateway, order: Order, code: int | None) -> None:
    gateway.market.set_quote(AAPL, bid="189.98", ask="190.00")
    order.orderId = 0
    async with connected(gateway) as ib:
        aapl = await ib.stock("AAPL")
        order.account = order.account or ACCOUNT
        trade = ib.placeOrder(aapl, order)
        if code is None:
            await ib.until(trade.isDone)
            assert trade.orderStatus.status == "Filled"
        else:
            await ib.until(lambda: ib.errors.codes(order.orderId))
            assert ib.errors.codes(order.orderId) == [code]
            assert gateway.exchange.open_orders() == []


async def test_modifying_a_filled_order_is_104_a_cancelled_one_103_and_another_side_105(gateway: PaperGateway) -> None:
    gateway.market.set_quote(AAPL, bid="189.98", ask="190.00")
    async with connected(gateway) as ib:
        aapl = await ib.stock("AAPL")
        filled = await ib.place(aapl, MarketOrder("BUY", 1), until=DONE)
        cancelled = await ib.place(aapl, LimitOrder("BUY", 1, 1), until=RESTING)
        ib.cancel(cancelled)
        await ib.until(cancelled.isDone)
        live = await ib.place(aapl, LimitOrder("BUY", 1, 1), until=RESTING)
        live.order.action = "SELL"
        ib.send_order(aapl, filled.order)
        ib.send_order(aapl, cancelled.order)
        ib.send_order(aapl, live.order)
        await ib.until(lambda: ib.errors.codes() == [202, 104, 103, 105])


async def test_market_order_outside_trading_hours_waits_with_399(clock: ManualClock) -> None:
    clock.step_wall(datetime(2026, 11, 21, 15, tzinfo=UTC) - clock.now())  # a Saturday
    async with PaperGateway(clock=clock) as gateway, connected(gateway) as ib:
        trade = ib.placeOrder(await ib.stock("AAPL"), MarketOrder("BUY", 1, account=ACCOUNT))
        await ib.until(lambda: 399 in ib.errors.codes())
        [order] = gateway.exchange.open_orders()
        assert order.status == "PreSubmitted"
        clock.step_wall(datetime(2026, 11, 23, 14, 30, 30, tzinfo=UTC) - clock.now())
        await clock.advance(1)
        await ib.until(trade.isDone)
        assert trade.orderStatus.status == "Filled"


async def test_day_order_dies_at_the_close_and_gtc_lives(clock: ManualClock) -> None:
    async with PaperGateway(clock=clock) as gateway, connected(gateway) as ib:
        aapl = await ib.stock("AAPL")
        day = await ib.place(aapl, LimitOrder("BUY", 1, 1), until=RESTING)
        good_till_cancelled = await ib.place(aapl, LimitOrder("BUY", 1, 1, tif="GTC"), until=RESTING)
        clock.step_wall(datetime(2026, 11, 20, 21, 0, 1, tzinfo=UTC) - clock.now())
        await clock.advance(1)
        await ib.until(day.isDone)
        assert not good_till_cancelled.isDone()


async def test_forex_order_moves_both_currencies(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib:
        euro = await ib.forex("EURUSD")
        gateway.market.set_quote(gateway.con_id("EUR.USD"), bid="1.10000", ask="1.10010")
        trade = await ib.place(euro, LimitOrder("BUY", 100, 1.10010), until=DONE)
        assert trade.orderStatus.status == "Filled"
        cash = gateway.accounts.by_code[ACCOUNT].cash
        assert cash == {"USD": Decimal("1000000") - Decimal("110.01") - 2, "EUR": Decimal(100)}


# --- what the gateway remembers ---


async def test_completed_orders_and_executions_can_be_asked_for(gateway: PaperGateway) -> None:
    gateway.market.set_quote(AAPL, bid="199.98", ask="200.00")
    async with connected(gateway) as ib:
        aapl = await ib.stock("AAPL")
        await ib.place(aapl, MarketOrder("BUY", 10, orderRef="done"), until=DONE)
        resting = await ib.place(aapl, LimitOrder("BUY", 1, 1), until=RESTING)
        ib.cancel(resting)
        await ib.until(resting.isDone)
    async with connected(gateway, client_id=2) as other, asyncio.timeout(5):
        completed = await other.reqCompletedOrdersAsync(False)
        fills = await other.reqExecutionsAsync()
    assert [(trade.order.orderRef, trade.orderStatus.status) for trade in completed] == [
        ("done", "Filled"),
        ("", "Cancelled"),
    ]
    assert [(fill.execution.orderRef, fill.execution.shares) for fill in fills] == [("done", 10)]


async def test_orders_outlive_the_connection_and_come_back_at_reconnect(gateway: PaperGateway) -> None:
    async with connected(gateway) as ib:
        placed = await ib.place(await ib.stock("AAPL"), LimitOrder("BUY", 1, 1, orderRef="still"), until=RESTING)
    async with connected(gateway) as again:
        [trade] = again.openTrades()
        assert (trade.order.permId, trade.order.orderRef) == (placed.order.permId, "still")
        assert again.client.getReqId() > placed.order.orderId
        again.cancel(trade)
        await again.until(trade.isDone)


async def test_a_client_sees_others_orders_only_when_it_asks_and_cannot_cancel_them(gateway: PaperGateway) -> None:
    async with connected(gateway, client_id=1) as one, connected(gateway, client_id=2) as two:
        placed = await one.place(await one.stock("AAPL"), LimitOrder("BUY", 1, 1), until=RESTING)
        async with asyncio.timeout(5):
            assert await two.reqOpenOrdersAsync() == []
            [seen] = await two.reqAllOpenOrdersAsync()
        assert (seen.order.clientId, seen.order.permId) == (1, placed.order.permId)
        two.send_cancel(placed.order.orderId)
        await two.until(lambda: 10147 in two.errors.codes())
        assert placed.isActive()
