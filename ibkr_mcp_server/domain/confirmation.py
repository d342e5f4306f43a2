"""Who must say yes to an order before it is sent (LLM-07)."""

from __future__ import annotations

from enum import IntEnum


class Confirmer(IntEnum):
    """From the least to the most; a yes of one stands for those before it."""

    NOBODY = 0
    AGENT = 1
    """The agent itself, in two steps: it looks at a ticket and commits it."""
    PERSON = 2
    """A human who proved themselves outside of MCP: what comes through an MCP client proves no human (T-36)."""

    @property
    def word(self) -> str:
        return self.name.lower()

    @property
    def next(self) -> Confirmer:
        return Confirmer(min(self + 1, Confirmer.PERSON))
