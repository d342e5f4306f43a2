"""Every tool once with a good call: in memory, over stdio and over HTTP, in both eras of the protocol.

The servers are the real program with the paper gateway behind it. One process serves the whole list.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters

from ibkr_mcp_server.tools.catalogue import TOOLS
from ibkr_mcp_server.tools.server import SCHEMAS
from tests.harness import WITHOUT_PAUSES, running, time_passing
from tests.surface.shell import Shell, serving_http
from tests.surface.test_tools_answers import fits
from tests.tool_examples import EXAMPLES, call_examples

OPEN: dict[str, Any] = {
    "enable_trading": "true",
    "enable_forex_trading": "true",
    "enable_stop_loss_orders": "true",
    **{name: str(value) for name, value in WITHOUT_PAUSES.items()},
}
ENVIRONMENT = {f"IBKR_{name.upper()}": value for name, value in OPEN.items()}
TOKEN = "a-token-for-tests-only-0123456789"
PATIENCE_SECONDS = 60
ERAS = pytest.mark.parametrize("era", ["auto", "legacy"])


def test_every_tool_has_an_example_and_every_example_a_tool() -> None:
    assert set(EXAMPLES) == {tool.name for tool in TOOLS}
    assert list(EXAMPLES)[-1] == "emergency_stop"


def test_schemas_are_those_that_were_reviewed() -> None:
    """`schemas.json` is the snapshot of every tool's schemas: a change of code that changes one changes that file,
    where a reviewer sees it; `make docs` writes it."""
    stored = {entry["name"]: entry for entry in json.loads(SCHEMAS.read_text(encoding="utf-8"))}
    assert set(stored) == {tool.name for tool in TOOLS}
    for tool in TOOLS:
        assert stored[tool.name] == json.loads(json.dumps(tool.listing())), tool.name


@ERAS
async def test_in_memory(era: str) -> None:
    async with running(mode=era, **OPEN) as world, time_passing(world.clock):
        await _all_succeed(world.client)


@ERAS
async def test_over_stdio(shell: Shell, era: str) -> None:
    child = StdioServerParameters(
        command=sys.executable, args=["-m", "ibkr_mcp_server", "serve"], env=shell.environment | ENVIRONMENT
    )
    with anyio.fail_after(PATIENCE_SECONDS):
        async with Client(child, mode=era) as client:
            await _all_succeed(client)


@ERAS
async def test_over_http(shell: Shell, era: str) -> None:
    with anyio.fail_after(PATIENCE_SECONDS):
        async with serving_http(shell, TOKEN, mode=era, **ENVIRONMENT) as client:
            await _all_succeed(client)


async def _all_succeed(client: Client) -> None:
    listed = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert set(listed) == set(EXAMPLES)

    async def ask(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        result = await client.call_tool(name, arguments)
        told = result.structured_content
        assert isinstance(told, dict), result
        assert [json.loads(part.text) for part in result.content if part.type == "text"] == [told]
        return told

    with anyio.fail_after(PATIENCE_SECONDS):  # the link of a server that has just started comes up meanwhile
        while not (await ask("get_connection_status", {}))["link"]["is_up"]:  # noqa: ASYNC110 - another process has no event
            await anyio.sleep(0.02)
    for name, answer in (await call_examples(ask)).items():
        assert answer["success"] is True, (name, answer)
        fits(name, answer)
