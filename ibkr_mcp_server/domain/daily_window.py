"""A time of day that comes back every night, such as the one in which IBKR restarts its systems (EM-08)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

_ZONE = ZoneInfo("America/New_York")
_TEXT = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9])")


@dataclass(frozen=True)
class DailyWindow:
    """From `start` to just before `end`, New York time; it may span midnight."""

    start: time
    end: time

    @classmethod
    def read(cls, text: str) -> DailyWindow:
        """Of `23:40-00:10`.

        Raises:
            ValueError: the text is of another form, or the window is empty.
        """
        found = _TEXT.fullmatch(text.strip())
        if found is None:
            raise ValueError
        first, second, third, fourth = (int(part) for part in found.groups())
        window = cls(time(first, second), time(third, fourth))
        if window.start == window.end:
            raise ValueError
        return window

    def contains(self, moment: datetime) -> bool:
        """Whether the aware `moment` lies in it."""
        local = moment.astimezone(_ZONE).time()
        if self.start < self.end:
            return self.start <= local < self.end
        return local >= self.start or local < self.end

    def ends_after(self, moment: datetime) -> datetime:
        """When the window that contains `moment` ends; aware, New York time."""
        local = moment.astimezone(_ZONE)
        day = local.date() if local.time() < self.end else local.date() + timedelta(days=1)
        return datetime.combine(day, self.end, tzinfo=_ZONE)

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M}"
