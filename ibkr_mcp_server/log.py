"""The process log: structured lines on stderr, or in a file of the state directory; never on stdout.

Stdout carries the MCP protocol. Only modules that load after the server has answered import this one, because
structlog takes a tenth of a second to import.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import structlog

from ibkr_mcp_server.audit.canonical import canonical
from ibkr_mcp_server.audit.redaction import REDACTED
from ibkr_mcp_server.state_dir import ensure_private_file


def configure(level: str, log_file: Path | None = None, *, hide: Collection[str] = ()) -> None:
    """Send structlog and the standard library's logging to one handler, which writes one JSON object a line.

    Secrets and account numbers are hidden by their names and their looks, as in the audit log, and the texts of `hide`
    wherever they appear, tracebacks and the words of libraries included (SEC-05, SEC-06).
    """
    if log_file is None:
        handler: logging.Handler = logging.StreamHandler(sys.stderr)
    else:
        ensure_private_file(log_file)
        handler = logging.FileHandler(log_file, encoding="utf-8")
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _renderer([text for text in hide if text]),
            ],
        )
    )
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for noisy in ("ib_async", "asyncio", "mcp", "alembic", "sqlalchemy", "httpx2", "httpcore2"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _renderer(hidden: Collection[str]) -> Callable[[Any, str, Mapping[str, Any]], str]:
    def render(_logger: Any, _method: str, event: Mapping[str, Any]) -> str:
        line: str = canonical(event)
        for secret in hidden:
            line = line.replace(canonical(secret)[1:-1], REDACTED).replace(secret, REDACTED)
        return line

    return render


def get_logger(name: str) -> Any:  # structlog's bound loggers take any key
    """A logger whose extra keys become fields of the line."""
    return structlog.stdlib.get_logger(name)
