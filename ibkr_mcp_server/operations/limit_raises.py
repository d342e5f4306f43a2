"""Raising a limit for a while: two people, a reason, an end, and never beyond what the setting may be (CFG-21)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection

from ibkr_mcp_server.audit.events import AuditEvent, EventType
from ibkr_mcp_server.audit.log import AuditLog
from ibkr_mcp_server.clock import NEW_YORK, Clock, next_trading_day_starts
from ibkr_mcp_server.errors import Refused
from ibkr_mcp_server.safety.approval_queue import ApprovalQueue
from ibkr_mcp_server.safety.limits_in_force import RAISABLE
from ibkr_mcp_server.safety.operator import OperatorProof
from ibkr_mcp_server.safety.roles import Power
from ibkr_mcp_server.settings.base import PREFIX, variable_of
from ibkr_mcp_server.settings.model import Settings, rule_of
from ibkr_mcp_server.settings.rules import as_text
from ibkr_mcp_server.store import limit_raises
from ibkr_mcp_server.store.database import Database
from ibkr_mcp_server.store.limit_raises import LimitRaise

RAISE = "raise a limit"
"""Kind of the request for a second person."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """A raise that may be asked for."""

    name: str
    value: Decimal
    until: datetime

    @property
    def subject(self) -> dict[str, object]:
        return {"name": self.name, "value": as_text(self.value), "until": self.until.isoformat()}

    def terms(self, settings: Settings) -> tuple[str, ...]:
        local = self.until.astimezone(NEW_YORK)
        return (
            f"Raise {variable_of(self.name)} from {as_text(getattr(settings, self.name))} to {as_text(self.value)}.",
            f"Until {self.until:%Y-%m-%d %H:%M} UTC ({local:%H:%M} New York time); it ends by itself.",
        )


def read_wish(settings: Settings, clock: Clock, name: str, value: str, until: datetime) -> Wish:
    """Raises Refused, with the reason, for a raise that nobody may make."""
    name = name.removeprefix(PREFIX).lower()
    if name not in RAISABLE:
        raise Refused(
            "LIMIT_NOT_RAISABLE",
            f"{name[:60]!r} is no limit that can be raised for a while.",
            details=[variable_of(one) for one in RAISABLE],
            next_step="Name one of these. Everything else is changed in the settings, with a restart.",
        )
    rule, configured = rule_of(name), getattr(settings, name)
    try:
        wanted: Any = rule.value_of(value)  # an int or a Decimal, as the rule of the setting makes it
    except ValueError as error:
        text = f"{variable_of(name)} must be {rule.allowed}; {value[:40]!r} is not."
        raise Refused("LIMIT_ABOVE_CEILING", text) from error
    if wanted <= configured:
        raise Refused(
            "NOT_A_RAISE",
            f"{variable_of(name)} is {as_text(configured)}; {as_text(wanted)} does not raise it.",
            next_step="To lower a limit change the setting, or end a raise with `limits restore`.",
        )
    given = {field: getattr(settings, field) for field in type(settings).model_fields}
    try:
        Settings(**{**given, name: wanted})
    except ValidationError as error:
        found = "; ".join(str(one["msg"]).removeprefix("Value error, ") for one in error.errors())
        raise Refused("LIMIT_ABOVE_CEILING", found) from error
    now, latest = clock.now(), next_trading_day_starts(clock.now())
    if not now < until <= latest:
        raise Refused(
            "RAISE_TOO_LONG",
            f"The end {until:%Y-%m-%d %H:%M} UTC is not within this trading day, which ends at "
            f"{latest:%Y-%m-%d %H:%M} UTC.",
        )
    return Wish(name=name, value=Decimal(as_text(wanted)), until=until)


def read_until(text: str, clock: Clock) -> datetime:
    """`HH:MM` is New York time, today or tomorrow, whichever comes next; anything else an ISO time with its zone."""
    try:
        if len(text) == 5:
            now = clock.now().astimezone(NEW_YORK)
            hour, minute = map(int, text.split(":"))
            today = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
            return (today if today > now else today + timedelta(days=1)).astimezone(clock.now().tzinfo)
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError
        return moment.astimezone(clock.now().tzinfo)
    except ValueError as error:
        raise Refused(
            "TIME_NOT_UNDERSTOOD",
            f"{text[:40]!r} is no time.",
            next_step="Give HH:MM in New York, or a time like 2026-11-20T15:30:00-05:00.",
        ) from error


async def raise_limit(
    wish: Wish,
    reason: str,
    proof: OperatorProof,
    *,
    settings: Settings,
    queue: ApprovalQueue,
    database: Database,
    audit: AuditLog,
    clock: Clock,
) -> LimitRaise:
    """Raise a limit when a second person agrees.

    Raises:
        SecondPersonNeeded: this was the first person.
        Refused: no reason, or the role does not reach.
    """
    if not reason.strip():
        raise Refused("REASON_MISSING", "Say in a sentence why the limit must be raised.")
    await queue.two_people(
        RAISE, wish.subject, terms=wish.terms(settings), reason=reason, power=Power.RAISE_LIMIT, proof=proof
    )

    def work(connection: Connection) -> LimitRaise:
        used = queue.use(connection, RAISE, wish.subject)
        if used is None:
            raise Refused("APPROVAL_OVERTAKEN", "The approval was used or has ended meanwhile; ask anew.")
        raised = LimitRaise(
            raise_id=used.approval_id,
            name=wish.name,
            value=wish.value,
            until=wish.until,
            reason=used.reason,
            approved_by=" and ".join(vote.principal for vote in used.votes),
            made_at=clock.now(),
        )
        limit_raises.add(connection, clock, raised)
        configured = as_text(getattr(settings, wish.name))
        outcome = {**wish.subject, "configured": configured, "reason": used.reason, "approved_by": raised.approved_by}
        audit.append(connection, AuditEvent(type=EventType.LIMIT_RAISED, actor=proof.actor, outcome=outcome))
        return raised

    return await database.run(work)


def wish_of(subject: Mapping[str, Any], settings: Settings, clock: Clock) -> Wish:  # Any: JSON
    """The raise that a request is about, judged again."""
    return read_wish(
        settings, clock, str(subject["name"]), str(subject["value"]), datetime.fromisoformat(str(subject["until"]))
    )


async def restore_limit(name: str, proof: OperatorProof, *, database: Database, audit: AuditLog, clock: Clock) -> str:
    """End a raise before its time; one person may, for it makes the limit tighter. Returns the setting's name."""
    name = name.removeprefix(PREFIX).lower()

    def work(connection: Connection) -> None:
        if not any(one.name == name for one in limit_raises.in_force(connection, clock)):
            raise Refused("NOT_RAISED", f"{name[:60]!r} is not raised.", next_step="`limits show` lists what is.")
        limit_raises.end(connection, clock, name)
        event = AuditEvent(type=EventType.LIMIT_RESTORED, actor=proof.actor, outcome={"name": name})
        audit.append(connection, event)

    await database.run(work)
    return name
