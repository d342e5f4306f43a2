"""Agents: one identity for each MCP client, bound to its process or its token and never to what a call says (ST-07).

A strategy is what an agent trades: wherever limits or stops are kept by strategy, the agent's name is meant.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from decimal import Decimal

DEFAULT_AGENT = "default"
"""Shared by all clients that nobody gave a name."""
AGENT_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
LONGEST_TAG = 13


@dataclass(frozen=True, kw_only=True)
class AgentLimits:
    """What one agent may do within the limits of all; None adds nothing to those."""

    max_orders_per_minute: int | None = None
    max_daily_orders: int | None = None
    max_order_value_usd: Decimal | None = None


def agent_tag(name: str) -> str:
    """`name` as an order reference carries it: at most 13 characters, and different for different long names."""
    if len(name) <= LONGEST_TAG:
        return name
    return f"{name[:8]}.{hashlib.sha256(name.encode()).hexdigest()[:4]}"
