"""PostgreSQL: for several machines that share an account. Writers are serialised by one advisory lock per schema."""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.pool import NullPool

from ibkr_mcp_server.errors import ConfigurationError
from ibkr_mcp_server.store.errors import BUSY_SECONDS, NotAtOnce, StoreUnreadable
from ibkr_mcp_server.store.writer_lock import SessionWriterLock

_WRITERS = 0x1B4B  # the first half of the advisory lock's key: our own; the second is the schema's name, hashed
_MILLISECONDS = int(BUSY_SECONDS * 1000)

_SETTINGS = (
    f"SET lock_timeout = {_MILLISECONDS}",
    f"SET idle_in_transaction_session_timeout = {15 * _MILLISECONDS}",
    "SET synchronous_commit = on",
    "SET TIME ZONE 'UTC'",
)


class PostgreSQLServer:
    """How to reach and guard one schema on a server."""

    is_local = False

    def __init__(self, url: URL, *, read_only: bool) -> None:
        self.url = url.set(drivername="postgresql+psycopg")
        self.where = url.render_as_string(hide_password=True)
        self.read_only = read_only

    def prepare(self) -> None:
        """Make sure the driver is installed."""
        try:
            import psycopg  # noqa: F401
        except ImportError as error:
            raise ConfigurationError(
                ["IBKR_DATABASE_URL names a PostgreSQL server; its driver is missing: pip install 'psycopg[binary]'"]
            ) from error

    def engine(self, *, reader: bool) -> Engine:
        engine = create_engine(
            self.url,
            poolclass=NullPool,
            connect_args={"connect_timeout": 5, "tcp_user_timeout": 5_000},
        )

        @event.listens_for(engine, "connect")
        def settle(driver: Any, _record: object) -> None:  # Any: psycopg is an optional dependency
            with driver.cursor() as cursor:
                for statement in _SETTINGS:
                    cursor.execute(statement)
            driver.commit()

        return engine

    def begin_write(self, connection: Connection) -> None:
        # Read committed: what runs after the lock was granted sees all that its former holder committed.
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITERS}, hashtext(current_schema()))")

    def begin_write_at_once(self, connection: Connection) -> None:
        raise NotAtOnce

    def begin_read(self, connection: Connection) -> None:
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")

    def before_commit(self, connection: Connection) -> None:
        """Hold that the transaction is still good: the server answers COMMIT of a failed one with a silent rollback."""
        from psycopg.pq import TransactionStatus

        driver: Any = connection.connection.driver_connection  # Any: psycopg is an optional dependency
        if driver.info.transaction_status != TransactionStatus.INTRANS:
            raise StoreUnreadable("STORE_ROLLED_BACK", f"The database {self.where} took the transaction back.")

    def writer_lock(self) -> SessionWriterLock:
        return SessionWriterLock(self.engine(reader=False), where=self.where)

    def check(self, connection: Connection) -> None:
        """Nothing: the server checks its own pages."""
