"""How often an agent may ask: a loop is stopped, and what lowers the risk is never refused for a quota."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.simulator.server import PaperGateway
from tests.harness import World, running

NONSENSE: dict[str, Any] = {"symbol": "AAPL", "action": "BUY", "quantity": -1, "limit_price": 1.0}


async def throttled(world: World) -> bool:
    answer = await world.call("get_accounts")
    return bool(answer.get("code") == "AGENT_THROTTLED")


async def test_the_sixty_first_refused_call_of_a_minute_is_a_timeout_with_one_alert(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """RL-10: reading is refused as well; it ends after five minutes."""
    async with running(tmp_path, gateway, clock, max_attempts_per_minute=60) as world:
        codes = [(await world.call("place_limit_order", **NONSENSE))["code"] for _ in range(60)]
        assert "AGENT_THROTTLED" not in codes
        refused = await world.call("place_limit_order", **NONSENSE)
        assert (refused["code"], refused["retry_after_s"]) == ("AGENT_THROTTLED", 300.0)
        await clock.advance(299)
        later = await world.buy()
        assert (later["code"], later["retry_after_s"]) == ("AGENT_THROTTLED", 1.0)
        alerts = [record.outcome.get("code") for record in await world.records(EventType.SAFETY_VIOLATION)]
        assert alerts == ["AGENT_THROTTLED"]
        await clock.advance(1)
        assert not await throttled(world)
        assert (await world.buy())["success"]
    assert world.sent == 1


async def test_a_loop_slower_than_the_limit_is_no_loop(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """RL-10, RL-03: only the attempts of the last 60 seconds count, and a step of the wall clock changes nothing."""
    async with running(tmp_path, gateway, clock, max_attempts_per_minute=3) as world:
        for _ in range(6):
            assert not await throttled(world)
            await clock.advance(20)
        clock.step_wall(timedelta(days=1))
        assert [await throttled(world) for _ in range(2)] == [False, True]


async def test_a_timeout_survives_a_restart(tmp_path: Path, gateway: PaperGateway, clock: ManualClock) -> None:
    """RL-10: an agent that can restart its server gains nothing by it."""
    async with running(tmp_path, gateway, clock, max_attempts_per_minute=1) as world:
        assert [await throttled(world) for _ in range(2)] == [False, True]
    await clock.advance(100)
    async with running(tmp_path, gateway, clock, max_attempts_per_minute=1) as world:
        refused = await world.call("get_portfolio")
        assert (refused["code"], refused["retry_after_s"]) == ("AGENT_THROTTLED", 200.0)


async def test_an_agent_in_timeout_can_cancel_stop_and_ask_for_the_state(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """RL-10, RL-11, invariant 6."""
    async with running(tmp_path, gateway, clock, max_attempts_per_minute=2) as world:
        placed = [await world.buy() for _ in range(2)]
        assert await throttled(world)
        assert (await world.call("get_safety_status"))["success"]
        assert (await world.call("cancel_order", perm_id=placed[0]["perm_id"]))["success"]
        stopped = await world.call("emergency_stop", reason="It loops.")
        assert stopped["success"]
        both = await world.buy()
        assert both["code"] == "KILL_SWITCH_ACTIVE"  # the switch comes first, and the timeout is told too
        assert any(detail.startswith("AGENT_THROTTLED") for detail in both["details"])


async def test_the_same_request_again_counts_as_an_attempt(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """RL-10: answering a repeat from its record must not hide a loop."""
    async with running(tmp_path, gateway, clock, max_attempts_per_minute=3) as world:
        answers = [await world.buy(client_request_id="the-same") for _ in range(4)]
        assert [answer.get("code") for answer in answers] == [None, None, None, "AGENT_THROTTLED"]
    assert world.sent == 1


async def test_the_thirty_first_read_of_a_minute_is_refused_and_the_safety_status_is_not(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """RL-11; quotes have a limit of their own."""
    async with running(tmp_path, gateway, clock, max_account_reads_per_minute=30) as world:
        await world.call("get_accounts")
        await clock.advance(10)
        for _ in range(29):
            assert (await world.call("get_accounts"))["success"]
        refused = await world.call("get_open_orders")
        assert (refused["code"], refused["retry_after_s"]) == ("ACCOUNT_READ_LIMIT", 50.0)
        status = await world.call("get_safety_status")
        assert [one for one in status["limits"] if one["name"] == "account_reads_per_minute"] == [
            {"name": "account_reads_per_minute", "used": "30", "limit": "30", "left": "0"}
        ]
        assert (await world.call("get_market_data", symbols=["AAPL"]))["success"]
        await clock.advance(50)
        assert (await world.call("get_open_orders"))["success"]


async def test_changes_of_entries_are_limited_and_those_of_protection_and_cancels_are_not(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """RL-11, RL-12, T-26: a stop can always follow the market."""
    limits: dict[str, Any] = {
        "max_modifications_per_minute": 2,
        "max_orders_per_minute": 50,
        "enable_stop_loss_orders": True,
    }
    async with running(tmp_path, gateway, clock, **limits) as world:
        assert (await world.call("place_market_order", symbol="AAPL", action="BUY", quantity=5))["success"]
        await clock.advance(3)
        await world.until(lambda: world.app.desk.broker.known_positions())
        entry = await world.buy(9)
        price = await world.last_price("AAPL")
        stop = await world.call("place_stop_loss", symbol="AAPL", action="SELL", quantity=5,
                                stop_price=round(price * 0.8, 2))  # fmt: skip
        for quantity in (8, 7):
            changed = await world.call("modify_order", perm_id=entry["perm_id"], quantity=quantity)
            assert changed["success"], changed
        refused = await world.call("modify_order", perm_id=entry["perm_id"], quantity=6)
        assert refused["code"] == "MODIFICATION_LIMIT"
        assert refused["retry_after_s"] == pytest.approx(60, abs=1)
        closer = await world.call("modify_stop_loss", perm_id=stop["perm_id"], stop_price=round(price * 0.85, 2))
        assert closer["success"], closer
        weaker = await world.call("modify_stop_loss", perm_id=stop["perm_id"], stop_price=round(price * 0.7, 2))
        assert weaker["code"] == "MODIFICATION_LIMIT"
        assert (await world.call("cancel_order", perm_id=entry["perm_id"]))["success"]
        await clock.advance(60)
        again = await world.call("modify_stop_loss", perm_id=stop["perm_id"], stop_price=round(price * 0.7, 2))
        assert again["success"], again


async def test_many_messages_without_a_trade_open_nothing_more_until_one_trades(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """RL-15: pairs of an order and its cancellation warn at 10, stop at 20, and never keep a cancel out."""
    limits: dict[str, Any] = {
        "messages_per_fill_warning": 10, "max_messages_per_fill": 20, "max_orders_per_minute": 50,
    }  # fmt: skip
    async with running(tmp_path, gateway, clock, **limits) as world:
        assert (await world.buy())["success"]
        warned = []
        for _ in range(9):
            placed = await world.buy()
            assert placed["success"], placed
            await clock.advance(1)  # the link takes forty messages a second
            warned.append(bool(placed.get("warnings")))
            assert (await world.call("cancel_order", perm_id=placed["perm_id"]))["success"]
        assert warned == [False] * 5 + [True] * 4
        last = await world.buy()
        assert last["success"], last
        refused = await world.buy()
        assert refused["code"] == "ORDER_EFFICIENCY"
        status = await world.call("get_safety_status")
        assert status["effective_state"] == "OBSERVE"
        assert next(one for one in status["limits"] if one["name"] == "messages_per_fill")["left"] == "0.0"
        cancelled = await world.call("cancel_order", perm_id=last["perm_id"])
        assert cancelled["success"], cancelled
    async with running(tmp_path, gateway, clock, **limits) as world:
        assert (await world.buy())["code"] == "ORDER_EFFICIENCY"  # the count is the store's
        clock.step_wall(timedelta(hours=8))  # 18:00 in New York: another trading day
        await clock.advance(2)
        await world.until_up()
        assert (await world.buy())["success"]


async def test_orders_that_trade_pay_for_the_messages(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """RL-15: each order that trades leaves room for twenty messages more."""
    limits: dict[str, Any] = {
        "messages_per_fill_warning": 2, "max_messages_per_fill": 2, "max_orders_per_minute": 50,
    }  # fmt: skip
    async with running(tmp_path, gateway, clock, **limits) as world:
        bought = await world.call("place_market_order", symbol="AAPL", action="BUY", quantity=1)
        await clock.advance(3)
        await world.until(lambda: not world.working_orders())
        await world.app.follower.settled()
        assert (await world.intent(bought["client_request_id"])).filled_quantity == 1
        assert [(await world.buy()).get("code") for _ in range(4)] == [None, None, None, "ORDER_EFFICIENCY"]
