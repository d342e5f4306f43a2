"""How much of a model's attention the list of tools takes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ibkr_mcp_server.domain.toolsets import ALL_TOOLS, ToolChoice, Toolset

MOST_READ = 40_000
"""Characters of names, descriptions and input schemas of the whole product: about 10,000 tokens."""
MOST_SENT = 80_000
"""The same with output schemas, which hosts read and models mostly do not."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """What one choice of tools comes to, in characters of compact JSON."""

    profile: str
    tools: int
    read: int
    """Names, descriptions and input schemas: what a model is shown."""
    sent: int
    """And the output schemas."""


def profiles() -> Iterator[tuple[str, ToolChoice]]:
    """The choices worth measuring: everything, everything that only reads, and each toolset alone."""
    yield "trading (all)", ALL_TOOLS
    yield "read-only", ToolChoice(read_only=True)
    for toolset in Toolset:
        name = "safety alone" if toolset is Toolset.SAFETY else f"{toolset} and safety"
        yield name, ToolChoice(toolsets=(toolset,))


def shown(entries: Iterable[Mapping[str, Any]], choice: ToolChoice) -> list[Mapping[str, Any]]:  # Any: JSON
    """The entries of tools/list that `choice` shows."""
    return [e for e in entries if choice.shows(e["_meta"]["ibkr/toolset"], e["_meta"]["ibkr/class"])]


def size_of(profile: str, entries: Iterable[Mapping[str, Any]]) -> Size:  # Any: JSON
    entries = list(entries)
    read = sum(len(part) for e in entries for part in (e["name"], e["description"], _compact(e["inputSchema"])))
    sent = read + sum(len(_compact(e["outputSchema"])) for e in entries)
    return Size(profile=profile, tools=len(entries), read=read, sent=sent)


def _compact(schema: Mapping[str, Any]) -> str:  # Any: JSON
    return json.dumps(schema, separators=(",", ":"), ensure_ascii=False)
