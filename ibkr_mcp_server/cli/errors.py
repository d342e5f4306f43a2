"""Expected errors, as a person reads them: on stderr, with what to do next, and never as a traceback."""

from __future__ import annotations

import sys

from ibkr_mcp_server.errors import ConfigurationError, ProductError

EXIT_FAILED = 1


def explain(error: ConfigurationError | ProductError) -> int:
    """Write what went wrong, and return the exit code that says so."""
    if isinstance(error, ConfigurationError):
        _write(*error.problems)
        return ConfigurationError.EXIT_CODE
    details = (f"  {detail}" for detail in error.details)
    _write(str(error), *details, *([error.next_step] if error.next_step else []))
    return EXIT_FAILED


def _write(*lines: str) -> None:
    sys.stderr.write("".join(f"{line}\n" for line in lines))
