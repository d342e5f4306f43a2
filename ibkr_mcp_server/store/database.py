"""The database and its transactions; what is in it is told by the modules next to this one.

Work is a plain function of a connection. It runs on a thread of its own, as one transaction: all of it is durable when
the call returns, or none of it happened and the call raises. Only `soon` returns before. What an order waits for
(`at_once`, `look`) is done by the event loop itself when nothing else comes first: it has nothing better to do than the
order, and a thread that shares the interpreter with it waits for its turn at each statement (decision 20).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Engine, inspect, make_url, select, text
from sqlalchemy.exc import ArgumentError, DBAPIError, StatementError

from ibkr_mcp_server.errors import ConfigurationError, Fault
from ibkr_mcp_server.store.errors import NotAtOnce, StoreUnavailable, StoreUnreadable, translated
from ibkr_mcp_server.store.schema import HEAD, meta
from ibkr_mcp_server.store.sqlite import SQLiteFile
from ibkr_mcp_server.store.writer_lock import WriterLock

__all__ = ["Database", "StoreUnavailable", "StoreUnreadable"]

T = TypeVar("T")
BUSY = "STORE_BUSY"
"""The code of a write that only came at the wrong moment."""

SOON_SECONDS = 0.004
"""Lets an answer leave before what is recorded of it competes for the processor."""


class Kind(Protocol):
    """What differs between the databases."""

    @property
    def where(self) -> str:
        """The file or the server, for people; without secrets."""
        ...

    def prepare(self) -> None: ...

    def engine(self, *, reader: bool) -> Engine: ...

    is_local: bool
    """A statement waits for this machine alone."""

    def begin_write(self, connection: Connection) -> None:
        """Become the only writer, waiting at most `BUSY_SECONDS`."""
        ...

    def begin_write_at_once(self, connection: Connection) -> None:
        """Become the only writer, if that takes no waiting.

        Raises:
            NotAtOnce: it would.
        """
        ...

    def begin_read(self, connection: Connection) -> None:
        """Begin on one snapshot."""
        ...

    def before_commit(self, connection: Connection) -> None: ...

    def check(self, connection: Connection) -> None: ...

    def writer_lock(self) -> WriterLock: ...


class Database:
    """One store, open. Make it with `open`."""

    def __init__(self, kind: Kind, *, read_only: bool) -> None:
        self._kind = kind
        self._read_only = read_only
        self.trouble: str | None = None
        """The last write that failed, busy moments excepted (CB-32); whoever acted on it sets it back."""
        self.on_trouble: Callable[[], None] = lambda: None
        self._writer = _Lane("store-writer", kind, kind.begin_write, kind.begin_write_at_once, reader=False)
        # A lane of its own, so that a long read never stands before an order.
        self._reader = _Lane("store-reader", kind, kind.begin_read, kind.begin_read, reader=True)
        # And one for the last look before a send, so that no long read stands before that either.
        self._gate = _Lane("store-gate", kind, kind.begin_read, kind.begin_read, reader=True)
        self._waiting: list[_Waiting] = []
        self._newest_batch: Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    def open(cls, url_or_path: str | Path, *, read_only: bool = False) -> Database:
        """Open the SQLite file or the PostgreSQL URL, create or migrate it, and check it. Blocks.

        Raises:
            StoreUnreadable: it is damaged, not ours, too new, or (with `read_only`) missing or not migrated.
            StoreUnavailable: it is busy, full, not writable or out of reach.
            ConfigurationError: the URL cannot be used.
        """
        database = cls(_kind(url_or_path, read_only=read_only), read_only=read_only)
        try:
            database._settle()
        except BaseException:
            database.close()
            raise
        return database

    @property
    def where(self) -> str:
        """The file or the server, for people; without secrets."""
        return self._kind.where

    async def run(self, work: Callable[[Connection], T], *, at_once: bool = False) -> T:
        """Do `work` as the only writer, in one transaction that is synced to the disk when this returns.

        If the caller is cancelled the transaction is finished all the same, and only then the cancellation goes on.
        `at_once` is for short work that an order waits for: where nobody else writes just now, the event loop itself
        does it, and stands still until it is on the disk.

        Raises:
            StoreUnavailable: busy, full, not writable or out of reach; treat it as not written. (A link that breaks
                during the commit itself leaves that open, so what was to follow the commit must not be done.)
            StoreUnreadable: damaged, or replaced while in use.
        """
        self._begin_waiting()
        try:
            if at_once and not self._read_only:
                with suppress(NotAtOnce):
                    return self._writer.at_once(work)
            return await _finished(self._submit_write(work))
        except (StoreUnavailable, StoreUnreadable) as error:
            if error.code != BUSY:
                self.trouble = error.message
                self.on_trouble()
            raise

    def soon(self, work: Callable[[Connection], T], *, within: float = SOON_SECONDS) -> asyncio.Future[T]:
        """Do `work` as the only writer, `within` seconds from now, and always before what is asked for later.

        For records of what has happened already. The next decision and the next read find it done, so that nothing is
        decided or told without it. Several that wait share one transaction; when that fails, each has its own.
        """
        if self._read_only:
            raise Fault("STORE_READ_ONLY", f"The database {self.where} was opened for reading only.")
        loop = asyncio.get_running_loop()
        one = _Waiting(work, loop.create_future())
        self._waiting.append(one)
        if self._timer is None or self._timer.when() > loop.time() + within:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = loop.call_later(within, self._begin_waiting)
        return one.done

    async def look(self, work: Callable[[Connection], T], *, at_once: bool = True) -> T:
        """As `read`, for the last look before a send: nothing that waits to be recorded is waited for."""
        if at_once:
            with suppress(NotAtOnce):
                return self._gate.at_once(work)
        return await _finished(self._gate.submit(work))

    async def read(self, work: Callable[[Connection], T], *, at_once: bool = False) -> T:
        """Do `work` on one snapshot, in a transaction that cannot write; waits for no writer.

        `at_once` is as in `run`.
        """
        self._begin_waiting()
        if self._newest_batch is not None and not self._newest_batch.done():
            await _finished(self._newest_batch)
        if at_once:
            with suppress(NotAtOnce):
                return self._reader.at_once(work)
        return await _finished(self._reader.submit(work))

    def run_blocking(self, work: Callable[[Connection], T]) -> T:
        """As `run`, for the command line."""
        return self._submit_write(work).result()

    def read_blocking(self, work: Callable[[Connection], T]) -> T:
        """As `read`, for the command line."""
        return self._reader.submit(work).result()

    def writer_lock(self) -> WriterLock:
        """The lock of the one process that may write to the broker; not taken yet."""
        return self._kind.writer_lock()

    def close(self) -> None:
        """Finish what was begun, then let go of the database. May be called twice."""
        self._begin_waiting()
        for lane in (self._writer, self._reader, self._gate):
            lane.close()

    def _submit_write(self, work: Callable[[Connection], T]) -> Future[T]:
        if self._read_only:
            raise Fault("STORE_READ_ONLY", f"The database {self.where} was opened for reading only.")
        return self._writer.submit(work)

    def _begin_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if waiting:
            self._newest_batch = self._writer.submit_all(waiting)

    def _settle(self) -> None:
        try:
            self._kind.prepare()
        except OSError as error:
            raise StoreUnavailable(
                "STORE_NOT_WRITABLE",
                f"The database {self.where} cannot be opened ({error}).",
                next_step="Give this user write access to it and to its directory.",
            ) from error
        if self.read_blocking(self._needs_migration):
            if self._read_only:
                raise StoreUnreadable(
                    "STORE_OLD",
                    f"The database {self.where} has not got the newest tables.",
                    next_step="Start the server once: it migrates the database.",
                )
            self.run_blocking(self._migrate)
        self.read_blocking(self._check)

    def _needs_migration(self, connection: Connection) -> bool:
        tables = set(inspect(connection).get_table_names())
        if "alembic_version" not in tables:
            if foreign := tables - {"alembic_version"}:
                raise StoreUnreadable(
                    "STORE_FOREIGN",
                    f"The database {self.where} holds tables that are not ours: {', '.join(sorted(foreign)[:5])}.",
                    next_step="Name a new file, or an empty schema.",
                )
            return True
        version = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
        if version is None or version > HEAD:
            raise StoreUnreadable(
                "STORE_NEWER",
                f"The database {self.where} is of version {version}; this program knows {HEAD}.",
                next_step="Use the version of the program that made it, or a newer one.",
            )
        return bool(version != HEAD)

    def _migrate(self, connection: Connection) -> None:
        if self._needs_migration(connection):  # another process may have been faster
            from ibkr_mcp_server.store.migrations import upgrade  # Alembic, only when there is something to do

            upgrade.to_head(connection)

    def _check(self, connection: Connection) -> None:
        self._kind.check(connection)
        if connection.execute(select(meta.c.value).where(meta.c.name == "store_id")).scalar_one_or_none() is None:
            raise StoreUnreadable(
                "STORE_UNREADABLE",
                f"The database {self.where} has lost its id (table meta).",
                next_step="Keep a copy of it, and restore a backup.",
            )


class _Waiting:
    """Work that is to be done soon, and what came of it; Any is what the caller of `soon` makes of it."""

    def __init__(self, work: Callable[[Connection], Any], done: asyncio.Future[Any]) -> None:
        self.work = work
        self.done = done
        self.result: Any = None
        self.error: BaseException | None = None

    def tell(self) -> None:
        """On the event loop; who waits for it may have been cancelled, the work was not."""
        if self.done.done():
            return
        if self.error is None:
            self.done.set_result(self.result)
        else:
            self.done.set_exception(self.error)


class _Lane:
    """One thread with one connection: what is submitted is done in turn, each as one transaction."""

    def __init__(
        self,
        name: str,
        kind: Kind,
        begin: Callable[[Connection], None],
        begin_at_once: Callable[[Connection], None],
        *,
        reader: bool,
    ) -> None:
        self._kind = kind
        self._begin = begin
        self._begin_at_once = begin_at_once
        self._reader = reader
        self._connection: Connection | None = None
        self._in_use = Lock()
        self._newest: Future[Any] | None = None
        """The last that was submitted; when it is done, all are."""
        self._is_closed = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    def submit(self, work: Callable[[Connection], T]) -> Future[T]:
        try:
            submitted = self._thread.submit(self._transaction, work)
        except RuntimeError as error:
            raise Fault("STORE_CLOSED", f"The database {self._kind.where} is closed already.") from error
        self._newest = submitted
        return submitted

    def at_once(self, work: Callable[[Connection], T]) -> T:
        """Do `work` on the caller's thread.

        Raises:
            NotAtOnce: something else comes first, or it might take long to begin; nothing was done.
        """
        is_free = self._newest is None or self._newest.done()
        if self._is_closed or not self._kind.is_local or not is_free or not self._in_use.acquire(blocking=False):
            raise NotAtOnce
        try:
            return self._within(work, self._begin_at_once)
        finally:
            self._in_use.release()

    def submit_all(self, waiting: Sequence[_Waiting]) -> Future[None]:
        """All of them in one transaction, or each in its own when one of them fails; the future never raises."""
        try:
            submitted = self._newest = self._thread.submit(self._batch, waiting)
            return submitted
        except RuntimeError:
            for one in waiting:
                one.error = Fault("STORE_CLOSED", f"The database {self._kind.where} is closed already.")
            _tell(waiting)
            nothing: Future[None] = Future()
            nothing.set_result(None)
            return nothing

    def _batch(self, waiting: Sequence[_Waiting]) -> None:
        try:
            results = self._transaction(lambda connection: [one.work(connection) for one in waiting])
        except BaseException as error:
            if len(waiting) > 1:
                for one in waiting:
                    self._batch([one])
                return
            waiting[0].error = error
        else:
            for one, result in zip(waiting, results, strict=True):
                one.result = result
        _tell(waiting)

    def _transaction(self, work: Callable[[Connection], T]) -> T:
        with self._in_use:
            return self._within(work, self._begin)

    def _within(self, work: Callable[[Connection], T], begin: Callable[[Connection], None]) -> T:
        try:
            if self._connection is None:
                self._connection = self._kind.engine(reader=self._reader).connect()
            with self._connection.begin():
                begin(self._connection)
                result = work(self._connection)
                self._kind.before_commit(self._connection)
            return result
        except StatementError as error:
            self._hang_up()
            raise translated(error, self._kind.where) from error
        except BaseException:
            if self._connection is not None and self._connection.in_transaction():
                self._hang_up()
            raise

    def _hang_up(self) -> None:
        """Drop a connection that failed; the next transaction makes a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(DBAPIError):
                connection.close()

    def close(self) -> None:
        self._is_closed = True
        with suppress(RuntimeError):
            self._thread.submit(self._hang_up)
        self._thread.shutdown(wait=True)


def _kind(url_or_path: str | Path, *, read_only: bool) -> Kind:
    if isinstance(url_or_path, Path) or "://" not in url_or_path:
        return SQLiteFile(Path(url_or_path), read_only=read_only)
    try:
        url = make_url(url_or_path)
    except ArgumentError as error:
        raise ConfigurationError(["IBKR_DATABASE_URL is not a database URL"]) from error
    backend = url.get_backend_name()
    if backend == "sqlite" and url.database:
        return SQLiteFile(Path(url.database), read_only=read_only)
    if backend in ("postgresql", "postgres"):
        from ibkr_mcp_server.store.postgresql import PostgreSQLServer

        return PostgreSQLServer(url, read_only=read_only)
    raise ConfigurationError([f"IBKR_DATABASE_URL: {backend} is not supported; use sqlite or postgresql"])


def _tell(waiting: Sequence[_Waiting]) -> None:
    """Let the event loop tell those who wait, if it still runs; all of them were begun on one."""

    def tell() -> None:
        for one in waiting:
            one.tell()

    with suppress(RuntimeError):  # the loop was closed: nobody waits any more
        waiting[0].done.get_loop().call_soon_threadsafe(tell)


async def _finished(work: Future[T]) -> T:
    """The result of `work`, which goes on to its end even if the one who waits is cancelled."""
    future = asyncio.wrap_future(work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        future.add_done_callback(_look_at)
        if not future.done():
            await asyncio.wait([future])
        raise


def _look_at(future: asyncio.Future[T]) -> None:
    if not future.cancelled():
        future.exception()  # seen, so that asyncio does not report it as forgotten
