"""Who may write: exactly one process for each store (LK-01). The others read, and name the one that writes.

The lock belongs to the process and vanishes with it. Each grant raises a fencing number in the store; the final gate
compares it once more before each send, so that a process that lost the role cannot send what it still has in hand.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, bindparam, delete, insert, select

from ibkr_mcp_server.audit.events import AuditEvent, EventType
from ibkr_mcp_server.audit.log import AuditLog
from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.domain.operations import SYSTEM
from ibkr_mcp_server.errors import ProductError
from ibkr_mcp_server.log import get_logger
from ibkr_mcp_server.store.columns import rfc3339
from ibkr_mcp_server.store.database import Database
from ibkr_mcp_server.store.prepared import Prepared
from ibkr_mcp_server.store.schema import meta
from ibkr_mcp_server.store.writer_lock import WriterLock

CLAIM_SECONDS = 1.0
"""How often a process without the role asks for it, and the one with it looks whether it still has it."""

_NAME = "writer"
_log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Writer:
    """The newest grant of the role."""

    fence: int
    session_id: str
    host: str
    pid: int
    since: str
    """RFC 3339, UTC."""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


def newest(connection: Connection) -> Writer | None:
    """To whom the role was granted last; None before the first grant. That process may have ended."""
    found: Writer | None = _READ.one_or_none(connection, name=_NAME)
    return found


_READ = Prepared(
    select(meta.c.value).where(meta.c.name == bindparam("name")), meaning=lambda row: Writer(**json.loads(row.value))
)


class WriterRole:
    """This process's claim to the role."""

    def __init__(self, *, lock: WriterLock, database: Database, audit: AuditLog, clock: Clock, session_id: str) -> None:
        self._lock = lock
        self._database = database
        self._audit = audit
        self._clock = clock
        self._session_id = session_id
        self._fence: int | None = None
        self._lost = False
        self.on_granted: Callable[[], None] = lambda: None
        """Called when the role came to this process after its start, so that it catches up with the broker."""

    @property
    def is_writer(self) -> bool:
        """Whether the role was granted here and nothing spoke against it since; the gate looks anew."""
        return self._fence is not None and not self._lost

    async def claim(self) -> bool:
        """Take the role if no other process has it."""
        if not await asyncio.to_thread(self._lock.acquire):
            return False
        try:
            self._fence = await self._database.run(self._grant)
        except BaseException:
            self._lock.release()
            raise
        return True

    def _grant(self, connection: Connection) -> int:
        before = newest(connection)
        writer = Writer(
            fence=1 if before is None else before.fence + 1,
            session_id=self._session_id,
            host=socket.gethostname(),
            pid=os.getpid(),
            since=rfc3339(self._clock.now()),
        )
        connection.execute(delete(meta).where(meta.c.name == _NAME))
        connection.execute(insert(meta), {"name": _NAME, "value": json.dumps(asdict(writer))})
        self._audit.append(connection, AuditEvent(type=EventType.WRITER_GRANTED, actor=SYSTEM, outcome=asdict(writer)))
        return writer.fence

    def objection(self, connection: Connection) -> str | None:
        """Why this process may not write; None if it may. Reads lock and store anew."""
        writer = newest(connection)
        if self._fence is None:
            holder = "not known yet" if writer is None else str(writer)
            return f"Another process writes for this account ({holder}); this one serves reads."
        if self._lost or not self._lock.is_held() or writer is None or writer.fence != self._fence:
            self._lost = True
            return "This process lost the writer's lock: it was taken away or replaced while in use."
        return None

    async def run(self, *, on_lost: Callable[[str], Awaitable[object]]) -> None:
        """Ask for the role until it is granted, then watch over it; until cancelled.

        `on_lost` gets the reason when the role was lost; it never comes back to this process.
        """
        while not self._lost:
            await self._clock.sleep(CLAIM_SECONDS)
            try:
                if self._fence is None:
                    if await self.claim():
                        self.on_granted()
                elif (problem := await self._database.read(self.objection)) is not None:
                    await on_lost(problem)
            except (ProductError, OSError):
                _log.exception("the writer's role could not be looked after")

    def close(self) -> None:
        """Let the role go; the next process may take it."""
        self._lock.release()
