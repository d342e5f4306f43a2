"""Answers of every tool in every situation: one shape, one record, and the listed schema holds."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.domain.operations import OperationClass
from ibkr_mcp_server.errors import Unavailable
from ibkr_mcp_server.simulator.server import PaperGateway
from ibkr_mcp_server.tools.catalogue import TOOLS
from ibkr_mcp_server.tools.server import AppLike, TradingServer
from tests.harness import World, running, time_passing
from tests.patience import within
from tests.surface.answers import ARGUMENTS, fits


async def _ask_all(world: World) -> dict[str, dict[str, Any]]:
    """Each tool once, the stop last."""
    answers = {}
    async with time_passing(world.clock):  # together they send more than may leave in a second
        for tool in TOOLS:
            answers[tool.name] = await world.call(tool.name, **ARGUMENTS.get(tool.name, {}))
            fits(tool.name, answers[tool.name])
        await world.clock.advance(0.2)  # the broker takes so many messages a second
    return answers


async def test_each_call_is_one_decision_record_with_its_class() -> None:
    """TW-01."""
    async with running() as world:
        before = len(await world.decisions())
        answers = await _ask_all(world)
        unknown = await world.call("place_option_order", symbol="AAPL")
        fits("place_option_order", unknown)

        records = (await world.decisions())[before:]
        prices = {str(OperationClass.MARKET_DATA), str(OperationClass.FOREX)}  # AUD-07
        for record in records:
            wanted = EventType.MARKET_DATA_REQUEST if record.operation_type in prices else EventType.DECISION
            assert record.event_type is wanted
        recorded = {
            record.decision_id: (record.tool, record.operation_type)
            for record in records
            if record.actor["type"] == "agent"
        }
        asked = {answers[tool.name]["decision_id"]: (tool.name, str(tool.operation_class)) for tool in TOOLS}
        asked[unknown["decision_id"]] = ("place_option_order", str(OperationClass.ORDER_PLACEMENT))
        assert recorded == asked
        assert len(asked) == len(TOOLS) + 1
        assert unknown["code"] == "UNKNOWN_TOOL"


@pytest.mark.parametrize("guess", ["reset", "reset_kill_switch", "resume_trading", "disable_safety", "x" * 5_000, ""])
async def test_guessed_tools_are_refused_before_anything_else(guess: str) -> None:
    """KS-10, TW-16: even where trading is off, the reason told is that the tool does not exist."""
    async with running(enable_trading=False) as world:
        refused = await world.call(guess, anything={"deep": [1, 2, {"x": None}]})
        fits(guess, refused)
        assert (refused["code"], refused["check"]) == ("UNKNOWN_TOOL", "registered_tool")
        assert len(str(refused)) < 3_000


async def test_every_tool_answers_in_shape_after_a_stop_and_reads_still_work() -> None:
    async with running() as world:
        await world.call("emergency_stop", reason="the user said stop")
        answers = await _ask_all(world)

        assert answers["place_limit_order"]["code"] == "KILL_SWITCH_ACTIVE"
        assert answers["place_market_order"]["code"] == "KILL_SWITCH_ACTIVE"
        assert answers["check_order"]["would_be_approved"] is False
        for name in ("get_accounts", "get_portfolio", "get_market_data", "get_open_orders", "get_safety_status"):
            assert answers[name]["success"] is True
        status = answers["get_safety_status"]
        assert (status["kill_switch_active"], status["effective_state"]) == (True, "HALT")
        assert status["kill_switch"]["reason"] == "the user said stop"
        assert [cause["ends"] for cause in status["causes"]] == ["by a person"]
        assert answers["emergency_stop"]["first"] is False
        assert world.gateway.received_orders == []


async def test_stop_needs_no_good_arguments_and_cancels_entries() -> None:
    """KS-18."""
    async with running() as world:
        placed = await world.buy()
        stopped = await world.call("emergency_stop", reason=["not", "text"], force=True)

        fits("emergency_stop", stopped)
        assert (stopped["success"], stopped["durable"], stopped["first"]) == (True, True, True)
        assert stopped["cancelled_perm_ids"] == [placed["perm_id"]]
        assert any("force" in warning for warning in stopped["warnings"])
        assert "reset" in stopped["next_step"]


@contextmanager
def _absent() -> Iterator[int]:
    """A port on which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@contextmanager
def _hung() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield silent.getsockname()[1]


@pytest.mark.parametrize("broken_gateway", [_absent, _hung])
async def test_every_tool_answers_within_a_second_without_a_gateway(
    broken_gateway: Callable[[], AbstractContextManager[int]], gateway: PaperGateway, tmp_path: Path
) -> None:
    """The error says what is missing and how to repair it; status and stop work."""
    with broken_gateway() as port:
        async with running(tmp_path, gateway, ManualClock(), wait=False, port=port) as world:
            for tool in TOOLS:
                async with within(1.0):
                    answer = await world.call(tool.name, **ARGUMENTS.get(tool.name, {}))
                fits(tool.name, answer)
                works = tool.name in WORK_WITHOUT_A_LINK
                assert answer["success"] is works, answer
                if not works:
                    told = " ".join((answer["code"], *answer["details"])) if "details" in answer else answer["code"]
                    assert set(told.replace(":", "").split()) & {"BROKER_UNAVAILABLE", "LINK_DOWN", "STARTING"}, answer
            assert str(port) in str(await world.call("get_connection_status"))


WORK_WITHOUT_A_LINK = {
    "get_connection_status",
    "get_safety_status",
    "get_audit_log",
    "emergency_stop",
    "check_order",
    "get_tool_documentation",
}


async def test_every_call_ends_within_five_seconds_when_the_gateway_freezes_in_mid_session(
    gateway: PaperGateway, tmp_path: Path
) -> None:
    """Every tool but the stop, at once, with the settings as they are by default; what was sent is told as unknown."""
    async with running(tmp_path, gateway, ManualClock()) as world:
        placed = await world.buy()
        await world.clock.advance(2)  # the messages of the start count no more
        gateway.faults.freeze()
        calls = {tool.name: dict(ARGUMENTS[tool.name]) for tool in TOOLS if tool.name != "emergency_stop"}
        for name in ("modify_order", "cancel_order", "get_order_status"):
            calls[name] = {"perm_id": placed["perm_id"]} | ({"quantity": 2} if name == "modify_order" else {})
        async with within(5.0):
            answers = await asyncio.gather(*(world.call(name, **given) for name, given in calls.items()))
        told = dict(zip(calls, answers, strict=True))
        for name, answer in told.items():
            fits(name, answer)
        assert told["get_safety_status"]["success"]
        assert told["cancel_order"]["code"] == "OUTCOME_UNKNOWN"
        for name in ("get_account_summary", "get_executions", "get_open_orders", "get_completed_orders"):
            assert told[name]["code"] == "BROKER_TIMEOUT", told[name]
        assert not any(told[tool.name]["success"] for tool in TOOLS if tool.writes)
        gateway.faults.thaw()


@asynccontextmanager
async def _unopened(opener: Any, tmp_path: Path) -> AsyncIterator[Client]:
    server = TradingServer(opener, venue="paper", clock=ManualClock(), sentinel=tmp_path / "KILL")
    async with Client(server) as client:
        yield client


def _broken() -> AbstractAsyncContextManager[AppLike]:
    @asynccontextmanager
    async def opening() -> AsyncIterator[AppLike]:
        raise Unavailable("STORE_UNREADABLE", "The database state.db is damaged.", next_step="Restore a backup.")
        yield

    return opening()


async def test_server_whose_store_does_not_open_says_so_in_every_tool_and_can_still_be_stopped(tmp_path: Path) -> None:
    """MON-01, KS-06: unreadable counts as stopped."""
    async with _unopened(_broken, tmp_path) as client:
        for tool in TOOLS:
            result = await client.call_tool(tool.name, ARGUMENTS.get(tool.name, {}))
            answer = result.structured_content
            assert isinstance(answer, dict)
            fits(tool.name, answer)
            if tool.name == "get_safety_status":
                assert (answer["kill_switch_active"], answer["effective_state"]) == (True, "HALT")
                assert "damaged" in answer["causes"][0]["reason"]
            elif tool.name == "emergency_stop":
                assert (tmp_path / "KILL").read_text() == "a test\n"
                assert answer["kill_switch_active"] is True
            else:
                assert (result.is_error, answer["code"]) == (True, "STATE_UNREADABLE")
                assert "Restore a backup." in answer["next_step"]
        unknown = await client.call_tool("nonsense", {})
        assert isinstance(unknown.structured_content, dict)
        assert unknown.structured_content["code"] == "UNKNOWN_TOOL"


async def test_crash_while_opening_tells_no_secret(tmp_path: Path) -> None:
    """TW-15."""

    def crash() -> AbstractAsyncContextManager[AppLike]:
        raise RuntimeError("token=abcdef0123456789 in postgresql://user:hunter2@host")

    async with _unopened(crash, tmp_path) as client:
        result = await client.call_tool("get_accounts", {})
        assert result.is_error
        assert "hunter2" not in str(result)
        assert "abcdef" not in str(result)
        assert isinstance(result.structured_content, dict)
        assert result.structured_content["code"] == "INTERNAL_ERROR"


async def test_actor_is_the_client_as_it_calls_itself() -> None:
    async with running() as world:
        await world.call("get_accounts")
        (record,) = [record for record in await world.records(EventType.DECISION) if record.tool == "get_accounts"]
        assert record.actor["type"] == "agent"
        assert record.actor["auth"] == "in-process"
        assert 0 < len(record.actor["id"]) <= 60
