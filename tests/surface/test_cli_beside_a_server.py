"""The shell beside a running server: both see one state, and a stop from the shell reaches the server's orders."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mcp import Client, StdioServerParameters

from ibkr_mcp_server.store.database import Database
from tests.surface.shell import Shell

DEADLINE_SECONDS = 60.0


@asynccontextmanager
async def agent_of(shell: Shell) -> AsyncIterator[Client]:
    """An agent whose host started a server that may trade."""
    settings = {"IBKR_ENABLE_TRADING": "true", "IBKR_LOG_FILE": str(shell.state / "server.log")}
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "ibkr_mcp_server", "serve"], env=shell.environment | settings
    )
    async with asyncio.timeout(DEADLINE_SECONDS), Client(server) as client:
        while not ((await ask(client, "get_connection_status")).get("link") or {}).get("is_up"):  # noqa: ASYNC110 - another process has no event
            await asyncio.sleep(0.05)
        yield client


async def ask(client: Client, tool: str, **arguments: object) -> dict[str, Any]:  # Any: JSON
    result = await client.call_tool(tool, arguments)
    assert isinstance(result.structured_content, dict), result
    return result.structured_content


async def cancelled(client: Client, request: str) -> None:
    """Return once the broker says so; bounded by the agent's deadline."""
    answer = await ask(client, "get_order_status", order_request_id=request)
    while answer.get("outcome") != "cancelled":
        assert answer["success"], answer
        await asyncio.sleep(0.05)
        answer = await ask(client, "get_order_status", order_request_id=request)


async def test_portfolio_halt_from_a_shell_stops_the_running_server_and_cancels_its_entries(shell: Shell) -> None:
    """KS-07, KS-12, SIG-11: two processes, one latch; the server's own settings show in the shell's status."""
    async with agent_of(shell) as client:
        quote = (await ask(client, "get_market_data", symbols=["AAPL"]))["quotes"][0]
        wanted = {"symbol": "AAPL", "action": "BUY", "quantity": 1, "limit_price": round(float(quote["bid"]) * 0.98, 2)}
        placed = await ask(client, "place_limit_order", **wanted, client_request_id="resting-order")
        assert placed["outcome"] == "accepted"
        before = await asyncio.to_thread(shell.call, "status", "--safety")

        halted = await asyncio.to_thread(shell.call, "portfolio-halt", "--reason", "from the shell")

        assert halted.returncode == 0
        refused = await ask(client, "place_limit_order", **wanted)
        assert (refused["code"], "from the shell" in refused["error"]) == ("KILL_SWITCH_ACTIVE", True)
        await cancelled(client, "resting-order")
        status = await asyncio.to_thread(shell.json, "status", "--safety")

    assert before.returncode == 0, before.stdout
    assert "Orders may be placed" in before.stdout  # the server's setting; this shell has none
    assert (status["status"], status["settings_from"], status["trading_enabled"]) == ("STOPPED", "server start", True)
    assert status["unresolved"] == []
    assert shell.call("audit", "verify").returncode == 0


def test_a_server_that_must_write_ends_with_75_when_another_one_does(shell: Shell) -> None:
    """LK-01: said at once, with the name of the holder."""
    shell.call("portfolio-halt")  # makes the store
    database = Database.open(shell.state / "state.db")
    lock = database.writer_lock()
    try:
        assert lock.acquire()
        refused = shell.call("serve", "--require-writer")
    finally:
        lock.release()
        database.close()
    assert (refused.returncode, "Another process writes for this account" in refused.stderr) == (75, True)
