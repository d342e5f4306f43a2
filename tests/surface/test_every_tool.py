"""Every tool once with a good call: in memory, over stdio and over HTTP, in both eras of the protocol.

The servers are the real program with the paper gateway behind it. One process serves the whole list.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters

from ibkr_mcp_server.tools.catalogue import TOOLS
from tests.harness import WITHOUT_PAUSES, running, time_passing
from tests.surface.answers import fits
from tests.surface.shell import Shell, client_over_http, serving_http
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
FOR_ONE_ERA_ALONE = ("get_news", "get_news_article", "emergency_stop")
"""After these no order passes: neither without one more confirmation, nor at all."""
ERAS = pytest.mark.parametrize("era", ["auto", "legacy"])


def test_every_tool_has_an_example_and_every_example_a_tool() -> None:
    assert set(EXAMPLES) == {tool.name for tool in TOOLS}
    assert list(EXAMPLES)[-1] == "emergency_stop"


@ERAS
async def test_in_memory(era: str) -> None:
    async with running(mode=era, **OPEN) as world, time_passing(world.clock):
        await _all_succeed(world.client, str(world.state.path))
        again = await world.judged_again()
    assert {one.tool for one in again} >= EXAMPLES.keys()
    assert [one for one in again if not one.is_equal] == []  # AUD-09


@pytest.mark.parametrize("option", [None, "--legacy-stdio"])
async def test_over_stdio(shell: Shell, option: str | None, tmp_path: Path) -> None:
    """AUD-09: afterwards every decision is judged again, from the store and from an export, by a command of its own.

    The client falls back to the older era where the server speaks that alone.
    """
    arguments = ["-m", "ibkr_mcp_server", "serve", *([option] if option else [])]
    child = StdioServerParameters(command=sys.executable, args=arguments, env=shell.environment | ENVIRONMENT)
    with anyio.fail_after(PATIENCE_SECONDS):
        async with Client(child) as client:
            await _all_succeed(client, str(shell.state))
            assert (await client.call_tool("reset", {})).is_error, "there is no such tool"
    if option is None:  # the records say nothing of it
        _judged_again_by_commands(shell, tmp_path / "export.jsonl")


def _judged_again_by_commands(shell: Shell, export: Path) -> None:
    again = shell.call("audit", "replay", "--all", "--json")
    told = [json.loads(line) for line in again.stdout.splitlines()]
    assert (again.returncode, {one["tool"] for one in told} >= EXAMPLES.keys()) == (0, True), again.stderr
    assert {tuple(one["differences"]) for one in told} == {()}
    shell.call("audit", "export", "--output", str(export))
    assert shell.call("audit", "replay", "--all", "--file", str(export), "--json").stdout == again.stdout
    [bought, *_] = [one for one in told if one["tool"] == "place_limit_order"]
    one = shell.call("audit", "replay", bought["decision_id"])
    assert f"{bought['seq']}  {bought['decision_id']}  place_limit_order  equal: recorded approved" in one.stdout
    export.write_text(
        export.read_text().replace('"IBKR_MAX_ORDER_VALUE_USD":"10000"', '"IBKR_MAX_ORDER_VALUE_USD":"1"')
    )
    changed = shell.call("audit", "replay", str(bought["seq"]), "--file", str(export))
    assert (changed.returncode, "DIFFERENT: recorded approved, again ORDER_VALUE_LIMIT" in changed.stdout) == (1, True)
    assert "The chain of the log does NOT hold." in changed.stderr
    assert shell.call("audit", "replay", "no-such-decision").returncode == 1
    assert shell.call("audit", "replay").returncode == 2


async def test_over_http(shell: Shell) -> None:
    """One server serves clients of both eras; told to end, it closes the app first."""
    enough_for_both = {"IBKR_MAX_ORDERS_PER_MINUTE": "30", "IBKR_MAX_MARKET_DATA_REQUESTS_PER_MINUTE": "100"}
    with anyio.fail_after(2 * PATIENCE_SECONDS):
        async with serving_http(shell, TOKEN, **ENVIRONMENT, **enough_for_both) as url:
            async with client_over_http(url, TOKEN, mode="auto") as client:
                await _all_succeed(client, str(shell.state), TOKEN, but_for=FOR_ONE_ERA_ALONE)
            async with client_over_http(url, TOKEN, mode="legacy") as client:
                await _all_succeed(client, str(shell.state), TOKEN, requests_of="legacy")
    assert "SERVER_STOP" in shell.call("audit", "tail", "--json").stdout


async def _all_succeed(
    client: Client, *hidden: str, but_for: Collection[str] = (), requests_of: str = "example"
) -> None:
    """Each tool answers as its schema says, and no answer holds a whole account number or what is `hidden`.

    The names of the orders begin with `requests_of`, so that one store can take the examples twice.
    """
    listed = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert set(listed) == set(EXAMPLES)

    async def ask(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        named = {key: _renamed(value, requests_of) for key, value in arguments.items()}
        result = await client.call_tool(name, named)
        told = result.structured_content
        assert isinstance(told, dict), result
        assert [json.loads(part.text) for part in result.content if part.type == "text"] == [told]
        return told

    with anyio.fail_after(PATIENCE_SECONDS):  # the link of a server that has just started comes up meanwhile
        while not ((await ask("get_connection_status", {})).get("link") or {}).get("is_up"):  # noqa: ASYNC110 - another process has no event
            await anyio.sleep(0.02)
    for name, answer in (await call_examples(ask, but_for=but_for)).items():
        assert answer["success"] is True, (name, answer)
        fits(name, answer)
        told = json.dumps(answer)
        assert not [secret for secret in ("DU9000001", "DU9000002", *hidden) if secret in told], name  # LLM-10


def _renamed(value: Any, requests_of: str) -> Any:
    return value.replace("example-", f"{requests_of}-") if isinstance(value, str) else value
