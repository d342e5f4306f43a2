"""Alerts: what a person is told without having asked, and how urgent it is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Priority(StrEnum):
    """How urgent an alert is, from the least to the most (AL-02)."""

    INFO = "info"
    WARNING = "warning"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        return list(Priority).index(self)

    def reaches(self, least: Priority) -> bool:
        return self.rank >= least.rank


@dataclass(frozen=True, kw_only=True)
class Alert:
    """One alert, its texts made from fixed templates."""

    number: int | None
    """Its place in the outbox; None for one that never was in it."""
    raised_at: datetime
    event: str
    """The audit event that raised it, or what else did."""
    priority: Priority
    title: str
    text: str
    incident: str | None = None
    """What begins with one alert and ends with another, such as one stop; alerts of one incident belong together."""
    ends: Priority | None = None
    """It ends an incident that an alert of this priority began; None when it ends nothing."""
    audit_seq: int | None = None
    """The record that it is about."""

    @property
    def urgency(self) -> Priority:
        """By what it is routed and put in order: the end of an incident goes wherever its beginning went."""
        return self.priority if self.ends is None or self.priority.reaches(self.ends) else self.ends


@dataclass(frozen=True, kw_only=True)
class Told:
    """What was told of one subject last."""

    subject: str
    priority: Priority
    state: str
    told_at: datetime
    suppressed: int = 0
    """Alerts that were counted instead of sent since then."""
    newest: str = ""
    """The text of the newest of those."""
