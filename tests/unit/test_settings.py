"""Settings: what is accepted, what refuses the start, and what people read about it."""

from __future__ import annotations

import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ibkr_mcp_server.domain.orders import OrderType, TimeInForce
from ibkr_mcp_server.errors import ConfigurationError
from ibkr_mcp_server.settings.base import variable_of
from ibkr_mcp_server.settings.broker import BrokerMode
from ibkr_mcp_server.settings.gates import LIVE_TRADING_ACKNOWLEDGEMENT
from ibkr_mcp_server.settings.loading import load_settings
from ibkr_mcp_server.settings.model import Origin, Settings, description_of, rule_of, setting_names
from ibkr_mcp_server.settings.pages import SECTION_STARTS, env_example, sections, settings_page
from ibkr_mcp_server.settings.rules import NO, YES, Privacy, as_text

ROOT = Path(__file__).resolve().parents[2]
FIELDS = list(setting_names())
NUMBERS = [name for name in FIELDS if type(Settings.model_fields[name].default) in (int, float, Decimal)]
SWITCHES = [name for name in FIELDS if type(Settings.model_fields[name].default) is bool]
LISTS = [name for name in FIELDS if isinstance(Settings.model_fields[name].default, tuple)]
TOKEN = "canary-0123456789-0123456789-0123456789"


def load(**variables: str) -> Settings:
    return load_settings(environ={f"IBKR_{name}": value for name, value in variables.items()})


def refused(**variables: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(**variables)
    return list(caught.value.problems)


def the_only_problem(**variables: str) -> str:
    (problem,) = refused(**variables)
    return problem


# -- Defaults ---------------------------------------------------------------------------------------------------------


def test_without_any_setting_the_simulator_is_used_and_nothing_may_be_traded() -> None:
    settings = load()

    assert settings.broker_mode is BrokerMode.SIMULATOR
    assert not settings.enable_trading
    assert not settings.enable_forex_trading
    assert not settings.enable_international_trading
    assert not settings.enable_stop_loss_orders
    assert not settings.live_trading
    assert settings.live_trading_ack == ""
    assert settings.live_accounts == ()
    assert settings.safety_mode
    assert settings.require_paper_account_verification


def test_documented_defaults_of_the_mandatory_variables_hold() -> None:
    shown = load().effective_redacted

    documented = {
        "IBKR_ENABLE_TRADING": "false",
        "IBKR_ALLOWED_ACCOUNT_PREFIXES": "DU,DUH",
        "IBKR_MAX_ORDER_SIZE": "1000",
        "IBKR_MAX_ORDER_VALUE_USD": "10000",
        "IBKR_MAX_DAILY_ORDERS": "50",
        "IBKR_MAX_ORDERS_PER_MINUTE": "5",
        "IBKR_MAX_MARKET_DATA_REQUESTS_PER_MINUTE": "30",
        "IBKR_API_RATE_LIMIT_BUFFER": "0.8",
        "IBKR_PRICE_COLLAR_PCT": "3",
        "IBKR_ALLOWED_ORDER_TYPES": "MKT,LMT,STP,STP LMT,TRAIL",
        "IBKR_ALLOWED_TIME_IN_FORCE": "DAY,GTC",
    }
    assert documented.items() <= shown.items()


def test_settings_cannot_be_changed_while_running() -> None:
    with pytest.raises(ValidationError):
        load().enable_trading = True


# -- Values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *((word, True) for word in ("true", "TRUE", "1", "yes", "On")),
        *((word, False) for word in ("false", "False", "0", "no", "OFF")),
    ],
)
def test_switch_understands_the_usual_words(text: str, expected: bool) -> None:
    assert load(ENABLE_TRADING=text).enable_trading is expected


@given(
    name=st.sampled_from(SWITCHES), text=st.text(max_size=8).filter(lambda text: text.strip().lower() not in YES | NO)
)
def test_any_other_word_for_a_switch_is_refused(name: str, text: str) -> None:
    """FD-21: a typing error must not decide."""
    problem = the_only_problem(**{name.upper(): text})

    assert problem.startswith(f"{variable_of(name)} is ")
    assert "true or false" in problem


@hypothesis_settings(max_examples=200)
@given(
    name=st.sampled_from(NUMBERS),
    text=st.one_of(
        st.floats(max_value=-1e-9).map(str),
        st.sampled_from(["nan", "NaN", "-nan", "sNaN", "inf", "-inf", "Infinity", "1e400", "1e3", "+5", "-0", "0x10"]),
        st.sampled_from(["", " ", "1_000", "1,000", "٣", "５", "1.", ".5", "--1", "1 000", "true", "9" * 40]),
        st.text(alphabet=st.characters(exclude_categories=["Nd"]), max_size=12),
    ),
)
def test_what_is_not_a_plain_finite_number_is_refused_and_the_variable_named(name: str, text: str) -> None:
    problem = the_only_problem(**{name.upper(): text})

    assert problem.startswith(f"{variable_of(name)} is ")
    assert f"it must be {rule_of(name).allowed}." in problem


@pytest.mark.parametrize("number", [float("nan"), float("inf"), Decimal("NaN"), Decimal("-1"), -1, True])
def test_a_number_from_the_command_line_is_held_to_the_same_rule(number: object) -> None:
    for name in NUMBERS:
        with pytest.raises(ConfigurationError, match=variable_of(name)):
            load_settings(environ={}, env_file=None, **{name: number})


MAY_BE_ZERO = (
    "alert_cooldown_seconds",
    "unprotected_warning_minutes",
    "breaker_cooldown_minutes",
    "http_port",
    "control_port",
    "simulator_seed",
    "order_cooldown_seconds",
    "repeated_order_seconds",
    "no_entry_first_minutes",
    "no_entry_last_minutes",
    "cash_reserve_pct",
    "cash_reserve_usd",
    "fee_estimate_bps",
    "stale_entry_seconds",
    "take_profit_bps",
    "slippage_bps",
    "urgent_reserve_pct",
    "value_at_risk_seconds",
    "min_account_win_rate_pct",
)


def test_zero_is_refused_where_it_means_nothing() -> None:
    for name in set(NUMBERS) - set(MAY_BE_ZERO):
        assert variable_of(name) in the_only_problem(**{name.upper(): "0"})


@pytest.mark.parametrize(
    ("name", "highest", "above"),
    [
        ("MAX_ORDER_SIZE", "1000000", "1000001"),
        ("MAX_ORDER_VALUE_USD", "10000000", "10000000.01"),
        ("PRICE_COLLAR_PCT", "30", "30.01"),
        ("API_RATE_LIMIT_BUFFER", "1", "1.01"),
        ("QUOTE_MAX_AGE_SECONDS", "300", "301"),
        ("ACCOUNT_VERIFICATION_MAX_AGE_SECONDS", "600", "601"),
        ("MAX_MARKET_DATA_REQUESTS_PER_MINUTE", "3000", "3001"),
        ("MAX_DAILY_ORDERS", "100000", "100001"),
        ("BROKER_DEADLINE_SECONDS", "30", "31"),
        ("PORT", "65535", "65536"),
    ],
)
def test_a_value_at_its_ceiling_passes_and_one_above_is_refused(name: str, highest: str, above: str) -> None:
    load(**{name: highest}, **({"BROKER_MODE": "paper"} if name == "PORT" else {}))

    assert repr(above) in the_only_problem(**{name: above})


def test_a_percentage_written_as_a_fraction_is_refused() -> None:
    """T-30: 0.03 would be three hundredths of a percent."""
    assert "3 means 3 %" in the_only_problem(PRICE_COLLAR_PCT="0.03")


def test_a_fraction_where_whole_units_are_meant_is_refused() -> None:
    assert "a whole number" in the_only_problem(MAX_ORDER_SIZE="10.5")


def test_money_and_percentages_are_exact_decimals() -> None:
    settings = load(MAX_ORDER_VALUE_USD="0.10", PRICE_COLLAR_PCT="2.5")

    assert (settings.max_order_value_usd, settings.price_collar_pct) == (Decimal("0.10"), Decimal("2.5"))


@pytest.mark.parametrize("text", ["DU,DUH", " DU , DUH ", '["DU","DUH"]', '[ "DU", "DUH" ]', "DU,DUH,DU"])
def test_lists_may_be_written_with_commas_or_as_json(text: str) -> None:
    assert load(ALLOWED_ACCOUNT_PREFIXES=text).allowed_account_prefixes == ("DU", "DUH")


def test_order_types_with_a_space_in_their_name_survive_both_list_forms() -> None:
    expected = (OrderType.LMT, OrderType.STP_LMT)

    assert load(ALLOWED_ORDER_TYPES="LMT,STP LMT").allowed_order_types == expected
    assert load(ALLOWED_ORDER_TYPES='["LMT", "STP LMT"]').allowed_order_types == expected
    assert load(ALLOWED_TIME_IN_FORCE="GTC").allowed_time_in_force == (TimeInForce.GTC,)


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("text", [",", "DU,", '[""]', "[1]", '["DU"', '{"DU": 1}', "[" * 100_000, "DU;DUH", "[null]"])
def test_a_list_with_an_empty_or_malformed_item_is_refused(name: str, text: str) -> None:
    assert variable_of(name) in the_only_problem(**{name.upper(): text})


@pytest.mark.parametrize("text", ["", "[]", "du", "DU1", "D-U", "TOOLONGX", "*", "DU,,DUH"])
def test_account_prefixes_are_one_or_more_groups_of_capital_letters(text: str) -> None:
    assert "IBKR_ALLOWED_ACCOUNT_PREFIXES" in the_only_problem(ALLOWED_ACCOUNT_PREFIXES=text)


def test_unknown_order_type_is_refused_with_the_known_ones() -> None:
    assert "STP LMT" in the_only_problem(ALLOWED_ORDER_TYPES="LMT,MAGIC")


@pytest.mark.parametrize("text", ["Paper", "PAPER", "demo", ""])
def test_broker_mode_is_exactly_one_of_three_words(text: str) -> None:
    assert "simulator, paper or live" in the_only_problem(BROKER_MODE=text)


@pytest.mark.parametrize("text", ["0.0.0.0", "::", "192.168.1.10", "example.org", "localhost.evil.org", ""])
def test_http_listens_only_where_this_machine_alone_can_reach_it(text: str) -> None:
    assert "loopback" in the_only_problem(HTTP_HOST=text)


@pytest.mark.parametrize("text", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_http_accepts_loopback_addresses(text: str) -> None:
    assert load(HTTP_HOST=text).http_host == text


@pytest.mark.parametrize("text", ["", "two words", "host:7497", "http://gateway", "-x", "a\nb"])
def test_broker_host_is_a_name_or_an_address(text: str) -> None:
    assert "IBKR_HOST" in the_only_problem(BROKER_MODE="paper", HOST=text)


@pytest.mark.parametrize("name", ["PORT", "STATE_DIR", "DATABASE_URL", "LOG_FILE", "AUDIT_LOG_FILE", "HTTP_TOKEN"])
def test_an_optional_setting_may_be_absent_but_not_empty(name: str) -> None:
    """FD-53: an empty token must not mean that anyone may come in."""
    assert f"IBKR_{name} is " in the_only_problem(**{name: ""})


@pytest.mark.parametrize("text", ["state", "./state", "../state", "~nobody-by-this-name/state", "/a\nb"])
def test_state_directory_must_be_an_absolute_path(text: str) -> None:
    assert "an absolute path" in the_only_problem(STATE_DIR=text)


def test_acknowledgement_of_live_trading_is_accepted_word_for_word_only() -> None:
    assert load(LIVE_TRADING_ACK="").live_trading_ack == ""
    assert load(LIVE_TRADING_ACK=LIVE_TRADING_ACKNOWLEDGEMENT).live_trading_ack == LIVE_TRADING_ACKNOWLEDGEMENT
    assert LIVE_TRADING_ACKNOWLEDGEMENT in the_only_problem(LIVE_TRADING_ACK=LIVE_TRADING_ACKNOWLEDGEMENT.lower())


@pytest.mark.parametrize(
    "text", ["sqlite:///x.db", "postgres://h/db", "postgresql+psycopg:", "postgresql+psycopg://a b"]
)
def test_database_url_is_postgresql_or_absent(text: str) -> None:
    assert "postgresql+psycopg://" in the_only_problem(DATABASE_URL=text)


# -- What must fit together -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lower", "upper", "variables"),
    [
        ("DAILY_ORDERS_WARNING", "MAX_DAILY_ORDERS", {"DAILY_ORDERS_WARNING": "51"}),
        ("DAILY_ORDERS_WARNING", "MAX_DAILY_ORDERS", {"MAX_DAILY_ORDERS": "19"}),
        ("MAX_ORDERS_PER_MINUTE", "MAX_DAILY_ORDERS", {"MAX_ORDERS_PER_MINUTE": "51"}),
    ],
)
def test_limits_out_of_order_are_refused_naming_both(lower: str, upper: str, variables: dict[str, str]) -> None:
    problem = the_only_problem(**variables)

    assert f"IBKR_{lower} is " in problem
    assert f"IBKR_{upper} is " in problem


def test_limits_that_are_equal_are_in_order() -> None:
    load(DAILY_ORDERS_WARNING="3", MAX_DAILY_ORDERS="3", MAX_ORDERS_PER_MINUTE="3")


@pytest.mark.parametrize(
    ("mode", "port"),
    [("paper", "7496"), ("paper", "4001"), ("live", "7497"), ("live", "4002"), ("simulator", "7496")],
)
def test_a_port_of_the_other_kind_of_account_is_refused(mode: str, port: str) -> None:
    problem = the_only_problem(BROKER_MODE=mode, PORT=port)

    assert "IBKR_PORT" in problem
    assert "IBKR_BROKER_MODE" in problem


@pytest.mark.parametrize(
    ("mode", "port", "expected"),
    [
        ("paper", None, 4002),
        ("live", None, 4001),
        ("simulator", None, None),
        ("paper", "7497", 7497),
        ("live", "7496", 7496),
        ("paper", "5000", 5000),
        ("simulator", "4002", 4002),
    ],
)
def test_the_port_follows_the_mode_unless_it_is_given(mode: str, port: str | None, expected: int | None) -> None:
    variables = {"BROKER_MODE": mode} | ({"PORT": port} if port else {})

    assert load(**variables).gateway_port == expected


def test_the_simulator_runs_on_this_machine_only() -> None:
    assert "IBKR_HOST" in the_only_problem(HOST="192.168.1.10")
    assert load(BROKER_MODE="paper", HOST="192.168.1.10").host == "192.168.1.10"


@pytest.mark.parametrize("mode", ["paper", "live"])
def test_safety_mode_can_be_off_only_with_the_simulator(mode: str) -> None:
    load(SAFETY_MODE="off")

    assert "IBKR_SAFETY_MODE can be off only" in the_only_problem(BROKER_MODE=mode, SAFETY_MODE="off")


def test_safety_mode_off_on_the_command_line_with_a_paper_account_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="IBKR_SAFETY_MODE"):
        load_settings(environ={"IBKR_BROKER_MODE": "paper"}, safety_mode="off")


def test_a_prefix_of_live_accounts_is_refused_in_paper_mode() -> None:
    assert "IBKR_ALLOWED_ACCOUNT_PREFIXES" in the_only_problem(BROKER_MODE="paper", ALLOWED_ACCOUNT_PREFIXES="DU,U")


@pytest.mark.parametrize("name", ["LOG_FILE", "AUDIT_LOG_FILE"])
def test_logs_lie_under_the_state_directory(name: str, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "elsewhere").symlink_to(tmp_path)

    load(STATE_DIR=str(state), **{name: str(state / "logs" / "server.log")})

    for outside in (tmp_path / "server.log", state, state / ".." / "server.log", state / "elsewhere" / "server.log"):
        assert "under the state directory" in the_only_problem(STATE_DIR=str(state), **{name: str(outside)})


@pytest.mark.parametrize("name", ["LOG_FILE", "AUDIT_LOG_FILE"])
def test_logs_in_a_temporary_directory_are_refused(name: str) -> None:
    assert f"IBKR_{name}" in the_only_problem(**{name: "/tmp/server.log"})


@pytest.mark.parametrize("own", ["state.db", "KILL", "operator.json", "paper-gateway/world.json"])
def test_a_log_cannot_take_the_place_of_the_servers_own_files(own: str, tmp_path: Path) -> None:
    assert "keeps for itself" in the_only_problem(STATE_DIR=str(tmp_path), LOG_FILE=str(tmp_path / own))


def test_two_logs_need_two_files(tmp_path: Path) -> None:
    log = str(tmp_path / "one.log")

    assert "file of its own" in the_only_problem(STATE_DIR=str(tmp_path), LOG_FILE=log, AUDIT_LOG_FILE=log)


# -- Names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("IBKR_ENABLE_TRADNG", "IBKR_ENABLE_TRADING"),
        ("IBKR_ENABLE_TRADING_", "IBKR_ENABLE_TRADING"),
        ("ibkr_enable_trading", "IBKR_ENABLE_TRADING"),
        ("Ibkr_Dry_Run", "IBKR_DRY_RUN"),
        ("IBKR_IBKR_PORT", "IBKR_PORT"),
        ("IBKR_MAX_DAILY_ORDER", "IBKR_MAX_DAILY_ORDERS"),
        ("IBKR_HTTP_TOKN", "IBKR_HTTP_TOKEN"),
    ],
)
def test_a_misspelt_variable_refuses_the_start_and_suggests_the_right_name(wrong: str, right: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(environ={wrong: TOKEN})

    (problem,) = caught.value.problems
    assert wrong in problem
    assert f"Did you mean {right}?" in problem
    assert TOKEN not in problem


def test_every_setting_with_one_letter_missing_is_recognised() -> None:
    for variable in map(variable_of, FIELDS):
        with pytest.raises(ConfigurationError, match=f"Did you mean {variable}") as caught:
            load_settings(environ={variable[:-1]: "x"})
        assert len(caught.value.problems) == 1


def test_variables_of_other_programs_are_none_of_our_business() -> None:
    load_settings(environ={"PATH": "/bin", "MY_IBKR_PORT": "x", "IBKRS": "x"})


def test_all_problems_are_told_at_once() -> None:
    problems = refused(ENABLE_TRADNG="true", MAX_ORDER_SIZE="nan", SAFETY_MODE="maybe", DAILY_ORDERS_WARNING="60")

    assert [problem.split()[0].strip("'") for problem in problems] == [
        "IBKR_ENABLE_TRADNG",
        "IBKR_MAX_ORDER_SIZE",
        "IBKR_SAFETY_MODE",
        "IBKR_DAILY_ORDERS_WARNING",
    ]


def test_a_wrong_value_is_not_reported_a_second_time_for_its_order() -> None:
    assert "IBKR_MAX_DAILY_ORDERS is 'many'" in the_only_problem(MAX_DAILY_ORDERS="many", DAILY_ORDERS_WARNING="60")


def test_nobody_has_to_read_pydantics_own_words() -> None:
    for problem in refused(MAX_ORDER_SIZE="x", HTTP_TOKEN="x", PORT="x", ALLOWED_ORDER_TYPES="[", STATE_DIR="x"):
        assert "validation error" not in problem
        assert "pydantic" not in problem
        assert problem.endswith(".")


# -- Sources ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    path = tmp_path / "settings.env"
    path.touch(mode=0o600)
    return path


def test_later_sources_win_and_each_value_knows_where_it_came_from(env_file: Path) -> None:
    env_file.write_text("IBKR_CLIENT_ID=1\nIBKR_MAX_ORDER_SIZE=1\nIBKR_SIMULATOR_SEED=1\n", encoding="utf-8")

    settings = load_settings(
        environ={"IBKR_MAX_ORDER_SIZE": "2", "IBKR_SIMULATOR_SEED": "2"},
        env_file=env_file,
        simulator_seed=3,
        http_port=None,
    )

    assert (settings.client_id, settings.max_order_size, settings.simulator_seed) == (1, 2, 3)
    origins = {setting.name: setting.origin for setting in settings.effective}
    assert origins["client_id"] is Origin.FILE
    assert origins["max_order_size"] is Origin.ENVIRONMENT
    assert origins["simulator_seed"] is Origin.COMMAND_LINE
    assert origins["http_port"] is Origin.BUILT_IN


def test_a_dot_env_file_in_the_working_directory_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CFG-15: an agent may be able to write there."""
    (tmp_path / ".env").write_text("IBKR_ENABLE_TRADING=true\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    assert not load_settings(environ={}).enable_trading


def test_the_process_environment_counts_only_when_it_is_passed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IBKR_ENABLE_TRADING", "true")

    assert not load_settings(environ={}).enable_trading


def test_a_file_may_hold_comments_quotes_and_export(env_file: Path) -> None:
    env_file.write_text(
        f"# mine\n\nexport IBKR_DRY_RUN=true\nIBKR_LIVE_TRADING_ACK='{LIVE_TRADING_ACKNOWLEDGEMENT}'\n"
        "IBKR_CLIENT_ID=5  # five\n",
        encoding="utf-8",
    )

    settings = load_settings(environ={}, env_file=env_file)

    assert settings.dry_run
    assert settings.live_trading_ack == LIVE_TRADING_ACKNOWLEDGEMENT
    assert settings.client_id == 5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("IBKR_ENABLE_TRADNG=true\n", "Did you mean IBKR_ENABLE_TRADING?"),
        ("ENABLE_TRADING=true\n", "Did you mean IBKR_ENABLE_TRADING?"),
        ("IBKR_DRY_RUN\n", "Line 1 of the settings file"),
        ("IBKR_DRY_RUN=true\n'oops\n", "Line 2 of the settings file"),
        ("IBKR_DRY_RUN=true\nIBKR_DRY_RUN=false\n", "a second time"),
        ("IBKR_CLIENT_ID=${HOME}\n", "IBKR_CLIENT_ID is '${HOME}'"),
    ],
)
def test_a_line_that_cannot_be_taken_as_it_stands_refuses_the_start(env_file: Path, text: str, expected: str) -> None:
    env_file.write_text(text, encoding="utf-8")

    with pytest.raises(ConfigurationError) as caught:
        load_settings(environ={}, env_file=env_file)

    (problem,) = caught.value.problems
    assert expected in problem


def test_a_file_that_cannot_be_read_refuses_the_start(tmp_path: Path, env_file: Path) -> None:
    env_file.write_bytes(b"IBKR_DRY_RUN=\xff\n")

    for path in (tmp_path / "absent", tmp_path, env_file):
        with pytest.raises(ConfigurationError, match="cannot be read"):
            load_settings(environ={}, env_file=path)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no mode bits")
def test_a_file_that_others_can_change_refuses_the_start(env_file: Path) -> None:
    for mode in (0o620, 0o602):
        env_file.chmod(mode)
        with pytest.raises(ConfigurationError, match="chmod 600"):
            load_settings(environ={}, env_file=env_file)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no mode bits")
def test_a_file_with_a_secret_must_not_be_readable_by_others(env_file: Path) -> None:
    env_file.chmod(0o644)
    env_file.write_text("IBKR_DRY_RUN=true\n", encoding="utf-8")
    load_settings(environ={}, env_file=env_file)

    env_file.write_text(f"IBKR_HTTP_TOKEN={TOKEN}\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="Other users can read IBKR_HTTP_TOKEN") as caught:
        load_settings(environ={}, env_file=env_file)
    assert TOKEN not in str(caught.value)


# -- Secrets ----------------------------------------------------------------------------------------------------------


SECRETS = {
    "http_token": TOKEN,
    "database_url": "postgresql+psycopg://ibkr:canary@db.example/ibkr",
    "redis_url": "redis://:canary@db.example:6379/0",
    "kill_switch_secret": "ca0a41" * 9 + "5f27d3b86e",
    "control_status_secret": "ca0a42" * 9 + "5f27d3b86e",
    "control_reset_secret": "ca0a43" * 9 + "5f27d3b86e",
    "alert_slack_webhook": "https://hooks.slack.com/services/canary",
    "alert_email_password": "canary of the mail",
    "alert_pagerduty_key": "canary-of-the-pager",
    "alert_heartbeat_url": "https://watch.example/canary",
}


def test_secrets_and_account_numbers_appear_in_nothing_that_is_shown() -> None:
    """SEC-07: whichever setting is one."""
    assert {name for name in FIELDS if rule_of(name).privacy is Privacy.SECRET} == SECRETS.keys()
    of_the_environment = {name.upper(): text for name, text in SECRETS.items()}
    settings = load(BROKER_MODE="live", LIVE_ACCOUNTS="U7654321,U1122334", **of_the_environment)

    shown = f"{settings!r} {settings} {settings.effective} {json.dumps(settings.effective_redacted)}"
    for secret in (*SECRETS.values(), "canary", "ca0a4", "U7654321", "U1122334", "7654", "db.example"):
        assert secret not in shown
    assert sorted(settings.secrets()) == sorted(SECRETS.values())
    assert settings.effective_redacted["IBKR_LIVE_ACCOUNTS"] == "*****321,*****334"
    assert settings.http_token is not None
    assert settings.http_token.get_secret_value() == TOKEN


@pytest.mark.parametrize(
    ("name", "text"),
    [("HTTP_TOKEN", "canary-too-short"), ("DATABASE_URL", "mysql://canary"), ("LIVE_ACCOUNTS", "canary-U1234567")],
)
def test_a_refused_secret_is_not_quoted(name: str, text: str) -> None:
    problem = the_only_problem(**{name: text})

    assert f"IBKR_{name}" in problem
    assert "canary" not in problem


@pytest.mark.parametrize("length", [31, 513])
def test_http_token_has_at_least_32_characters_and_an_end(length: int) -> None:
    assert "32 to 512" in the_only_problem(HTTP_TOKEN="x" * length)


def test_construction_errors_do_not_carry_the_value() -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(http_token=f"{TOKEN} {TOKEN}")  # type: ignore[arg-type]  # as text, as a careless caller would

    assert "canary" not in str(caught.value)


def test_settings_made_without_the_loader_are_held_to_the_same_rules() -> None:
    with pytest.raises(ValidationError):
        Settings(safety_mode=False, broker_mode=BrokerMode.PAPER)
    with pytest.raises(ValidationError):
        Settings(max_order_value_usd=Decimal("NaN"))
    with pytest.raises(ValidationError):
        Settings(enable_tradng=True)  # type: ignore[call-arg]


# -- What applies -----------------------------------------------------------------------------------------------------


def test_effective_configuration_lists_every_setting_once_in_order() -> None:
    settings = load(MAX_ORDER_VALUE_USD="2500.50", ALLOWED_TIME_IN_FORCE='["DAY"]', DRY_RUN="yes", BROKER_MODE="paper")

    assert [setting.name for setting in settings.effective] == FIELDS
    shown = settings.effective_redacted
    assert shown["IBKR_MAX_ORDER_VALUE_USD"] == "2500.5"
    assert shown["IBKR_ALLOWED_TIME_IN_FORCE"] == "DAY"
    assert shown["IBKR_DRY_RUN"] == "true"
    assert shown["IBKR_PORT"] == "4002"
    assert shown["IBKR_STATE_DIR"] == str(settings.state_directory)


def test_what_is_shown_can_be_given_again() -> None:
    """All but the hidden values: the effective configuration reproduces itself."""
    first = load(BROKER_MODE="paper", MAX_ORDER_VALUE_USD="99.90", SIMULATOR_SPEED="0.25", LOG_LEVEL="DEBUG")

    again = load_settings(
        environ={name: value for name, value in first.effective_redacted.items() if value is not None}
    )

    assert again.fingerprint == first.fingerprint


def test_fingerprint_differs_when_a_value_differs_and_not_when_its_spelling_does() -> None:
    base = load().fingerprint

    assert len(base) == 64
    assert load(MAX_ORDER_VALUE_USD="10000.00", ALLOWED_ACCOUNT_PREFIXES='["DU", "DUH"]').fingerprint == base
    assert load(MAX_ORDER_VALUE_USD="10000.01").fingerprint != base
    assert load(HTTP_TOKEN=TOKEN).fingerprint != base
    assert load(HTTP_TOKEN=TOKEN).fingerprint == load(HTTP_TOKEN=TOKEN[::-1]).fingerprint


@given(amount=st.decimals("0.01", "10000000", places=2), wait=st.floats(0.001, 300))
def test_numbers_survive_being_shown(amount: Decimal, wait: float) -> None:
    settings = load_settings(environ={}, max_order_value_usd=amount, quote_max_age_seconds=round(wait, 3))

    shown = settings.effective_redacted
    assert Decimal(shown["IBKR_MAX_ORDER_VALUE_USD"] or "") == amount
    assert as_text(settings.quote_max_age_seconds) == shown["IBKR_QUOTE_MAX_AGE_SECONDS"]


# -- Pages ------------------------------------------------------------------------------------------------------------


def test_every_setting_has_a_rule_and_one_line_of_description() -> None:
    for name in FIELDS:
        assert rule_of(name).allowed, name
        assert description_of(name).endswith("."), name
        assert not {"\n", "|"} & set(description_of(name) + rule_of(name).allowed), name


def test_every_optional_setting_says_what_applies_without_it() -> None:
    for name in FIELDS:
        assert (Settings.model_fields[name].default is None) == bool(rule_of(name).unset), name


def test_sections_hold_every_setting_once() -> None:
    assert [name for _, names in sections() for name in names] == FIELDS
    assert [title for title, _ in sections()] == list(SECTION_STARTS.values())


@pytest.mark.parametrize(("path", "page"), [(".env.example", env_example), ("docs/settings.md", settings_page)])
def test_generated_page_is_up_to_date(path: str, page: type[str]) -> None:
    """`python scripts/generate_docs.py` writes it."""
    assert (ROOT / path).read_text(encoding="utf-8") == page()


def test_the_example_file_as_it_is_changes_nothing(env_file: Path) -> None:
    env_file.write_text(env_example(), encoding="utf-8")

    assert load_settings(environ={}, env_file=env_file) == load_settings(environ={})


def test_the_example_file_shows_the_defaults(env_file: Path) -> None:
    lines = [line.removeprefix("#") for line in env_example().splitlines() if line.startswith("#IBKR_")]
    assert [line.partition("=")[0] for line in lines] == [variable_of(name) for name in FIELDS]

    optional = {variable_of(name) for name in FIELDS if Settings.model_fields[name].default is None}
    env_file.write_text("\n".join(line for line in lines if line.partition("=")[0] not in optional), encoding="utf-8")

    assert load_settings(environ={}, env_file=env_file).effective_redacted == load().effective_redacted


# -- Start ------------------------------------------------------------------------------------------------------------


def test_loading_settings_loads_nothing_heavy() -> None:
    heavy = ("mcp", "ib_async", "numpy", "sqlalchemy", "starlette", "uvicorn", "typer", "rich", "platformdirs")
    program = (
        "import sys; from ibkr_mcp_server.settings.loading import load_settings; load_settings(environ={}); "
        f"sys.exit(' '.join(name for name in {heavy} if name in sys.modules) or 0)"
    )

    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=30)

    assert done.stderr == ""
    assert done.returncode == 0
