"""The lock of the one process that may write to the broker (LK-02); it vanishes with the process that holds it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from ibkr_mcp_server.store.errors import translated

_ROLE = 0x1B4C
"""First half of the advisory lock's key on PostgreSQL; the second is the schema's name, hashed."""


class WriterLock(Protocol):
    """Held by at most one process for each store. All methods block, for a moment."""

    def acquire(self) -> bool:
        """Take the lock if it is free; False if another process holds it.

        Raises:
            ProductError, OSError: it cannot be asked for now.
        """
        ...

    def is_held(self) -> bool:
        """Whether this process took it and it is still the lock that others would ask for."""
        ...

    def release(self) -> None: ...


class FileWriterLock:
    """An advisory lock of the operating system on a file beside the database."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Asked for on one thread and let go on another: it belongs to the process.
        self._lock = FileLock(str(path), mode=0o600, thread_local=False)
        self._identity: tuple[int, int] | None = None

    def acquire(self) -> bool:
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            return False
        self._identity = self._found()
        return True

    def is_held(self) -> bool:
        # Whoever replaces the file could lock the new one beside us.
        return self._lock.is_locked and self._identity is not None and self._found() == self._identity

    def _found(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def release(self) -> None:
        self._lock.release()


class SessionWriterLock:
    """An advisory lock of a PostgreSQL session, on a connection of its own."""

    def __init__(self, engine: Engine, *, where: str) -> None:
        self._engine = engine
        self._where = where
        self._session: Connection | None = None

    def acquire(self) -> bool:
        try:
            session = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            try:
                query = f"SELECT pg_try_advisory_lock({_ROLE}, hashtext(current_schema()))"
                granted = bool(session.exec_driver_sql(query).scalar_one())
            except BaseException:
                session.close()
                raise
        except DBAPIError as error:
            raise translated(error, self._where) from error
        if not granted:
            session.close()
            return False
        self._session = session
        return True

    def is_held(self) -> bool:
        if self._session is None:
            return False
        try:
            self._session.exec_driver_sql("SELECT 1")
        except DBAPIError:
            return False  # the session ended, and its lock with it
        return True

    def release(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            with suppress(DBAPIError):
                session.close()
