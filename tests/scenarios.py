"""The acceptance scenarios of the requirements, and the tests that show each from outside.

A scenario is played by an MCP client, a command, the HTTP control API, a file or a signal, against the paper gateway;
what is looked at are answers, what the gateway received, the audit log and exit codes. `tests/test_promises.py` keeps
the table true.
"""

from __future__ import annotations

from tests.promises import Promise, held

NUMBER_OF_SCENARIOS = 16
FROM_OUTSIDE = ("tests/flow/", "tests/surface/")

SCENARIOS: dict[str, Promise] = {
    "A1": held(
        "Armed for a live account, with each gate missing in its turn, nothing is sent.",
        "tests/flow/test_accounts.py::test_a_live_account_needs_every_lock_open",
        "tests/flow/test_accounts.py::test_accounts_are_verified_again_when_the_last_word_of_the_broker_is_too_old",
    ),
    "A2": held(
        "An order that is acknowledged late or never is one order, after twenty retries and a killed process, too.",
        "tests/flow/test_lost_acknowledgement.py::test_order_whose_link_dies_before_the_acknowledgement_is_one_order_or_none",
        "tests/flow/test_lost_acknowledgement.py::test_order_that_shows_at_the_broker_29_seconds_late_is_found_and_not_repeated",
        "tests/flow/test_lost_outcomes.py::test_while_an_outcome_is_unknown_its_quota_stays_and_nothing_more_opens_there",
        "tests/flow/test_crashes.py::test_killed_while_placing_orders_the_restarted_server_knows_them_all_and_doubles_none",
        "tests/flow/test_fault_matrix.py::test_row_of_the_fault_matrix",
    ),
    "A3": held(
        "An order that appears after its timeout, and a cancellation that was none, are found and followed.",
        "tests/flow/test_lost_acknowledgement.py::test_order_that_shows_at_the_broker_29_seconds_late_is_found_and_not_repeated",
        "tests/flow/test_lost_acknowledgement.py::test_order_that_stays_unknown_holds_trading_back_after_a_minute_and_stops_it_after_five",
        "tests/flow/test_exits.py::test_a_cancellation_whose_answer_is_lost_is_unknown_in_the_sum_too",
        "tests/flow/test_broker_truth.py::test_order_that_we_took_for_ended_is_followed_to_its_true_end",
    ),
    "A4": held(
        "An equity that falls by 2, 3 and 5 percent without an order warns, pauses and stops within two seconds each.",
        "tests/flow/test_circuit_breaker.py::test_a_fall_without_an_order_warns_pauses_and_kills_within_two_seconds_each",
        "tests/flow/test_autumn_2008.py::test_the_autumn_of_2008_warns_pauses_and_kills_in_order_at_the_right_equity",
    ),
    "A5": held(
        "Many small orders at once leave the cash reserve untouched.",
        "tests/flow/test_scenarios.py::test_many_small_orders_at_once_never_touch_the_cash_reserve",
        "tests/flow/test_limits.py::test_fifty_orders_at_once_with_room_for_three_send_exactly_three",
    ),
    "A6": held(
        "Ten minutes of pacing complaints bound the calls, open the breaker and lose no comparison.",
        "tests/flow/test_scenarios.py::test_ten_minutes_of_pacing_complaints_bound_the_calls_open_the_breaker_and_lose_no_comparison",
        "tests/flow/test_tools_history.py::test_pacing_violation_is_asked_again_after_a_pause_and_told_if_it_stays",
    ),
    "A7": held(
        "An exception that carries a secret, wherever it is raised, refuses and tells it to nobody.",
        "tests/flow/test_lost_outcomes.py::test_an_exception_anywhere_refuses_and_its_text_is_told_to_nobody",
        "tests/surface/test_tools_answers.py::test_crash_while_opening_tells_no_secret",
        "tests/surface/test_settings_take_effect.py::test_the_process_log_hides_secrets_and_account_numbers_wherever_they_stand",
    ),
    "A8": held(
        "Clocks that are off, summer time and a jump to the next day move no window, and what stops goes on working.",
        "tests/flow/test_scenarios.py::test_with_a_clock_that_is_ten_minutes_off_nothing_opens_and_what_stops_or_reduces_works",
        "tests/flow/test_limits.py::test_a_step_of_the_wall_clock_neither_frees_nor_freezes_the_window",
        "tests/flow/test_limits.py::test_the_day_warns_refuses_and_begins_anew_at_seventeen_in_new_york",
        "tests/flow/test_limits.py::test_the_trading_day_follows_new_york_through_daylight_saving",
        "tests/surface/test_control_api.py::test_whatever_is_not_signed_right_is_told_401_and_nothing_more",
        "tests/surface/test_control_api.py::test_local_stops_hold_with_a_clock_that_is_a_year_off",
    ),
    "A9": held(
        "A second server for an account reads only, and takes over when the first is killed.",
        "tests/flow/test_take_over.py::test_when_the_writer_is_killed_a_reader_takes_over_with_all_counters_and_latches",
        "tests/surface/test_cli_beside_a_server.py::test_a_server_that_must_write_ends_with_75_when_another_one_does",
    ),
    "A10": held(
        "A dependency pinned at a version with a known vulnerability fails the scan, and what was not scanned says so.",
        "tests/surface/test_vulnerability_scan.py::test_a_vulnerable_pin_fails_and_a_database_out_of_reach_is_never_taken_for_none",
    ),
    "A11": held(
        "A stop in any wait of an order (a yes, the pace, the gate, a bracket, a lost link) leaves nothing that opens.",
        "tests/flow/test_confirmation.py::test_a_client_that_says_yes_is_the_agents_second_step_and_never_a_person",
        "tests/flow/test_confirmation.py::test_a_ticket_ends_and_is_void_in_another_state_for_another_agent_or_order",
        "tests/flow/test_stop_scenarios.py::test_orders_that_wait_for_the_pace_are_dropped_by_a_stop_and_a_fill_under_it_is_booked",
        "tests/flow/test_stopping.py::test_an_order_that_waits_for_the_gate_while_somebody_stops_is_dropped",
        "tests/flow/test_brackets.py::test_a_stop_in_the_middle_of_a_bracket_leaves_nothing_that_can_trade",
        "tests/flow/test_broker_life.py::test_what_waited_for_its_turn_when_the_link_was_lost_is_never_sent",
    ),
    "A12": held(
        "A gateway that hands out old order ids while orders are unresolved mixes up none of them.",
        "tests/flow/test_lost_outcomes.py::test_an_order_that_never_arrived_is_not_credited_with_one_that_got_its_id",
    ),
    "A13": held(
        "Positions are closed through halts, a closed market, parts and rejections, and never across zero.",
        "tests/flow/test_closing.py::test_partial_fills_rejections_and_a_halted_market_end_flat_without_crossing_zero",
        "tests/flow/test_closing.py::test_a_closed_market_is_waited_for_and_nothing_is_sent_before_it_opens",
    ),
    "A14": held(
        "News that order the agent to disable, reset or trade elsewhere are marked, and unlock nothing.",
        "tests/flow/test_research.py::test_hostile_headlines_and_articles_arrive_only_inside_the_marked_field_and_clean",
        "tests/flow/test_confirmation.py::test_text_that_reads_like_an_instruction_holds_the_next_opening_order_to_more_and_unlocks_nothing",
        "tests/flow/test_agents_only_tighten.py::test_whatever_agents_call_in_whatever_state_no_control_becomes_milder",
        "tests/flow/test_stopping.py::test_no_tool_resets_resumes_approves_or_configures",
    ),
    "A15": held(
        "An audit log that was edited or cut is named; a full or failing disk sends nothing and stops trading.",
        "tests/surface/test_cli_audit.py::test_a_changed_a_missing_and_a_cut_off_record_are_named",
        "tests/flow/test_checkpoints.py::test_checkpoints_are_written_by_time_and_by_number_and_a_missing_tail_stops_the_next_start",
        "tests/flow/test_breaker_counts.py::test_a_store_that_takes_no_record_stops_trading_at_once",
        "tests/flow/test_lost_outcomes.py::test_what_cannot_be_recorded_is_not_sent_and_cancelling_still_works",
        "tests/flow/test_lost_outcomes.py::test_a_record_that_fails_after_the_send_stops_trading_and_the_order_is_still_known",
    ),
    "A16": held(
        "The stop outranks the breaker and the breaker the limits; with all clear the order executes.",
        "tests/flow/test_stop_scenarios.py::test_the_stop_comes_before_the_breaker_and_the_breaker_before_the_limits",
    ),
}
