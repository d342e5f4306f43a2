"""Servers as processes of their own on one state directory: one writes, and the others read until it is killed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.audit.log import tail
from ibkr_mcp_server.audit.verify import verify_database
from ibkr_mcp_server.clock import SystemClock
from ibkr_mcp_server.simulator.server import PaperGateway
from ibkr_mcp_server.store.database import Database
from tests.private_state import private_state
from tests.server_process import Server, serving


@pytest.fixture
def state() -> Iterator[Path]:
    with private_state("take-over-") as path:
        yield path


def is_writer(status: dict[str, Any]) -> bool:
    return "not_the_writer" not in status and status["effective_state"] != "SAFE"


async def test_when_the_writer_is_killed_a_reader_takes_over_with_all_counters_and_latches(state: Path) -> None:
    """LK-01, LK-02, A9: each serves reads on a client id of its own; the one that takes over trades on the writer's."""
    order = {"symbol": "AAPL", "action": "BUY", "quantity": 1, "limit_price": 20.0}
    async with PaperGateway(clock=SystemClock(), market_always_open=True) as gateway, AsyncExitStack() as stack:

        async def started() -> Server:
            return await stack.enter_async_context(serving(state, gateway, IBKR_MAX_ORDERS_PER_MINUTE="3"))

        writer = await started()
        await writer.until(is_writer)
        readers = [await started(), await started()]
        placed = [await writer.ask("place_limit_order", **order) for _ in range(2)]
        assert [one["success"] for one in placed] == [True, True]

        ids = [(await server.ask("get_connection_status"))["link"]["client_id"] for server in (writer, *readers)]
        assert ids == [17, 117, 118]
        for reader in readers:
            refused = await reader.ask("place_limit_order", **order)
            assert refused["code"] == "NOT_THE_WRITER"
            assert f"process {writer.pid} " in refused["error"]
            assert len((await reader.ask("get_open_orders"))["orders"]) == 2

        await writer.kill()
        heir = await _the_next_writer(readers)
        [other] = [reader for reader in readers if reader is not heir]
        assert (await heir.ask("get_connection_status"))["link"]["client_id"] == 17
        assert (await other.ask("get_safety_status"))["not_the_writer"].startswith("Another process writes")
        assert (await heir.ask("get_safety_status"))["daily_stats"]["opening_orders"] == 2
        assert (await heir.ask("place_limit_order", **order))["success"]
        assert (await heir.ask("place_limit_order", **order))["code"] == "RATE_LIMIT"
        assert (await heir.ask("cancel_order", perm_id=placed[0]["perm_id"]))["success"]
        assert (await other.ask("emergency_stop", reason="by a reader"))["kill_switch_active"]

        await heir.kill()
        await other.until(lambda status: "not_the_writer" not in status)
        assert (await other.ask("place_limit_order", **order))["code"] == "KILL_SWITCH_ACTIVE"
        assert len(gateway.received_orders) == 3

    database = Database.open(state / "state.db", read_only=True)
    granted = database.read_blocking(lambda connection: tail(connection, 10_000, EventType.WRITER_GRANTED))
    assert [(one.outcome["fence"], one.outcome["pid"]) for one in granted] == [
        (1, writer.pid),
        (2, heir.pid),
        (3, other.pid),
    ]
    assert verify_database(database).ok
    database.close()


async def _the_next_writer(readers: list[Server]) -> Server:
    """The one that takes the role over, once it has taken the steps of its start."""
    watches = {asyncio.create_task(reader.until(is_writer)): reader for reader in readers}
    done, pending = await asyncio.wait(watches, return_when=asyncio.FIRST_COMPLETED)
    for watch in pending:
        watch.cancel()
    await asyncio.wait(pending)
    return watches[done.pop()]
