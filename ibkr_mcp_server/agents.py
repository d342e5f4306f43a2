"""The agents that the operator named: tokens, of which only the hash is kept, and limits tighter than those of all.

They lie in `agents.json` in the state directory, which agents cannot reach; `ibkr-mcp-server agents` writes it. The
server reads it once at its start, like every other setting (CFG-16).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from ibkr_mcp_server.domain.agents import AGENT_NAME, AgentLimits
from ibkr_mcp_server.errors import ConfigurationError
from ibkr_mcp_server.settings.base import variable_of
from ibkr_mcp_server.settings.model import Settings
from ibkr_mcp_server.state_dir import write_private

TOKEN_BYTES = 32
LIMIT_NAMES = tuple(one.name for one in fields(AgentLimits))
"""Each is also the name of the setting that it may not exceed."""


@dataclass(frozen=True, kw_only=True)
class Agent:
    """One named agent."""

    name: str
    token_sha256: str | None = None
    """Of its bearer token; None for one that comes over stdio only."""
    limits: AgentLimits = field(default=AgentLimits())

    @property
    def redacted(self) -> dict[str, object]:
        """As the audit log records it at each start."""
        return {"agent": self.name, "has_token": self.token_sha256 is not None} | _given(self.limits)


def load_agents(path: Path, settings: Settings) -> tuple[Agent, ...]:
    """The agents of the file, which need not exist.

    Raises:
        ConfigurationError: all that is wrong with it; a limit above that of all is wrong as well.
    """
    agents = read_agents(path)
    problems = [problem for agent in agents for problem in looser(agent, settings)]
    if problems:
        raise ConfigurationError(problems)
    return agents


def read_agents(path: Path) -> tuple[Agent, ...]:
    """As `load_agents`, without comparing limits.

    Raises:
        ConfigurationError: it cannot be understood.
    """
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ()
    except (OSError, ValueError) as error:
        raise ConfigurationError([f"The file of agents {path} cannot be read ({type(error).__name__})."]) from error
    try:
        return tuple(_agent(name, entry) for name, entry in told["agents"].items())
    except (KeyError, TypeError, AttributeError, ValueError, InvalidOperation) as error:
        text = f"The file of agents {path} is not as `ibkr-mcp-server agents` writes it: {error}."
        raise ConfigurationError([text]) from error


def write_agents(path: Path, agents: Iterable[Agent]) -> None:
    """Replace the file in one step."""
    entries = {
        agent.name: ({} if agent.token_sha256 is None else {"token_sha256": agent.token_sha256}) | _given(agent.limits)
        for agent in agents
    }
    write_private(path, json.dumps({"agents": entries}, indent=2, default=str) + "\n")


def with_new_token(agent: Agent) -> tuple[Agent, str]:
    """The agent with another token, and the token, which is told once and kept nowhere."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    return replace(agent, token_sha256=token_hash(token)), token


def token_hash(token: str) -> str:
    """A plain hash keeps a token of 32 random bytes: unlike a password it cannot be guessed.

    Raises:
        ValueError: it is too short to be one.
    """
    if len(token) < TOKEN_BYTES:
        raise ValueError(f"a bearer token needs at least {TOKEN_BYTES} characters")
    return hashlib.sha256(token.encode()).hexdigest()


class TokenHolders:
    """Which agent a bearer token proves."""

    def __init__(self, hashes: Iterable[tuple[str, str]]) -> None:
        """`hashes` are names of agents with the hash of a token; an agent may have several."""
        self._hashes = [(name, known.encode()) for name, known in hashes]

    def holder(self, token: bytes) -> str | None:
        """Every hash is compared in full, so that the time taken tells nothing."""
        given = hashlib.sha256(token).hexdigest().encode()
        found = [name for name, known in self._hashes if hmac.compare_digest(known, given)]
        return found[0] if found else None


def looser(agent: Agent, settings: Settings) -> list[str]:
    """Which of its limits are above those of all."""
    return [
        f"The agent {agent.name} has {name} {own}; {variable_of(name)} is {most}, and its own may only be tighter."
        for name in LIMIT_NAMES
        if (own := getattr(agent.limits, name)) is not None and own > (most := getattr(settings, name))
    ]


def limits_of(agents: Iterable[Agent]) -> dict[str, AgentLimits]:
    return {agent.name: agent.limits for agent in agents}


def _agent(name: str, entry: Mapping[str, Any]) -> Agent:  # Any: JSON
    if not AGENT_NAME.fullmatch(name):
        raise ValueError(f"the name {name!r} must match {AGENT_NAME.pattern}")
    if unknown := sorted(entry.keys() - {"token_sha256", *LIMIT_NAMES}):
        raise ValueError(f"{name} has the unknown entry {unknown[0]!r}")
    known = entry.get("token_sha256")
    if known is not None and (not isinstance(known, str) or len(known) != 64):
        raise ValueError(f"token_sha256 of {name} is not a hash")
    limits = AgentLimits(
        max_orders_per_minute=_count(name, entry.get("max_orders_per_minute")),
        max_daily_orders=_count(name, entry.get("max_daily_orders")),
        max_order_value_usd=_amount(name, entry.get("max_order_value_usd")),
    )
    return Agent(name=name, token_sha256=known, limits=limits)


def _count(name: str, told: object) -> int | None:
    if told is None:
        return None
    if isinstance(told, bool) or not isinstance(told, int) or told < 1:
        raise ValueError(f"a limit of {name} is {told!r}, not a whole number above 0")
    return told


def _amount(name: str, told: object) -> Decimal | None:
    if told is None:
        return None
    amount = Decimal(str(told))
    if isinstance(told, bool) or not amount.is_finite() or amount <= 0:
        raise ValueError(f"max_order_value_usd of {name} is {told!r}, not an amount above 0")
    return amount


def _given(limits: AgentLimits) -> dict[str, object]:
    return {name: value for name in LIMIT_NAMES if (value := getattr(limits, name)) is not None}
