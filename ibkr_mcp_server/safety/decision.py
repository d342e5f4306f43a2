"""What the safety chain answers: the verdict of each check, and the decision that comes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple

from ibkr_mcp_server.domain.operations import Operation, Problem
from ibkr_mcp_server.safety.snapshot import Snapshot

PORTFOLIO_STEPS = frozenset({10, 11})
"""Of TW-03: the limits of the portfolio, and of the cash that must stay."""


class Findings(NamedTuple):
    """What one check saw. A tuple, because every decision makes one for most rules."""

    problems: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()
    observed: str | None = None
    limit: str | None = None


PASSED = Findings()
_tuple = tuple.__new__


def passes(observed: str | None, limit: str | None) -> Findings:
    """Nothing is wrong; what was seen, and its limit, are for the record.

    Past the constructor with its defaults, which takes twice as long: most checks of a sound order end here.
    """
    return _tuple(Findings, ((), (), observed, limit))


def judged(problems: Sequence[Problem], observed: str | None, limit: str | None) -> Findings:
    """A refusal where something is wrong, with what was seen and its limit."""
    return Findings(tuple(problems), (), observed, limit) if problems else passes(observed, limit)


def refuses(*problems: Problem) -> Findings:
    return Findings(problems=problems)


def beyond(found: Problem) -> Findings:
    """A refusal whose figure and limit, where it names them, are also what the check saw."""
    return Findings(problems=(found,), observed=found.observed, limit=found.limit)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Which rule answers, and when."""

    name: str
    step: int
    """Place in the order of TW-03; the lowest failing step gives the primary reason."""


class Verdict(NamedTuple):
    """One check's answer, as it is shown."""

    check: str
    step: int
    """Place in the order of TW-03; the lowest failing step gives the primary reason."""
    findings: Findings

    @property
    def passed(self) -> bool:
        return not self.findings.problems


@dataclass(frozen=True, kw_only=True)
class Validation:
    """What every rule found of one operation (TW-06); `records.py` says how it is kept."""

    rules: Sequence[Place]
    findings: tuple[Findings, ...]
    """Of each rule, in the order of `rules`."""

    @cached_property
    def verdicts(self) -> tuple[Verdict, ...]:
        return tuple(
            Verdict(rule.name, rule.step, found) for rule, found in zip(self.rules, self.findings, strict=True)
        )

    @cached_property
    def is_safe(self) -> bool:
        return not any(found.problems for found in self.findings)

    @cached_property
    def failures(self) -> tuple[tuple[str, Problem], ...]:
        """(check, problem), the primary reason first."""
        if self.is_safe:
            return ()
        return tuple(
            (verdict.check, found)
            for verdict in sorted(self.verdicts, key=lambda verdict: verdict.step)
            for found in verdict.findings.problems
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(warning for found in self.findings for warning in found.warnings)


class Basis(StrEnum):
    """What judged an operation."""

    TABLE = "table"
    SAME_KEY = "same_key"
    """The record of an earlier request with the same key."""
    OBSERVATION = "observation"
    """Looking at the world failed before any check could run; the reason stands among what was observed."""


@dataclass(frozen=True, kw_only=True)
class Sizing:
    """How large an order may be; `sizing.py` searches for it."""

    largest: Decimal
    """0 when no quantity passes."""
    bound_by: tuple[str, ...]
    """Codes of what refuses one step more, in the order of the rules; empty when nothing does."""
    wait_seconds: float
    """How long before it may be sent; 0 for now."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The chain's answer to one operation."""

    decision_id: str
    operation: Operation
    seen: Snapshot
    validation: Validation
    basis: Basis = Basis.TABLE
    intent_id: str | None = None
    """Set when an intent was reserved for it."""
    replayed_intent_id: str | None = None
    """Set when an earlier request with the same key already did this."""
    sizing: Sizing | None = None
    """Of a preview, how large the order might be."""

    @property
    def is_refused(self) -> bool:
        return not self.validation.is_safe and self.replayed_intent_id is None

    @property
    def problems(self) -> Sequence[tuple[str, Problem]]:
        return self.validation.failures


class OperationRefused(Exception):
    """The decision was no; nothing reached the broker."""

    def __init__(self, decision: Decision) -> None:
        self.decision = decision
        super().__init__("; ".join(f"{found.code}: {found.message}" for _, found in decision.problems))


@dataclass(frozen=True, kw_only=True)
class RefusalReport:
    """A refusal in the shape that every door shows (TW-05)."""

    code: str
    error: str
    check: str | None
    limit: str | None
    observed: str | None
    next_step: str
    details: tuple[str, ...] = field(default=())
    retry_after_seconds: float | None = None


def report(decision: Decision) -> RefusalReport:
    """The primary reason, with the others in `details` in the order of TW-03."""
    check, first = decision.problems[0]
    return RefusalReport(
        code=first.code,
        error=first.message,
        check=check,
        limit=first.limit,
        observed=first.observed,
        next_step=first.next_step,
        details=tuple(f"{found.code}: {found.message}" for _, found in decision.problems),
        retry_after_seconds=first.retry_after_seconds,
    )
