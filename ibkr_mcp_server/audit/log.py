"""Writes the audit log.

Records of writes go into the caller's own transaction (`append`), so that an intent and its record are durable
together or not at all. Records of plain reads may wait a moment and share one commit (`record_soon`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, bindparam, insert, select

from ibkr_mcp_server.audit.canonical import canonical, canonical_text
from ibkr_mcp_server.audit.chain import GENESIS, Head, StoredRecord, body_of, digest
from ibkr_mcp_server.audit.events import OF_CALLS, AuditEvent, EventType
from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.domain.operations import Actor
from ibkr_mcp_server.errors import Fault, ProductError
from ibkr_mcp_server.store.columns import rfc3339
from ibkr_mcp_server.store.database import Database
from ibkr_mcp_server.store.prepared import Prepared
from ibkr_mcp_server.store.schema import audit_log

GROUP_SECONDS = 0.25
"""How long a record of a plain read may wait for company. Each commit is synced to the disk, and an order of any
process may have to wait for it: with four in a second, hardly one order in a hundred does (MON-09)."""
GROUP_SIZE = 200
"""How many may wait; the next one commits them first."""


@dataclass(frozen=True, kw_only=True)
class AuditRecord:
    """One record, as it can be read back; its JSON parts are redacted (AUD-02)."""

    seq: int
    timestamp: datetime
    event_type: EventType
    session_id: str
    actor: Mapping[str, Any]  # Any, here and below: whatever JSON was recorded
    operation_type: str | None
    tool: str | None
    order_data: Any
    validation_result: Any
    outcome: Any
    decision_id: str | None
    intent_id: str | None
    broker_ids: Any
    config_hash: str
    prev_hash: str
    hash: str


Listener = Callable[[Connection, Sequence[Mapping[str, Any]]], None]
"""Gets the rows that were just added, redacted as they stand there; whatever it raises takes the records back."""


def _nobody(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    return


class AuditLog:
    """The log as one run of the server writes it."""

    def __init__(
        self,
        database: Database,
        *,
        session_id: str,
        config_hash: str,
        clock: Clock,
        calls: bool = True,
        hears: Listener = _nobody,
    ) -> None:
        """`calls`: calls of agents are recorded, too. `hears` gets each record within its own transaction."""
        self._database = database
        self._calls = calls
        self._hears = hears
        self._session_id = str(UUID(session_id))  # unique per run (AUD-12)
        self.config_hash = config_hash
        """Of the configuration of this run."""
        self._clock = clock
        self._waiting: list[StoredRecord] = []
        self._flusher: asyncio.Task[None] | None = None
        self._commits: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()
        self._failed = False

    def append(self, connection: Connection, *events: AuditEvent) -> None:
        """Add events to the chain inside the caller's write transaction; all become durable together."""
        kept = [self._rendered(event) for event in events if self._keeps(event)]
        if kept:
            self._append(connection, kept)

    def _append(self, connection: Connection, rendered: list[StoredRecord]) -> dict[str, Any]:
        rows = _append(connection, rendered)
        self._hears(connection, rows)
        return rows[-1]

    def _keeps(self, event: AuditEvent) -> bool:
        return self._calls or event.type not in OF_CALLS

    async def record(self, event: AuditEvent) -> AuditRecord:
        """Add `event` in a transaction of its own; durable when this returns."""
        rendered = self._rendered(event)
        return _as_record(await self._database.run(lambda connection: self._append(connection, [rendered])))

    async def record_soon(self, event: AuditEvent) -> None:
        """Add `event` within `GROUP_SECONDS`, together with others; only for operations that change nothing.

        Its timestamp is the time of this call. After a commit that failed, the next call tries again at once, and
        raises if that fails too; nothing that waits is dropped.
        """
        if not self._keeps(event):
            return
        if self._failed or len(self._waiting) >= GROUP_SIZE:
            await self.flush()
        self._waiting.append(self._rendered(event))
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush_soon(), name="audit-flusher")

    async def flush(self) -> None:
        """Make everything that waits durable now; goes on to its end even if the caller is cancelled."""
        commit = asyncio.create_task(self._commit(), name="audit-commit")
        self._commits.add(commit)
        commit.add_done_callback(self._committed)
        await asyncio.shield(commit)

    async def close(self) -> None:
        """Flush; the log takes no background work after this."""
        if self._flusher is not None:
            self._flusher.cancel()
            await asyncio.wait([self._flusher])
        await self.flush()

    async def _flush_soon(self) -> None:
        with suppress(ProductError):  # what failed is kept, and met again by whoever records next
            while self._waiting:
                await self._clock.sleep(GROUP_SECONDS)
                await self.flush()

    async def _commit(self) -> None:
        async with self._turn:
            batch, self._waiting = self._waiting, []
            if not batch:
                return
            try:
                await self._database.run(lambda connection: self._append(connection, batch))
            except BaseException:
                self._waiting = batch + self._waiting
                self._failed = True
                raise
            self._failed = False

    def _committed(self, commit: asyncio.Task[None]) -> None:
        self._commits.discard(commit)
        if not commit.cancelled():
            commit.exception()  # seen; a caller that was cancelled will not look at it

    def _rendered(self, event: AuditEvent) -> StoredRecord:
        """Everything but the place in the chain, fixed now: what was passed in may change later."""
        return StoredRecord(
            actor=_actor(event.actor),
            broker_ids=_part(event.broker_ids),
            config_hash=self.config_hash,
            decision_id=canonical_text(event.decision_id),
            event_type=event.type.value,
            intent_id=canonical_text(event.intent_id),
            operation_type=canonical_text(event.operation_type),
            order_data=_part(event.order_data),
            outcome=_part(event.outcome),
            prev_hash="",
            seq=0,
            session_id=self._session_id,
            timestamp=rfc3339(self._clock.now()),
            tool=canonical_text(event.tool),
            validation_result=_part(event.validation_result),
            hash="",
        )


_NEWEST = Prepared(select(audit_log.c.seq, audit_log.c.hash).order_by(audit_log.c.seq.desc()).limit(1))
_NEWEST_OF = Prepared(
    select(audit_log).where(audit_log.c.event_type == bindparam("event_type")).order_by(audit_log.c.seq.desc()).limit(1)
)
_INSERT = Prepared(insert(audit_log))


def head(connection: Connection) -> Head:
    """The newest record's place in the chain."""
    row = _NEWEST.one_or_none(connection)
    return GENESIS if row is None else Head(*row)


def newest_of(connection: Connection, event_type: EventType) -> AuditRecord | None:
    """The newest record of one type; every status asks for some."""
    rows = _NEWEST_OF.mappings(connection, event_type=event_type.value)
    return _as_record(rows[0]) if rows else None


def tail(
    connection: Connection, limit: int, event_type: EventType | None = None, *, before_seq: int | None = None
) -> list[AuditRecord]:
    """The newest `limit` records (of one type, before a place in the chain), oldest of them first."""
    query = select(audit_log).order_by(audit_log.c.seq.desc()).limit(limit)
    if event_type is not None:
        query = query.where(audit_log.c.event_type == event_type.value)
    if before_seq is not None:
        query = query.where(audit_log.c.seq < before_seq)
    return [_record(row) for row in reversed(connection.execute(query).all())]


def _append(connection: Connection, rendered: list[StoredRecord]) -> list[dict[str, Any]]:
    """Add records at the end of the chain, and return their rows."""
    seq, prev_hash = head(connection)  # read under the writers' lock, so several processes share one chain
    rows = []
    for part in rendered:
        seq += 1
        record = part._replace(seq=seq, prev_hash=prev_hash)
        prev_hash = digest(body_of(record))
        rows.append({**record._asdict(), "hash": prev_hash})
    _INSERT.execute(connection, *rows)
    return rows


@lru_cache(maxsize=256)
def _actor(actor: Actor) -> str:
    """The few who act come again and again."""
    return canonical(actor)


def _part(value: object) -> str | None:
    return None if value is None else canonical(value)


def _record(row: Row[Any]) -> AuditRecord:
    return _as_record(row._mapping)


_JSON = frozenset({"actor", "order_data", "validation_result", "outcome", "broker_ids"})
_TEXT = frozenset({"operation_type", "tool", "decision_id", "intent_id"})


def _as_record(row: Mapping[Any, Any]) -> AuditRecord:
    values: dict[str, Any] = {}
    try:
        for name, value in row.items():
            if value is not None and name in _JSON:
                values[name] = json.loads(value)
            elif value is not None and name in _TEXT:
                values[name] = json.loads(f'"{value}"')
            else:
                values[name] = value
        values["timestamp"] = datetime.fromisoformat(values["timestamp"])
        values["event_type"] = EventType(values["event_type"])
    except ValueError as error:
        raise Fault(
            "AUDIT_UNREADABLE", f"Audit record {row['seq']} cannot be read: {error}.", next_step="Run `audit verify`."
        ) from error
    return AuditRecord(**values)
