"""Each type of event that is declared is produced by something that happens, and a test shows it (AUD-07)."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from ibkr_mcp_server import audit
from ibkr_mcp_server.audit.events import EventType

ROOT = Path(__file__).parents[3]
PACKAGE = Path(audit.__file__).parents[1]
SHOWN_BY = {
    "SERVER_START": "flow/test_disabled_controls.py::test_what_is_off_shows_in_the_status_and_in_the_log",
    "SERVER_STOP": "flow/test_records.py::test_the_last_record_of_a_run_is_its_stop",
    "CONFIG_LOADED": "flow/test_records.py::test_each_start_records_what_applied_and_its_fingerprint",
    "DECISION": "surface/test_tools_answers.py::test_each_call_is_one_decision_record_with_its_class",
    "MARKET_DATA_REQUEST": "surface/test_tools_answers.py::test_each_call_is_one_decision_record_with_its_class",
    "CONTRACT_RULES": "flow/test_records.py::test_every_recorded_decision_judged_again_gives_the_same_verdict",
    "ORDER_ATTEMPT": "flow/test_records.py::test_each_step_of_an_order_is_recorded_under_its_own_type",
    "ORDER_VALIDATION_FAILED": "flow/test_refusal_events.py::"
    "test_bad_orders_broken_limits_and_failed_checks_are_told_apart",
    "ORDER_REJECTED_LIMITS": "flow/test_refusal_events.py::"
    "test_bad_orders_broken_limits_and_failed_checks_are_told_apart",
    "SAFETY_VIOLATION": "flow/test_agent_pace.py::"
    "test_the_sixty_first_refused_call_of_a_minute_is_a_timeout_with_one_alert",
    "CHECK_ERROR": "flow/test_refusal_events.py::test_bad_orders_broken_limits_and_failed_checks_are_told_apart",
    "INTENT_RESERVED": "flow/test_records.py::test_each_step_of_an_order_is_recorded_under_its_own_type",
    "ORDER_SENT": "flow/test_records.py::test_each_step_of_an_order_is_recorded_under_its_own_type",
    "ORDER_PLACED": "flow/test_records.py::test_each_step_of_an_order_is_recorded_under_its_own_type",
    "ORDER_MODIFIED": "flow/test_records.py::test_each_step_of_an_order_is_recorded_under_its_own_type",
    "ORDER_CANCELLED": "flow/test_records.py::test_each_step_of_an_order_is_recorded_under_its_own_type",
    "ORDER_FILLED": "flow/test_records.py::test_a_fill_is_recorded_once_over_restarts_reconnects_and_servers",
    "ORDER_UNKNOWN": "flow/test_lost_acknowledgement.py::"
    "test_order_whose_link_dies_before_the_acknowledgement_is_one_order_or_none",
    "ORDER_RECONCILED": "flow/test_lost_acknowledgement.py::"
    "test_order_whose_link_dies_before_the_acknowledgement_is_one_order_or_none",
    "KILL_SWITCH_ACTIVATE": "flow/test_stopping.py::"
    "test_a_hundred_stops_at_once_are_one_activation_and_ninety_nine_recorded_repeats",
    "KILL_SWITCH_DEACTIVATE": "flow/test_stopping.py::test_only_the_operators_proof_ends_a_stop_and_orders_pass_again",
    "STOP_CARRIED_OUT": "flow/test_closing.py::test_everything_is_cancelled_and_closed_and_then_the_stop_can_be_ended",
    "CIRCUIT_BREAKER_TRIP": "flow/test_circuit_breaker.py::"
    "test_a_fall_without_an_order_warns_pauses_and_kills_within_two_seconds_each",
    "CIRCUIT_BREAKER_RESET": "flow/test_circuit_breaker.py::"
    "test_after_a_loss_trading_comes_back_only_by_people_and_by_stages",
    "MODE_CHANGE": "flow/test_circuit_breaker.py::"
    "test_a_fall_without_an_order_warns_pauses_and_kills_within_two_seconds_each",
    "STAGE_CHANGE": "flow/test_circuit_breaker.py::test_after_a_loss_trading_comes_back_only_by_people_and_by_stages",
    "STRATEGY_HALT": "flow/test_scoped_stops.py::"
    "test_a_halted_agent_opens_nothing_its_entries_go_and_the_other_agent_trades_on",
    "STRATEGY_RESUME": "flow/test_scoped_stops.py::"
    "test_a_halted_agent_opens_nothing_its_entries_go_and_the_other_agent_trades_on",
    "ACCOUNT_VERIFIED": "flow/test_accounts.py::"
    "test_accounts_are_verified_again_when_the_last_word_of_the_broker_is_too_old",
    "ACCOUNT_REJECTED": "flow/test_accounts.py::test_a_live_looking_account_blocks_every_write_and_no_read",
    "AUTH_FAILED": "flow/test_stopping.py::"
    "test_five_wrong_passphrases_lock_the_door_for_fifteen_minutes_also_across_a_restart",
    "APPROVAL_REQUESTED": "unit/safety/test_operators.py::"
    "test_two_different_people_approve_within_a_quarter_of_an_hour",
    "APPROVAL_GRANTED": "unit/safety/test_operators.py::test_two_different_people_approve_within_a_quarter_of_an_hour",
    "APPROVAL_DENIED": "unit/safety/test_operators.py::test_anybody_from_operator_up_may_say_no_and_a_no_is_the_end",
    "CONFIRMATION_ISSUED": "flow/test_confirmation.py::"
    "test_above_the_amount_an_agent_orders_in_two_steps_and_each_ticket_is_good_once",
    "CONFIRMATION_USED": "flow/test_confirmation.py::"
    "test_above_the_amount_an_agent_orders_in_two_steps_and_each_ticket_is_good_once",
    "CONTROL_DISABLED": "flow/test_disabled_controls.py::test_what_is_off_shows_in_the_status_and_in_the_log",
    "TEXT_FLAGGED": "flow/test_confirmation.py::"
    "test_text_that_reads_like_an_instruction_holds_the_next_opening_order_to_more_and_unlocks_nothing",
    "TOOLS_CHANGED": "flow/test_records.py::test_other_tool_descriptions_than_at_the_last_start_are_recorded",
    "LIMIT_RAISED": "flow/test_limit_raises.py::test_two_risk_managers_raise_a_limit_which_falls_back_by_itself",
    "LIMIT_RESTORED": "flow/test_limit_raises.py::test_two_risk_managers_raise_a_limit_which_falls_back_by_itself",
    "WRITER_GRANTED": "flow/test_one_writer.py::test_when_the_writer_ends_the_next_takes_over_with_all_counters",
    "START_STEP": "flow/test_reconciliation.py::test_start_takes_its_steps_in_order_and_then_accepts_writes",
    "RECONCILED": "flow/test_reconciliation.py::test_quiet_day_is_one_report_that_grows_and_its_end_is_one_of_its_own",
    "LINK_UP": "flow/test_lost_acknowledgement.py::"
    "test_order_whose_link_dies_before_the_acknowledgement_is_one_order_or_none",
    "LINK_DOWN": "flow/test_lost_acknowledgement.py::"
    "test_order_whose_link_dies_before_the_acknowledgement_is_one_order_or_none",
    "ALERT_SENT": "flow/test_alerts.py::test_a_stop_reaches_every_channel_and_its_reset_resolves_what_it_opened",
    "ALERT_FAILED": "flow/test_alerts.py::test_a_channel_that_hangs_delays_no_halt_and_gets_the_alert_when_it_is_back",
    "POSITIONS_UNPROTECTED": "flow/test_alert_events.py::"
    "test_positions_without_a_stop_are_told_before_the_close_and_more_urgently_before_a_weekend",
    "CHAIN_CHECKPOINT": "flow/test_checkpoints.py::"
    "test_checkpoints_are_written_by_time_and_by_number_and_a_missing_tail_stops_the_next_start",
    "DRILL_RESULT": "surface/test_cli_drill.py::"
    "test_a_drill_prints_what_it_took_beside_what_it_may_take_and_is_remembered",
    "DEPOSIT": "flow/test_payments.py::"
    "test_a_withdrawal_of_thirty_percent_trips_nothing_and_a_loss_after_it_still_does",
    "WITHDRAWAL": "flow/test_payments.py::"
    "test_a_withdrawal_of_thirty_percent_trips_nothing_and_a_loss_after_it_still_does",
    "TRANSFER": "flow/test_payments.py::"
    "test_a_withdrawal_of_thirty_percent_trips_nothing_and_a_loss_after_it_still_does",
}
"""Each type with a test in which it happens."""


def test_every_declared_type_is_shown_by_a_test_and_no_other_is() -> None:
    assert SHOWN_BY.keys() == set(EventType)


@pytest.mark.parametrize(("name", "test"), SHOWN_BY.items(), ids=SHOWN_BY)
def test_the_named_test_looks_for_the_type(name: str, test: str) -> None:
    path, _, function = test.partition("::")
    found = functions_of(path)[function]
    assert f"EventType.{name}" in found or f'"{name}"' in found, test


@cache
def functions_of(path: str) -> dict[str, str]:
    """The functions of a file of tests, with their text."""
    text = (ROOT / "tests" / path).read_text(encoding="utf-8")
    lines = text.splitlines()
    return {
        node.name: "\n".join(lines[node.lineno - 1 : node.end_lineno])
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_every_declared_type_is_named_where_it_happens() -> None:
    sources = [
        path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py") if path.name not in ("events.py", "rules.py")
    ]
    text = "\n".join(sources)
    assert {kind for kind in EventType if f"EventType.{kind.name}" not in text} == set()
