"""Each agent has an identity that it cannot choose, its own records, and limits that are only ever tighter."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from ibkr_mcp_server.agents import (
    Agent,
    TokenHolders,
    with_new_token,
)
from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.domain.agents import agent_tag
from ibkr_mcp_server.safety.identity import carries, order_ref_for
from ibkr_mcp_server.simulator.server import PaperGateway
from ibkr_mcp_server.tools.http import http_app
from tests.agents_kit import write_agent
from tests.harness import running

LONG = "mean-reversion-of-pairs"


async def test_an_agent_has_tighter_limits_and_another_name_does_not_escape_them(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """LLM-09, ST-07: what a client says of itself is kept as its claim; orders carry who placed them."""
    write_agent(tmp_path, max_orders_per_minute=2, max_daily_orders=3)
    async with running(tmp_path, gateway, clock, max_orders_per_minute=20) as world:
        placed = [await world.buy(client_request_id="of-default")]
        async with world.agent("momentum", says="one name") as momentum:
            placed += [await momentum.buy() for _ in range(2)]
            third = await momentum.buy()
            assert (third["code"], third["retry_after_s"]) == ("AGENT_ORDER_LIMIT", 60.0)
            assert third["limit"] == "2 per 60 s"
        async with world.agent("momentum", says="default") as momentum:
            assert (await momentum.buy())["code"] == "AGENT_ORDER_LIMIT"
            await clock.advance(60)
            placed.append(await momentum.buy())
            await clock.advance(60)
            fourth = await momentum.buy()
            assert (fourth["code"], fourth["limit"]) == ("AGENT_ORDER_LIMIT", "3 per trading day")
            known = await momentum.call("get_order_status", client_request_id="of-default")
            assert known["order"]["perm_id"] == placed[0]["perm_id"]  # found by its key, whoever placed it
        assert (await world.buy())["success"]
        assert all(answer["success"] for answer in placed)
        actors = [record.actor for record in await world.records(EventType.ORDER_SENT)]
    assert [(actor["id"], actor["label"]) for actor in actors] == [
        ("default", "mcp 0.1.0"), ("momentum", "one name 1"), ("momentum", "one name 1"), ("momentum", "default 1"),
        ("default", "mcp 0.1.0"),
    ]  # fmt: skip
    refs = [order.terms.order_ref for order in gateway.received_orders]
    assert [ref.split("-")[:2] for ref in refs] == [["ibmcp", actor["id"]] for actor in actors]
    assert all(len(ref) <= 40 for ref in refs)


async def test_the_value_of_an_agents_order_is_limited(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock
) -> None:
    """LLM-09."""
    write_agent(tmp_path, max_order_value_usd=500)
    async with running(tmp_path, gateway, clock) as world, world.agent("momentum") as momentum:
        refused = await momentum.buy(5)
        assert (refused["code"], refused["limit"]) == ("AGENT_ORDER_LIMIT", "500.00 USD")
        assert (await momentum.buy(1))["success"]
        assert (await world.buy(5))["success"]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_over_http_the_token_says_who_calls(
    tmp_path: Path, gateway: PaperGateway, clock: ManualClock, mode: str
) -> None:
    """ST-07: two clients of one server, told apart by their tokens alone."""
    agents = {name: with_new_token(Agent(name=name)) for name in ("one", "two")}
    holders = TokenHolders([(name, agent.token_sha256 or "") for name, (agent, _) in agents.items()])
    async with running(tmp_path, gateway, clock) as world:
        app = http_app(world.server("nobody", auth="bearer"), host="127.0.0.1", port=8765, holders=holders)
        async with app.router.lifespan_context(app):
            for _, token in agents.values():
                headers = {"Authorization": f"Bearer {token}"}
                transport = httpx2.ASGITransport(app)
                async with (
                    httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8765", headers=headers) as http,
                    Client(streamable_http_client("http://127.0.0.1:8765/mcp", http_client=http), mode=mode) as client,
                ):
                    assert not (await client.call_tool("get_accounts", {})).is_error
        actors = [record.actor for record in await world.records(EventType.DECISION)]
    assert [(actor["id"], actor["auth"]) for actor in actors] == [("one", "bearer"), ("two", "bearer")]


def test_an_order_reference_names_the_agent_and_is_found_by_the_key_alone() -> None:
    """ID-07, ST-07: at most 40 characters, whatever the agent's name."""
    for name in ("default", "a", "x" * 13, LONG, "y" * 32):
        ref = order_ref_for("a-request-key", name)
        assert ref.startswith(f"ibmcp-{agent_tag(name)}-")
        assert len(ref) <= 40
        assert carries(ref, "a-request-key")
        assert not carries(ref, "another-key")
    assert agent_tag(LONG) != agent_tag(LONG + "2")
    assert not carries("", "a-request-key")
