"""The queue of requests that people approve: what exactly, until when, and which different people said yes.

A request is bound to its subject by hash: an approval of one thing never passes for another. Two approvals of one
person are one, as the primary key sees to. A request ends after so many seconds of the machine's own time.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.domain.operations import Actor
from ibkr_mcp_server.errors import Fault
from ibkr_mcp_server.store.deadlines import left_seconds
from ibkr_mcp_server.store.schema import ApprovalState, approval_votes, approvals

__all__ = ["Approval", "ApprovalState", "Asked", "Vote"]

_ALPHABET = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
"""No letter that looks like another one: people type these ids."""


@dataclass(frozen=True, kw_only=True)
class Vote:
    """One person's yes."""

    principal: str
    role: str
    auth: str
    given_at: datetime


@dataclass(frozen=True, kw_only=True)
class Approval:
    """A request as it stands."""

    approval_id: str
    kind: str
    subject: Mapping[str, Any]  # Any: JSON
    """What exactly is to be done."""
    subject_hash: str
    terms: tuple[str, ...]
    """The same for the person who decides, line by line."""
    reason: str
    requested_type: str
    requested_by: str
    requested_auth: str
    requested_at: datetime
    expires_at: datetime
    power: str
    """What a role must allow whoever approves."""
    needed: int
    state: ApprovalState
    votes: tuple[Vote, ...]
    left_seconds: float
    """Until it ends; 0 when it has."""

    @property
    def is_open(self) -> bool:
        return self.state is ApprovalState.PENDING and self.left_seconds > 0

    @property
    def is_granted(self) -> bool:
        """Enough people said yes, it has not ended and nobody has used it."""
        return self.state is ApprovalState.GRANTED and self.left_seconds > 0

    @property
    def standing(self) -> str:
        """Its state in a word."""
        unused = self.state in (ApprovalState.PENDING, ApprovalState.GRANTED)
        return "EXPIRED" if unused and self.left_seconds <= 0 else self.state.value


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a new request says."""

    kind: str
    subject: Mapping[str, object]
    terms: tuple[str, ...]
    reason: str
    power: str
    needed: int
    seconds: float


def hash_of(subject: Mapping[str, object]) -> str:
    return hashlib.sha256(_canonical(subject).encode()).hexdigest()


def request(connection: Connection, clock: Clock, asked: Asked, actor: Actor) -> Approval:
    """Queue a request; nobody has approved it yet."""
    now = clock.now()
    approval_id = "".join(secrets.choice(_ALPHABET) for _ in range(8))
    connection.execute(
        insert(approvals).values(
            approval_id=approval_id,
            kind=asked.kind,
            subject=_canonical(asked.subject),
            subject_hash=hash_of(asked.subject),
            terms=json.dumps(asked.terms),
            reason=asked.reason,
            requested_type=actor.type.value,
            requested_by=actor.id,
            requested_auth=actor.auth,
            requested_at=now,
            expires_at=now + timedelta(seconds=asked.seconds),
            monotonic=clock.monotonic(),
            boot_id=clock.boot_id,
            seconds=asked.seconds,
            power=asked.power,
            needed=asked.needed,
            state=ApprovalState.PENDING,
            changed_at=now,
        )
    )
    return get(connection, clock, approval_id)


def find(connection: Connection, clock: Clock, approval_id: str) -> Approval | None:
    row = connection.execute(select(approvals).where(approvals.c.approval_id == approval_id)).one_or_none()
    return None if row is None else _approval(connection, clock, row)


def get(connection: Connection, clock: Clock, approval_id: str) -> Approval:
    found = find(connection, clock, approval_id)
    if found is None:
        raise Fault("APPROVAL_MISSING", f"The request {approval_id} vanished from the store.")
    return found


def unused(connection: Connection, clock: Clock, kind: str | None = None) -> list[Approval]:
    """Requests that wait for people or for their use and have not ended, oldest first."""
    query = select(approvals).where(approvals.c.state.in_((ApprovalState.PENDING, ApprovalState.GRANTED)))
    if kind is not None:
        query = query.where(approvals.c.kind == kind)
    rows = connection.execute(query.order_by(approvals.c.requested_at, approvals.c.approval_id)).all()
    found = [_approval(connection, clock, row) for row in rows]
    return [approval for approval in found if approval.left_seconds > 0]


def for_subject(connection: Connection, clock: Clock, kind: str, subject: Mapping[str, object]) -> Approval | None:
    """The newest unused request for exactly `subject`."""
    wanted = hash_of(subject)
    return next((a for a in reversed(unused(connection, clock, kind)) if a.subject_hash == wanted), None)


def vote(connection: Connection, clock: Clock, approval_id: str, actor: Actor, role: str) -> Approval:
    """One person's yes to an open request; the last one that was needed grants it.

    Who may approve was found out by the caller, and that this person has not done so before.
    """
    connection.execute(
        insert(approval_votes).values(
            approval_id=approval_id, principal=actor.id, role=role, auth=actor.auth, given_at=clock.now()
        )
    )
    now = get(connection, clock, approval_id)
    return move(connection, clock, approval_id, ApprovalState.GRANTED) if len(now.votes) >= now.needed else now


def move(connection: Connection, clock: Clock, approval_id: str, state: ApprovalState) -> Approval:
    """Bring a request to `state`."""
    where = approvals.c.approval_id == approval_id
    connection.execute(update(approvals).where(where).values(state=state, changed_at=clock.now()))
    return get(connection, clock, approval_id)


def _canonical(subject: Mapping[str, object]) -> str:
    return json.dumps(dict(subject), sort_keys=True, separators=(",", ":"), default=str)


def _approval(connection: Connection, clock: Clock, row: Row[Any]) -> Approval:
    votes = connection.execute(
        select(approval_votes)
        .where(approval_votes.c.approval_id == row.approval_id)
        .order_by(approval_votes.c.given_at, approval_votes.c.principal)
    ).all()
    return Approval(
        approval_id=row.approval_id,
        kind=row.kind,
        subject=json.loads(row.subject),
        subject_hash=row.subject_hash,
        terms=tuple(json.loads(row.terms)),
        reason=row.reason,
        requested_type=row.requested_type,
        requested_by=row.requested_by,
        requested_auth=row.requested_auth,
        requested_at=row.requested_at,
        expires_at=row.expires_at,
        power=row.power,
        needed=row.needed,
        state=row.state,
        votes=tuple(
            Vote(principal=one.principal, role=one.role, auth=one.auth, given_at=one.given_at) for one in votes
        ),
        left_seconds=left_seconds(
            clock, began_at=row.requested_at, monotonic=row.monotonic, boot_id=row.boot_id, seconds=row.seconds
        ),
    )
