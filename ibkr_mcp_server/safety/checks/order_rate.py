"""Opening orders in a rolling minute (RL-01)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from ibkr_mcp_server.domain.operations import Operation
from ibkr_mcp_server.safety.codes import Code, problem
from ibkr_mcp_server.safety.decision import PASSED, Findings, beyond, passes
from ibkr_mcp_server.safety.snapshot import Snapshot

WINDOW_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class OrderRate:
    """Admits `per_minute` opening orders in any 60 seconds and refuses the next."""

    per_minute: int

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        if not seen.opens:
            return PASSED
        used = len(seen.recorded.opening_ages_seconds)
        observed, limit = f"{used} in the last 60 s", self._limit
        if used < self.per_minute:
            return passes(observed, limit)
        wait = wait_for_room(seen.recorded.opening_ages_seconds, self.per_minute, 1)
        text = f"{used} opening orders were accepted in the last 60 s; the limit is {self.per_minute}."
        return beyond(problem(Code.RATE_LIMIT, text, observed=observed, limit=limit, retry_after_seconds=wait))

    @cached_property
    def _limit(self) -> str:
        return f"{self.per_minute} per 60 s"


def wait_for_room(ages_seconds: tuple[float, ...], limit: int, wanted: int) -> float | None:
    """Seconds until `wanted` more fit into the window, or None when they never will."""
    if wanted > limit:
        return None
    must_leave = len(ages_seconds) + wanted - limit
    if must_leave <= 0:
        return 0.0
    oldest_first = sorted(ages_seconds, reverse=True)
    return round(max(0.0, WINDOW_SECONDS - oldest_first[must_leave - 1]), 3)
