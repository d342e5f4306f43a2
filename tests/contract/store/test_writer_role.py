"""One process of all that share a store writes, on either kind of store (LK-01, LK-02)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from ibkr_mcp_server.audit.log import AuditLog
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.errors import Fault
from ibkr_mcp_server.safety.writer import CLAIM_SECONDS, WriterRole
from ibkr_mcp_server.store.database import Database, StoreUnavailable
from ibkr_mcp_server.store.postgresql import PostgreSQLServer
from tests.contract.store.postgresql import SharedStore
from tests.private_state import lay_tables
from tests.stores import NOON, an_audit_log

END_THE_HOLDERS_SESSION = """
    SELECT pg_terminate_backend(pid) FROM pg_locks
    WHERE locktype = 'advisory' AND classid = 6988 AND objid::bigint = hashtext(current_schema())::bigint & 4294967295
"""


def role_in(database: Database, log: AuditLog, clock: ManualClock) -> WriterRole:
    lock = database.writer_lock()
    return WriterRole(lock=lock, database=database, audit=log, clock=clock, session_id="a-session")


async def test_the_role_has_one_holder_and_is_free_again_when_that_lets_go(
    database: Database, log: AuditLog, clock: ManualClock
) -> None:
    first, second = role_in(database, log, clock), role_in(database, log, clock)
    assert (await first.claim(), await second.claim()) == (True, False)
    assert await database.read(first.objection) is None
    assert "Another process writes" in str(await database.read(second.objection))
    first.close()
    assert await second.claim()
    assert await database.read(second.objection) is None
    assert "lost the writer's lock" in str(await database.read(first.objection))
    second.close()


async def test_a_grant_that_cannot_be_recorded_leaves_the_lock_to_others(
    database: Database, log: AuditLog, clock: ManualClock
) -> None:
    claiming, other = role_in(database, log, clock), database.writer_lock()
    database.close()
    with pytest.raises(Fault, match="closed already"):
        await claiming.claim()
    assert not claiming.is_writer
    assert other.acquire()
    other.release()


async def test_a_holder_whose_session_the_server_ended_has_lost_the_role(
    on_postgresql: SharedStore, clock: ManualClock
) -> None:
    """The server gives the lock of a session that ended to whoever asks next, so its holder must not write."""
    database = Database.open(on_postgresql.emptied())
    log = an_audit_log(database, clock)
    holder, next_one = role_in(database, log, clock), role_in(database, log, clock)
    assert await holder.claim()
    await database.run(lambda connection: connection.execute(text(END_THE_HOLDERS_SESSION)).all())
    assert "lost the writer's lock" in str(await database.read(holder.objection))
    assert not holder.is_writer
    assert await next_one.claim()
    for role in (holder, next_one):
        role.close()
    database.close()


def test_a_server_that_cannot_be_reached_is_told_as_that() -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    lock = PostgreSQLServer(make_url("postgresql://127.0.0.1:1/nothing"), read_only=False).writer_lock()
    with pytest.raises(StoreUnavailable, match="cannot be reached") as unreachable:
        lock.acquire()
    assert unreachable.value.code == "STORE_UNREACHABLE"
    assert not lock.is_held()


async def test_who_waits_for_the_role_goes_on_asking_after_a_failure(tmp_path: Path) -> None:
    clock = ManualClock(NOON)
    database = Database.open(str(lay_tables(tmp_path / "state" / "store.db")))
    role = role_in(database, an_audit_log(database, clock), clock)
    in_the_way = tmp_path / "state" / "store.db-writer"
    in_the_way.mkdir()  # asking for the lock fails

    async def never(problem: str) -> None:
        raise AssertionError(problem)

    waiting = asyncio.create_task(role.run(on_lost=never))
    await clock.advance(3 * CLAIM_SECONDS)
    assert (role.is_writer, waiting.done()) == (False, False)
    in_the_way.rmdir()
    granted = asyncio.Event()
    role.on_granted = granted.set
    await clock.advance(2 * CLAIM_SECONDS)
    await asyncio.wait_for(granted.wait(), 10)
    assert role.is_writer
    waiting.cancel()
    role.close()
    database.close()
