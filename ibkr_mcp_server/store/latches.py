"""The kill switch's latch: durable, and active whenever it cannot be read as inactive (KS-05, KS-06)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from enum import Enum
from functools import total_ordering
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, or_, select

from ibkr_mcp_server.domain.operations import SYSTEM, Actor, ActorType
from ibkr_mcp_server.domain.scopes import ACCOUNT
from ibkr_mcp_server.errors import Fault
from ibkr_mcp_server.store.prepared import Prepared
from ibkr_mcp_server.store.schema import latches

FIRST_GENERATION = 1
"""Of a latch that was never used; the account's begins with it, too."""


@total_ordering
class KillMode(Enum):
    """What the switch stops, from mild to strict (KS-02). Not a StrEnum: text would compare by the alphabet."""

    HALT_ONLY = "HALT_ONLY"
    CLOSE_POSITIONS = "CLOSE_POSITIONS"
    LOCKDOWN = "LOCKDOWN"

    def __lt__(self, other: KillMode) -> bool:
        order = list(KillMode)
        return order.index(self) < order.index(other)

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, kw_only=True)
class Latch:
    """One switch as it stands."""

    scope: str = ACCOUNT
    mode: KillMode
    """Meaningful while `active`."""
    active: bool
    actor_type: ActorType
    """With id, auth and reason: of the activation, its last escalation, or the clearing."""
    actor_id: str
    auth: str
    reason: str
    activated_at: datetime | None
    """When the present activation began; None while inactive, or when nothing readable tells."""
    changed_at: datetime | None
    generation: int
    """Grows with every activation, escalation and clearing; 0 when the stored state cannot be read."""
    repeats: int
    """Activations since the first one that found it active."""

    @property
    def is_readable(self) -> bool:
        """False when the store did not say what the switch is, so that it counts as active."""
        return self.generation > 0


def current(connection: Connection, scope: str = ACCOUNT) -> Latch:
    """The latch; a missing or inconsistent one is active (KS-06)."""
    try:
        found = _BY_SCOPE.rows(connection, scope=scope)
    except (ValueError, TypeError, LookupError) as error:
        return unreadable(scope, f"its record cannot be read: {error}")
    return found[0] if found else _never_used(scope)


def bearing_on(connection: Connection, scopes: Sequence[str]) -> list[Latch]:
    """The latches of the account and of at most two other scopes; those that were never used are left out."""
    first, second, third = (*dict.fromkeys((ACCOUNT, *scopes)), None, None)[:3]
    try:
        found = _OF_THREE.rows(connection, first=first, second=second, third=third)
    except (ValueError, TypeError, LookupError) as error:
        return [unreadable(ACCOUNT, f"its record cannot be read: {error}")]
    return _with_account(found)


def active(connection: Connection) -> list[Latch]:
    """The latch of the account, whatever it says, and every other one that is active; the account's is the first."""
    try:
        found = _NOT_OFF.rows(connection)
    except (ValueError, TypeError, LookupError) as error:
        return [unreadable(ACCOUNT, f"its record cannot be read: {error}")]
    return _with_account(found)


def _with_account(found: Iterable[Latch]) -> list[Latch]:
    by_scope = {latch.scope: latch for latch in found}
    account = by_scope.pop(ACCOUNT, None) or _never_used(ACCOUNT)
    return [account, *sorted(by_scope.values(), key=attrgetter("scope"))]


def _read(row: Any) -> Latch:  # Any: a record of the table
    scope = str(row.scope)
    try:
        values = row._replace(mode=KillMode(row.mode), actor_type=ActorType(row.actor_type))
        latch = Latch(**values._asdict())
    except (ValueError, TypeError, LookupError) as error:
        return unreadable(scope, f"its record cannot be read: {error}")
    problem = _inconsistency(latch)
    return latch if problem is None else unreadable(scope, problem)


_BY_SCOPE = Prepared(select(latches).where(latches.c.scope == bindparam("scope")), meaning=_read)
# One look for each decision: the account, its agent, its instrument.
_OF_THREE = Prepared(
    select(latches).where(latches.c.scope.in_([bindparam("first"), bindparam("second"), bindparam("third")])),
    meaning=_read,
)
_NOT_OFF = Prepared(
    select(latches).where(or_(latches.c.scope == ACCOUNT, latches.c.active.is_not(False))), meaning=_read
)


def _never_used(scope: str) -> Latch:
    """The account's latch is there from the first migration on; the others begin with their first use."""
    if scope == ACCOUNT:
        return unreadable(scope, "its record is missing")
    return Latch(
        scope=scope,
        mode=KillMode.HALT_ONLY,
        active=False,
        actor_type=SYSTEM.type,
        actor_id=SYSTEM.id,
        auth=SYSTEM.auth,
        reason="never used",
        activated_at=None,
        changed_at=None,
        generation=FIRST_GENERATION,
        repeats=0,
    )


def activate(
    connection: Connection, *, mode: KillMode, actor: Actor, reason: str, now: datetime, scope: str = ACCOUNT
) -> tuple[Latch, bool]:
    """Latch the switch, and tell whether this call was the first (KS-09).

    On an active switch it can only escalate; the call is counted either way. Who may ask for which mode is decided by
    the caller.
    """
    before = current(connection, scope)
    first = not (before.active and before.is_readable)
    pressed = Latch(
        scope=scope,
        mode=mode,
        active=True,
        actor_type=actor.type,
        actor_id=actor.id,
        auth=actor.auth,
        reason=reason or "unspecified",
        activated_at=now,
        changed_at=now,
        generation=_next_generation(before, now),
        repeats=0,
    )
    if first:
        latch = pressed
    elif mode > before.mode:
        latch = replace(pressed, activated_at=before.activated_at, repeats=before.repeats + 1)
    else:
        latch = replace(before, repeats=before.repeats + 1)
    _store(connection, latch)
    return latch, first


def clear(connection: Connection, actor: Actor, reason: str, now: datetime, *, scope: str = ACCOUNT) -> Latch:
    """Release the switch; an inactive one stays as it is. The caller has verified who asks, and why they may.

    Raises:
        Fault: the actor is not human (invariant 3).
    """
    if actor.type is not ActorType.HUMAN:
        raise Fault("LATCH_NEEDS_HUMAN", f"Only a human releases the {scope} latch, not {actor.type} {actor.id!r}.")
    before = current(connection, scope)
    if not before.active:
        return before
    latch = Latch(
        scope=scope,
        mode=before.mode,
        active=False,
        actor_type=actor.type,
        actor_id=actor.id,
        auth=actor.auth,
        reason=reason,
        activated_at=None,
        changed_at=now,
        generation=_next_generation(before, now),
        repeats=0,
    )
    _store(connection, latch)
    return latch


def _inconsistency(latch: Latch) -> str | None:
    if latch.active not in (True, False) or latch.generation < 1 or latch.repeats < 0:
        return "its record is inconsistent"
    if latch.active and latch.activated_at is None:
        return "it is active since no known time"
    if not latch.active and (latch.activated_at is not None or latch.repeats):
        return "it is inactive, and yet its record tells of an activation"
    return None


def unreadable(scope: str, problem: str) -> Latch:
    """What counts when nobody can tell: on."""
    return Latch(
        scope=scope,
        mode=KillMode.HALT_ONLY,
        active=True,
        actor_type=SYSTEM.type,
        actor_id=SYSTEM.id,
        auth=SYSTEM.auth,
        reason=f"The state of the {scope} kill switch is not known, so it counts as active: {problem}.",
        activated_at=None,
        changed_at=None,
        generation=0,
        repeats=0,
    )


def _next_generation(before: Latch, now: datetime) -> int:
    # Generations that were lost must not come again; seconds since 1970 lie beyond any count of changes.
    return before.generation + 1 if before.is_readable else int(now.timestamp())


def _store(connection: Connection, latch: Latch) -> None:
    row: dict[str, Any] = {field.name: getattr(latch, field.name) for field in fields(Latch)}  # Any: column values
    row |= {"mode": latch.mode.value, "actor_type": latch.actor_type.value}
    connection.execute(delete(latches).where(latches.c.scope == latch.scope))
    connection.execute(insert(latches), row)
