"""The audit log only grows, and its chain holds through several writers and killed processes."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys

import pytest
from sqlalchemy import Connection, func, select, text

from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.audit.log import AuditLog, head, tail
from ibkr_mcp_server.audit.verify import verify_database
from ibkr_mcp_server.errors import Fault
from ibkr_mcp_server.store import intents
from ibkr_mcp_server.store.database import Database
from ibkr_mcp_server.store.schema import audit_log
from tests.stores import NOON, an_event, an_intent


async def test_records_read_back_in_order_with_all_fields(database: Database, log: AuditLog) -> None:
    """AUD-02."""
    first = await log.record(an_event(type=EventType.SERVER_START, tool=None))
    second = await log.record(an_event(decision_id="d1", intent_id="i1", outcome={"ok": True}, broker_ids={"perm": 7}))
    assert await database.read(lambda c: tail(c, 10)) == [first, second]
    assert await database.read(lambda c: tail(c, 1)) == [second]
    assert await database.read(lambda c: tail(c, 10, EventType.SERVER_START)) == [first]
    assert (second.seq, second.prev_hash, second.timestamp) == (2, first.hash, NOON)
    assert second.actor == {"type": "agent", "id": "claude", "auth": "stdio", "label": ""}
    assert second.order_data == {"symbol": "AAPL", "quantity": "10", "limit_price": "190.50"}
    assert (second.decision_id, second.intent_id, second.outcome, second.broker_ids) == (
        "d1",
        "i1",
        {"ok": True},
        {"perm": 7},
    )


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_log SET outcome = 'nothing'",
        "DELETE FROM audit_log",
        "DELETE FROM audit_log WHERE seq = 1",
    ],
)
async def test_records_can_be_neither_changed_nor_deleted(database: Database, log: AuditLog, statement: str) -> None:
    """AUD-03."""
    await log.record(an_event())
    with pytest.raises(Fault, match="append-only"):
        await database.run(lambda c: c.execute(text(statement)))
    assert verify_database(database).records == 1


async def test_a_record_is_durable_with_the_intent_or_not_at_all(
    database: Database, log: AuditLog, clock: object
) -> None:
    """AUD-04, T-18."""

    def work(connection: Connection) -> None:
        intents.reserve(connection, an_intent(log._clock))
        log.append(connection, an_event())
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        await database.run(work)
    assert await database.read(intents.unresolved) == []
    assert verify_database(database).records == 0


async def test_many_tasks_at_once_make_one_chain(database: Database, log: AuditLog) -> None:
    await asyncio.gather(*(log.record(an_event(decision_id=str(number))) for number in range(50)))
    report = verify_database(database)
    assert (report.ok, report.records, report.head) == (True, 50, await database.read(head))
    assert verify_database(database, processes=2) == report


@pytest.mark.parametrize("process", [2])
async def test_two_processes_at_once_make_one_chain(url: str, database: Database, process: int) -> None:
    workers = [_worker(url, 40) for _ in range(process)]
    async with asyncio.timeout(60):
        for worker in workers:
            assert await asyncio.to_thread(worker.wait) == 0
            worker.communicate()
    report = verify_database(database)
    assert (report.ok, report.records, report.sessions) == (True, 80, 2)


@pytest.mark.parametrize("seed", range(2))
async def test_a_killed_process_leaves_whole_transactions_and_a_valid_chain(url: str, seed: int) -> None:
    """Done-when 3; RL-09."""
    chance = random.Random(seed)
    Database.open(url).close()
    worker = _worker(url, 1_000_000)
    assert worker.stdout is not None
    told = [worker.stdout.readline().strip() for _ in range(chance.randint(1, 40))]
    # Somewhere inside a later transaction, wherever the race ends.
    for _ in range(chance.randint(0, 200_000)):
        pass
    worker.kill()
    rest, _ = worker.communicate(timeout=30)
    told += [line for line in rest.splitlines() if len(line) == 32]

    database = Database.open(url)
    report = verify_database(database)
    assert report.ok, report.reason
    kept = {intent.intent_id for intent in database.read_blocking(intents.unresolved)}
    recorded = database.read_blocking(lambda c: set(c.execute(select(audit_log.c.intent_id)).scalars()))
    count = database.read_blocking(lambda c: c.execute(select(func.count()).select_from(audit_log)).scalar_one())
    assert set(told) <= kept
    assert kept == recorded
    assert len(kept) == count
    database.close()


def _worker(url: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.contract.store.worker", url, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
