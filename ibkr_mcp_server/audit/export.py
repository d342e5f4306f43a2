"""Writes the log to a file of JSON lines that can be verified anywhere (AUD-03, AUD-06). Nothing is deleted."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import mkstemp

from sqlalchemy import Connection

from ibkr_mcp_server.audit.chain import HASH, PREV_HASH, SEQ, SESSION_ID, ChainReader, body_of, export_line
from ibkr_mcp_server.audit.verify import VerifyReport, report, stored_rows
from ibkr_mcp_server.errors import Refused
from ibkr_mcp_server.store.database import Database


def export_log(database: Database, target: Path, *, replace: bool = False) -> VerifyReport:
    """Write every record, one line each, and tell whether the chain holds; a broken one is exported all the same.

    The file appears whole or not at all, readable by its owner only.

    Raises:
        Refused: `target` exists and `replace` was not given.
        OSError: the file cannot be written.
    """
    if not replace and target.exists():
        raise _exists(target)
    descriptor, name = mkstemp(dir=target.parent, prefix=f".{target.name}.")  # mode 0600
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            verdict = database.read_blocking(lambda connection: _write(connection, file.write))
            file.flush()
            os.fsync(file.fileno())
        if replace:
            temporary.replace(target)
        else:
            try:
                target.hardlink_to(temporary)  # unlike a rename, this never overwrites
            except FileExistsError as error:
                raise _exists(target) from error
        _sync_directory(target.parent)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
    return verdict


def _write(connection: Connection, write: Callable[[str], object]) -> VerifyReport:
    chain = ChainReader()
    sessions = set()
    for row in stored_rows(connection):
        body = body_of(row)
        write(export_line(body, row[HASH]) + "\n")
        if chain.take(row[SEQ], row[PREV_HASH], body, row[HASH]):
            sessions.add(row[SESSION_ID])
    return report(chain, len(sessions))


def _exists(target: Path) -> Refused:
    return Refused(
        "EXPORT_EXISTS",
        f"{target} exists already; an export never overwrites by itself.",
        next_step="Name another file, or say that this one may be replaced.",
    )


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
