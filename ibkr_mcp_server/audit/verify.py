"""Verifies the chain, in the store or in an export: read-only, one record at a time, on any machine (AUD-06)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Set
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from ibkr_mcp_server.audit.chain import (
    EVENT_TYPE,
    GENESIS,
    HASH,
    PREV_HASH,
    SEQ,
    ChainReader,
    Head,
    Row,
    body_of,
)
from ibkr_mcp_server.audit.parts import followed_in_parts
from ibkr_mcp_server.audit.rows import rows_of
from ibkr_mcp_server.store.database import Database

_HASH_SUFFIX = len(',"hash":""}') + 64


@dataclass(frozen=True, kw_only=True)
class VerifyReport:
    """What a verification found."""

    ok: bool
    records: int
    """Records that fit, from the first on."""
    first_bad_seq: int | None
    """Number of the first record that is missing or does not fit."""
    reason: str | None
    head: Head
    """The last record that fits; note it elsewhere to be able to prove later that no tail was cut off."""
    sessions: int
    """Server runs that wrote them."""


def verify_database(database: Database, *, expected_head: Head | None = None, processes: int = 1) -> VerifyReport:
    """Verify the whole log of `database` on one snapshot; `expected_head` is a head noted earlier, elsewhere.

    `processes`: so many may share the work, if the log is long.
    """
    return database.read_blocking(
        lambda connection: verify(connection, expected_head=expected_head, processes=processes)
    )


def verify(connection: Connection, *, expected_head: Head | None = None, processes: int = 1) -> VerifyReport:
    """As `verify_database`, inside the caller's read transaction."""
    followed = followed_in_parts(connection, expected_head, processes) if processes > 1 else None
    chain = ChainReader(expected=expected_head)
    if followed is not None:
        chain.head, sessions = followed
    else:
        sessions = chain.follow(stored_rows(connection))
    return report(chain, len(sessions))


def verify_export(lines: Iterable[str], *, follows: Head = GENESIS, expected_head: Head | None = None) -> VerifyReport:
    """Verify an export; `follows` is the head that a later part of a divided export continues."""
    chain = ChainReader(head=follows, expected=expected_head)
    sessions = set()
    for line in lines:
        try:
            record = json.loads(line)
            seq, prev_hash, session, hash = (record[name] for name in ("seq", "prev_hash", "session_id", "hash"))
            if not isinstance(seq, int) or not isinstance(session, str):
                raise TypeError("its seq or session_id is of another type")
        except (ValueError, LookupError, TypeError) as error:
            chain.stop(chain.head.seq + 1, f"Line {chain.records + 1} is not an audit record: {error}.")
            break
        if not chain.take(seq, prev_hash, _body_of_line(line, record), hash):
            break
        sessions.add(session)
    return report(chain, len(sessions))


def records_of_store(connection: Connection, chain: ChainReader, types: Set[str]) -> Iterator[dict[str, Any]]:
    """The records of these types, as JSON tells them, while `chain` follows all of them."""
    for row in stored_rows(connection):
        body = body_of(row)
        chain.take(row[SEQ], row[PREV_HASH], body, row[HASH])
        if row[EVENT_TYPE] in types:
            with suppress(ValueError):  # the chain does not hold there
                yield json.loads(body)


def records_of_export(lines: Iterable[str], chain: ChainReader, types: Set[str]) -> Iterator[dict[str, Any]]:
    """As `records_of_store`."""
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            chain.take(record["seq"], record["prev_hash"], _body_of_line(line, record), record["hash"])
        except (ValueError, LookupError, TypeError) as error:
            chain.stop(chain.head.seq + 1, f"Line {number} is not an audit record: {error}.")
            return
        if record.get("event_type") in types:
            yield record


def stored_rows(connection: Connection) -> Iterator[Row]:
    """All rows of the log in order."""
    # A named cursor keeps PostgreSQL from sending the whole log at once.
    name = ("audit_rows",) if connection.dialect.name == "postgresql" else ()
    cursor = connection.connection.cursor(*name)
    try:
        yield from rows_of(cursor)
    finally:
        cursor.close()


def report(chain: ChainReader, sessions: int) -> VerifyReport:
    """The verdict at the end of the records."""
    chain.end()
    return VerifyReport(
        ok=chain.reason is None,
        records=chain.records,
        first_bad_seq=chain.first_bad_seq,
        reason=chain.reason,
        head=chain.head,
        sessions=sessions,
    )


def _body_of_line(line: str, record: dict[str, object]) -> str:
    """The text that was hashed: the line without its last key, or the same anew if another program rewrote the line."""
    line = line.rstrip("\r\n")
    if line[-_HASH_SUFFIX:].startswith(',"hash":"'):
        return line[:-_HASH_SUFFIX] + "}"
    rest = {key: value for key, value in record.items() if key != "hash"}
    return json.dumps(rest, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
