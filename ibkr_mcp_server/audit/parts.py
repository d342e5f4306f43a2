"""Follows a long log in parts, at once, each in a process of its own.

Each record holds the hash of the one before, so that the chain can be followed from any of them: when every part leads
from the hash at its beginning to the hash at its end, the whole does. The parts only ever say that all is well. When
one does not hold, or could not be followed, whoever asked follows the log from its first record, so that there is one
source of what is wrong. Only for SQLite, whose file each process opens for itself.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ibkr_mcp_server.audit.chain import GENESIS, HASH, SEQ, ChainReader, Head
from ibkr_mcp_server.audit.rows import rows_of

if TYPE_CHECKING:
    from multiprocessing.connection import Connection as Pipe

    from sqlalchemy import Connection  # each process would import it for nothing

PART = 100_000
"""Records that a process follows at least: half a second's work, several times what it takes to start one."""
MOST = 8
"""Processes at the most: each takes some 30 MB."""


_EXTENT = """
SELECT (SELECT count(*) FROM audit_log), (SELECT min(seq) FROM audit_log), (SELECT max(seq) FROM audit_log)"""


class Part(NamedTuple):
    """The records after `start` up to `end`."""

    path: Path
    start: Head
    end: Head
    expected: Head | None
    """A head known from elsewhere, in this part or in another."""


class Followed(NamedTuple):
    """A log that holds."""

    head: Head
    sessions: set[str]
    """Server runs that wrote it."""


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def shares(records: int, processes: int) -> int:
    """How many of at most so many processes are worth it for so many records."""
    return max(1, min(processes, MOST, records // PART))


def follow(part: Part) -> set[str] | None:
    """The server runs that wrote the records; None if the chain does not lead to the end."""
    with closing(sqlite3.connect(f"{part.path.as_uri()}?mode=ro", uri=True)) as connection:
        connection.execute("PRAGMA trusted_schema = OFF")
        chain = ChainReader(head=part.start, expected=part.expected)
        rows = rows_of(connection.cursor(), f"WHERE seq > {part.start.seq} AND seq <= {part.end.seq}")
        sessions = chain.follow(rows)
    return sessions if chain.reason is None and chain.head == part.end else None


def in_processes(parts: Sequence[Part]) -> list[set[str] | None]:
    """What comes of each part, followed at once.

    Raises:
        OSError, EOFError: a process did not start, or ended without an answer.
    """
    from multiprocessing import get_context  # most logs are short

    context = get_context("spawn")  # nothing is inherited: this process has threads, and a connection to the file
    with ExitStack() as ended, ExitStack() as told:  # a process that nobody listens to any more ends, too
        answers = []
        for part in parts:
            answer, answering = context.Pipe(duplex=False)
            answers.append(told.enter_context(answer))
            with answering:
                process = context.Process(target=_answer, args=(part, answering), daemon=True)
                process.start()
            ended.callback(process.join)
        return [answer.recv() for answer in answers]


def followed_in_parts(connection: Connection, expected: Head | None, processes: int) -> Followed | None:
    """The log as `connection` sees it, followed by at most so many processes, if all of it holds.

    None if it does not, and where dividing it is not worth it.
    """
    if connection.dialect.name != "sqlite":
        return None
    heads = _divided(connection, processes)
    if not heads:
        return None
    file = connection.exec_driver_sql("SELECT file FROM pragma_database_list WHERE name = 'main'").scalar_one()
    try:
        found = in_processes([Part(Path(file), start, end, expected) for start, end in pairwise(heads)])
    except (OSError, EOFError):
        return None
    sessions: set[str] = set()
    for part in found:
        if part is None:
            return None
        sessions |= part
    return Followed(heads[-1], sessions)


def _answer(part: Part, answering: Pipe) -> None:
    with suppress(Exception, KeyboardInterrupt):  # without an answer, the log is followed by the one who asked
        answering.send(follow(part))


def _divided(connection: Connection, processes: int) -> list[Head]:
    """Where the parts meet, from the beginning to the newest record; nothing where that is not worth it, or no use."""
    records, oldest, newest = connection.exec_driver_sql(_EXTENT).one()
    if oldest != 1 or records != newest or not isinstance(newest, int):
        return []  # otherwise nothing but records 1 to `newest` is there, if each of them is
    count = shares(newest, processes)
    if count == 1:
        return []
    places = ", ".join(str(newest * number // count) for number in range(1, count + 1))
    with closing(connection.connection.cursor()) as cursor:
        return [GENESIS, *(Head(row[SEQ], row[HASH]) for row in rows_of(cursor, f"WHERE seq IN ({places})"))]
