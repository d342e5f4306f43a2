"""The count of every agent's attempts, when the store fails and when there are very many agents (RL-10)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.domain.operations import Operation
from ibkr_mcp_server.safety import agent_throttle
from ibkr_mcp_server.safety.agent_throttle import AgentThrottle
from ibkr_mcp_server.safety.reader_seat import SEATS, ReaderSeat
from ibkr_mcp_server.store.database import Database
from tests.private_state import lay_tables
from tests.stores import an_audit_log
from tests.unit.safety import builders


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database.open(lay_tables(tmp_path / "state" / "store.db"))
    yield database
    database.close()


def throttle_of(database: Database, clock: ManualClock) -> AgentThrottle:
    audit = an_audit_log(database, clock)
    return AgentThrottle(per_minute=2, timeout_seconds=300, database=database, audit=audit, clock=clock)


def by(agent: str) -> Operation:
    return builders.placement(actor=replace(builders.AGENT, id=agent))


async def test_an_agent_in_a_loop_is_stopped_also_while_the_store_fails(database: Database, clock: ManualClock) -> None:
    throttle = throttle_of(database, clock)
    database.close()
    assert [await throttle.attempt(by("loop")) for _ in range(4)] == [0, 0, 300, 300]
    await clock.advance(299)
    assert await throttle.attempt(by("loop")) == 1
    await clock.advance(1)
    assert await throttle.attempt(by("loop")) == 0


async def test_very_many_agents_are_forgotten_but_for_those_in_timeout_and_their_counts(
    database: Database, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever takes a new name for each call makes nothing grow, and frees nobody."""
    monkeypatch.setattr(agent_throttle, "MOST_AGENTS", 3)
    throttle = throttle_of(database, clock)
    assert [await throttle.attempt(by("loop")) for _ in range(3)] == [0, 0, 300]
    await throttle.attempt(by("slow"))
    for number in range(20):
        await throttle.attempt(by(f"name-{number}"))
        await clock.advance(4)
        assert len(throttle._ends_at) <= 4
    assert await throttle.attempt(by("loop")) == 220
    assert len(throttle._attempts) < 20


def test_readers_take_seats_of_their_own_and_one_too_many_asks_for_the_last(tmp_path: Path) -> None:
    """LK-04: the gateway refuses it and says why; no further id is tried."""
    seats = [ReaderSeat(tmp_path, client_id=17, offset=100) for _ in range(SEATS + 1)]
    assert [seat.take() for seat in seats] == [*range(117, 117 + SEATS), 117 + SEATS - 1]
    for seat in seats[2:]:
        seat.leave()
    assert ReaderSeat(tmp_path, client_id=17, offset=100).take() == 119
    for seat in seats:
        seat.leave()
