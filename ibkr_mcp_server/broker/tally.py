"""How well the broker has answered lately: operations that failed, and errors that it reported.

Counted are faults of the line and of the service: no answer in time, too many requests, codes that nobody knows. A "no"
to what was asked (a symbol that does not exist, data that is not subscribed) is an answer, so that an agent's mistakes
count for nothing here.
"""

from __future__ import annotations

from collections import deque

from ibkr_mcp_server.broker.error_codes import Kind, is_pacing
from ibkr_mcp_server.broker.hearing import Remark
from ibkr_mcp_server.clock import Clock

KEPT_SECONDS = 900.0


class Tally:
    """The counts of one adapter, over all its connections."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._operations: deque[tuple[float, bool]] = deque(maxlen=20_000)
        self._errors: deque[float] = deque(maxlen=20_000)

    def operation(self, *, failed: bool) -> None:
        """One request or order was carried out, or was not."""
        self._operations.append((self._clock.monotonic(), failed))

    def remark(self, remark: Remark, *, of_the_line: bool) -> None:
        """The broker said something; `of_the_line` if it names neither request nor order."""
        is_fault = remark.kind is Kind.UNKNOWN or (of_the_line and remark.kind is Kind.UNAVAILABLE)
        if is_fault or is_pacing(remark.code, remark.text):
            self._errors.append(self._clock.monotonic())

    def operations(self, seconds: float = KEPT_SECONDS) -> tuple[int, int]:
        """How many failed, and how many there were, in the last `seconds`."""
        since = self._clock.monotonic() - seconds
        while self._operations and self._operations[0][0] <= self._clock.monotonic() - KEPT_SECONDS:
            self._operations.popleft()
        recent = [failed for at, failed in self._operations if at > since]
        return sum(recent), len(recent)

    def errors(self, seconds: float = 60.0) -> int:
        """How many errors the broker reported in the last `seconds`."""
        now = self._clock.monotonic()
        while self._errors and self._errors[0] <= now - KEPT_SECONDS:
            self._errors.popleft()
        return sum(at > now - seconds for at in self._errors)
