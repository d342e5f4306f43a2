"""SQLite: one file in the state directory, write-ahead log, every commit synced to the disk."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.pool import NullPool

from ibkr_mcp_server.store.errors import BUSY_SECONDS, NotAtOnce, StoreUnreadable
from ibkr_mcp_server.store.file_systems import network_file_system
from ibkr_mcp_server.store.writer_lock import FileWriterLock

DECIDING_TABLES = ("meta", "latches", "breaker", "operator_attempts", "intents")
"""Checked page by page at each opening. The audit log grows without end; `audit verify` checks it instead."""

_BUSY_STEP_SECONDS = 0.001
_SETTINGS = (
    "PRAGMA synchronous = FULL",  # in WAL mode the default would lose the newest commits with the power
    "PRAGMA fullfsync = ON",  # macOS: fsync alone leaves the data in the drive's cache
    "PRAGMA checkpoint_fullfsync = ON",
    "PRAGMA foreign_keys = ON",
    "PRAGMA trusted_schema = OFF",
)


class SQLiteFile:
    """How to reach and guard one database file."""

    is_local = True

    def __init__(self, path: Path, *, read_only: bool) -> None:
        self.path = path.absolute()
        self.where = str(self.path)
        self.read_only = read_only
        self._identity: tuple[int, int] | None = None

    def prepare(self) -> None:
        """Make sure the file is there and private.

        Raises:
            StoreUnreadable: it is missing though only reading was asked for, other users may write to it, or it lies on
                a network file system.
        """
        if (kind := network_file_system(self.path.parent)) is not None:
            raise StoreUnreadable(
                "STORE_ON_NETWORK",
                f"The database {self.where} would lie on a network file system ({kind}), where SQLite is not safe.",
                next_step="Set IBKR_STATE_DIR to a local disk, or IBKR_DATABASE_URL to a PostgreSQL database.",
            )
        if not self.read_only:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # SQLite gives its -wal and -shm files the mode of the database file.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        try:
            directory, file = self.path.parent.stat(), self.path.stat()
        except FileNotFoundError as error:
            raise StoreUnreadable(
                "STORE_MISSING", f"There is no database at {self.where}.", next_step="Start the server once to make it."
            ) from error
        if (directory.st_mode | file.st_mode) & stat.S_IWOTH:
            raise StoreUnreadable(
                "STORE_NOT_PRIVATE",
                f"Other users may write to the database {self.where} or to its directory.",
                next_step=f"Keep it in a directory of its own: chmod 700 {self.path.parent}",
            )
        self._identity = (file.st_dev, file.st_ino)

    def engine(self, *, reader: bool) -> Engine:
        return create_engine("sqlite://", creator=lambda: self._connect(reader), poolclass=NullPool)

    def _connect(self, reader: bool) -> sqlite3.Connection:
        mode = "ro" if self.read_only else "rw"  # never "rwc": a file that vanished must not come back empty
        connection = sqlite3.connect(
            f"{self.path.as_uri()}?mode={mode}",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,  # transactions are begun below, by name
            check_same_thread=False,  # a lane's thread uses it; interpreter shutdown may close it from another
        )
        try:
            for statement in _SETTINGS:
                connection.execute(statement)
            if reader or self.read_only:
                connection.execute("PRAGMA query_only = ON")
            elif connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
                connection.execute("PRAGMA journal_mode = WAL")
            if not reader:
                connection.execute("PRAGMA busy_timeout = 0")  # `begin_write` waits by itself
        except BaseException:
            connection.close()
            raise
        return connection

    def begin_write(self, connection: Connection) -> None:
        # SQLite's own wait sleeps up to 100 ms at a time, so that a process that writes without a pause would keep a
        # stop from another one out for a second.
        driver = _driver_of(connection)
        for _ in range(int(BUSY_SECONDS / _BUSY_STEP_SECONDS)):
            try:
                driver.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    break
                time.sleep(_BUSY_STEP_SECONDS)
            else:
                return
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def begin_write_at_once(self, connection: Connection) -> None:
        driver = _driver_of(connection)
        try:
            driver.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise NotAtOnce from error

    def begin_read(self, connection: Connection) -> None:
        try:
            _driver_of(connection).execute("BEGIN")
        except sqlite3.Error:
            connection.exec_driver_sql("BEGIN")  # so that the error is SQLAlchemy's

    def before_commit(self, connection: Connection) -> None:
        """Hold that the transaction is still open, and that the file is still the one behind the path.

        SQLite rolls back by itself after some errors, and writes happily to a file that was moved away or deleted.
        """
        driver = connection.connection.driver_connection
        if driver is None or not driver.in_transaction:
            raise StoreUnreadable("STORE_ROLLED_BACK", f"The database {self.where} took the transaction back.")
        try:
            file = self.path.stat()
        except OSError:
            file = None
        if file is None or (file.st_dev, file.st_ino) != self._identity:
            raise StoreUnreadable(
                "STORE_REPLACED",
                f"The database {self.where} was moved, deleted or replaced while in use; nothing was written.",
                next_step="Stop every process that uses it, put the original file back, and start again.",
            )

    def writer_lock(self) -> FileWriterLock:
        return FileWriterLock(self.path.with_name(f"{self.path.name}-writer"))

    def check(self, connection: Connection) -> None:
        """Raise StoreUnreadable when a page of a table that decides about orders is damaged."""
        for table in DECIDING_TABLES:
            found = connection.exec_driver_sql(f"PRAGMA quick_check({table})").scalars().all()
            if found != ["ok"]:
                raise StoreUnreadable(
                    "STORE_UNREADABLE",
                    f"The database {self.where} is damaged in table {table}: {'; '.join(map(str, found[:3]))}.",
                    next_step="Keep a copy of it, and restore a backup.",
                )


def _driver_of(connection: Connection) -> sqlite3.Connection:
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver
