"""Bars, schedules, contract details, profit and loss, and finished orders through the tools."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from decimal import Decimal

from ibkr_mcp_server.broker.base import BrokerEvent, BrokerEventKind
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.domain.history import BarRequest
from ibkr_mcp_server.operations.history import BAR_SIZES
from ibkr_mcp_server.simulator.requests import CancelHistoricalData, ReqHistoricalData
from ibkr_mcp_server.simulator.server import PaperGateway
from tests.flow.broker_kit import ACCOUNT, aapl, connected, until
from tests.harness import running, time_passing

# ---- bars


async def test_every_bar_size_comes_oldest_first_with_prices_that_fit_together() -> None:
    async with running(max_market_data_requests_per_minute=100) as world:
        await world.sleep_through(1_800)
        for bar_size in BAR_SIZES:
            duration = "600 S" if "sec" in bar_size else "2 D" if "min" in bar_size or "hour" in bar_size else "1 Y"
            told = await world.call("get_historical_bars", symbol="AAPL", bar_size=bar_size, duration=duration)
            bars = told["bars"]
            assert [bar["time"] for bar in bars] == sorted({bar["time"] for bar in bars}), bar_size
            for bar in bars:
                low, high = Decimal(bar["low"]), Decimal(bar["high"])
                assert low <= min(Decimal(bar["open"]), Decimal(bar["close"])), bar_size
                assert high >= max(Decimal(bar["open"]), Decimal(bar["close"])), bar_size
                assert Decimal(bar["volume"]) >= 0
                assert bar["trades"] >= 0
            assert (told["symbol"], told["currency"], told["bar_size"]) == ("AAPL", "USD", bar_size)
            assert told["age_seconds"] >= 0
            assert told["newest_may_change"] in (True, False)
            await world.clock.advance(1)


async def test_bars_end_where_they_are_asked_to_and_are_final_there() -> None:
    async with running() as world:
        end = "2026-11-19T21:00:00Z"
        told = await world.call("get_historical_bars", symbol="AAPL", bar_size="1 hour", duration="1 D", end=end)
        assert told["bars"][-1]["time"] < end
        assert told["newest_may_change"] is False
        await world.sleep_through(600)
        now = await world.call("get_historical_bars", symbol="AAPL", bar_size="1 hour", duration="1 D")
        assert now["newest_may_change"] is True


async def test_bars_of_quotes_have_no_volume_and_none_is_invented() -> None:
    async with running() as world:
        told = await world.call("get_historical_bars", symbol="EUR.USD", what_to_show="MIDPOINT", duration="5 D")
        assert told["bars"]
        assert all("volume" not in bar and "trades" not in bar for bar in told["bars"])
        refused = await world.call("get_historical_bars", symbol="EUR.USD", what_to_show="TRADES", duration="5 D")
        assert refused["success"] is False
        assert refused["broker_code"] in (162, 321)
        assert refused["broker_text"]["source"] == "broker"


async def test_newest_bars_are_kept_and_the_rest_is_told_to_be_missing() -> None:
    async with running() as world:
        told = await world.call("get_historical_bars", symbol="AAPL", duration="1 M", max_bars=3)
        everything = await world.call("get_historical_bars", symbol="AAPL", duration="1 M")
        assert told["bars"] == everything["bars"][-3:]
        assert f"{len(everything['bars']) - 3} oldest" in told["warnings"][0]


async def test_schedule_has_the_sessions_of_the_exchange_and_the_history_its_beginning() -> None:
    async with running(simulator_market_always_open=False) as world:
        told = await world.call(
            "get_historical_bars", symbol="AAPL", what_to_show="SCHEDULE", duration="10 D", head_timestamp=True
        )
        assert told["time_zone"] == "US/Eastern"
        assert "bars" not in told
        days = [session["day"] for session in told["sessions"]]
        assert days == sorted(days)
        assert "2026-11-15" not in days  # a Sunday
        for session in told["sessions"]:
            assert _moment(session["end"]) - _moment(session["start"]) == timedelta(hours=6, minutes=30)
        assert _moment(told["history_begins_at"]) < _moment(told["sessions"][0]["start"])


async def test_what_tws_would_not_take_is_refused_before_it_is_asked() -> None:
    wrong: list[dict[str, object]] = [
        {"bar_size": "1 minute"},
        {"duration": "1 month"},
        {"duration": "0 D"},
        {"what_to_show": "FUNDAMENTALS"},
        {"end": "2026-11-19"},
        {"end": "2026-11-19 16:00:00"},
        {"max_bars": 0},
    ]
    async with running() as world:
        for arguments in wrong:
            refused = await world.call("get_historical_bars", symbol="AAPL", **arguments)
            assert refused["code"] == "INVALID_ARGUMENTS", (arguments, refused)
        assert not any(isinstance(entry.request, ReqHistoricalData) for entry in world.gateway.received)


async def test_pacing_violation_is_asked_again_after_a_pause_and_told_if_it_stays() -> None:
    async with running() as world:
        told: list[BrokerEvent] = []
        world.app.desk.broker.listen(lambda event: told.append(event) if event.kind is BrokerEventKind.NOTICE else None)
        world.gateway.faults.pace_next_history(1)
        async with time_passing(world.clock):
            assert (await world.call("get_historical_bars", symbol="AAPL", duration="5 D"))["success"]
            world.gateway.faults.pace_next_history(3)
            refused = await world.call("get_historical_bars", symbol="AAPL", duration="5 D")
        assert (refused["code"], refused["broker_code"]) == ("BROKER_PACING", 162)
        assert [event.code for event in told] == [162] * 4  # RL-14: for those who count the broker's complaints
        assert world.app.desk.broker.link.pacing_complaints == 4
        assert refused["retry_after_s"] > 0


async def test_lost_history_farm_is_an_error_and_never_an_empty_chart() -> None:
    """FD-41."""
    async with running() as world:
        world.gateway.faults.farm_lost("history")
        refused = await world.call("get_historical_bars", symbol="AAPL", duration="5 D")
        assert (refused["success"], refused["broker_code"]) == (False, 162)
        assert "bars" not in refused


async def test_request_that_nobody_waits_for_any_more_is_withdrawn(gateway: PaperGateway, clock: ManualClock) -> None:
    async with connected(gateway, clock) as broker:
        request = BarRequest(
            instrument=await aapl(broker),
            bar_size="1 day",
            duration="5 D",
            what_to_show="TRADES",
            regular_hours_only=True,
        )
        gateway.faults.drop_next_message(17)
        waiting = asyncio.ensure_future(broker.bars(request))
        await until(lambda: any(isinstance(entry.request, ReqHistoricalData) for entry in gateway.received))
        waiting.cancel()
        await until(lambda: any(isinstance(entry.request, CancelHistoricalData) for entry in gateway.received))


async def test_client_that_asks_hears_that_a_long_call_goes_on() -> None:
    heard: list[tuple[float, float | None, str | None]] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, total, message))

    async with running() as world, time_passing(world.clock):
        world.gateway.faults.pace_next_history(2)  # two pauses of a second or two
        result = await world.client.call_tool(
            "get_historical_bars", {"symbol": "AAPL", "duration": "5 D"}, progress_callback=hear
        )
        assert not result.is_error
    assert heard
    assert all(message == "Waiting for the history of AAPL." for _, _, message in heard)
    assert [done for done, _, _ in heard] == sorted(done for done, _, _ in heard)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


# ---- contract details


async def test_contract_details_have_the_price_grid_the_hours_and_marked_texts() -> None:
    async with running() as world:
        told = await world.call("get_contract_details", symbol="AAPL")
        assert told["instrument"]["con_id"] == 265598
        assert told["price_grid"][0] == {"from_price": "0", "increment": "0.01"}
        assert "LMT" in told["order_types"]
        assert {rule["exchange"] for rule in told["exchanges"]} >= {"SMART", "NASDAQ"}
        assert all(rule["market_rule"] > 0 for rule in told["exchanges"])
        assert told["industry"]["source"] == told["instrument"]["name"]["source"] == "broker"
        assert told["time_zone"] == "US/Eastern"
        first = told["regular_hours"][0]
        assert _moment(first["start"]) <= _moment(told["at"]) < _moment(first["end"])
        assert told["age_seconds"] == 0


async def test_contract_details_are_asked_anew_and_unknown_contracts_refused() -> None:
    async with running() as world:
        await world.call("get_contract_details", symbol="AAPL")
        await world.sleep_through(3_600)
        assert (await world.call("get_contract_details", symbol="AAPL"))["age_seconds"] == 0
        assert (await world.call("get_contract_details", symbol="NOPE"))["code"] == "CONTRACT_NOT_FOUND"
        pence = await world.call("get_contract_details", symbol="BARC.LSE.GBP")
        assert pence["price_magnifier"] == 100


# ---- profit and loss


async def test_profit_and_loss_is_told_of_the_account_and_of_each_holding() -> None:
    async with running() as world:
        world.gateway.add_position(ACCOUNT, "AAPL", 100, "100.00")
        world.gateway.add_position(ACCOUNT, "MSFT", -5, "100.00")
        told = await world.call("get_pnl")
        assert (told["account"], told["currency"]) == ("******001", "USD")
        rows = {row["symbol"]: row for row in told["positions"]}
        assert {symbol: row["quantity"] for symbol, row in rows.items()} == {"AAPL": "100", "MSFT": "-5"}
        of_rows = sum(Decimal(row["unrealized_pnl"]) for row in rows.values())
        assert abs(of_rows - Decimal(told["unrealized_pnl"])) < Decimal("0.05")
        assert all(row["currency"] == "USD" for row in rows.values())
        assert all(row["age_seconds"] == 0 for row in (*rows.values(), told))


async def test_profit_and_loss_of_a_foreign_holding_names_no_currency_and_says_why() -> None:
    """IBKR does not document it, so nothing is claimed."""
    async with running() as world:
        world.gateway.add_position(ACCOUNT, "7203", 300, "2500")
        told = await world.call("get_pnl")
        [row] = told["positions"]
        assert "currency" not in row
        assert "IBKR does not say" in told["warnings"][0]


async def test_profit_and_loss_of_the_account_alone_asks_for_no_holdings() -> None:
    async with running() as world:
        world.gateway.add_position(ACCOUNT, "AAPL", 100, "100.00")
        told = await world.call("get_pnl", per_position=False)
        assert "positions" not in told
        assert (await world.call("get_pnl", account="DU1"))["code"] == "ACCOUNT_NOT_SERVED"


async def test_many_holdings_are_read_in_parts_and_the_client_hears_how_far() -> None:
    symbols = ("AAPL", "MSFT", "IBM", "TSLA", "GOOG", "AMZN", "NVDA", "META", "JPM", "SPY", "QQQ", "KO", "XOM", "WMT")
    heard: list[tuple[float, float | None]] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, total))

    async with running() as world, time_passing(world.clock):
        held = [symbol for symbol in symbols if _listed(world.gateway, symbol)]
        for symbol in held:
            world.gateway.add_position(ACCOUNT, symbol, 1, "10.00")
        result = await world.client.call_tool("get_pnl", {}, progress_callback=hear)
        told = result.structured_content
        assert isinstance(told, dict)
        assert {row["symbol"] for row in told["positions"]} == set(held)
    assert heard[0] == (0, len(held))


def _listed(gateway: PaperGateway, symbol: str) -> bool:
    try:
        gateway.con_id(symbol)
    except (KeyError, ValueError, LookupError):
        return False
    return True


async def test_profit_and_loss_without_an_answer_is_an_error_within_the_deadline() -> None:
    async with running(broker_deadline_seconds=0.3) as world:
        world.gateway.faults.drop_next_message(94, 10)
        refused = await world.call("get_pnl", per_position=False)
        assert (refused["success"], refused["code"]) == (False, "BROKER_TIMEOUT")


# ---- finished orders


async def test_finished_orders_of_today_are_listed_with_how_they_ended() -> None:
    async with running() as world:
        filled = await world.call("place_market_order", symbol="AAPL", action="BUY", quantity=2)
        resting = await world.buy()
        await world.clock.advance(1)
        await world.call("cancel_order", perm_id=resting["perm_id"])
        working = await world.buy()
        await world.clock.advance(1)

        orders = (await world.call("get_completed_orders"))["orders"]
        ended = {order["perm_id"]: (order["status"], order["filled"]) for order in orders}
        assert ended == {filled["perm_id"]: ("Filled", "2"), resting["perm_id"]: ("Cancelled", "0")}
        assert working["perm_id"] not in ended
        times = [order["completed_at"] for order in orders]
        assert times == sorted(times, reverse=True)
        assert (await world.call("get_completed_orders", account="DU9000002"))["orders"] == []
