"""What agents are shown, and how they reach the server."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr

from ibkr_mcp_server.domain.agents import DEFAULT_AGENT
from ibkr_mcp_server.domain.toolsets import ToolChoice, Toolset
from ibkr_mcp_server.settings import rules
from ibkr_mcp_server.settings.base import SettingGroup


class AgentSettings(SettingGroup):
    """The tools, the agent's name and the HTTP transport."""

    # Tools and agents
    toolsets: Annotated[tuple[Toolset, ...], rules.list_of(Toolset)] = Field(
        default=tuple(Toolset), description="Families of tools that are shown; the safety family always is."
    )
    read_only: Annotated[bool, rules.switch()] = Field(
        default=False, description="Shows no tool that can place, change or cancel orders or switch the account."
    )
    agent: Annotated[str, rules.agent_name()] = Field(
        default=DEFAULT_AGENT,
        description="Who uses this server over stdio, or with IBKR_HTTP_TOKEN: the name for limits, stops and records. "
        "Agents with tokens of their own are named with `ibkr-mcp-server agents`.",
    )

    # HTTP
    http_host: Annotated[str, rules.loopback_host()] = Field(
        default="127.0.0.1", description="Address of the HTTP transport, which only this machine can reach."
    )
    http_port: Annotated[int, rules.port(or_zero=True)] = Field(
        default=8765, description="Port of the HTTP transport; 0 takes a free one."
    )
    http_token: Annotated[SecretStr | None, rules.token(unset="made at the first start, in the state directory")] = (
        Field(default=None, description="Bearer token that HTTP clients must send. Never shown.")
    )

    @property
    def tool_choice(self) -> ToolChoice:
        """The tools that are shown."""
        return ToolChoice(toolsets=self.toolsets, read_only=self.read_only)
