"""The pages about settings, made from `Settings` itself so that they cannot disagree with it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from ibkr_mcp_server.settings.base import variable_of
from ibkr_mcp_server.settings.model import Settings, description_of, rule_of, setting_names
from ibkr_mcp_server.settings.rules import as_text

SECTION_STARTS = {
    "broker_mode": "Broker",
    "enable_trading": "Gates",
    "require_paper_account_verification": "Accounts",
    "max_order_size": "Order rules",
    "trading_hours_only": "Hours",
    "order_cooldown_seconds": "Limits",
    "max_position_size_pct": "Portfolio",
    "confirm_above_usd": "Confirmation",
    "kill_cancel_entry_orders": "Stop",
    "state_dir": "Store",
    "config_file": "Files",
    "log_level": "Logs",
    "toolsets": "Tools and agents",
    "http_host": "HTTP",
    "kill_switch_secret": "Control API",
    "simulator_seed": "Simulator",
    "alert_slack_webhook": "Alerts",
    "daily_drawdown_warning_pct": "Circuit breaker: losses",
    "consecutive_losses_warning": "Circuit breaker: counts",
    "strategy_max_drawdown_pct": "Circuit breaker: single agents",
    "volatility_warning": "Circuit breaker: the market",
    "reduce_factor": "Risk modes and recovery",
}
"""The first setting of each section; a section ends where the next one begins."""


def env_example() -> str:
    """`.env.example`: every setting with its default, commented out, so that a copy changes nothing by itself."""
    lines = [
        "# Settings of ibkr-mcp-server. Copy this file, make the copy private (chmod 600), remove the '#' before what",
        "# you change, and name the copy when you start: ibkr-mcp-server serve --env-file PATH",
        "# No file is read unless it is named. Variables of the environment win over the file.",
    ]
    for section, names in sections():
        lines += ["", "", f"# ---- {section} ----"]
        for name in names:
            lines += ["", *_comment(description_of(name)), *_comment(_allowed_and_unset(name))]
            lines.append(f"#{variable_of(name)}={_default(name) or ''}")
    return "\n".join(lines) + "\n"


def settings_page() -> str:
    """`docs/settings.md`."""
    lines = [
        "# Settings",
        "",
        "<!-- Generated from ibkr_mcp_server/settings/ by scripts/generate_docs.py; edit there. -->",
        "",
        "Each setting is an environment variable. Values come, weakest first, from the defaults below, from the file",
        "of thresholds that `IBKR_CONFIG_FILE` names, from a file that is named with `--env-file`, from the",
        "environment, and from command-line options. No `.env` file is read",
        "from the working directory. A value that is not allowed, or a variable with the prefix `IBKR_` that is not",
        "listed here, refuses the start with exit code 78 and a sentence that names the variable. Nothing changes",
        "while the server runs; `config show` prints what applies and where it came from, with secrets hidden.",
        "",
        "Lists are written `A,B` or as JSON. Percentages are percent points: `3` means 3 %.",
    ]
    for section, names in sections():
        lines += ["", f"## {section}", "", "| Variable | Default | Allowed | Meaning |", "|---|---|---|---|"]
        lines += [
            f"| `{variable_of(name)}` | {_default_cell(name)} | {rule_of(name).allowed} | {description_of(name)} |"
            for name in names
        ]
    return "\n".join(lines) + "\n"


def sections() -> Iterator[tuple[str, list[str]]]:
    """The settings by section, in the order of their declaration."""
    title, names = "", list[str]()
    for name in setting_names():
        if name in SECTION_STARTS:
            if names:
                yield title, names
            title, names = SECTION_STARTS[name], []
        names.append(name)
    yield title, names


def _default(name: str) -> str | None:
    value = Settings.model_fields[name].default
    return None if value is None else as_text(value)


def _default_cell(name: str) -> str:
    default = _default(name)
    if default is None:
        return rule_of(name).unset
    return f"`{default}`" if default else "empty"


def _allowed_and_unset(name: str) -> str:
    rule = rule_of(name)
    allowed = f"Allowed: {rule.allowed}."
    return f"{allowed} Unset: {rule.unset}." if rule.unset else allowed


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, width=118, initial_indent="# ", subsequent_indent="# ")
