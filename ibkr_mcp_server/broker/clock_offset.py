"""How far the broker's clock is from ours, from answers that carry whole seconds only.

Each answer bounds the offset: the broker's time lay between `seconds` and `seconds + 1` at some moment between our
question and its receipt. The bounds of several answers together are tighter than each alone; an answer that contradicts
the earlier ones tells that a clock was set, and begins anew.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime

ANSWERS_KEPT = 20
"""About as many as come in twenty minutes: clocks drift by milliseconds in that time."""


@dataclass(frozen=True, kw_only=True)
class ClockOffset:
    """The broker's clock minus ours lies between these seconds."""

    lowest: float
    highest: float
    measured_at: datetime

    @property
    def seconds(self) -> float:
        """The middle; positive when the broker's clock is ahead."""
        return (self.lowest + self.highest) / 2

    @property
    def uncertainty_seconds(self) -> float:
        return (self.highest - self.lowest) / 2

    @property
    def at_least_seconds(self) -> float:
        """How far the clocks are apart for certain; 0 when they may agree."""
        return max(0.0, self.lowest, -self.highest)


class OffsetMeter:
    """Keeps what the newest answers say together."""

    def __init__(self) -> None:
        self._answers: deque[tuple[float, float]] = deque(maxlen=ANSWERS_KEPT)

    def note(self, broker_seconds: int, *, asked: datetime, heard: datetime) -> ClockOffset:
        """Add an answer to `reqCurrentTime`: seconds since the epoch, and when we asked and heard."""
        bounds = broker_seconds - heard.timestamp(), broker_seconds + 1 - asked.timestamp()
        known = self._together()
        if known is not None and (bounds[1] < known[0] or bounds[0] > known[1]):
            self._answers.clear()
        self._answers.append(bounds)
        lowest, highest = self._together() or bounds
        return ClockOffset(lowest=lowest, highest=highest, measured_at=heard)

    def _together(self) -> tuple[float, float] | None:
        if not self._answers:
            return None
        return max(low for low, _ in self._answers), min(high for _, high in self._answers)
