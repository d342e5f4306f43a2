"""Reads the settings from all sources; a mistake in any of them refuses the start (CFG-10 to CFG-12).

Values come from the command line, the environment, an explicitly named file and the file of thresholds, in this order
of precedence; nothing is ever read from the working directory (CFG-15).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from ibkr_mcp_server.errors import ConfigurationError
from ibkr_mcp_server.settings.alerts import AlertSettings
from ibkr_mcp_server.settings.base import PREFIX, variable_of
from ibkr_mcp_server.settings.contradictions import contradictions
from ibkr_mcp_server.settings.env_file import read_env_file
from ibkr_mcp_server.settings.model import Origin, Settings, rule_of
from ibkr_mcp_server.settings.rules import Privacy
from ibkr_mcp_server.settings.thresholds_file import read_thresholds

ALIASES = {
    "KILL_SWITCH_SECRET": "IBKR_KILL_SWITCH_SECRET",
    "EMAIL_PASSWORD": "IBKR_ALERT_EMAIL_PASSWORD",
    "PAGERDUTY_KEY": "IBKR_ALERT_PAGERDUTY_KEY",
}
"""Names of the environment that other documents use (C-18, C-22)."""


def load_settings(*, environ: Mapping[str, str], env_file: Path | None = None, **overrides: object) -> Settings:
    """The settings from all sources; later ones win: built-in, `IBKR_CONFIG_FILE`, `env_file`, `environ`, `overrides`.

    Overrides are named like the fields and come from the command line; None means that an option was not given.

    Raises:
        ConfigurationError: all that is wrong at once, one sentence per problem.
    """
    problems: list[str] = []
    given: dict[str, tuple[object, Origin]] = {}
    from_file = read_env_file(env_file, problems) if env_file else {}
    from_environment = {variable: text for variable, text in environ.items() if variable.upper().startswith(PREFIX)}
    for alias, variable in ALIASES.items():
        if alias in environ and environ[alias] != from_environment.setdefault(variable, environ[alias]):
            problems.append(f"{alias} and {variable} are both set and differ; keep one.")
    from_command_line = {variable_of(name): value for name, value in overrides.items() if value is not None}
    for origin, source in (
        (Origin.FILE, from_file),
        (Origin.ENVIRONMENT, from_environment),
        (Origin.COMMAND_LINE, from_command_line),
    ):
        for variable, value in source.items():
            name = variable.removeprefix(PREFIX).lower()
            if name in Settings.model_fields and variable == variable_of(name):
                given[name] = (value, origin)
            else:
                problems.append(_unknown_variable(variable, origin))

    if "config_file" in given:
        given = {**_from_thresholds_file(given["config_file"][0], environ, problems), **given}
    values: dict[str, Any] = {}  # each of the type that its own rule makes
    for name, (value, origin) in given.items():
        try:
            values[name] = rule_of(name).value_of(value)
        except ValueError:
            problems.append(_wrong_value(name, value, origin))
    problems += contradictions(Settings.model_construct(**values), wrong=given.keys() - values.keys())
    if problems:
        raise ConfigurationError(problems)
    settings = Settings(**values)
    settings._origins = {name: origin for name, (_, origin) in given.items()}
    return settings


def _from_thresholds_file(
    given: object, environ: Mapping[str, str], problems: list[str]
) -> dict[str, tuple[object, Origin]]:
    """What `IBKR_CONFIG_FILE` sets; it may hold thresholds and the channels of alerts, secrets by reference only."""
    try:
        path = rule_of("config_file").value_of(given)
    except ValueError:
        return {}  # told with the other values
    assert isinstance(path, Path)
    found: dict[str, tuple[object, Origin]] = {}
    for name, read in read_thresholds(path, environ, problems).items():
        if name not in Settings.model_fields:
            nearest = difflib.get_close_matches(name, Settings.model_fields, n=1)
            hint = f" Did you mean {nearest[0]}?" if nearest else ""
            problems.append(f"{name[:80]!r} in the configuration file {path} is not a setting.{hint}")
        elif rule_of(name).privacy is Privacy.SECRET:
            if read.is_reference:
                found[name] = (read.value, Origin.FILE)
            else:
                problems.append(f"The configuration file {path} holds {name} written out; use ${{NAME}} instead.")
        elif name not in AlertSettings.model_fields and not _is_threshold(name):
            problems.append(
                f"{name} is neither a threshold nor about alerts; set {variable_of(name)} instead of writing it in "
                f"{path}."
            )
        else:
            found[name] = (read.value, Origin.FILE)
    return found


def _is_threshold(name: str) -> bool:
    """A number that limits something; what opens a door or says where it is has to stand in the environment."""
    value = Settings.model_fields[name].default
    is_number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    return is_number and not name.endswith(("_port", "client_id", "_offset")) and not name.startswith("simulator_")


def _wrong_value(name: str, value: object, origin: Origin) -> str:
    rule = rule_of(name)
    return f"{variable_of(name)} is {rule.quoted(value)} ({origin}); it must be {rule.allowed}."


def _unknown_variable(variable: str, origin: Origin) -> str:
    """Never quotes the value: a misspelt secret is still a secret."""
    known = [variable_of(name) for name in Settings.model_fields]
    spelling = variable.upper() if variable.upper().startswith(PREFIX) else PREFIX + variable.upper()
    # A slip of one letter is found among the very near names, without measuring how far all others are.
    nearest = difflib.get_close_matches(spelling, known, n=1, cutoff=0.9) or difflib.get_close_matches(
        spelling, known, n=1
    )
    hint = f"Did you mean {nearest[0]}?" if nearest else "docs/settings.md lists all settings."
    return f"{variable[:80]!r} ({origin}) is not a setting. {hint}"
