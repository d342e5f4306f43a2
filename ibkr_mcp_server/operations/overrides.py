"""Every control that is off, reduced or overridden just now, in sentences for the status (invariant 10)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from sqlalchemy import Connection

from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.audit.log import tail
from ibkr_mcp_server.safety.limits_in_force import LimitsInForce
from ibkr_mcp_server.settings.base import variable_of
from ibkr_mcp_server.settings.model import Settings
from ibkr_mcp_server.settings.rules import as_text
from ibkr_mcp_server.store.limit_raises import LimitRaise

_OFF = {
    "safety_mode": "Limits only warn",
    "enable_kill_switch": "The kill switch holds nothing back",
    "enable_audit_logging": "Calls and orders are not recorded in the audit log",
    "require_paper_account_verification": "Accounts are not verified",
}
"""Settings whose false switches a control off."""


CONTROL_API = "control API"
"""In records and notices about its keys."""
RECORDS_LOOKED_AT = 20


def recorded_troubles(connection: Connection, since: datetime) -> Iterator[str]:
    """What servers recorded of controls that cannot be used, from `since` on; the newest of each, for a shell."""
    told: dict[str, str] = {}
    for record in tail(connection, RECORDS_LOOKED_AT, EventType.CONTROL_DISABLED):
        outcome = record.outcome or {}
        if record.timestamp >= since and "control" in outcome:
            told[str(outcome["control"])] = str(outcome.get("reason", ""))
    yield from told.values()


def disabled_controls(settings: Settings) -> tuple[str, ...]:
    """The settings that switch a control off (CFG-17, CFG-18)."""
    return tuple(name for name in _OFF if not getattr(settings, name))


def overrides(
    settings: Settings, limits: LimitsInForce, raises: Sequence[LimitRaise], flagged: Sequence[tuple[str, int]] = ()
) -> Iterator[str]:
    """`flagged`: agents with the number of texts that they were shown and that read like instructions."""
    yield from (f"{_OFF[name]} ({variable_of(name)} is false)." for name in disabled_controls(settings))
    if limits.factor < 1:
        yield f"Every limit of size is multiplied by {as_text(limits.factor)}."
    for one in raises:
        yield (
            f"{variable_of(one.name)} is {as_text(one.value)} instead of {as_text(getattr(settings, one.name))} until "
            f"{one.until:%Y-%m-%d %H:%M} UTC, raised by {one.approved_by}: {one.reason}"
        )
    for agent, texts in flagged:
        yield (
            f"{texts} text(s) that read like an instruction were returned to the agent {agent}: its next opening order "
            "takes one more confirmation."
        )
