"""kill -9 in the middle of placing orders: after the restart everything is as it was, and nothing is doubled.

The server is a process of its own here, on a gateway in this one.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ibkr_mcp_server.audit.verify import verify_database
from ibkr_mcp_server.clock import SystemClock
from ibkr_mcp_server.simulator.server import PaperGateway
from ibkr_mcp_server.store import intents
from ibkr_mcp_server.store.database import Database
from ibkr_mcp_server.store.intents import IntentState
from tests.harness import WITHOUT_PAUSES
from tests.private_state import private_state

ROOT = Path(__file__).resolve().parents[2]
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "crash-test", "version": "1"},
}


@pytest.fixture
def state() -> Iterator[Path]:
    with private_state("crash-") as path:
        yield path


class Server:
    """`serve` as a process, spoken to line by line, so that it can be killed with answers outstanding."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self._id = 0
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            answer = json.loads(line)
            waiting = self._waiting.pop(answer.get("id"), None)
            if waiting is not None and not waiting.done():
                waiting.set_result(answer["result"])
        for waiting in self._waiting.values():
            waiting.cancel()

    def call(self, tool: str, **arguments: Any) -> asyncio.Future[dict[str, Any]]:
        """Send the call now; the future brings the structured answer, or is cancelled when the server dies."""
        self._id += 1
        params = {"name": tool, "arguments": arguments, "_meta": META}
        message = {"jsonrpc": "2.0", "id": self._id, "method": "tools/call", "params": params}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[self._id] = answer
        return answer

    async def ask(self, tool: str, **arguments: Any) -> dict[str, Any]:
        async with asyncio.timeout(20):
            answer = await self.call(tool, **arguments)
        body = answer["structuredContent"]
        assert isinstance(body, dict)
        return body

    async def until_up(self) -> None:
        async with asyncio.timeout(20):
            while (await self.ask("get_connection_status"))["link"]["state"] != "up":
                pass

    async def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()
        await self._reader


@asynccontextmanager
async def serving(state: Path, gateway: PaperGateway, **settings: str) -> AsyncIterator[Server]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("IBKR_")}
    environment |= {
        "IBKR_STATE_DIR": str(state),
        "IBKR_BROKER_MODE": "paper",
        "IBKR_PORT": str(gateway.port),
        "IBKR_ENABLE_TRADING": "true",
        "IBKR_MAX_ORDERS_PER_MINUTE": "40",
        **{f"IBKR_{name.upper()}": str(value) for name, value in WITHOUT_PAUSES.items()},
        "IBKR_RESTART_WINDOWS": "",  # the real clock may stand in one
        **settings,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ibkr_mcp_server", "serve",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        env=environment, cwd=ROOT,
    )  # fmt: skip
    server = Server(process)
    try:
        await server.until_up()
        yield server
    finally:
        if process.returncode is None:
            await server.kill()


@pytest.mark.parametrize("orders_seen", [0, 5])
async def test_killed_while_placing_orders_the_restarted_server_knows_them_all_and_doubles_none(
    state: Path, orders_seen: int
) -> None:
    """ID-02, RL-09, KS-05, SU-04, invariants 1, 2 and 8: the kill falls at a different moment each time."""
    keys = [f"crash-order-{number:02}" for number in range(12)]
    order = {"symbol": "AAPL", "action": "BUY", "quantity": 1, "limit_price": 20.0}
    async with PaperGateway(clock=SystemClock(), market_always_open=True) as gateway:
        async with serving(state, gateway) as server:
            for key in keys:
                server.call("place_limit_order", client_request_id=key, **order)
            async with asyncio.timeout(20):
                await gateway.wait_for(lambda: len(gateway.received_orders) >= orders_seen)
            await server.kill()

        database = Database.open(state / "state.db", read_only=True)
        before = {
            key: intent
            for key in keys
            if (intent := database.read_blocking(lambda connection, key=key: intents.find_by_key(connection, key)))  # type: ignore[misc]  # the loop's key
        }
        assert verify_database(database).ok
        database.close()
        sent = {one.terms.order_ref for one in gateway.received_orders}
        assert sent <= {intent.order_ref for intent in before.values()}, "nothing was sent without a durable intent"

        async with serving(state, gateway) as server:
            status = await server.ask("get_safety_status")
            assert status["daily_stats"]["opening_orders"] >= len(sent)
            for key in keys:
                await server.ask("place_limit_order", client_request_id=key, **order)
            references = [one.terms.order_ref for one in gateway.received_orders]
            assert len(references) == len(set(references)), "an order was doubled"
            for key, intent in before.items():
                if intent.order_ref in sent:
                    told = await server.ask("get_order_status", order_request_id=key)
                    assert told["order"] is not None, (key, told)
            await server.ask("emergency_stop", reason="before the crash")
            await server.kill()

        async with serving(state, gateway) as server:
            status = await server.ask("get_safety_status")
            assert status["kill_switch_active"] is True
            refused = await server.ask("place_limit_order", client_request_id="after-the-stop", **order)
            assert refused["code"] == "KILL_SWITCH_ACTIVE"
        database = Database.open(state / "state.db", read_only=True)
        assert verify_database(database).ok
        after = database.read_blocking(intents.unresolved)
        assert [one for one in after if one.kind == "place" and one.state is IntentState.RESERVED] == []
        database.close()
