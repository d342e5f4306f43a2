"""A transaction is whole, durable and alone."""

from __future__ import annotations

import asyncio
import threading

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, delete, insert, inspect, select, text, update

from ibkr_mcp_server.errors import Fault
from ibkr_mcp_server.store.database import Database, StoreUnavailable, StoreUnreadable
from ibkr_mcp_server.store.migrations.upgrade import configuration
from ibkr_mcp_server.store.schema import HEAD, meta, metadata


def note(name: str, connection: Connection) -> None:
    connection.execute(insert(meta).values(name=name, value="x"))


def notes(connection: Connection) -> set[str]:
    return set(connection.execute(select(meta.c.name)).scalars())


async def test_what_was_committed_is_there_for_the_next_process(url: str) -> None:
    first = Database.open(url)
    await first.run(lambda connection: note("kept", connection))
    first.close()
    second = Database.open(url)
    assert "kept" in await second.read(notes)
    second.close()


async def test_a_record_is_written_although_who_waits_for_it_is_cancelled(database: Database) -> None:
    """As at the end of a server: a job goes, its record stays, and whoever reads next gets an answer."""
    written = database.soon(lambda connection: note("left behind", connection))
    written.cancel()
    assert "left behind" in await database.read(notes)


async def test_work_that_raises_leaves_nothing_behind(database: Database) -> None:
    def work(connection: Connection) -> None:
        note("half", connection)
        raise RuntimeError("changed my mind")

    with pytest.raises(RuntimeError, match="changed my mind"):
        await database.run(work)
    assert "half" not in await database.read(notes)
    await database.run(lambda connection: note("whole", connection))
    assert "whole" in await database.read(notes)


async def test_work_that_swallows_a_database_error_is_not_taken_for_success(database: Database) -> None:
    def work(connection: Connection) -> None:
        note("half", connection)
        try:
            connection.execute(text("SELECT * FROM no_such_table"))
        except Exception:
            connection.exec_driver_sql("ROLLBACK")

    with pytest.raises(StoreUnreadable, match="took the transaction back"):
        await database.run(work)
    assert "half" not in await database.read(notes)


async def test_a_read_cannot_write(database: Database) -> None:
    with pytest.raises((StoreUnavailable, Fault)):
        await database.read(lambda connection: note("sneaked", connection))
    assert "sneaked" not in await database.read(notes)


async def test_a_read_sees_one_snapshot_and_waits_for_no_writer(database: Database) -> None:
    writing, go_on = threading.Event(), threading.Event()

    def work(connection: Connection) -> None:
        note("new", connection)
        writing.set()
        assert go_on.wait(10)

    async with asyncio.timeout(10):
        task = asyncio.create_task(database.run(work))
        await asyncio.to_thread(writing.wait, 10)
        assert "new" not in await database.read(notes)
        go_on.set()
        await task
    assert "new" in await database.read(notes)


async def test_a_cancelled_caller_hears_of_it_only_when_the_commit_is_done(database: Database) -> None:
    writing, go_on = threading.Event(), threading.Event()

    def work(connection: Connection) -> None:
        writing.set()
        assert go_on.wait(10)
        note("finished", connection)

    async with asyncio.timeout(10):
        task = asyncio.create_task(database.run(work))
        await asyncio.to_thread(writing.wait, 10)
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert "finished" in await database.read(notes)


async def test_work_at_once_comes_after_what_waits_to_be_recorded(database: Database) -> None:
    database.soon(lambda connection: note("before", connection))
    assert "before" in await database.run(notes, at_once=True)

    async def begun_earlier() -> None:
        await database.run(lambda connection: note("begun earlier", connection))

    earlier = asyncio.create_task(begun_earlier())
    await asyncio.sleep(0)
    assert "begun earlier" in await database.run(notes, at_once=True)
    await earlier
    database.soon(lambda connection: note("before the read", connection))
    assert "before the read" in await database.read(notes, at_once=True)


async def test_work_at_once_that_raises_leaves_nothing_behind_and_what_comes_next_goes_well(database: Database) -> None:
    def work(connection: Connection) -> None:
        note("half", connection)
        raise RuntimeError("changed my mind")

    for _ in range(2):
        with pytest.raises(RuntimeError, match="changed my mind"):
            await database.run(work, at_once=True)
    assert "half" not in await database.run(notes, at_once=True)
    await database.run(lambda connection: note("whole", connection), at_once=True)
    assert "whole" in await database.read(notes)


async def test_work_at_once_lets_the_loop_go_on_while_another_process_writes(url: str, database: Database) -> None:
    other = Database.open(url)
    writing, go_on = threading.Event(), threading.Event()

    def hold(connection: Connection) -> None:
        writing.set()
        assert go_on.wait(30)
        note("held", connection)

    async with asyncio.timeout(20):
        holder = asyncio.create_task(other.run(hold))
        await asyncio.to_thread(writing.wait, 10)
        waiting = asyncio.create_task(database.run(notes, at_once=True))
        await asyncio.sleep(0)  # were it to wait here, nobody would let the other go
        go_on.set()
        assert "held" in await waiting
        await holder
    other.close()


async def test_writers_of_two_processes_take_turns_and_the_wait_is_bounded(url: str, database: Database) -> None:
    other = Database.open(url)
    writing, go_on = threading.Event(), threading.Event()

    def hold(connection: Connection) -> None:
        writing.set()
        assert go_on.wait(30)

    async with asyncio.timeout(20):
        holder = asyncio.create_task(other.run(hold))
        await asyncio.to_thread(writing.wait, 10)
        with pytest.raises(StoreUnavailable, match="busy") as caught:
            await database.run(lambda connection: note("waited", connection))
        assert caught.value.code == "STORE_BUSY"
        go_on.set()
        await holder
        await database.run(lambda connection: note("waited", connection))
    other.close()


async def test_a_closed_database_says_so(database: Database) -> None:
    database.close()
    for at_once in (False, True):
        with pytest.raises(Fault, match="closed already"):
            await database.run(notes, at_once=at_once)
    late = database.soon(lambda connection: note("too late", connection))
    database.close()  # what waited is begun, and told that it cannot be
    with pytest.raises(Fault, match="closed already"):
        await late


async def test_a_migrated_database_equals_the_metadata(first_url: str) -> None:
    def differences(connection: Connection) -> list[object]:
        found: list[object] = compare_metadata(
            MigrationContext.configure(connection, opts={"compare_type": True}), metadata
        )
        return found

    database = Database.open(first_url)
    assert await database.read(differences) == []
    database.close()
    assert ScriptDirectory.from_config(configuration()).get_current_head() == HEAD


FIRST_TABLES = {"audit_log", "intents", "latches", "operator_attempts", "meta"}
"""Those of migration 0001."""


def test_a_database_of_an_earlier_version_is_brought_up_to_date_and_keeps_what_it_held(first_url: str) -> None:
    earlier = Database.open(first_url)
    earlier.run_blocking(lambda connection: note("kept", connection))
    for table in sorted(metadata.tables.keys() - FIRST_TABLES):
        drop = text(f"DROP TABLE {table}")
        earlier.run_blocking(lambda connection, drop=drop: connection.execute(drop).rowcount)  # type: ignore[misc]  # the loop's table
    earlier.run_blocking(lambda connection: connection.execute(text("UPDATE alembic_version SET version_num = '0001'")))
    earlier.close()
    database = Database.open(first_url)
    assert "kept" in database.read_blocking(notes)
    assert database.read_blocking(lambda connection: inspect(connection).has_table("fills"))
    database.close()


def test_a_newer_database_is_refused(first_url: str) -> None:
    newer = Database.open(first_url)
    newer.run_blocking(lambda connection: connection.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    newer.close()
    with pytest.raises(StoreUnreadable, match="version 9999"):
        Database.open(first_url)


def test_a_foreign_database_is_refused(first_url: str) -> None:
    foreign = Database.open(first_url)
    foreign.run_blocking(lambda connection: connection.execute(text("DROP TABLE alembic_version")))
    foreign.close()
    with pytest.raises(StoreUnreadable, match="not ours"):
        Database.open(first_url)


def test_a_database_that_lost_its_id_is_refused(url: str) -> None:
    database = Database.open(url)
    database.run_blocking(lambda connection: connection.execute(delete(meta)))
    database.close()
    with pytest.raises(StoreUnreadable, match="lost its id"):
        Database.open(url)


def test_opened_for_reading_only_it_reads_and_refuses_to_write(url: str) -> None:
    Database.open(url).close()
    database = Database.open(url, read_only=True)
    assert "store_id" in database.read_blocking(notes)
    with pytest.raises(Fault, match="reading only"):
        database.run_blocking(lambda connection: connection.execute(update(meta).values(value="")))
    with pytest.raises(Fault, match="reading only"):
        database.soon(lambda connection: connection.execute(update(meta).values(value="")))
    database.close()


def test_opened_for_reading_only_it_does_not_bring_an_earlier_version_up_to_date(first_url: str) -> None:
    earlier = Database.open(first_url)
    earlier.run_blocking(lambda connection: connection.execute(text("UPDATE alembic_version SET version_num = '0001'")))
    earlier.close()
    with pytest.raises(StoreUnreadable, match="newest tables"):
        Database.open(first_url, read_only=True)
