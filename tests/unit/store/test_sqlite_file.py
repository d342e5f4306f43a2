"""The SQLite file: private, watched over, and never half-written when the disk fails."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine

from ibkr_mcp_server.audit.verify import verify_database
from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.errors import ConfigurationError, Fault
from ibkr_mcp_server.store import intents, latches
from ibkr_mcp_server.store.columns import rfc3339
from ibkr_mcp_server.store.database import Database, StoreUnavailable, StoreUnreadable
from ibkr_mcp_server.store.schema import metadata
from tests.private_state import lay_tables
from tests.stores import NOON, an_audit_log, an_event, an_intent


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "store.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    database = Database.open(lay_tables(path))
    yield database
    database.close()


def reserve_one(connection: Connection) -> None:
    intents.reserve(connection, an_intent(ManualClock(NOON)))


def test_only_the_owner_can_read_the_files(path: Path, database: Database) -> None:
    """T-17."""
    database.run_blocking(reserve_one)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    files = list(path.parent.iterdir())
    assert {file.name for file in files} == {"store.db", "store.db-wal", "store.db-shm"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_a_directory_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    """T-17: such as the machine's temporary directory."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    with pytest.raises(StoreUnreadable, match="Other users may write"):
        Database.open(shared / "store.db")


def test_a_link_in_the_place_of_the_file_is_not_followed(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    path.symlink_to(tmp_path / "elsewhere.db")
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        Database.open(path)
    assert not (tmp_path / "elsewhere.db").exists()


def test_every_commit_is_synced_in_full(database: Database) -> None:
    def settings(connection: Connection) -> list[object]:
        names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in names]

    assert database.run_blocking(settings) == ["wal", 2, 1, 0]  # begin_write waits by itself, in short steps


def test_triggers_of_a_migrated_file_equal_those_of_the_metadata(path: Path, database: Database) -> None:
    query = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name"
    migrated = database.read_blocking(lambda c: list(map(tuple, c.exec_driver_sql(query))))
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        metadata.create_all(connection)
        assert list(map(tuple, connection.exec_driver_sql(query))) == migrated
    engine.dispose()
    assert len(migrated) == 3


def test_replacing_a_record_is_refused_too(database: Database) -> None:
    log = an_audit_log(database, ManualClock(NOON))
    database.run_blocking(lambda c: log.append(c, an_event()))
    with pytest.raises(Fault, match="append-only"):
        database.run_blocking(lambda c: c.exec_driver_sql("INSERT OR REPLACE INTO audit_log SELECT * FROM audit_log"))
    assert verify_database(database).ok


@pytest.mark.parametrize("remove", ["move", "delete", "replace", "directory"])
def test_writing_to_a_file_that_is_no_longer_there_fails(path: Path, database: Database, remove: str) -> None:
    database.run_blocking(reserve_one)  # so that it is in use
    if remove == "move":
        path.rename(path.with_suffix(".old"))
    elif remove == "delete":
        path.unlink()
    elif remove == "replace":
        shutil.copy(path, path.with_suffix(".copy"))
        path.with_suffix(".copy").replace(path)
    else:
        path.parent.rename(path.parent.with_name("old"))
        path.parent.mkdir()
    with pytest.raises(StoreUnreadable, match="moved, deleted or replaced"):
        database.run_blocking(reserve_one)
    with pytest.raises((StoreUnreadable, StoreUnavailable)):
        database.read_blocking(latches.current)


def test_a_full_disk_leaves_nothing_half_written(path: Path, database: Database) -> None:
    """AUD-04."""
    log = an_audit_log(database, ManualClock(NOON))

    def work(connection: Connection) -> None:
        reserve_one(connection)
        log.append(connection, an_event(order_data={"note": "x" * 100_000}))

    def work_on() -> None:
        for _ in range(40):
            database.run_blocking(work)

    database.run_blocking(lambda c: c.exec_driver_sql("PRAGMA max_page_count = 40"))
    with pytest.raises(StoreUnavailable, match="is full") as caught:
        work_on()
    assert caught.value.code == "STORE_FULL"

    again = Database.open(path)
    report = verify_database(again)
    assert report.ok
    assert len(again.read_blocking(intents.unresolved)) == report.records
    again.run_blocking(work)
    assert verify_database(again).records == report.records + 1
    again.close()


DISK_THAT_STOPS = """
import resource, sys
from pathlib import Path
from tests.unit.store.test_sqlite_file import reserve_one
from ibkr_mcp_server.store.database import Database, StoreUnavailable

database = Database.open(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
done = 0
try:
    while done < 1000:
        database.run_blocking(reserve_one)
        done += 1
except StoreUnavailable as error:
    print(done, error.code)
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="the system cannot limit file sizes")
def test_a_disk_that_stops_taking_writes_is_told_and_keeps_what_was_committed(path: Path) -> None:
    lay_tables(path)
    limit = str(path.stat().st_size + 300_000)
    run = subprocess.run([sys.executable, "-c", DISK_THAT_STOPS, path, limit], capture_output=True, text=True)
    done, code = run.stdout.split()
    assert code in ("STORE_DISK_ERROR", "STORE_FULL")
    database = Database.open(path)
    assert len(database.read_blocking(intents.unresolved)) == int(done)
    database.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write to anything")
def test_a_file_without_write_permission_is_told(path: Path, database: Database) -> None:
    database.close()
    path.chmod(0o400)
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        Database.open(path)


def test_a_file_that_is_no_database_is_told(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    path.write_bytes(b"a shopping list, not a database, " * 100)
    with pytest.raises(StoreUnreadable, match=r"store\.db is damaged"):
        Database.open(path)


@pytest.mark.parametrize("table", ["intents", "latches", "meta", "operator_attempts"])
def test_damage_in_a_table_that_decides_is_found_at_the_start(path: Path, database: Database, table: str) -> None:
    """KS-06: the start fails, so nothing can trade."""

    def fill(connection: Connection) -> None:
        for _ in range(50):
            reserve_one(connection)

    database.run_blocking(fill)
    page = database.read_blocking(
        lambda c: c.exec_driver_sql(f"SELECT rootpage FROM sqlite_master WHERE name = '{table}'").scalar_one()
    )
    size = database.read_blocking(lambda c: c.exec_driver_sql("PRAGMA page_size").scalar_one())
    database.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\x2a" * size)
    with pytest.raises(StoreUnreadable, match="damaged"):
        Database.open(path)


def test_a_cut_file_is_told(path: Path, database: Database) -> None:
    database.close()
    with path.open("r+b") as file:
        file.truncate(8192)
    with pytest.raises(StoreUnreadable, match="damaged"):
        Database.open(path)


def test_reading_only_creates_nothing(path: Path) -> None:
    with pytest.raises(StoreUnreadable, match="There is no database"):
        Database.open(path, read_only=True)
    assert not path.parent.exists()


def test_a_missing_table_never_reads_as_permission(path: Path, database: Database) -> None:
    database.run_blocking(lambda c: c.exec_driver_sql("DROP TABLE latches"))
    with pytest.raises(Fault, match="no such table: latches"):
        database.read_blocking(latches.current)


def test_the_window_query_walks_two_indexes(database: Database) -> None:
    seen: list[str] = []

    def work(connection: Connection) -> None:
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        driver.set_trace_callback(seen.append)
        intents.opening_in_window(connection, ManualClock(NOON), 60)
        driver.set_trace_callback(None)

    database.read_blocking(work)
    plan = database.read_blocking(lambda c: c.exec_driver_sql(f"EXPLAIN QUERY PLAN {seen[-1]}").all())
    searches = [row[-1] for row in plan if "intents" in row[-1]]
    assert [words.split(" INDEX ")[1].split(" ")[0] for words in searches] == [
        "ix_intents_boot_id_monotonic",
        "ix_intents_created_at",
    ]


def test_a_database_of_another_make_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="mysql is not supported"):
        Database.open("mysql://localhost/x")
    with pytest.raises(ConfigurationError, match="IBKR_DATABASE_URL"):
        Database.open("://")


def test_a_time_without_zone_is_not_recorded() -> None:
    with pytest.raises(ValueError, match="without zone"):
        rfc3339(NOON.replace(tzinfo=None))


def test_alembic_is_loaded_only_to_migrate(path: Path, database: Database) -> None:
    """Decision 12: light to start."""
    script = (
        "import sys; from ibkr_mcp_server.store.database import Database;"
        f"Database.open({str(path)!r}).close(); print('alembic' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_two_processes_may_create_the_file_at_once(path: Path) -> None:
    script = f"from ibkr_mcp_server.store.database import Database; Database.open({str(path)!r}).close()"
    starters = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(2)]
    assert [starter.wait(30) for starter in starters] == [0, 0]
    database = Database.open(path)
    assert database.read_blocking(latches.current).is_readable
    database.close()
