"""The table of what people are told, compared with the events that there are."""

from __future__ import annotations

from string import Formatter

import pytest

from ibkr_mcp_server.alerts.rules import RULES, SILENT, Rule, rule_for
from ibkr_mcp_server.alerts.text import external_fields, filled, quoted
from ibkr_mcp_server.audit.events import OF_CALLS, EventType
from ibkr_mcp_server.domain.alerts import Alert, Priority
from tests.stores import NOON

WRITTEN_BY_OTHERS = {
    "actor", "approved_by", "because", "broken_invariants", "differences", "entries_left", "outcome", "positions",
    "positions_left", "reason", "rejected", "text", "tool", "unprotected", "name",
}  # fmt: skip
RAISING = [(event, rule) for event, rules in RULES.items() for rule in rules]


def test_every_event_is_told_or_silent_and_none_of_those_told_can_be_left_out_of_the_log() -> None:
    """AL-02."""
    assert RULES.keys() | SILENT == set(EventType)
    assert RULES.keys() & SILENT == set()
    assert RULES.keys() & OF_CALLS == set()


@pytest.mark.parametrize(("event", "rule"), RAISING, ids=[f"{event}-{rule.title}" for event, rule in RAISING])
def test_what_others_wrote_is_quoted_in_every_text(event: EventType, rule: Rule) -> None:
    """AL-08: the title has no text of others; but for the name of what was changed."""
    fields = {name for _, name, _, _ in Formatter().parse(rule.text) if name}
    assert fields & WRITTEN_BY_OTHERS - {"name"} <= external_fields(rule.text)
    assert {name for _, name, _, _ in Formatter().parse(rule.title) if name} & (WRITTEN_BY_OTHERS - {"name"}) == set()
    assert "unknown" in filled(rule.text, {}) or not fields


def test_only_the_last_rule_of_an_event_needs_no_condition() -> None:
    for rules in RULES.values():
        assert all(rule.told_when for rule in rules[:-1])


def test_a_mode_change_that_belongs_to_a_trip_is_told_by_the_trip() -> None:
    """CB-01: one alert for one fact."""
    warned = {"mode": "REDUCE", "was": "NORMAL", "level": "WARN", "trigger": "daily_loss"}
    assert rule_for(EventType.MODE_CHANGE, warned) is not None
    assert rule_for(EventType.MODE_CHANGE, {**warned, "level": "PAUSE"}) is None


def test_a_link_that_goes_when_it_should_wakes_nobody() -> None:
    """EM-08: IBKR restarts every night."""
    found = [rule_for(EventType.LINK_DOWN, facts) for facts in ({}, {"expected": "nightly restart"})]
    assert [rule and rule.priority for rule in found] == [Priority.HIGH, Priority.INFO]
    assert rule_for(EventType.LINK_DOWN, {"expected": "the server ends"}) is None


@pytest.mark.parametrize(
    "text",
    [
        "<!channel>",
        "<https://x.example|click>",
        "see https://x.example",
        "@everyone",
        "*bold* `code`",
        "a\nb",
        "a\u202eb",
    ],
)
def test_injected_markup_is_inert(text: str) -> None:
    """AL-08."""
    shown = quoted(text)
    assert shown.startswith("“")
    assert shown.endswith("”")
    assert not set("<>@`*|\n\u202e") & set(shown)
    assert "://" not in shown


def test_a_quotation_cannot_be_left_and_has_a_bound() -> None:
    """AL-08."""
    assert quoted("a” All clear. “b").count("”") == 1
    assert len(quoted("x" * 10_000)) < 210
    assert filled("{reason.__class__} {reason!q}", {"reason": "{mode}", "mode": "HALT"}) == "unknown “{mode}”"


def test_the_end_of_an_incident_goes_where_its_beginning_went() -> None:
    """AL-05."""
    ended = Alert(
        number=1, raised_at=NOON, event="x", priority=Priority.HIGH, title="", text="", ends=Priority.CRITICAL
    )
    assert ended.urgency is Priority.CRITICAL
