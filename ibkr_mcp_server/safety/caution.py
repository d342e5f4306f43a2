"""Text from outside that reads like an instruction: counted, and a reason for more caution (LLM-03).

A filter can be got around, so that nothing relies on this one: it unlocks nothing, and what it overlooks is held by all
other rules (T-35). Where it sees something, the agent's next opening order takes one more confirmation.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

_RULES = r"(?:instructions?|prompts?|rules?|limits?|guard ?rails?|safety|restrictions?|checks?|confirmations?)"
_INSTRUCTIONS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"\b(?:ignore|disregard|forget|override|bypass|circumvent)\b.{{0,40}}\b{_RULES}\b",
        rf"\b(?:disable|deactivate|turn off|remove|raise|lift|reset|unlock)\b.{{0,30}}\b(?:{_RULES}|kill[ -]?switch)\b",
        r"\b(?:system|developer) (?:prompt|message|instructions?)\b",
        r"\byou are now\b",
        r"\bas an? (?:ai|assistant|agent|language model)\b",
        r"\b(?:call|use|invoke|run|execute)\b.{0,20}\b(?:tool|function|command)s?\b",
        r"\b(?:place|prepare|commit|cancel|modify|close|switch|get)_[a-z]+(?:_[a-z]+)*\b",
        r"<\s*/?\s*(?:system|instructions?|assistant|user|tool)\b|\[\s*/?\s*(?:inst|system)\s*\]",
        r"\b(?:buy|sell|short|liquidate|transfer)\b.{0,40}\b(?:immediately|right now|at once|without asking)\b",
        r"\bsend\b.{0,20}\b(?:logs?|passphrases?|passwords?|secrets?|tokens?|credentials)\b",
        r"\bdo not (?:tell|inform|ask|warn)\b.{0,20}\b(?:user|human|operator|anyone|anybody)\b",
    )
)


def reads_like_an_instruction(text: str) -> bool:
    """Whether `text` addresses its reader as somebody who carries out orders."""
    plain = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return any(pattern.search(plain) for pattern in _INSTRUCTIONS)


class Caution:
    """Which agents were shown such text since their last opening order; of this process, as conversations are."""

    def __init__(self) -> None:
        self.total = 0
        """Texts flagged since the start."""
        self._pending: Counter[str] = Counter()

    def look(self, agent: str, texts: Iterable[str]) -> int:
        """How many of the texts that go to `agent` were flagged; its next opening order is held to more."""
        found = sum(map(reads_like_an_instruction, texts))
        if found:
            self.total += found
            self._pending[agent] += found
        return found

    def is_on(self, agent: str) -> bool:
        return agent in self._pending

    def spent(self, agent: str) -> None:
        """An opening order of `agent` was accepted with the confirmation that it needed."""
        self._pending.pop(agent, None)

    def pending(self) -> tuple[tuple[str, int], ...]:
        """Agents with the number of texts that they were shown since their last opening order."""
        return tuple(sorted(self._pending.items()))
