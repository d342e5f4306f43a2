"""What a database says when it fails, in words of the error tree."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DBAPIError, StatementError

from ibkr_mcp_server.errors import Fault, ProductError, Unavailable

BUSY_SECONDS = 2.0
"""How long a transaction waits for other writers before it gives up."""


class StoreUnreadable(Fault):
    """The database is damaged, foreign or of another version: nothing that depends on it may go on."""


class StoreUnavailable(Unavailable):
    """The database could not take part just now; the transaction left nothing behind."""


class NotAtOnce(Exception):
    """The work would have had to wait; nothing was begun. Never leaves `store/`."""


_CODES = {
    "SQLITE_BUSY": "STORE_BUSY",
    "SQLITE_LOCKED": "STORE_BUSY",
    "SQLITE_FULL": "STORE_FULL",
    "SQLITE_READONLY": "STORE_NOT_WRITABLE",
    "SQLITE_PERM": "STORE_NOT_WRITABLE",
    "SQLITE_CANTOPEN": "STORE_NOT_WRITABLE",
    "SQLITE_IOERR": "STORE_DISK_ERROR",
    "SQLITE_CORRUPT": "STORE_UNREADABLE",
    "SQLITE_NOTADB": "STORE_UNREADABLE",
    "SQLITE_CONSTRAINT": "STORE_RULE_BROKEN",
    # PostgreSQL: five characters of SQLSTATE, or its class of two (PostgreSQL manual, appendix A).
    "55P03": "STORE_BUSY",  # lock_not_available
    "57014": "STORE_BUSY",  # query_canceled: statement_timeout
    "40": "STORE_BUSY",  # serialisation failure, deadlock
    "53100": "STORE_FULL",
    "53": "STORE_BUSY",  # too many connections, out of memory
    "25006": "STORE_NOT_WRITABLE",  # read_only_sql_transaction
    "42501": "STORE_NOT_WRITABLE",  # insufficient_privilege
    "08": "STORE_UNREACHABLE",
    "57P": "STORE_UNREACHABLE",  # the server is shutting down or starting
    "58": "STORE_DISK_ERROR",
    "XX": "STORE_UNREADABLE",
    "23": "STORE_RULE_BROKEN",
    "P0001": "STORE_RULE_BROKEN",  # raised by our own triggers
}

_SENTENCES = {
    "STORE_BUSY": (f"is busy: another process kept it for {BUSY_SECONDS:g} s", "Try again; nothing was written."),
    "STORE_FULL": ("is full", "Free space on its disk; nothing was written."),
    "STORE_NOT_WRITABLE": ("cannot be written", "Give this user write access to it; nothing was written."),
    "STORE_DISK_ERROR": ("could not be read or written by the disk", "Check the disk; nothing was confirmed."),
    "STORE_UNREACHABLE": ("cannot be reached", "Start the database server, or repair the link to it."),
    "STORE_UNREADABLE": ("is damaged", "Stop, keep a copy of it, and restore a backup."),
    "STORE_RULE_BROKEN": ("refused a change that breaks its rules", "Report this: it is a mistake of the product."),
    "STORE_FAILED": ("did not understand a statement", "Report this: it is a mistake of the product."),
}


def translated(error: StatementError, where: str) -> ProductError:
    """The error of our tree that says what `error`, met in the database `where`, means for the reader."""
    if not isinstance(error, DBAPIError):
        code = "STORE_FAILED"  # a value that no column takes, such as a Decimal that is not finite
    else:
        code = "STORE_UNREACHABLE" if error.connection_invalidated else _code(error.orig)
    says, next_step = _SENTENCES[code]
    message = f"The database {where} {says} ({error.orig})."
    if code == "STORE_UNREADABLE":
        return StoreUnreadable(code, message, next_step=next_step)
    if code in ("STORE_RULE_BROKEN", "STORE_FAILED"):
        return Fault(code, message, next_step=next_step)
    return StoreUnavailable(code, message, next_step=next_step)


def _code(origin: BaseException | None) -> str:
    if isinstance(origin, sqlite3.Error):
        # Extended names such as SQLITE_IOERR_FSYNC begin with the primary one.
        name = getattr(origin, "sqlite_errorname", "")
        return next((code for prefix, code in _CODES.items() if name.startswith(prefix)), "STORE_FAILED")
    state = getattr(origin, "sqlstate", None)
    if state is None:
        return "STORE_UNREACHABLE"  # psycopg met the failure before the server could answer
    return next((_CODES[state[:n]] for n in (5, 3, 2) if state[:n] in _CODES), "STORE_FAILED")
