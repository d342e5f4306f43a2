"""What was refused, counted for the people who look for a trend."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.domain.operations import Actor, ActorType, Operation, OperationClass, Problem
from ibkr_mcp_server.operations.status import read_status
from ibkr_mcp_server.simulator.server import PaperGateway
from tests.harness import running


async def test_of_sixty_refusals_the_newest_fifty_are_told_and_all_are_counted_by_the_hour(tmp_path: Path) -> None:
    """AUD-10, MON-08: per type, per hour, per agent."""
    clock = ManualClock(datetime(2026, 11, 20, 15, 59, 50, tzinfo=UTC))
    async with PaperGateway(clock=clock) as gateway, running(tmp_path, gateway, clock) as world:
        assert (await world.call("get_order_status"))["code"] == "INVALID_ARGUMENTS"
        [first] = world.app.desk.safety.tally.violations()
        again = Operation(
            tool="get_order_status",
            operation_class=OperationClass.ACCOUNT_READ,
            actor=Actor(type=ActorType.AGENT, id=first.agent, auth="in-process"),
            arguments={},
            problems=(Problem(code=first.code, message=first.message),),
        )
        for _ in range(54):
            await world.app.desk.safety.admit(again)
        await clock.advance(20)  # into the next hour
        for _ in range(5):
            assert (await world.call("cancel_order", perm_id=4711))["code"] == "ORDER_NOT_FOUND"
        status = await world.call("get_safety_status")
        desk = world.app.desk
        whole = await desk.database.read(lambda connection: read_status(connection, desk, "anyone"))

        told = status["recent_violations"]
        assert [violation["code"] for violation in told] == ["INVALID_ARGUMENTS"] * 45 + ["ORDER_NOT_FOUND"] * 5
        assert ["message" not in violation for violation in told] == [True] * 40 + [False] * 10
        stats = status["daily_stats"]
        assert (stats["refusals_of_session"], stats["refusals_this_hour"]) == (60, {"ORDER_NOT_FOUND": 5})
        earlier, now = whole.violation_trend
        assert (earlier.by_code, now.by_code) == ({"INVALID_ARGUMENTS": 55}, {"ORDER_NOT_FOUND": 5})
        [agent] = now.by_agent
        assert (earlier.by_agent, now.by_agent) == ({agent: 55}, {agent: 5})
        assert (now.begins - earlier.begins).total_seconds() == 3_600
