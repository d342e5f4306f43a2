"""The server as a process of its own, on a gateway in this one, so that it can be killed with answers outstanding."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from ibkr_mcp_server.simulator.server import PaperGateway
from ibkr_mcp_server.state_dir import open_state_directory
from tests.harness import WITHOUT_PAUSES
from tests.private_state import with_tables

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_SECONDS = 60
"""A start takes a second; a machine that does much else at once may need longer."""
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "crash-test", "version": "1"},
}


class Server:
    """`serve` as a process, spoken to line by line, so that it can be killed with answers outstanding."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.pid = process.pid
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
        async with asyncio.timeout(PATIENCE_SECONDS):
            answer = await self.call(tool, **arguments)
        body = answer["structuredContent"]
        assert isinstance(body, dict)
        return body

    async def until_up(self) -> None:
        await self.until(lambda status: (status.get("link") or {}).get("state") == "up")

    async def until(self, true: Callable[[dict[str, Any]], object]) -> None:
        """Ask for the safety status, which no limit refuses, until it is as it should be."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not true(await self.ask("get_safety_status")):  # noqa: ASYNC110 - another process brings it
                await asyncio.sleep(0.1)

    async def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()
        await self._reader


@asynccontextmanager
async def serving(
    state: Path, gateway: PaperGateway, *, program: Sequence[str] = ("ibkr_mcp_server",), **settings: str
) -> AsyncIterator[Server]:
    """`serve` of `program`, a module and its first arguments; killed at the end if it still lives."""
    with_tables(open_state_directory(state))
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
        sys.executable, "-m", *program, "serve",
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
