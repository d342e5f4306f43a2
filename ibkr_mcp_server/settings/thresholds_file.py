"""Reads the optional file of thresholds and alert channels (CFG-14): TOML or YAML, the weakest source but the built-in.

Keys are settings without their prefix, in small letters, at the top or in tables that only group them; alerts may also
be written `slack_webhook`, `pagerduty_key` and, in a table `email`, `smtp_server` and so on. A value may be
`${NAME}`, which stands for that variable of the environment; secrets are never written out.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OTHER_NAMES = {"slack_webhook": "alert_slack_webhook", "pagerduty_key": "alert_pagerduty_key"}
"""Names of other documents (C-18) → ours."""
PREFIX_IN_TABLE = {"email": "alert_email_"}
"""Tables whose keys have shorter names in other documents, with what ours begin with."""
REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]{0,80})\}")


@dataclass(frozen=True, kw_only=True)
class FileValue:
    """One value of the file."""

    value: object
    is_reference: bool
    """It came from the environment, by a `${NAME}`."""


def read_thresholds(path: Path, environ: Mapping[str, str], problems: list[str]) -> dict[str, FileValue]:
    """Key → value; adds to `problems` what is wrong with the file. No value of it is quoted."""
    where = f"The configuration file {path}"
    try:
        with path.open("rb") as file:
            found, text = os.fstat(file.fileno()), file.read().decode("utf-8")
        tree = _parsed(path, text)
    except OSError as error:
        problems.append(f"{where} cannot be read: {error.strerror}.")
        return {}
    except ModuleNotFoundError:
        problems.append(f"{where} is YAML, and PyYAML is not installed; write it as TOML, or install it.")
        return {}
    except ValueError:
        problems.append(f"{where} is not well-formed {'YAML' if _is_yaml(path) else 'TOML'}.")
        return {}
    if os.name == "posix":
        problems += _access_problems(path, found)
    values: dict[str, FileValue] = {}
    for key, value in _flat(tree):
        if key in values:
            problems.append(f"{where} sets {key} a second time; keep one of them.")
            continue
        read = _referred(key, value, environ, where, problems)
        if read is not None:
            values[key] = read
    return values


def _parsed(path: Path, text: str) -> dict[str, Any]:  # Any: TOML or YAML
    if not _is_yaml(path):
        return tomllib.loads(text, parse_float=str)  # as it was written, to the last digit
    import yaml

    try:
        tree = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 - it makes text alone
    except yaml.YAMLError as error:
        raise ValueError from error
    if not isinstance(tree, dict):
        raise ValueError
    return tree


def _is_yaml(path: Path) -> bool:
    return path.suffix.lower() in (".yaml", ".yml")


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in tree.items():
        name = str(key)
        if isinstance(value, dict):
            yield from _flat(value, PREFIX_IN_TABLE.get(name, ""))
        else:
            yield OTHER_NAMES.get(name, name if name.startswith(prefix) else prefix + name), value


def _referred(key: str, value: object, environ: Mapping[str, str], where: str, problems: list[str]) -> FileValue | None:
    if not isinstance(value, str):
        return FileValue(value=value, is_reference=False)
    reference = REFERENCE.fullmatch(value.strip())
    if reference is None:
        return FileValue(value=value, is_reference=False)
    if reference[1] not in environ:
        problems.append(f"{where} takes {key} from the variable {reference[1]}, which is not set.")
        return None
    return FileValue(value=environ[reference[1]], is_reference=True)


def _access_problems(path: Path, found: os.stat_result) -> Iterator[str]:
    """Whoever writes to it decides about limits."""
    if found.st_uid not in (0, os.geteuid()):
        yield f"The configuration file {path} belongs to another user (number {found.st_uid}); use a file of your own."
    if stat.S_IMODE(found.st_mode) & 0o022:
        yield f"Other users can change the configuration file {path}; run: chmod 600 '{path}'"
