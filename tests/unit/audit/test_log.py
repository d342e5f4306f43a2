"""Records of reads share commits; nothing waits for long, and nothing is lost when the disk fails."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Connection

from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.audit.log import GROUP_SECONDS, GROUP_SIZE, AuditLog, tail
from ibkr_mcp_server.audit.verify import verify_database
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.store.database import Database, StoreUnreadable
from tests.stores import an_audit_log, an_event

READ = an_event(type=EventType.MARKET_DATA_REQUEST)


async def flusher_done() -> None:
    async with asyncio.timeout(10):
        await asyncio.gather(*(task for task in asyncio.all_tasks() if task.get_name() == "audit-flusher"))


async def test_records_of_reads_are_durable_within_a_quarter_of_a_second(
    database: Database, log: AuditLog, clock: ManualClock
) -> None:
    for _ in range(3):
        await log.record_soon(READ)
    await asyncio.sleep(0)
    await clock.advance(GROUP_SECONDS / 2)
    assert verify_database(database).records == 0
    await clock.advance(GROUP_SECONDS / 2)
    await flusher_done()
    assert verify_database(database).records == 3
    await log.close()


async def test_a_record_that_comes_during_a_group_commit_is_committed_by_the_next(
    database: Database, log: AuditLog, clock: ManualClock
) -> None:
    committing, go_on = threading.Event(), threading.Event()

    def hold(connection: Connection) -> None:
        committing.set()
        assert go_on.wait(10)

    async with asyncio.timeout(10):
        holder = asyncio.create_task(database.run(hold))
        await asyncio.to_thread(committing.wait, 10)
        await log.record_soon(READ)
        await asyncio.sleep(0)
        await clock.advance(GROUP_SECONDS)  # the group stands in line behind the holder
        await log.record_soon(READ)
        go_on.set()
        await holder
        while verify_database(database).records < 2:
            await asyncio.to_thread(verify_database, database)
            await clock.advance(GROUP_SECONDS)
    await flusher_done()
    await log.close()
    assert verify_database(database).records == 2


async def test_a_cancelled_caller_of_a_commit_loses_no_record(database: Database, log: AuditLog) -> None:
    await log.record_soon(READ)
    caller = asyncio.create_task(log.flush())
    await asyncio.sleep(0)
    caller.cancel()
    await log.close()
    assert verify_database(database).records == 1
    assert caller.cancelled()


async def test_a_record_that_would_wait_in_too_long_a_queue_commits_it_first(database: Database, log: AuditLog) -> None:
    for _ in range(GROUP_SIZE + 1):
        await log.record_soon(READ)
    assert verify_database(database).records == GROUP_SIZE
    await log.close()
    assert verify_database(database).records == GROUP_SIZE + 1


async def test_what_waits_is_recorded_as_it_was_and_when_it_was(
    database: Database, log: AuditLog, clock: ManualClock
) -> None:
    arguments = {"symbol": "AAPL"}
    asked_at = clock.now()
    await log.record_soon(an_event(order_data=arguments))
    arguments["symbol"] = "MSFT"
    await clock.advance(0.01)
    await log.flush()
    [record] = await database.read(lambda c: tail(c, 5))
    assert (record.order_data, record.timestamp) == ({"symbol": "AAPL"}, asked_at)
    await log.close()


async def test_a_write_in_between_keeps_the_chain(database: Database, log: AuditLog) -> None:
    await log.record_soon(READ)
    await log.record(an_event())
    await log.flush()
    report = verify_database(database)
    assert (report.ok, report.records) == (True, 2)
    await log.close()


async def test_after_a_failed_group_the_next_caller_is_told_and_nothing_is_lost(
    database: Database, log: AuditLog, clock: ManualClock, tmp_path: Path
) -> None:
    state, away = tmp_path / "state", tmp_path / "away"
    await log.record(an_event())  # so that the store is in use
    await log.record_soon(READ)
    state.rename(away)
    with pytest.raises(StoreUnreadable):
        await log.flush()
    with pytest.raises(StoreUnreadable):
        await log.record_soon(READ)
    away.rename(state)
    await log.record_soon(READ)
    await log.close()
    assert verify_database(database).records == 3


async def test_each_run_has_a_session_id_of_its_own(database: Database, clock: ManualClock) -> None:
    """AUD-12, T-54."""
    with pytest.raises(ValueError, match="UUID"):
        AuditLog(database, session_id="session_1700000000", config_hash="c", clock=clock)
    for _ in range(2):
        await an_audit_log(database, clock).record(an_event())
    first, second = await database.read(lambda c: tail(c, 2))
    assert first.session_id != second.session_id != str(uuid4())
