"""Settings as a shell gives them: refused with the variable's name, or shown as they apply."""

from __future__ import annotations

import json

import pytest

from ibkr_mcp_server.cli.main import GROUPS
from tests.surface.shell import Shell


@pytest.mark.parametrize("command", ["serve", "status", "config check"])
def test_wrong_settings_refuse_every_command_naming_each_variable(first_shell: Shell, command: str) -> None:
    """CFG-10, CFG-11, CFG-12: all mistakes at once, exit code 78, and nothing on stdout."""
    done = first_shell.call(
        *command.split(),
        IBKR_ENABLE_TRADNG="true",
        IBKR_MAX_ORDER_VALUE_USD="nan",
        IBKR_DAILY_ORDERS_WARNING="60",
    )

    assert (done.returncode, done.stdout) == (78, "")
    assert "Did you mean IBKR_ENABLE_TRADING?" in done.stderr
    assert "IBKR_MAX_ORDER_VALUE_USD is 'nan'" in done.stderr
    assert "IBKR_DAILY_ORDERS_WARNING is 60" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(first_shell.state.iterdir())


def test_safety_mode_is_off_only_with_the_simulator(shell: Shell) -> None:
    """CFG-17."""
    refused = shell.call("serve", "--safety-mode", "off", IBKR_BROKER_MODE="paper")

    assert (refused.returncode, "IBKR_SAFETY_MODE" in refused.stderr) == (78, True)


def test_a_state_directory_that_others_can_reach_refuses_the_start(shell: Shell) -> None:
    """CFG-20."""
    shell.state.chmod(0o755)
    for command in (["serve"], ["status"], ["config", "check"]):
        done = shell.call(*command)
        assert (done.returncode, "chmod 700" in done.stderr) == (78, True)


def test_config_show_tells_value_and_origin_and_hides_secrets(shell: Shell) -> None:
    """CFG-09, CFG-13, CFG-15: a file counts only when it is named, and the environment wins over it."""
    (shell.state / ".env").write_text("IBKR_MAX_ORDER_SIZE=7\nIBKR_DRY_RUN=true\n", encoding="utf-8")
    (shell.state / ".env").chmod(0o600)
    given = {"IBKR_DRY_RUN": "false", "IBKR_HTTP_TOKEN": "s" * 40, "IBKR_ALLOWED_ACCOUNT_PREFIXES": '["DU","DF"]'}

    shown = shell.call("config", "show", "--json", "--env-file", str(shell.state / ".env"), **given)
    text = shell.call("config", "show", **given)

    settings = {entry["variable"]: (entry["value"], entry["origin"]) for entry in json.loads(shown.stdout)["settings"]}
    assert settings["IBKR_MAX_ORDER_SIZE"] == ("7", "file")
    assert settings["IBKR_DRY_RUN"] == ("false", "environment")
    assert settings["IBKR_ALLOWED_ACCOUNT_PREFIXES"] == ("DU,DF", "environment")
    assert settings["IBKR_ENABLE_TRADING"] == ("false", "built-in")
    assert "s" * 40 not in shown.stdout + text.stdout
    assert ["IBKR_MAX_ORDER_SIZE", "1000", "built-in"] in [line.split() for line in text.stdout.splitlines()]


def test_config_check_names_what_keeps_trading_off(shell: Shell) -> None:
    closed = shell.call("config", "check", IBKR_BROKER_MODE="live", IBKR_SAFE_MODE="true")
    still_open = shell.call("config", "check", IBKR_ENABLE_TRADING="true")

    assert (closed.returncode, still_open.returncode) == (0, 0)
    for variable in ("IBKR_ENABLE_TRADING", "IBKR_SAFE_MODE", "IBKR_LIVE_TRADING_ACK", "IBKR_LIVE_ACCOUNTS"):
        assert variable in closed.stdout
    assert "IBKR_ENABLE_TRADING " not in still_open.stdout
    assert "IBKR_ENABLE_FOREX_TRADING" in still_open.stdout


def test_help_and_version_answer_without_settings(shell: Shell) -> None:
    listed = shell.call("--help", IBKR_ENABLE_TRADNG="true")

    assert listed.returncode == 0
    for command in (*GROUPS, "serve"):
        assert f" {command} " in listed.stdout
    assert shell.call("--version").stdout.startswith("ibkr-mcp-server ")
    assert "--legacy-stdio" in shell.call("serve", "--help").stdout
