"""The tool that explains the others."""

from __future__ import annotations

import pytest

from ibkr_mcp_server.safety.policy import Policy
from ibkr_mcp_server.settings.loading import load_settings
from ibkr_mcp_server.tools.catalogue import TOOLS
from ibkr_mcp_server.tools.documentation import page_of
from ibkr_mcp_server.tools.registry import Tool
from ibkr_mcp_server.tools.results import Envelope
from tests.harness import running

POLICY = Policy(load_settings(environ={}))


@pytest.mark.parametrize("tool", list(TOOLS), ids=lambda tool: tool.name)
def test_page_names_every_argument_fact_and_check(tool: Tool) -> None:
    page = page_of(tool, POLICY)
    assert page.startswith(f"# {tool.name}\n\n{tool.description}\n")
    for name in tool.arguments.model_fields:
        assert f"- `{name}` (" in page
    for name in set(tool.facts.model_fields) - set(Envelope.model_fields):
        assert f"- `{name}`" in page
    for rule in POLICY.table[tool.operation_class]:
        assert f"{rule.step}. {rule.name}" in page


async def test_agent_reads_one_page_or_the_list_of_what_its_server_shows() -> None:
    async with running(read_only=True) as world:
        page = (await world.call("get_tool_documentation", tool_name="get_market_data"))["page"]
        assert "Also understood: symbol." in page
        everything = (await world.call("get_tool_documentation"))["page"]
        assert "- `get_portfolio`: Portfolio" in everything
        assert "place_limit_order" not in everything


async def test_unknown_tool_is_refused_with_the_nearest_name() -> None:
    async with running() as world:
        refused = await world.call("get_tool_documentation", tool_name="place_limit_ordr")
        assert (refused["success"], refused["code"]) == (False, "UNKNOWN_TOOL")
        assert "place_limit_order" in refused["error"]
