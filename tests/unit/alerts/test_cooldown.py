"""What is counted instead of sent, over any sequence of alerts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ibkr_mcp_server.alerts.cooldown import News, judged
from ibkr_mcp_server.domain.alerts import Priority, Told

BEGIN = datetime(2026, 11, 20, 15, tzinfo=UTC)
COOLDOWN = 300.0
news = st.builds(
    News,
    subject=st.just("stop"),
    priority=st.sampled_from(Priority),
    state=st.sampled_from(["", "HALT", "clear"]),
    text=st.just("again"),
    is_change=st.booleans(),
)


@given(st.lists(st.tuples(st.integers(-50, 400), news), max_size=40))
def test_changes_and_escalations_are_always_sent_and_nothing_is_lost_uncounted(steps: list[tuple[int, News]]) -> None:
    """AL-03."""
    told: Told | None = None
    now, sent, counted = BEGIN, 0, 0
    for seconds, one in steps:
        now += timedelta(seconds=seconds)
        verdict = judged(told, one, now, COOLDOWN)
        rises = told is None or one.priority.rank > told.priority.rank
        if rises or one.is_change or (told is not None and one.state != told.state):
            assert verdict.send
        sent, counted = sent + verdict.send, counted + verdict.counted
        assert verdict.told is not None
        told = verdict.told
    if told is not None:
        assert sent + counted + told.suppressed == len(steps)


def test_the_same_again_is_sent_when_the_cooldown_is_over_and_never_waits_for_a_clock_that_was_set_back() -> None:
    """AL-03."""
    one = News(subject="x", priority=Priority.WARNING, state="", text="again")
    first = judged(None, one, BEGIN, COOLDOWN)
    assert first.send
    assert not judged(first.told, one, BEGIN + timedelta(seconds=299), COOLDOWN).send
    assert judged(first.told, one, BEGIN + timedelta(seconds=300), COOLDOWN).send
    assert judged(first.told, one, BEGIN - timedelta(seconds=1), COOLDOWN).send


def test_good_news_is_none_to_who_heard_no_bad_news() -> None:
    up = News(subject="link", priority=Priority.INFO, state="up", text="", only_if_changed=True)
    assert not judged(None, up, BEGIN, COOLDOWN).send
    down = judged(None, News(subject="link", priority=Priority.HIGH, state="down", text=""), BEGIN, COOLDOWN)
    back = judged(down.told, up, BEGIN, COOLDOWN)
    assert back.send
    assert not judged(back.told, up, BEGIN, COOLDOWN).send
