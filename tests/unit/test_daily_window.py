"""Windows of the day are New York's, also across midnight and when its clocks change."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ibkr_mcp_server.domain.daily_window import DailyWindow

NIGHT = DailyWindow.read("23:40-00:10")


@pytest.mark.parametrize(
    ("moment", "inside"),
    [
        (datetime(2026, 11, 21, 4, 39, 59, tzinfo=UTC), False),
        (datetime(2026, 11, 21, 4, 40, tzinfo=UTC), True),
        (datetime(2026, 11, 21, 5, 0, tzinfo=UTC), True),
        (datetime(2026, 11, 21, 5, 9, 59, tzinfo=UTC), True),
        (datetime(2026, 11, 21, 5, 10, tzinfo=UTC), False),
        (datetime(2026, 7, 21, 3, 45, tzinfo=UTC), True),  # summer time
        (datetime(2026, 7, 21, 4, 45, tzinfo=UTC), False),
    ],
)
def test_window_across_midnight_contains_its_start_and_not_its_end(moment: datetime, inside: bool) -> None:
    assert NIGHT.contains(moment) is inside


def test_end_of_the_window_is_the_next_one() -> None:
    before_midnight, after = datetime(2026, 11, 21, 4, 50, tzinfo=UTC), datetime(2026, 11, 21, 5, 5, tzinfo=UTC)
    assert NIGHT.ends_after(before_midnight) == NIGHT.ends_after(after) == datetime(2026, 11, 21, 5, 10, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "23:40", "24:00-01:00", "23:40-23:40", "23:60-00:10", "a-b"])
def test_text_that_is_no_window_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the rule of the setting tells what is allowed
        DailyWindow.read(text)


def test_text_of_a_window_reads_back() -> None:
    assert DailyWindow.read(str(NIGHT)) == NIGHT
