"""How well the broker has answered lately: operations that failed, and errors that it reported.

Counted are faults of the line and of the service: no answer in time, too many requests, codes that nobody knows. A "no"
to what was asked (a symbol that does not exist, data that is not subscribed) is an answer, so that an agent's mistakes
count for nothing here.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

from ibkr_mcp_server.broker.base import AnswersOfASecond
from ibkr_mcp_server.broker.error_codes import Kind, is_pacing
from ibkr_mcp_server.broker.hearing import Remark
from ibkr_mcp_server.clock import Clock

KEPT_SECONDS = 900.0


class Tally:
    """The counts of one adapter, over all its connections, by the second."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seconds: deque[AnswersOfASecond] = deque()
        """Oldest first; seconds without anything are left out."""

    def operation(self, *, failed: bool) -> None:
        """One request or order was carried out, or was not."""
        self._count(failed=int(failed), operations=1)

    def remark(self, remark: Remark, *, of_the_line: bool) -> None:
        """The broker said something; `of_the_line` if it names neither request nor order."""
        is_fault = remark.kind is Kind.UNKNOWN or (of_the_line and remark.kind is Kind.UNAVAILABLE)
        if is_fault or is_pacing(remark.code, remark.text):
            self._count(errors=1)

    def _count(self, *, failed: int = 0, operations: int = 0, errors: int = 0) -> None:
        second = math.floor(self._clock.monotonic())
        before = AnswersOfASecond(second, 0, 0, 0)
        if self._seconds and self._seconds[-1].second == second:
            before = self._seconds.pop()
        self._seconds.append(
            AnswersOfASecond(second, before.failed + failed, before.operations + operations, before.errors + errors)
        )

    def operations(self, seconds: float = KEPT_SECONDS) -> tuple[int, int]:
        """How many failed, and how many there were, in the last `seconds`."""
        recent = self._of_the_last(seconds)
        return sum(one.failed for one in recent), sum(one.operations for one in recent)

    def errors(self, seconds: float = 60.0) -> int:
        """How many errors the broker reported in the last `seconds`."""
        return sum(one.errors for one in self._of_the_last(seconds))

    def kept(self) -> tuple[AnswersOfASecond, ...]:
        """Everything that still counts, for the run after this one."""
        self._of_the_last(KEPT_SECONDS)
        return tuple(self._seconds)

    def count_on(self, earlier: Iterable[AnswersOfASecond]) -> None:
        """An earlier run had counted these."""
        self._seconds = deque(sorted([*earlier, *self._seconds]))

    def _of_the_last(self, seconds: float) -> list[AnswersOfASecond]:
        """A second that has partly passed out of the window is still in it."""
        now = self._clock.monotonic()
        while self._seconds and self._seconds[0].second + 1 <= now - KEPT_SECONDS:
            self._seconds.popleft()
        return [one for one in self._seconds if one.second + 1 > now - seconds]
