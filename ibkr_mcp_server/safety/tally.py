"""What was decided in this run, counted: for the status, the metrics and the people who look for a trend (MON-08).

In memory and cheap, because every decision passes here; the audit log has the same for ever.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from ibkr_mcp_server.safety.decision import Decision

VIOLATIONS_KEPT = 50
"""AUD-10."""
HOURS_KEPT = 24
APPROVED = "APPROVED"
BOUNDS_SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
"""Of the histogram of how long decisions took."""


@dataclass(frozen=True, kw_only=True)
class Violation:
    """A refusal as the status tool shows it."""

    at: str
    code: str
    check: str
    tool: str
    agent: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Hour:
    """The refusals of one hour, UTC."""

    begins: datetime
    by_code: Mapping[str, int]
    by_agent: Mapping[str, int]


class Durations:
    """A histogram."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_SECONDS) + 1)
        self.total_seconds = 0.0

    def note(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS_SECONDS, seconds)] += 1
        self.total_seconds += seconds


class Tally:
    """Counts decisions by class and code, and keeps the newest refusals."""

    def __init__(self) -> None:
        self.decisions: Counter[tuple[str, str]] = Counter()
        """By operation class and primary code; `APPROVED` where there is none."""
        self.durations: dict[str, Durations] = {}
        """By operation class."""
        self._violations: deque[Violation] = deque(maxlen=VIOLATIONS_KEPT)
        self._hours: deque[tuple[datetime, Counter[str], Counter[str]]] = deque(maxlen=HOURS_KEPT)

    def note(self, decision: Decision, seconds: float) -> None:
        operation_class = decision.operation.operation_class.value
        code = str(decision.problems[0][1].code) if decision.is_refused else APPROVED
        self.decisions[operation_class, code] += 1
        durations = self.durations.get(operation_class)
        if durations is None:
            durations = self.durations[operation_class] = Durations()
        durations.note(seconds)
        if decision.is_refused:
            self._refused(decision)

    def _refused(self, decision: Decision) -> None:
        check, first = decision.problems[0]
        at, agent = decision.seen.observed.taken_at, decision.operation.actor.id
        self._violations.append(
            Violation(
                at=at.isoformat(),
                code=first.code,
                check=check,
                tool=decision.operation.tool,
                agent=agent,
                message=first.message,
            )
        )
        hour = at.replace(minute=0, second=0, microsecond=0)
        if not self._hours or self._hours[-1][0] != hour:
            self._hours.append((hour, Counter(), Counter()))
        _, by_code, by_agent = self._hours[-1]
        by_code[str(first.code)] += 1
        by_agent[agent] += 1

    def violations(self) -> tuple[Violation, ...]:
        """The newest refusals, newest last."""
        return tuple(self._violations)

    def trend(self) -> tuple[Hour, ...]:
        """The refusals by hour, the newest last; hours without any are left out."""
        return tuple(
            Hour(begins=begins, by_code=dict(by_code), by_agent=dict(by_agent))
            for begins, by_code, by_agent in self._hours
        )
