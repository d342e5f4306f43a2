"""Which alerts are sent at once and which are only counted for a while (AL-03); pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from ibkr_mcp_server.domain.alerts import Priority, Told


@dataclass(frozen=True, kw_only=True)
class News:
    """What is to be told of a subject now."""

    subject: str
    priority: Priority
    state: str
    text: str
    is_change: bool = False
    """It is a change by itself."""
    only_if_changed: bool = False
    """It is news only to those who were told otherwise before."""


def is_cooling(told: Told, now: datetime, cooldown_seconds: float) -> bool:
    """Whether the same again is only counted; a clock that was set back holds nothing up."""
    return 0 <= (now - told.told_at).total_seconds() < cooldown_seconds


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What becomes of one piece of news."""

    send: bool
    told: Told | None
    """What is then known of the subject; None when it stays as it was."""
    counted: int = 0
    """Alerts that were held back before, to be told with this one."""


def judged(told: Told | None, news: News, now: datetime, cooldown_seconds: float) -> Verdict:
    """Whether `news` is sent. Changes of a state, and what is more urgent than what was told last, always are."""
    if news.only_if_changed and (told is None or told.state == news.state):
        return Verdict(send=False, told=None)
    fresh = Told(subject=news.subject, priority=news.priority, state=news.state, told_at=now)
    if told is None:
        return Verdict(send=True, told=fresh)
    is_new = news.is_change or news.state != told.state or news.priority.rank > told.priority.rank
    if is_new or not is_cooling(told, now, cooldown_seconds):
        return Verdict(send=True, told=fresh, counted=told.suppressed)
    return Verdict(send=False, told=replace(told, suppressed=told.suppressed + 1, newest=news.text))
