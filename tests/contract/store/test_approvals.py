"""Requests that people approve: bound to one subject, by different people, for a time (KS-17)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.domain.operations import Actor, ActorType
from ibkr_mcp_server.store import approvals
from ibkr_mcp_server.store.approvals import Approval, ApprovalState, Asked
from ibkr_mcp_server.store.database import Database
from tests.stores import NOON, OPERATOR, OtherBoot

ANN = Actor(type=ActorType.HUMAN, id="ann", auth="passphrase")
BEN = Actor(type=ActorType.HUMAN, id="ben", auth="passphrase")
SUBJECT = {"scope": "account", "generation": 3}


def ask(connection: Connection, clock: ManualClock, needed: int = 2) -> Approval:
    asked = Asked(
        kind="reset", subject=SUBJECT, terms=("End it",), reason="all well", power="x", needed=needed, seconds=900.0
    )
    return approvals.request(connection, clock, asked, OPERATOR)


async def test_two_people_grant_what_one_asked_and_a_second_vote_of_one_person_cannot_be_stored(url: str) -> None:
    clock = ManualClock(NOON)
    database = Database.open(url)
    asked = await database.run(lambda c: ask(c, clock))
    once = await database.run(lambda c: approvals.vote(c, clock, asked.approval_id, ANN, "admin"))
    assert (once.state, once.is_granted, [vote.principal for vote in once.votes]) == (
        ApprovalState.PENDING, False, ["ann"],
    )  # fmt: skip
    with pytest.raises((IntegrityError, Exception), match=r"(?i)unique"):
        await database.run(lambda c: approvals.vote(c, clock, asked.approval_id, ANN, "admin"))
    database.close()

    again = Database.open(url)
    twice = await again.run(lambda c: approvals.vote(c, clock, asked.approval_id, BEN, "admin"))
    assert twice.is_granted
    assert await again.read(lambda c: approvals.for_subject(c, clock, "reset", SUBJECT)) == twice
    for other in ({**SUBJECT, "generation": 4}, {**SUBJECT, "also": 1}):
        assert await again.read(lambda c, o=other: approvals.for_subject(c, clock, "reset", o)) is None  # type: ignore[misc]
    assert await again.read(lambda c: approvals.for_subject(c, clock, "other", SUBJECT)) is None
    used = await again.run(lambda c: approvals.move(c, clock, asked.approval_id, ApprovalState.USED))
    assert (used.is_granted, used.standing) == (False, "USED")
    assert await again.read(lambda c: approvals.for_subject(c, clock, "reset", SUBJECT)) is None
    again.close()


async def test_a_request_ends_by_the_machines_own_time(database: Database) -> None:
    clock = ManualClock(NOON)
    asked = await database.run(lambda c: ask(c, clock, needed=1))
    await database.run(lambda c: approvals.vote(c, clock, asked.approval_id, ANN, "admin"))
    clock.step_wall(timedelta(days=-1))  # whoever sets the wall clock back gains nothing
    await clock.advance(899)
    assert (await database.read(lambda c: approvals.get(c, clock, asked.approval_id))).is_granted
    await clock.advance(1)
    ended = await database.read(lambda c: approvals.get(c, clock, asked.approval_id))
    assert (ended.is_granted, ended.standing, ended.left_seconds) == (False, "EXPIRED", 0.0)
    assert await database.read(lambda c: approvals.unused(c, clock)) == []

    for moment, left in ((NOON + timedelta(seconds=600), 300.0), (NOON - timedelta(seconds=1), 0.0)):
        rebooted = OtherBoot(moment)
        found = await database.read(lambda c, r=rebooted: approvals.get(c, r, asked.approval_id))  # type: ignore[misc]
        assert found.left_seconds == left
