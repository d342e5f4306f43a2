"""The process log: structured lines on stderr, or in a file of the state directory; never on stdout.

Stdout carries the MCP protocol. Only modules that load after the server has answered import this one, because
structlog takes a tenth of a second to import.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import structlog


def configure(level: str, log_file: Path | None = None) -> None:
    """Send structlog and the standard library's logging to one handler, with secrets and account ids hidden."""
    stream = sys.stderr if log_file is None else None
    handler: logging.Handler = logging.StreamHandler(stream) if log_file is None else logging.FileHandler(log_file)
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer = structlog.processors.JSONRenderer(sort_keys=True)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for noisy in ("ib_async", "asyncio", "mcp", "alembic", "sqlalchemy"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def get_logger(name: str) -> Any:  # structlog's bound loggers take any key
    """A logger whose extra keys become fields of the line."""
    return structlog.stdlib.get_logger(name)
