"""Reads the rows of the log in order, as the database's driver gives them: half the time that verifying takes.

Imports no more than it needs, because each process that follows a part of the log (`parts.py`) imports it first.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from itertools import islice
from typing import Any

from ibkr_mcp_server.audit.chain import Row, StoredRecord

_ROWS_AT_ONCE = 100
"""They stay in the processor's cache, and are too few to set off the garbage collector."""


def rows_of(cursor: Any, where: str = "") -> Iterator[Row]:  # Any: of whichever driver
    """The rows in order; `where` is SQL of our own."""
    query = f"SELECT {', '.join(StoredRecord._fields)} FROM audit_log {where} ORDER BY seq"  # noqa: S608 - our own names
    given = 0
    try:
        cursor.execute(query)
        while rows := cursor.fetchmany(_ROWS_AT_ONCE):
            yield from rows
            given += len(rows)
        return
    except sqlite3.OperationalError:  # a text that is not UTF-8; anything else comes again
        strict, cursor.connection.text_factory = cursor.connection.text_factory, _any_text
    try:
        cursor.execute(query)
        yield from islice(cursor, given, None)
    finally:
        cursor.connection.text_factory = strict


def _any_text(text: bytes) -> str:
    """Text that somebody else put there: it is to be told of, not to stop the reading."""
    return text.decode("utf-8", "surrogateescape")
