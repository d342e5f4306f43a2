"""A person looks after so many hours of running, and restarts do not count as one."""

from __future__ import annotations

from pathlib import Path

import pytest

from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.domain.operations import Actor, ActorType
from ibkr_mcp_server.errors import Refused
from ibkr_mcp_server.operations.session_limit import rearm
from ibkr_mcp_server.safety.operator import OperatorProof
from ibkr_mcp_server.safety.roles import Role
from ibkr_mcp_server.simulator.server import PaperGateway
from tests.harness import World, running


def person(role: Role) -> OperatorProof:
    return OperatorProof(actor=Actor(type=ActorType.HUMAN, id="ann", auth="passphrase"), role=role)


async def test_after_the_hours_of_a_session_nothing_is_opened_until_a_person_armed_it(tmp_path: Path) -> None:
    """TM-06: neither a restart nor time ends it; exits go on."""
    clock = ManualClock()

    def is_over(world: World) -> bool:
        return world.app.desk.safety.readiness.session_over is not None

    async with PaperGateway(clock=clock) as gateway:
        async with running(tmp_path, gateway, clock, max_session_duration_hours=0.05) as world:
            assert (await world.buy())["success"]
            await clock.advance(181)
            await world.app.session_limit.look()
            assert is_over(world)
            refused = await world.buy()
            status = await world.call("get_safety_status")
            assert (refused["code"], status["effective_state"]) == ("SESSION_OVER", "OBSERVE")
            assert "rearm" in refused["next_step"]
            assert (await world.call("cancel_all_orders"))["success"]
            [change] = await world.records(EventType.MODE_CHANGE)
            assert change.outcome["to"] == "OBSERVE"
        async with running(tmp_path, gateway, clock, max_session_duration_hours=0.05) as world:
            assert (await world.buy())["code"] == "SESSION_OVER"
            desk = world.app.desk
            with pytest.raises(Refused):
                await rearm(desk.database, desk.audit, clock, person(Role.VIEWER), "let me")
            await rearm(desk.database, desk.audit, clock, person(Role.SENIOR), "looked")
            await world.app.session_limit.look()
            assert not is_over(world)
            assert (await world.buy())["success"]
            assert [record.actor["id"] for record in await world.records(EventType.MODE_CHANGE)][-1] == "ann"
