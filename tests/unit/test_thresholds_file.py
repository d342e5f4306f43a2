"""The optional file of thresholds."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from ibkr_mcp_server.errors import ConfigurationError
from ibkr_mcp_server.settings.loading import load_settings
from ibkr_mcp_server.settings.model import Origin, Settings

SECRET = "5b1f0a" * 9 + "c94e7d2836"
TOML = """
max_daily_orders = 40
[limits]
max_order_value_usd = 123.10
quote_max_age_seconds = 7
[keys]
control_status_secret = "${STATUS_KEY}"
"""
YAML = """
max_daily_orders: 40
limits: {max_order_value_usd: 123.10, quote_max_age_seconds: "7"}
keys:
  control_status_secret: ${STATUS_KEY}
"""


def load(path: Path, text: str, **environ: str) -> Settings:
    path.write_text(text)
    path.chmod(0o600)
    return load_settings(environ={"IBKR_CONFIG_FILE": str(path), "STATUS_KEY": SECRET, **environ})


def problem(path: Path, text: str, **environ: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(path, text, **environ)
    [told] = caught.value.problems
    return told


@pytest.mark.parametrize(("name", "text"), [("limits.toml", TOML), ("limits.yaml", YAML)])
def test_the_file_sets_thresholds_and_everything_else_wins_over_it(tmp_path: Path, name: str, text: str) -> None:
    """CFG-14, CFG-15: built-in < file < environment < command line."""
    settings = load(tmp_path / name, text, IBKR_QUOTE_MAX_AGE_SECONDS="9")
    assert (settings.max_daily_orders, settings.max_order_value_usd) == (40, Decimal("123.10"))
    assert settings.quote_max_age_seconds == 9
    assert settings.control_status_secret is not None
    assert settings.control_status_secret.get_secret_value() == SECRET
    origins = {setting.name: setting.origin for setting in settings.effective}
    assert origins["max_daily_orders"] is Origin.FILE
    assert origins["quote_max_age_seconds"] is Origin.ENVIRONMENT
    env_file = tmp_path / "env"
    env_file.write_text(f"IBKR_CONFIG_FILE={tmp_path / name}\nIBKR_MAX_DAILY_ORDERS=30\n")
    env_file.chmod(0o600)
    layered = load_settings(environ={"STATUS_KEY": SECRET}, env_file=env_file)
    assert (layered.max_daily_orders, layered.quote_max_age_seconds) == (30, 7)


@pytest.mark.parametrize("kind", ["yaml", "toml"])
def test_the_file_sets_the_channels_of_alerts_by_our_names_and_by_those_of_other_documents(
    tmp_path: Path, kind: str
) -> None:
    """CFG-14, C-18."""
    texts = {
        "yaml": "alerts:\n  slack_webhook: ${HOOK}\n  pagerduty_key: ${PD}\n  email:\n    enabled: true\n"
        "    smtp_server: smtp.example.com\n    username: robot\n    password: ${MAIL}\n"
        "    from_address: a@example.com\n    to_addresses: [ops@example.com, me@example.com]\n",
        "toml": 'alert_slack_webhook = "${HOOK}"\nalert_pagerduty_key = "${PD}"\n[email]\nalert_email_enabled = true\n'
        'smtp_server = "smtp.example.com"\nusername = "robot"\npassword = "${MAIL}"\n'
        'from_address = "a@example.com"\nto_addresses = ["ops@example.com", "me@example.com"]\n',
    }
    path = tmp_path / f"alerts.{kind}"
    path.write_text(texts[kind])
    secrets = {"HOOK": "https://hooks.slack.com/x", "PD": "key-of-a-service", "MAIL": SECRET}
    settings = load_settings(environ={"IBKR_CONFIG_FILE": str(path), **secrets})
    assert set(settings.secrets()) >= set(secrets.values())
    assert settings.alert_email_to_addresses == ("ops@example.com", "me@example.com")
    assert (settings.alert_email_enabled, settings.alert_email_smtp_server) == (True, "smtp.example.com")
    assert SECRET not in repr(settings.effective)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f'control_status_secret = "{SECRET}"', "control_status_secret written out; use ${NAME}"),
        ('control_status_secret = "${NO_SUCH}"', "from the variable NO_SUCH, which is not set"),
        (f'[email]\npassword = "{SECRET}"', "alert_email_password written out; use ${NAME}"),
        (f'slack_webhook = "https://hooks.slack.com/{SECRET}"', "alert_slack_webhook written out; use ${NAME}"),
        ("[email]\nsmtp = 'x'", "'alert_email_smtp' in the configuration file"),
        ("max_daily_order = 4", "'max_daily_order' in the configuration file"),
        ("enable_trading = true", "enable_trading is neither a threshold nor about alerts; set IBKR_ENABLE_TRADING"),
        ('live_accounts = ["U1"]', "live_accounts is neither a threshold"),
        ("http_port = 1", "http_port is neither a threshold"),
        ("max_daily_orders = 0", "IBKR_MAX_DAILY_ORDERS is '0' (file)"),
        ("max_order_value_usd = nan", "IBKR_MAX_ORDER_VALUE_USD is 'nan' (file)"),
        ("max_daily_orders = 41\n[a]\nmax_daily_orders = 42", "max_daily_orders a second time"),
        ("max_daily_orders =", "is not well-formed TOML"),
    ],
)
def test_what_is_wrong_with_the_file_refuses_the_start_and_no_secret_is_told(
    tmp_path: Path, text: str, told: str
) -> None:
    """CFG-12, CFG-14: unknown keys, literal secrets, switches, and values out of bounds."""
    said = problem(tmp_path / "limits.toml", text)
    assert told in said
    assert SECRET not in said


def test_the_file_must_be_there_and_belong_to_its_user(tmp_path: Path) -> None:
    assert "cannot be read" in problem_of_missing(tmp_path / "none.toml")
    path = tmp_path / "limits.toml"
    path.write_text("max_daily_orders = 40")
    path.chmod(0o622)
    with pytest.raises(ConfigurationError, match="Other users can change"):
        load_settings(environ={"IBKR_CONFIG_FILE": str(path)})
    assert "not well-formed YAML" in problem(tmp_path / "list.yml", "- a\n- b\n")
    assert "absolute path" in problem_of_missing(Path("limits.toml"))


def problem_of_missing(path: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(environ={"IBKR_CONFIG_FILE": str(path)})
    return caught.value.problems[0]
