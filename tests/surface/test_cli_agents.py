"""`agents`: tokens and tighter limits of single agents, as a shell gives them."""

from __future__ import annotations

import pytest

from ibkr_mcp_server.agents import TokenHolders, load_agents, read_agents, token_hash
from ibkr_mcp_server.errors import ConfigurationError
from ibkr_mcp_server.settings.loading import load_settings
from tests.surface.shell import Shell


def test_a_token_is_told_once_and_kept_as_a_hash(shell: Shell) -> None:
    """LLM-09: the command gives 32 random bytes; taking the agent away takes its token."""
    made = shell.call("agents", "add", "momentum", "--orders-per-minute", "2", "--order-value", "1000")
    token = made.stdout.strip()
    file = shell.state / "agents.json"
    assert len(token) >= 43
    assert token not in file.read_text(encoding="utf-8") + shell.call("agents", "list").stdout
    assert file.stat().st_mode & 0o777 == 0o600
    (agent,) = read_agents(file)
    holders = TokenHolders([("default", token_hash("d" * 43)), (agent.name, agent.token_sha256 or "")])
    assert [holders.holder(given.encode()) for given in (token, token + "x", "", "d" * 43)] == [
        "momentum", None, None, "default",
    ]  # fmt: skip
    assert shell.json("agents", "list") == [
        {"agent": "momentum", "has_token": True, "max_orders_per_minute": 2, "max_order_value_usd": "1000"}
    ]
    assert shell.call("agents", "remove", "momentum").returncode == 0
    assert read_agents(file) == ()
    assert shell.call("agents", "remove", "momentum").returncode == 78


def test_an_agents_limits_are_never_looser_than_those_of_all(shell: Shell) -> None:
    """LLM-09: such a file refuses the start, and the command does not write it."""
    refused = shell.call("agents", "add", "momentum", "--orders-per-minute", "6")
    assert (refused.returncode, "IBKR_MAX_ORDERS_PER_MINUTE is 5" in refused.stderr) == (78, True)
    file = shell.state / "agents.json"
    for text in (
        '{"agents": {"momentum": {"max_daily_orders": 51}}}',
        '{"agents": {"momentum": {"max_daily_order": 5}}}',
        '{"agents": {"Mom": {}}}',
        '{"agents": {"momentum": {"max_daily_orders": true}}}',
        '{"agents": {"momentum": {"max_order_value_usd": "NaN"}}}',
        '{"agents": {"momentum": {"token_sha256": "x"}}}',
        "[]",
        "{",
    ):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigurationError):
            load_agents(file, load_settings(environ={}))
    assert shell.call("serve").returncode == 78
    assert shell.call("serve", "--agent", "No Name").returncode == 78
