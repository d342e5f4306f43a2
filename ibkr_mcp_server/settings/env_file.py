"""Reads the file that `--env-file` names: lines of the form NAME=value."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from dotenv.parser import parse_stream

from ibkr_mcp_server.settings.base import variable_of
from ibkr_mcp_server.settings.model import Settings, rule_of
from ibkr_mcp_server.settings.rules import Privacy


def read_env_file(path: Path, problems: list[str]) -> dict[str, str]:
    """The `NAME=value` lines of `path`; adds to `problems` what is wrong with the file or a line of it.

    python-dotenv's own reader skips lines that it does not understand and fills in `${NAME}` from the environment;
    a limit must not get lost that way, so its parser is used directly.
    """
    try:
        with path.open(encoding="utf-8") as file:
            found, bindings = os.fstat(file.fileno()), list(parse_stream(file))
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"The settings file {path} cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8'}.")
        return {}
    variables: dict[str, str] = {}
    for binding in bindings:
        line = f"Line {binding.original.line} of the settings file {path}"
        if binding.error or (binding.key is not None and binding.value is None):
            problems.append(f"{line} is not of the form NAME=value.")
        elif binding.key in variables:
            problems.append(f"{line} sets {binding.key} a second time; keep one of the lines.")
        elif binding.key is not None and binding.value is not None:
            variables[binding.key] = binding.value
    if os.name == "posix":
        problems += _access_problems(path, found, variables)
    return variables


def _access_problems(path: Path, found: os.stat_result, variables: Mapping[str, str]) -> Iterator[str]:
    """Whoever writes to the file decides whether trading is on; whoever reads it has its secrets."""
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid not in (0, os.geteuid()):
        yield f"The settings file {path} belongs to another user (number {found.st_uid}); use a file of your own."
    if mode & 0o022:
        yield f"Other users can change the settings file {path} (mode {mode:04o}); run: chmod 600 '{path}'"
    secrets = [
        variable
        for name in Settings.model_fields
        if (variable := variable_of(name)) in variables and rule_of(name).privacy is Privacy.SECRET
    ]
    if mode & 0o044 and secrets:
        yield f"Other users can read {', '.join(secrets)} in the settings file {path}; run: chmod 600 '{path}'"
