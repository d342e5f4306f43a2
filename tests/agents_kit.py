"""Agents with limits of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ibkr_mcp_server.agents import Agent, write_agents
from ibkr_mcp_server.domain.agents import AgentLimits


def write_agent(path: Path, **limits: Any) -> None:
    """The agent `momentum` with limits of its own, in the state directory that a server will open below `path`."""
    state = path / "state"
    state.mkdir(mode=0o700)
    write_agents(state / "agents.json", [Agent(name="momentum", limits=AgentLimits(**limits))])
