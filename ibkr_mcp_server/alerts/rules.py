"""Which events people are told of, how urgently, and in which words; docs/alerts.md shows the table.

An event has several rules where it can mean several things; the first that fits counts. `SILENT` names the others, and
a test holds that every event is in one of the two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ibkr_mcp_server.audit.events import OF_CALLS, EventType
from ibkr_mcp_server.domain.alerts import Priority

Facts = Mapping[str, Any]
"""What was recorded of the event: the members of its outcome, and `actor`, `tool`. Any: JSON."""

KILL_SWITCH, BREAKER, AGENT = "stop of {scope}", "circuit breaker", "halt of {scope}"
"""Incidents: what begins with one alert and ends with another."""


def _always(_: Facts) -> bool:
    return True


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How one kind of event is told."""

    priority: Priority
    title: str
    text: str
    subject: str
    """What it is about: the same subject has one cooldown."""
    when: Callable[[Facts], bool] = _always
    told_when: str = ""
    """`when` in words, for the documentation."""
    state: str = ""
    """A state of the subject. An alert whose state differs from the one told last is never held back."""
    is_change: bool = False
    """The event is a change by itself, so that it is never held back."""
    only_if_changed: bool = False
    """News only to those who were told another state of the subject before."""
    incident: str | None = None
    ends: Priority | None = None
    """It ends the incident, which an alert of this priority began."""


def _of_everything(facts: Facts) -> bool:
    return facts.get("scope") == "account"


def _is_left(facts: Facts) -> bool:
    return any(facts.get(name) for name in ("positions_left", "entries_left", "unprotected"))


def _step(name: str, *fine: str) -> Callable[[Facts], bool]:
    return lambda facts: facts.get("step") == name and facts.get("outcome") not in fine


_BY = "By {actor!q} ({auth})."

RULES: dict[EventType, tuple[Rule, ...]] = {
    EventType.KILL_SWITCH_ACTIVATE: (
        Rule(
            when=_of_everything,
            told_when="everything is stopped",
            priority=Priority.CRITICAL,
            title="All trading is stopped ({mode})",
            text=f"Reason: {{reason!q}}. {_BY} Only a person can end it: ibkr-mcp-server reset.",
            subject=KILL_SWITCH,
            state="{mode}",
            incident=KILL_SWITCH,
        ),
        Rule(
            told_when="one instrument is stopped",
            priority=Priority.HIGH,
            title="{scope} is halted",
            text=f"Reason: {{reason!q}}. {_BY} Everything else goes on.",
            subject=KILL_SWITCH,
            state="{mode}",
            incident=KILL_SWITCH,
        ),
    ),
    EventType.KILL_SWITCH_DEACTIVATE: (
        Rule(
            priority=Priority.HIGH,
            title="The stop of {scope} was reset",
            text=f"Reason: {{reason!q}}. {_BY}",
            subject=KILL_SWITCH,
            state="clear",
            incident=KILL_SWITCH,
            ends=Priority.CRITICAL,
        ),
    ),
    EventType.STOP_CARRIED_OUT: (
        Rule(
            when=_is_left,
            told_when="something is left",
            priority=Priority.CRITICAL,
            title="A stop left something open ({step})",
            text="Positions left: {positions_left!q}. Entries that still work: {entries_left!q}. Without protection: "
            "{unprotected!q}. Look at the account in TWS.",
            subject="what the stop of {scope} left",
            state="{step}",
        ),
        Rule(
            told_when="all was done",
            priority=Priority.HIGH,
            title="The stop of {scope} was carried out ({mode})",
            text="Nothing that opens works any more; rounds of closing: {attempts}.",
            subject="what the stop of {scope} left",
            state="{step}",
            is_change=True,
        ),
    ),
    EventType.CIRCUIT_BREAKER_TRIP: (
        Rule(
            priority=Priority.CRITICAL,
            title="The circuit breaker is open: {trigger}",
            text="{metric} is {observed}, the limit {limit} {unit} (level {level}, {scope}). Nothing is opened until a "
            "person closes it: ibkr-mcp-server breaker-reset.",
            subject="circuit breaker: {trigger} {scope}",
            state="{level}",
            is_change=True,
            incident=BREAKER,
        ),
    ),
    EventType.CIRCUIT_BREAKER_RESET: (
        Rule(
            priority=Priority.HIGH,
            title="The circuit breaker was reset",
            text=f"Reason: {{reason!q}}. {_BY}",
            subject=BREAKER,
            is_change=True,
            incident=BREAKER,
            ends=Priority.CRITICAL,
        ),
    ),
    EventType.MODE_CHANGE: (
        Rule(
            when=lambda facts: facts.get("level") == "WARN",
            told_when="a threshold warns",
            priority=Priority.WARNING,
            title="The size limits are reduced: {trigger}",
            text="{metric} is {observed}, the warning level {limit} {unit} ({scope}).",
            subject="risk mode: {trigger} {scope}",
            state="{mode}",
            is_change=True,
        ),
        Rule(
            when=lambda facts: "to" in facts,
            told_when="a session is over, or was armed again",
            priority=Priority.WARNING,
            title="The session: {to}",
            text="{reason!q}",
            subject="session",
            state="{to}",
        ),
        Rule(
            when=lambda facts: facts.get("mode") == "NORMAL",
            told_when="the limits have their full size again",
            priority=Priority.INFO,
            title="The size limits are as configured again",
            text="The figures that had warned have been calm for long enough.",
            subject="risk mode",
            is_change=True,
        ),
    ),
    EventType.STAGE_CHANGE: (
        Rule(
            when=lambda facts: "because" in facts,
            told_when="a stage is taken back",
            priority=Priority.HIGH,
            title="The recovery falls back to the stage {stage}",
            text="{because!q}",
            subject="recovery stage",
            is_change=True,
        ),
        Rule(
            priority=Priority.INFO,
            title="Recovery stage {stage}",
            text="Proposed: {proposed}. Decisions in it: {decisions}.",
            subject="recovery stage",
            is_change=True,
        ),
    ),
    EventType.STRATEGY_HALT: (
        Rule(
            priority=Priority.HIGH,
            title="An agent is halted: {scope}",
            text=f"Reason: {{reason!q}}. {_BY} The others go on; it comes back by: ibkr-mcp-server resume.",
            subject=AGENT,
            state="{mode}",
            incident=AGENT,
        ),
    ),
    EventType.STRATEGY_RESUME: (
        Rule(
            priority=Priority.WARNING,
            title="An agent may trade again: {scope}",
            text=f"Reason: {{reason!q}}. {_BY}",
            subject=AGENT,
            state="clear",
            incident=AGENT,
            ends=Priority.HIGH,
        ),
    ),
    EventType.ACCOUNT_REJECTED: (
        Rule(
            priority=Priority.HIGH,
            title="The link has accounts that may not be traded",
            text="Refused: {rejected!q}. Nothing is opened while they are there.",
            subject="accounts",
            state="{rejected}",
        ),
    ),
    EventType.SAFETY_VIOLATION: (
        Rule(
            when=lambda facts: facts.get("code") == "AGENT_THROTTLED",
            told_when="an agent calls too often",
            priority=Priority.HIGH,
            title="An agent runs in a loop and is in timeout",
            text="{actor!q} made more than {attempts_per_minute} attempts in a minute, and is not heard for "
            "{timeout_seconds} s.",
            subject="timeout of {actor}",
        ),
    ),
    EventType.CHECK_ERROR: (
        Rule(
            priority=Priority.HIGH,
            title="A safety check failed to run",
            text="The request was refused. Tool: {tool!q}. The process log has the reason.",
            subject="failed checks",
        ),
    ),
    EventType.ORDER_UNKNOWN: (
        Rule(
            priority=Priority.HIGH,
            title="The outcome of an order is unknown",
            text="It was sent, and nothing proves what became of it. It is looked for at the broker; nothing is sent "
            "again.",
            subject="orders of unknown outcome",
        ),
    ),
    EventType.RECONCILED: (
        Rule(
            when=lambda facts: facts.get("clean") is False or bool(facts.get("broken_invariants")),
            told_when="the records differ, or something that must be true is not",
            priority=Priority.HIGH,
            title="The records do not agree with the broker's",
            text="Differences: {differences!q}. Not as it must be: {broken_invariants!q}. Agents open nothing "
            "meanwhile.",
            subject="agreement with the broker",
            state="no",
        ),
        Rule(
            told_when="they agree again",
            when=lambda facts: facts.get("clean") is True,
            priority=Priority.INFO,
            title="The records agree with the broker's",
            text="Occasion: {occasion}.",
            subject="agreement with the broker",
            state="yes",
            only_if_changed=True,
        ),
    ),
    EventType.START_STEP: (
        Rule(
            when=_step("audit chain", "verified"),
            told_when="the audit log does not verify",
            priority=Priority.CRITICAL,
            title="The audit log is not what was written",
            text="{outcome!q}. Trading stays halted; `ibkr-mcp-server audit verify` names the first bad record.",
            subject="audit chain",
        ),
    ),
    EventType.LINK_DOWN: (
        Rule(
            when=lambda facts: facts.get("expected") == "nightly restart",
            told_when="in a window of nightly restarts",
            priority=Priority.INFO,
            title="The link to the broker is down, at the time of nightly restarts",
            text="{text!q}",
            subject="link",
            state="down",
        ),
        Rule(
            when=lambda facts: "expected" not in facts,
            told_when="otherwise, unless the server ends",
            priority=Priority.HIGH,
            title="The link to the broker is down",
            text="{text!q} (code {code}). Nothing is opened until it is back and the records were compared.",
            subject="link",
            state="down",
        ),
    ),
    EventType.LINK_UP: (
        Rule(
            priority=Priority.INFO,
            title="The link to the broker is up",
            text="{text!q}",
            subject="link",
            state="up",
            only_if_changed=True,
        ),
    ),
    EventType.POSITIONS_UNPROTECTED: (
        Rule(
            when=lambda facts: facts.get("over") != "close",
            told_when="before a weekend or holiday",
            priority=Priority.HIGH,
            title="Positions without a stop before the {over}",
            text="{positions!q}. Their exchange closes at {closes_at} and opens again at {opens_at}.",
            subject="positions without a stop before {closes_at}",
            is_change=True,
        ),
        Rule(
            told_when="before any other close",
            priority=Priority.WARNING,
            title="Positions without a stop before the {over}",
            text="{positions!q}. Their exchange closes at {closes_at} and opens again at {opens_at}.",
            subject="positions without a stop before {closes_at}",
            is_change=True,
        ),
    ),
    EventType.CONTROL_DISABLED: (
        Rule(
            when=lambda facts: "control" in facts,
            told_when="something that stops trading cannot be used",
            priority=Priority.HIGH,
            title="A way to stop trading is missing: {control}",
            text="{reason!q} The other ways to stop remain.",
            subject="control {control}",
            state="{reason}",
        ),
        Rule(
            priority=Priority.HIGH,
            title="A control is switched off: {setting}",
            text="The server started with it off, as its configuration says.",
            subject="control {setting}",
        ),
    ),
    EventType.LIMIT_RAISED: (
        Rule(
            priority=Priority.HIGH,
            title="A limit was raised: {name}",
            text="To {value} instead of {configured}, until {until}. By {approved_by!q}. Reason: {reason!q}.",
            subject="limit {name}",
            is_change=True,
        ),
    ),
    EventType.LIMIT_RESTORED: (
        Rule(
            priority=Priority.INFO,
            title="A raised limit was taken back: {name}",
            text=_BY,
            subject="limit {name}",
            is_change=True,
        ),
    ),
    EventType.AUTH_FAILED: (
        Rule(
            priority=Priority.WARNING,
            title="Somebody failed to prove who they are, or may not do what they asked for",
            text="They called themselves {actor!q} ({auth}).",
            subject="proof of {actor}",
        ),
    ),
    EventType.CONFIG_LOADED: (
        Rule(
            when=lambda facts: "operator" in facts,
            told_when="the operators were changed",
            priority=Priority.HIGH,
            title="Who may operate the server was changed: {operator}",
            text=f"It is about {{name!q}} ({{role}}). {_BY}",
            subject="operators",
            is_change=True,
        ),
    ),
    EventType.APPROVAL_REQUESTED: (
        Rule(
            priority=Priority.INFO,
            title="A person is asked for a yes",
            text="`ibkr-mcp-server approvals` shows what it is about.",
            subject="requests to people",
        ),
    ),
    EventType.TOOLS_CHANGED: (
        Rule(
            priority=Priority.WARNING,
            title="The descriptions of the tools differ from those of the start before",
            text="An update does that. Without one, somebody changed the installation.",
            subject="tools",
            is_change=True,
        ),
    ),
    EventType.TEXT_FLAGGED: (
        Rule(
            priority=Priority.WARNING,
            title="An agent was shown text that reads like an instruction",
            text="Agent {actor!q}, tool {tool!q}. Its next opening order takes one more confirmation.",
            subject="texts shown to {actor}",
        ),
    ),
    EventType.WITHDRAWAL: (
        Rule(
            priority=Priority.WARNING,
            title="Money left the account {account}: {amount} {currency}",
            text="No trade explains it: it counts as a withdrawal, not as a loss. Nothing here can move money out.",
            subject="payments",
            is_change=True,
        ),
    ),
    EventType.TRANSFER: (
        Rule(
            priority=Priority.WARNING,
            title="Holdings came to the account {account} or left it without a trade: {amount} {currency}",
            text="It counts as a transfer, neither as a profit nor as a loss.",
            subject="payments",
            is_change=True,
        ),
    ),
    EventType.DRILL_RESULT: (
        Rule(
            when=lambda facts: facts.get("passed") is not True,
            told_when="it was not passed",
            priority=Priority.HIGH,
            title="An emergency drill was not passed",
            text="Against: {against}.",
            subject="drill",
            is_change=True,
        ),
        Rule(
            told_when="it was passed",
            priority=Priority.INFO,
            title="An emergency drill was passed",
            text="Against: {against}.",
            subject="drill",
            is_change=True,
        ),
    ),
}

SILENT = OF_CALLS | {
    EventType.SERVER_START,
    EventType.SERVER_STOP,
    EventType.ORDER_RECONCILED,
    EventType.ACCOUNT_VERIFIED,
    EventType.APPROVAL_GRANTED,
    EventType.APPROVAL_DENIED,
    EventType.CONFIRMATION_ISSUED,
    EventType.CONFIRMATION_USED,
    EventType.WRITER_GRANTED,
    EventType.ALERT_SENT,
    EventType.ALERT_FAILED,
    EventType.CHAIN_CHECKPOINT,
    EventType.DEPOSIT,
}
"""What happens in the normal course of trading, and what would tell of itself."""


def rule_for(event: EventType, facts: Facts) -> Rule | None:
    """The first rule that fits; None when nobody need be told."""
    return next((rule for rule in RULES.get(event, ()) if rule.when(facts)), None)
