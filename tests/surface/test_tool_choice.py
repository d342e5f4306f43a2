"""Which tools a server shows: toolsets and the read-only profile, how long the list is, and calls that take long."""

from __future__ import annotations

import asyncio
import json

import pytest

from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.domain.operations import OperationClass
from ibkr_mcp_server.domain.toolsets import ToolChoice, Toolset
from ibkr_mcp_server.operations.progress import told_meanwhile
from ibkr_mcp_server.tools.catalogue import TOOLS
from ibkr_mcp_server.tools.server import listing
from ibkr_mcp_server.tools.sizes import MOST_READ, MOST_SENT, profiles, shown, size_of
from tests.harness import running
from tests.surface.shell import Shell


@pytest.mark.parametrize(("profile", "choice"), list(profiles()), ids=[name for name, _ in profiles()])
def test_no_profile_takes_more_of_a_model_than_was_promised(profile: str, choice: ToolChoice) -> None:
    """About 10,000 tokens of names, descriptions and input schemas for the whole product."""
    size = size_of(profile, shown(listing(), choice))
    assert size.read < MOST_READ
    assert size.sent < MOST_SENT


async def test_read_only_server_shows_and_answers_nothing_that_writes() -> None:
    """FD-23: the server itself refuses; no flag of the client library is relied on."""
    async with running(read_only=True) as world:
        names = {tool.name for tool in (await world.client.list_tools()).tools}
        assert {"get_market_data", "get_portfolio", "emergency_stop"} <= names
        assert names.isdisjoint({"place_limit_order", "modify_order", "cancel_order", "check_order"})

        refused = await world.buy()
        assert refused["code"] == "UNKNOWN_TOOL"
        assert "IBKR_READ_ONLY" in refused["error"]
        assert world.gateway.received_writes == []


async def test_toolsets_show_what_was_chosen_and_always_the_safety_family() -> None:
    async with running(toolsets=("market_data",)) as world:
        families = {(tool.meta or {})["ibkr/toolset"] for tool in (await world.client.list_tools()).tools}
        assert families == {"market_data", "safety"}
        assert (await world.call("get_market_data", symbols=["AAPL"]))["success"]
        assert (await world.call("get_portfolio"))["code"] == "UNKNOWN_TOOL"
        assert (await world.call("get_safety_status"))["success"]


def test_read_only_leaves_out_exactly_the_classes_that_write() -> None:
    left = {tool.operation_class for tool in TOOLS.shown(ToolChoice(read_only=True))}
    assert left.isdisjoint(
        {
            OperationClass.ORDER_PLACEMENT,
            OperationClass.ORDER_MODIFICATION,
            OperationClass.ORDER_CANCELLATION,
            OperationClass.ACCOUNT_MANAGEMENT,
        }
    )
    assert not any(tool.writes for tool in TOOLS.shown(ToolChoice(read_only=True)))


def test_unknown_toolset_refuses_the_start(shell: Shell) -> None:
    """CFG-10."""
    done = shell.call("serve", IBKR_TOOLSETS="account,everything")
    assert done.returncode == 78
    assert "IBKR_TOOLSETS is 'account,everything'" in done.stderr


def test_command_lists_the_tools_of_these_settings(shell: Shell) -> None:
    told = json.loads(shell.call("tools", "--json", IBKR_TOOLSETS="account").stdout)
    assert {entry["_meta"]["ibkr/toolset"] for entry in told} == {"account", "safety"}
    assert "get_portfolio" in shell.call("tools").stdout


def test_command_prints_the_size_of_each_profile(shell: Shell) -> None:
    told = json.loads(shell.call("tools", "--sizes", "--json").stdout)
    assert [size["profile"] for size in told][:2] == ["trading (all)", "read-only"]
    assert len(told) == 2 + len(Toolset)
    assert told[0]["tools"] == len(TOOLS)
    assert 0 < told[1]["read"] < told[0]["read"] < told[0]["sent"] < MOST_SENT
    assert "read-only" in shell.call("tools", "--sizes").stdout


async def test_client_hears_each_second_that_its_call_goes_on() -> None:
    clock = ManualClock()
    heard: list[tuple[float, float | None, str]] = []

    async def hear(done: float, total: float | None, text: str) -> None:
        heard.append((done, total, text))

    async def work() -> str:
        await clock.sleep(2.5)
        return "done"

    waiting = asyncio.ensure_future(told_meanwhile(work(), progress=hear, clock=clock, text="Waiting."))
    for _ in range(3):
        await _everything_runs()
        await clock.advance(1)
    assert await waiting == "done"
    assert heard == [(1.0, None, "Waiting."), (2.0, None, "Waiting.")]


async def test_progress_that_cannot_be_told_does_not_end_the_call() -> None:
    clock = ManualClock()

    async def fail(done: float, total: float | None, text: str) -> None:
        raise ConnectionError

    async def work() -> int:
        await clock.sleep(1.5)
        return 7

    waiting = asyncio.ensure_future(told_meanwhile(work(), progress=fail, clock=clock, text=""))
    for _ in range(2):
        await _everything_runs()
        await clock.advance(1)
    assert await waiting == 7


async def _everything_runs() -> None:
    """Whoever can go on without time passing does so."""
    for _ in range(5):
        await asyncio.sleep(0)
