"""Raises alerts: listens to the audit log, and puts what people are to be told into the outbox.

It works inside the transaction of the record, so that an alert is durable exactly when what it tells of is, in a server
and in a command alike. Nothing is sent from here, and nothing that goes wrong here takes a record back (AL-04).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from ibkr_mcp_server.alerts.cooldown import News, judged
from ibkr_mcp_server.alerts.rules import RULES, Facts, Rule, rule_for
from ibkr_mcp_server.alerts.text import filled
from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.domain.alerts import Alert
from ibkr_mcp_server.log import get_logger
from ibkr_mcp_server.settings.model import Settings
from ibkr_mcp_server.store import alerts

_TELLING = frozenset(event.value for event in RULES)
_log = get_logger(__name__)


class Outbox:
    """The listener of one audit log."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._cooldown_seconds = float(settings.alert_cooldown_seconds)
        self._clock = clock

    def hears(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """The audit log's listener."""
        for row in rows:
            if row["event_type"] in _TELLING:
                self._raise_one(connection, row)

    def _raise_one(self, connection: Connection, row: Mapping[str, Any]) -> None:
        try:
            event, facts = EventType(row["event_type"]), _facts(row)
            rule = rule_for(event, facts)
            if rule is None:
                return
            with connection.begin_nested():  # what fails here is taken back alone
                self._judge(connection, rule, event, facts, row["seq"])
        except (SQLAlchemyError, ValueError, TypeError, KeyError, LookupError) as error:
            _log.critical("an alert could not be raised", event_type=row["event_type"], error=repr(error))

    def _judge(self, connection: Connection, rule: Rule, event: EventType, facts: Facts, seq: int) -> None:
        now, subject, text = self._clock.now(), filled(rule.subject, facts), filled(rule.text, facts)
        news = News(
            subject=subject,
            priority=rule.priority,
            state=filled(rule.state, facts),
            text=text,
            is_change=rule.is_change,
            only_if_changed=rule.only_if_changed,
        )
        verdict = judged(alerts.told_of(connection, subject), news, now, self._cooldown_seconds)
        if verdict.told is not None:
            alerts.keep_told(connection, verdict.told)
        if verdict.send:
            more = f" Before it {verdict.counted} like it were counted." if verdict.counted else ""
            alerts.add(connection, _alert(rule, event, facts, f"{text}{more}", now, seq), subject)


def _alert(rule: Rule, event: EventType, facts: Facts, text: str, now: datetime, seq: int) -> Alert:
    return Alert(
        number=None,
        raised_at=now,
        event=event,
        priority=rule.priority,
        title=filled(rule.title, facts),
        text=text,
        incident=None if rule.incident is None else filled(rule.incident, facts),
        ends=rule.ends,
        audit_seq=seq,
    )


def _facts(row: Mapping[str, Any]) -> Facts:
    """What was recorded, as it stands in the log: without secrets and account numbers."""
    outcome = json.loads(row["outcome"]) if row["outcome"] else {}
    actor = json.loads(row["actor"])
    tool = None if row["tool"] is None else json.loads(f'"{row["tool"]}"')
    return {**outcome, "actor": actor.get("id"), "auth": actor.get("auth"), "tool": tool}
