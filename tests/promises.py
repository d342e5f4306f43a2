"""What the product promises, and which tests hold it.

One entry per requirement: its ID, the promise in one sentence, and the tests that show it, as pytest names them
(parametrised ones by their function). `tests/test_promises.py` keeps the table true. A new rule gets an entry here; a
promise that has no test yet does not belong here. Mistakes known from other software are in `tests/field_defects.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

PART_1 = (
    "TW-01 TW-03..TW-12 TW-14..TW-17 CFG-01..CFG-13 CFG-15..CFG-17 CFG-20 ORD-01..ORD-10 ORD-19 ORD-22 RL-01..RL-05 "
    "RL-07..RL-09 ACC-01..ACC-09 KS-01 KS-04..KS-06 KS-08..KS-10 KS-12 KS-16 KS-18 KS-22 ID-01..ID-04 ID-07 ID-08 "
    "AUD-01..AUD-04 AUD-06 AUD-08 AUD-09 AUD-12 MON-01 MON-02"
)
"""What the first part of the product must hold: an agent trades safely on the built-in paper gateway."""

LAST_OF_FAMILY = {
    "CFG": 21, "TW": 17, "ORD": 26, "RL": 15, "ACC": 11, "KS": 24, "CB": 33, "ST": 9, "PL": 17, "RM": 6, "RC": 7,
    "ID": 15, "SU": 6, "LK": 5, "SIG": 11, "SEC": 8, "AL": 9, "AUD": 12, "MON": 9, "LED": 11, "EM": 9, "TM": 8,
    "LLM": 10, "SIM": 3, "PERF": 8, "QA": 7,
}  # fmt: skip
"""The families of requirements and the number that each ends with."""


@dataclass(frozen=True, kw_only=True)
class Promise:
    """One thing that the product promises."""

    says: str
    tests: tuple[str, ...]
    """pytest node ids without parameters."""


def held(says: str, *tests: str) -> Promise:
    """A promise and the tests that hold it."""
    return Promise(says=says, tests=tests)


PROMISES: dict[str, Promise] = {
    # ---- one way from a tool to the broker
    "TW-01": held(
        "Each call of each tool is judged once and leaves one decision record; a tool without a class cannot exist.",
        "tests/surface/test_tools_answers.py::test_each_call_is_one_decision_record_with_its_class",
        "tests/surface/test_tools_listed.py::test_a_tool_without_a_class_cannot_exist",
        "tests/surface/test_tools_listed.py::test_handlers_never_touch_the_broker",
    ),
    "TW-03": held(
        "The checks of a write come in one documented order, and the reason told follows it.",
        "tests/flow/test_stop_scenarios.py::test_the_stop_comes_before_the_breaker_and_the_breaker_before_the_limits",
        "tests/unit/safety/test_policy_order.py::test_each_control_refuses_alone",
        "tests/unit/safety/test_policy_order.py::test_of_two_controls_the_earlier_is_the_reason_and_the_later_is_told_too",
        "tests/flow/test_tools_orders.py::test_the_kill_switch_comes_before_the_limits_and_the_limits_are_told_too",
        "tests/unit/safety/test_policy.py::test_the_first_failing_rule_in_the_order_of_tw_03_is_the_primary_reason_and_the_others_are_listed",
    ),
    "TW-04": held(
        "The first failing check gives the reason; all the others that fail are listed beside it.",
        "tests/unit/safety/test_policy_order.py::test_of_two_controls_the_earlier_is_the_reason_and_the_later_is_told_too",
        "tests/flow/test_tools_orders.py::test_the_kill_switch_comes_before_the_limits_and_the_limits_are_told_too",
        "tests/unit/safety/test_policy.py::test_the_first_failing_rule_in_the_order_of_tw_03_is_the_primary_reason_and_the_others_are_listed",
    ),
    "TW-05": held(
        "Every refusal has one shape: stable code, what happened, the value and the limit, what to do next.",
        "tests/unit/broker/test_error_codes.py::test_every_code_that_the_adapter_tells_is_documented",
        "tests/surface/test_bad_input_matrix.py::test_every_wrong_value_of_every_argument_is_a_structured_refusal",
        "tests/surface/test_tools_answers.py::test_every_tool_answers_in_shape_after_a_stop_and_reads_still_work",
        "tests/surface/test_tools_answers.py::test_every_tool_answers_within_a_second_without_a_gateway",
        "tests/surface/test_tools_bad_input.py::test_nothing_bad_reaches_the_wire_and_each_is_recorded_once",
        "tests/surface/test_tools_listed.py::test_facts_never_hide_the_envelope_and_a_refusal_fits_the_schema",
    ),
    "TW-06": held(
        "A decision is stored with is_safe, errors, warnings and every check's verdict.",
        "tests/flow/test_records.py::test_a_decision_is_stored_with_its_verdict_and_every_check",
    ),
    "TW-07": held(
        "A check that fails to run, or takes too long, refuses.",
        "tests/flow/test_lost_outcomes.py::test_an_exception_anywhere_refuses_and_its_text_is_told_to_nobody",
        "tests/flow/test_lost_outcomes.py::test_checks_that_take_too_long_refuse",
        "tests/unit/safety/test_policy.py::test_a_check_that_fails_to_run_refuses_and_hides_the_exception_text",
    ),
    "TW-08": held(
        "The list of tools names each one's operation class.",
        "tests/surface/test_tools_listed.py::test_listing_names_class_toolset_and_honest_hints",
    ),
    "TW-09": held(
        "What is checked follows from the class: cancelling meets no quota and no flag, reading no switch.",
        "tests/unit/safety/test_policy_order.py::test_each_class_is_open_in_the_states_of_the_table_and_in_no_other",
        "tests/unit/safety/test_policy_order.py::test_the_status_can_be_read_and_a_stop_pressed_in_every_state",
        "tests/unit/safety/test_policy.py::test_every_operation_class_has_its_row",
        "tests/unit/safety/test_policy.py::test_cancellations_meet_neither_quotas_nor_flags",
        "tests/flow/test_limits.py::test_cancels_modifications_downwards_and_reads_use_no_order_quota",
        "tests/flow/test_stopping.py::test_cancelling_works_while_stopped_and_so_does_a_verified_reduction",
    ),
    "TW-10": held(
        "What was judged is what is sent; an argument that nobody judged is refused, never forwarded.",
        "tests/flow/test_derivatives.py::test_the_contract_id_of_an_option_is_not_taken_for_another_one",
        "tests/surface/test_bad_input_matrix.py::test_every_wrong_value_of_every_argument_is_a_structured_refusal",
        "tests/surface/test_tools_bad_input.py::test_each_fault_has_its_code_and_all_are_told_together",
        "tests/surface/test_tools_bad_input.py::test_unknown_argument_is_told_with_the_nearest_name",
        "tests/surface/test_tools_listed.py::test_every_argument_is_described_and_no_other_is_taken",
        "tests/flow/test_broker_writes.py::test_prices_and_quantities_travel_digit_for_digit",
    ),
    "TW-11": held(
        "Directly before the socket the switches are read once more, and an order that they now forbid is dropped.",
        "tests/flow/test_stop_scenarios.py::test_orders_that_wait_for_the_pace_are_dropped_by_a_stop_and_a_fill_under_it_is_booked",
        "tests/flow/test_brackets.py::test_a_stop_in_the_middle_of_a_bracket_leaves_nothing_that_can_trade",
        "tests/flow/test_stopping.py::test_an_order_that_waits_for_the_gate_while_somebody_stops_is_dropped",
        "tests/flow/test_broker_writes.py::test_closed_gate_keeps_everything_off_the_wire",
        "tests/unit/safety/test_policy.py::test_the_final_gate_looks_at_rules_that_exist",
    ),
    "TW-12": held(
        "Deciding and reserving are one step: fifty orders at once with room for three send exactly three.",
        "tests/flow/test_brackets.py::test_ten_at_once_with_room_for_one_send_exactly_one_whole_bracket",
        "tests/flow/test_limits.py::test_fifty_orders_at_once_with_room_for_three_send_exactly_three",
        "tests/flow/test_one_writer.py::test_of_two_servers_on_one_state_directory_one_writes_and_the_other_names_it",
        "tests/flow/test_tools_orders.py::test_room_for_three_lets_exactly_three_of_fifty_through",
        "tests/flow/test_stopping.py::test_two_reductions_at_once_cannot_both_use_the_same_position",
        "tests/unit/safety/test_portfolio.py::test_a_reduction_that_was_decided_on_a_moment_ago_is_not_sold_a_second_time",
        "tests/flow/test_trading_machine.py::test_whatever_agents_market_gateway_and_people_do_the_invariants_hold",
    ),
    "TW-14": held(
        "An answer is success only if the broker said so; what is not proven is unknown.",
        "tests/flow/test_brackets.py::test_a_bracket_whose_answer_is_lost_is_unknown_and_found_whole",
        "tests/flow/test_exits.py::test_a_cancellation_whose_answer_is_lost_is_unknown_in_the_sum_too",
        "tests/surface/test_tools_answers.py::test_every_call_ends_within_five_seconds_when_the_gateway_freezes_in_mid_session",
        "tests/flow/test_tools_orders.py::test_lost_answer_is_unknown_and_says_how_to_find_out",
        "tests/flow/test_broker_writes.py::test_placed_order_returns_the_brokers_first_word",
        "tests/flow/test_broker_writes.py::test_frozen_gateway_bounds_a_placement_and_leaves_it_unknown",
    ),
    "TW-15": held(
        "Agents see stable codes and our own words; exception texts stay in the log, the broker's words are marked.",
        "tests/flow/test_lost_outcomes.py::test_an_exception_anywhere_refuses_and_its_text_is_told_to_nobody",
        "tests/surface/test_settings_take_effect.py::test_the_process_log_hides_secrets_and_account_numbers_wherever_they_stand",
        "tests/surface/test_tools_answers.py::test_crash_while_opening_tells_no_secret",
        "tests/unit/safety/test_policy.py::test_a_check_that_fails_to_run_refuses_and_hides_the_exception_text",
        "tests/flow/test_tools_orders.py::test_broker_rejection_carries_its_code_and_quoted_text",
    ),
    "TW-16": held(
        "A tool that does not exist is judged as a write of the strictest class, and refused.",
        "tests/surface/test_tools_answers.py::test_guessed_tools_are_refused_before_anything_else",
        "tests/surface/test_tools_answers.py::test_each_call_is_one_decision_record_with_its_class",
    ),
    "TW-17": held(
        "One adapter, made once, opens the only connection; no other module can.",
        "tests/unit/test_architecture.py::test_the_product_keeps_its_arrows",
        "tests/unit/test_architecture.py::test_an_arrow_that_points_back_is_noticed",
        "tests/flow/test_order_rules.py::test_a_server_holds_one_connection_whatever_it_is_asked",
    ),
    # ---- configuration
    "CFG-01": held(
        "Trading is off until the operator switches it on.",
        "tests/flow/test_order_rules.py::test_a_fresh_installation_places_nothing",
        "tests/unit/test_settings.py::test_without_any_setting_the_simulator_is_used_and_nothing_may_be_traded",
        "tests/unit/safety/test_policy.py::test_trading_is_off_until_the_master_flag_is_set",
    ),
    "CFG-02": held(
        "Orders for currency pairs need a flag of their own.",
        "tests/flow/test_order_rules.py::test_currencies_and_listings_abroad_need_flags_of_their_own",
        "tests/unit/safety/test_policy.py::test_foreign_exchange_needs_its_own_flag",
    ),
    "CFG-03": held(
        "Orders for listings outside the US, or in other currencies, need a flag of their own.",
        "tests/unit/safety/test_policy.py::test_derivatives_listed_abroad_need_the_flag_for_foreign_listings",
        "tests/flow/test_order_rules.py::test_currencies_and_listings_abroad_need_flags_of_their_own",
        "tests/unit/safety/test_policy.py::test_listings_outside_the_us_need_their_own_flag",
    ),
    "CFG-04": held(
        "Placing stop orders needs a flag of its own; listing, changing and cancelling them does not.",
        "tests/flow/test_brackets.py::test_a_bracket_needs_the_flag_of_stops_and_passes_every_switch",
        "tests/flow/test_stop_losses.py::test_without_the_flag_no_stop_is_placed_but_those_there_are_listed_moved_and_cancelled",
        "tests/flow/test_order_rules.py::test_a_stop_order_needs_its_flag_and_is_told_so_before_anything_is_sent",
        "tests/unit/safety/test_policy.py::test_placing_stop_orders_needs_its_own_flag_but_changing_one_does_not",
    ),
    "CFG-05": held(
        "A live account is traded only while every single lock is open.",
        "tests/unit/safety/test_policy.py::test_every_lock_of_live_trading_must_be_open",
        "tests/flow/test_accounts.py::test_a_live_account_needs_every_lock_open",
    ),
    "CFG-06": held(
        "A dry run judges and records in full, stops before the broker and says so.",
        "tests/flow/test_tools_orders.py::test_dry_run_is_judged_and_not_sent",
    ),
    "CFG-07": held(
        "In safe mode an agent reads and cancels entries, whatever else is armed.",
        "tests/flow/test_order_rules.py::test_safe_mode_lets_an_agent_cancel_and_nothing_else",
    ),
    "CFG-08": held(
        "The broker mode is simulator, paper or live, from the configuration alone; the simulator without any.",
        "tests/surface/test_tools_listed.py::test_no_argument_chooses_a_broker_or_how_to_reach_it",
        "tests/unit/test_settings.py::test_without_any_setting_the_simulator_is_used_and_nothing_may_be_traded",
        "tests/unit/test_settings.py::test_broker_mode_is_exactly_one_of_three_words",
        "tests/surface/test_tools_listed.py::test_no_tool_can_loosen_anything",
    ),
    "CFG-09": held(
        "One frozen settings object holds every threshold, and the shell shows each value with its origin.",
        "tests/surface/test_settings_take_effect.py::test_every_setting_is_read_by_the_code_that_it_governs",
        "tests/unit/test_settings.py::test_settings_cannot_be_changed_while_running",
        "tests/unit/test_settings.py::test_effective_configuration_lists_every_setting_once_in_order",
        "tests/unit/test_settings.py::test_documented_defaults_of_the_mandatory_variables_hold",
        "tests/surface/test_cli_settings.py::test_config_show_tells_value_and_origin_and_hides_secrets",
    ),
    "CFG-10": held(
        "Limits that contradict each other, or pass their ceilings, refuse the start and are named.",
        "tests/surface/test_tool_choice.py::test_unknown_toolset_refuses_the_start",
        "tests/unit/test_settings.py::test_limits_out_of_order_are_refused_naming_both",
        "tests/unit/test_settings.py::test_a_value_at_its_ceiling_passes_and_one_above_is_refused",
        "tests/surface/test_cli_settings.py::test_wrong_settings_refuse_every_command_naming_each_variable",
    ),
    "CFG-11": held(
        "A limit that is empty, negative, infinite or no number refuses the start.",
        "tests/unit/test_settings.py::test_what_is_not_a_plain_finite_number_is_refused_and_the_variable_named",
        "tests/unit/test_settings.py::test_zero_is_refused_where_it_means_nothing",
        "tests/surface/test_cli_settings.py::test_wrong_settings_refuse_every_command_naming_each_variable",
    ),
    "CFG-12": held(
        "A misspelt variable refuses the start and is told its right name.",
        "tests/unit/test_settings.py::test_a_misspelt_variable_refuses_the_start_and_suggests_the_right_name",
        "tests/unit/test_settings.py::test_every_setting_with_one_letter_missing_is_recognised",
        "tests/surface/test_cli_settings.py::test_wrong_settings_refuse_every_command_naming_each_variable",
    ),
    "CFG-13": held(
        "Lists may be written with commas or as JSON.",
        "tests/unit/test_settings.py::test_lists_may_be_written_with_commas_or_as_json",
        "tests/unit/test_settings.py::test_order_types_with_a_space_in_their_name_survive_both_list_forms",
        "tests/surface/test_cli_settings.py::test_config_show_tells_value_and_origin_and_hides_secrets",
    ),
    "CFG-15": held(
        "The environment wins over a file, the file over the defaults; a file counts only if it is named.",
        "tests/unit/test_settings.py::test_later_sources_win_and_each_value_knows_where_it_came_from",
        "tests/unit/test_settings.py::test_a_dot_env_file_in_the_working_directory_changes_nothing",
        "tests/surface/test_cli_settings.py::test_config_show_tells_value_and_origin_and_hides_secrets",
    ),
    "CFG-16": held(
        "Each start records the configuration that applied and its fingerprint; nothing changes while it runs.",
        "tests/flow/test_records.py::test_each_start_records_what_applied_and_its_fingerprint",
        "tests/unit/test_settings.py::test_settings_cannot_be_changed_while_running",
        "tests/unit/test_settings.py::test_fingerprint_differs_when_a_value_differs_and_not_when_its_spelling_does",
    ),
    "CFG-17": held(
        "Safety mode is on, and can be off only with the built-in gateway.",
        "tests/flow/test_accounts.py::test_verification_can_be_switched_off_only_explicitly",
        "tests/surface/test_cli_settings.py::test_safety_mode_is_off_only_with_the_simulator",
        "tests/unit/test_settings.py::test_safety_mode_off_on_the_command_line_with_a_paper_account_is_refused",
        "tests/flow/test_limits.py::test_safety_mode_off_waives_limits_on_the_built_in_gateway_only_and_says_so",
        "tests/unit/safety/test_policy.py::test_safety_mode_off_turns_limits_into_warnings_and_nothing_else",
    ),
    "CFG-21": held(
        "Two people raise a limit for hours of one day, never beyond its ceiling; it falls back by itself.",
        "tests/flow/test_limit_raises.py::test_two_risk_managers_raise_a_limit_which_falls_back_by_itself",
        "tests/flow/test_limit_raises.py::test_no_raise_reaches_beyond_the_ceilings_or_the_day",
        "tests/flow/test_limit_raises.py::test_the_factor_multiplies_sizes_and_a_stored_raise_beyond_the_ceiling_counts_for_nothing",
        "tests/surface/test_cli_people.py::test_a_limit_is_raised_by_two_people_at_the_shell",
    ),
    "RM-03": held(
        "A warning multiplies the limits of order, position and day; the status says by what.",
        "tests/flow/test_circuit_breaker.py::test_a_fall_without_an_order_warns_pauses_and_kills_within_two_seconds_each",
        "tests/flow/test_limit_raises.py::test_the_factor_multiplies_sizes_and_a_stored_raise_beyond_the_ceiling_counts_for_nothing",
    ),
    "LLM-03": held(
        "Text that reads like an instruction is counted, and holds the agent's next opening order to one more yes.",
        "tests/flow/test_confirmation.py::test_text_that_reads_like_an_instruction_holds_the_next_opening_order_to_more_and_unlocks_nothing",
        "tests/unit/safety/test_caution.py::test_text_that_gives_orders_to_its_reader_is_flagged",
        "tests/unit/safety/test_caution.py::test_caution_lasts_until_the_next_opening_order_of_that_agent",
        "tests/unit/safety/test_policy.py::test_mode_and_value_decide_who_confirms_an_opening_order",
    ),
    "LLM-04": held(
        "The status names the hash of the tools' descriptions, and a start that tells of others records it.",
        "tests/flow/test_records.py::test_other_tool_descriptions_than_at_the_last_start_are_recorded",
    ),
    "LLM-06": held(
        "A ticket sends once, for its agent, exactly the order that it shows, in the state and time it was made for.",
        "tests/flow/test_confirmation.py::test_above_the_amount_an_agent_orders_in_two_steps_and_each_ticket_is_good_once",
        "tests/flow/test_confirmation.py::test_a_ticket_ends_and_is_void_in_another_state_for_another_agent_or_order",
        "tests/flow/test_confirmation.py::test_a_market_order_of_a_ticket_never_goes_out_at_a_worse_cap_than_was_shown",
        "tests/flow/test_confirmation.py::test_no_sequence_of_calls_uses_a_ticket_twice_or_for_other_terms",
    ),
    "LLM-07": held(
        "Mode and value decide who confirms: nobody, the agent in two steps, or a person outside of MCP.",
        "tests/flow/test_confirmation.py::test_above_the_amount_an_agent_orders_in_two_steps_and_each_ticket_is_good_once",
        "tests/unit/safety/test_policy.py::test_mode_and_value_decide_who_confirms_an_opening_order",
        "tests/flow/test_confirmation.py::test_a_person_confirms_outside_of_mcp_and_nobody_else_can",
        "tests/flow/test_confirmation.py::test_a_client_that_says_yes_is_the_agents_second_step_and_never_a_person",
        "tests/flow/test_accounts.py::test_a_live_account_needs_every_lock_open",
    ),
    "LLM-08": held(
        "Few prepared orders may wait for a yes at once, and few may be prepared in an hour.",
        "tests/flow/test_confirmation.py::test_requests_for_a_yes_are_few_and_a_repeat_that_is_meant_takes_one",
    ),
    "CFG-18": held(
        "Kill switch, audit log and verification are never off in live mode, and on paper only acknowledged and shown.",
        "tests/flow/test_disabled_controls.py::test_a_control_is_off_never_in_live_mode_and_on_paper_only_with_the_acknowledgement",
        "tests/flow/test_disabled_controls.py::test_what_is_off_shows_in_the_status_and_in_the_log",
    ),
    "CFG-20": held(
        "The state directory belongs to the user alone, is never temporary, and is refused otherwise.",
        "tests/surface/test_cli_settings.py::test_a_state_directory_that_others_can_reach_refuses_the_start",
        "tests/unit/test_state_dir.py::test_a_temporary_directory_is_refused_and_left_untouched",
        "tests/unit/test_state_dir.py::test_a_symbolic_link_is_refused",
        "tests/unit/test_state_dir.py::test_a_directory_of_another_user_is_refused",
        "tests/unit/test_state_dir.py::test_a_directory_that_others_can_reach_is_refused_and_not_repaired_silently",
        "tests/unit/test_state_dir.py::test_own_files_are_closed_to_others",
        "tests/unit/store/test_sqlite_file.py::test_only_the_owner_can_read_the_files",
    ),
    # ---- orders
    "ORD-01": held(
        "A quantity is a positive finite JSON number on the contract's step.",
        "tests/surface/test_bad_input_matrix.py::test_raw_lines_that_are_hardly_json_place_nothing_and_the_next_call_works",
        "tests/surface/test_bad_input_matrix.py::test_every_wrong_value_of_every_argument_is_a_structured_refusal",
        "tests/flow/test_order_rules.py::test_each_rule_passes_at_its_limit_and_refuses_beyond_it",
        "tests/surface/test_tools_bad_input.py::test_each_fault_has_its_code_and_all_are_told_together",
        "tests/surface/test_tools_bad_input.py::test_only_finite_positive_numbers_within_bounds_are_numbers",
        "tests/unit/safety/test_policy.py::test_quantities_that_are_no_whole_positive_number_of_shares_are_refused",
    ),
    "ORD-02": held(
        "Prices are positive and lie on the contract's grid.",
        "tests/unit/safety/test_order_types.py::test_a_term_that_a_type_needs_must_be_there_and_one_that_it_lacks_must_not",
        "tests/flow/test_order_rules.py::test_each_rule_passes_at_its_limit_and_refuses_beyond_it",
        "tests/unit/safety/test_policy.py::test_a_limit_price_passes_exactly_when_it_lies_on_the_grid",
        "tests/surface/test_tools_bad_input.py::test_each_fault_has_its_code_and_all_are_told_together",
    ),
    "ORD-03": held(
        "The side is BUY or SELL, exactly.",
        "tests/surface/test_tools_bad_input.py::test_each_fault_has_its_code_and_all_are_told_together",
    ),
    "ORD-04": held(
        "A symbol means exactly one contract, or the candidates are told and none is chosen.",
        "tests/flow/test_order_rules.py::test_each_rule_passes_at_its_limit_and_refuses_beyond_it",
        "tests/surface/test_bad_input_matrix.py::test_a_symbol_that_is_none_or_several_is_refused_and_never_interpreted",
        "tests/flow/test_broker_reads.py::test_ambiguous_symbol_is_refused_with_candidates",
        "tests/flow/test_broker_reads.py::test_symbol_forms_resolve_to_one_contract",
        "tests/flow/test_tools_reads.py::test_con_id_of_another_symbol_is_refused",
    ),
    "ORD-05": held(
        "All faults of a request are told together.",
        "tests/unit/safety/test_order_types.py::test_a_term_that_a_type_needs_must_be_there_and_one_that_it_lacks_must_not",
        "tests/surface/test_tools_bad_input.py::test_each_fault_has_its_code_and_all_are_told_together",
        "tests/surface/test_tools_bad_input.py::test_nothing_bad_reaches_the_wire_and_each_is_recorded_once",
    ),
    "ORD-06": held(
        "An order has at most the configured number of units.",
        "tests/flow/test_order_rules.py::test_each_rule_passes_at_its_limit_and_refuses_beyond_it",
        "tests/unit/safety/test_policy.py::test_the_size_limit_admits_itself_and_refuses_one_more",
    ),
    "ORD-07": held(
        "An order is valued in dollars at the worst price it can fill at, with multiplier and exchange rate.",
        "tests/flow/test_derivatives.py::test_an_option_order_is_valued_with_its_multiplier_and_refused_above_the_value_limit",
        "tests/unit/safety/test_order_types.py::test_every_type_is_valued_at_the_worst_price_it_could_fill_at",
        "tests/unit/safety/test_policy.py::test_an_order_whose_value_is_unknown_is_refused_and_never_worth_zero",
        "tests/unit/safety/test_policy.py::test_an_option_is_worth_its_premium_times_its_multiplier",
        "tests/flow/test_order_rules.py::test_the_value_limit_counts_the_worst_price_on_either_side",
        "tests/flow/test_order_rules.py::test_a_market_order_is_worth_its_cap_and_travels_with_it",
        "tests/flow/test_order_rules.py::test_other_currencies_and_pence_are_valued_in_dollars",
        "tests/unit/safety/test_policy.py::test_value_counts_multiplier_magnifier_and_exchange_rate",
        "tests/unit/safety/test_policy.py::test_the_value_limit_admits_itself_and_refuses_a_cent_more",
    ),
    "ORD-08": held(
        "Without a fresh believable price there is no order.",
        "tests/unit/safety/test_order_types.py::test_every_type_is_valued_at_the_worst_price_it_could_fill_at",
        "tests/flow/test_order_rules.py::test_without_a_price_no_order_passes_whatever_its_limit",
        "tests/flow/test_order_rules.py::test_a_quote_that_cannot_be_true_is_no_price",
        "tests/flow/test_order_rules.py::test_a_price_older_than_allowed_is_no_price",
        "tests/unit/safety/test_policy.py::test_no_fresh_believable_price_means_no_order",
        "tests/unit/safety/test_policy.py::test_a_quote_exactly_as_old_as_allowed_still_counts",
    ),
    "ORD-09": held(
        "A limit crosses the market by at most the collar, and a market order travels capped at it.",
        "tests/flow/test_order_rules.py::test_a_market_order_is_worth_its_cap_and_travels_with_it",
        "tests/unit/safety/test_order_types.py::test_the_collar_of_a_stop_limit_is_measured_from_its_stop",
        "tests/unit/safety/test_order_types.py::test_a_market_order_that_cannot_be_capped_is_refused",
        "tests/flow/test_order_rules.py::test_each_rule_passes_at_its_limit_and_refuses_beyond_it",
        "tests/unit/safety/test_policy.py::test_a_limit_may_cross_the_reference_by_the_collar_and_no_more",
        "tests/flow/test_broker_writes.py::test_market_order_with_a_cap_travels_as_a_limit_order_at_the_cap",
        "tests/flow/test_tools_orders.py::test_market_order_fills_and_names_the_limit_that_it_travelled_with",
    ),
    "ORD-10": held(
        "Only listed order types and times in force pass; market orders need regular hours and live data.",
        "tests/flow/test_order_rules.py::test_each_rule_passes_at_its_limit_and_refuses_beyond_it",
        "tests/unit/safety/test_order_types.py::test_a_time_in_force_passes_only_with_the_types_that_have_it",
        "tests/unit/safety/test_order_types.py::test_an_entry_may_not_outlive_the_trading_day_by_a_date_either",
        "tests/flow/test_order_rules.py::test_market_orders_need_live_data_and_regular_hours",
        "tests/flow/test_order_rules.py::test_a_market_order_after_the_close_is_refused_with_the_next_opening",
        "tests/unit/safety/test_policy.py::test_market_orders_need_regular_hours_and_live_data",
        "tests/unit/safety/test_policy.py::test_only_listed_order_types_and_times_in_force_pass_and_gtc_is_for_protection",
    ),
    "ORD-11": held(
        "A stop lies on the losing side and protects what is held; otherwise it is an opening order.",
        "tests/flow/test_stop_losses.py::test_a_stop_on_the_wrong_side_is_refused_and_a_buy_stop_when_flat_is_an_opening_order",
        "tests/unit/safety/test_order_types.py::test_a_stop_must_lie_where_it_waits_and_its_limit_where_it_fills",
        "tests/flow/test_stop_losses.py::test_a_stop_beyond_the_position_is_an_opening_order",
    ),
    "ORD-19": held(
        "A change is judged as the whole resulting order; asking for more passes the full chain.",
        "tests/unit/safety/test_state.py::test_a_change_that_can_cost_more_or_wake_an_order_sooner_opens_more",
        "tests/flow/test_order_rules.py::test_an_order_cannot_be_changed_past_the_limits",
        "tests/unit/safety/test_policy.py::test_a_modification_is_judged_as_the_whole_resulting_order",
        "tests/unit/safety/test_state.py::test_asking_for_more_units_or_a_worse_price_opens_more",
        "tests/flow/test_limits.py::test_cancels_modifications_downwards_and_reads_use_no_order_quota",
    ),
    "ORD-20": held(
        "A bracket is judged and reserved as one unit, and counts as one opening order.",
        "tests/flow/test_brackets.py::test_a_bracket_is_one_opening_order_in_every_count_and_each_order_has_its_record",
        "tests/flow/test_brackets.py::test_three_orders_go_live_together_and_the_exits_wait_for_the_entry",
        "tests/flow/test_brackets.py::test_a_bracket_whose_parts_do_not_fit_is_refused_whole",
        "tests/flow/test_brackets.py::test_ten_at_once_with_room_for_one_send_exactly_one_whole_bracket",
        "tests/flow/test_brackets.py::test_a_stop_in_the_middle_of_a_bracket_leaves_nothing_that_can_trade",
        "tests/flow/test_brackets.py::test_when_the_last_order_is_refused_the_staged_ones_are_withdrawn",
        "tests/flow/test_brackets.py::test_a_bracket_whose_answer_is_lost_is_unknown_and_found_whole",
        "tests/unit/safety/test_state.py::test_orders_of_one_group_share_a_quantity_and_others_do_not",
    ),
    "ORD-22": held(
        "Free text of a request is short, of safe characters, and never interpreted.",
        "tests/surface/test_bad_input_matrix.py::test_every_wrong_value_of_every_argument_is_a_structured_refusal",
        "tests/surface/test_tools_bad_input.py::test_each_fault_has_its_code_and_all_are_told_together",
    ),
    # ---- limits of frequency
    "RL-01": held(
        "Opening orders in any rolling minute are limited, and the refusal says when the next one passes.",
        "tests/flow/test_limits.py::test_the_sixth_opening_order_in_a_minute_is_refused_and_passes_when_the_first_has_left",
        "tests/unit/safety/test_policy.py::test_the_minute_admits_n_and_refuses_the_next_until_the_oldest_leaves",
    ),
    "RL-02": held(
        "Market data is limited by symbol, not by call.",
        "tests/flow/test_tools_forex.py::test_rates_count_against_the_limit_of_quotes",
        "tests/unit/safety/test_policy.py::test_market_data_counts_symbols_and_caps_a_call",
        "tests/flow/test_limits.py::test_market_data_is_limited_by_symbol_not_by_call",
        "tests/flow/test_tools_reads.py::test_quotes_are_counted_by_symbol",
        "tests/flow/test_options.py::test_each_option_counts_for_the_rate_of_market_data",
    ),
    "RL-03": held(
        "Windows follow elapsed time; a step of the wall clock neither frees nor freezes them.",
        "tests/contract/store/test_intents.py::test_a_step_of_the_wall_clock_changes_no_window",
        "tests/flow/test_limits.py::test_a_step_of_the_wall_clock_neither_frees_nor_freezes_the_window",
        "tests/unit/store/test_window_properties.py::test_only_elapsed_time_frees_the_window_whatever_the_wall_clock_does",
    ),
    "RL-04": held(
        "At most the configured share of the broker's message limit is used in any second.",
        "tests/flow/test_limits.py::test_a_burst_of_reads_never_exceeds_the_share_of_the_brokers_message_limit",
        "tests/flow/test_broker_link.py::test_burst_of_reads_stays_below_the_rate_in_every_second",
    ),
    "RL-05": held(
        "Opening orders in a trading day are limited, with a warning well before.",
        "tests/flow/test_limits.py::test_the_day_warns_refuses_and_begins_anew_at_seventeen_in_new_york",
        "tests/unit/safety/test_policy.py::test_the_day_admits_its_limit_warns_before_it_and_refuses_after_it",
    ),
    "RL-07": held(
        "The day's counters begin anew once, when the trading day does, through daylight saving too.",
        "tests/contract/store/test_intents.py::test_the_daily_count_starts_anew_at_17_00_new_york",
        "tests/flow/test_limits.py::test_the_day_warns_refuses_and_begins_anew_at_seventeen_in_new_york",
        "tests/flow/test_limits.py::test_the_trading_day_follows_new_york_through_daylight_saving",
        "tests/unit/store/test_window_properties.py::test_every_moment_counts_on_one_trading_day_which_ends_at_its_boundary",
    ),
    "RL-08": held(
        "A refused request uses no quota; quota comes back only for what provably never left.",
        "tests/flow/test_limits.py::test_fifty_orders_at_once_with_room_for_three_send_exactly_three",
        "tests/flow/test_limits.py::test_refused_orders_of_every_kind_leave_all_counters_alone",
        "tests/flow/test_stopping.py::test_a_dropped_order_gives_its_quota_back_and_a_sent_one_does_not",
        "tests/contract/store/test_intents.py::test_quota_comes_back_only_for_what_never_left",
        "tests/flow/test_trading_machine.py::test_whatever_agents_market_gateway_and_people_do_the_invariants_hold",
    ),
    "RL-09": held(
        "Counters are what the store says, so a restart or a kill changes nothing.",
        "tests/contract/store/test_audit.py::test_a_killed_process_leaves_whole_transactions_and_a_valid_chain",
        "tests/contract/store/test_intents.py::test_counters_are_the_same_after_a_restart",
        "tests/flow/test_limits.py::test_counters_survive_a_restart",
        "tests/flow/test_crashes.py::test_killed_while_placing_orders_the_restarted_server_knows_them_all_and_doubles_none",
    ),
    # ---- accounts
    "ACC-01": held(
        "By default only paper accounts are traded; one that looks live blocks every write and no read.",
        "tests/unit/safety/test_policy.py::test_accounts_that_are_no_paper_accounts_block_every_write",
        "tests/flow/test_accounts.py::test_a_live_looking_account_blocks_every_write_and_no_read",
        "tests/flow/test_tools_reads.py::test_live_looking_account_is_told_and_blocks_writes_while_reads_work",
    ),
    "ACC-02": held(
        "Account prefixes are compared exactly and followed by a digit; an empty list refuses the start.",
        "tests/unit/safety/test_policy.py::test_accounts_that_are_no_paper_accounts_block_every_write",
        "tests/unit/test_settings.py::test_account_prefixes_are_one_or_more_groups_of_capital_letters",
        "tests/flow/test_accounts.py::test_a_live_looking_account_blocks_every_write_and_no_read",
    ),
    "ACC-03": held(
        "The verification of accounts can be switched off for the built-in gateway only.",
        "tests/flow/test_accounts.py::test_verification_can_be_switched_off_only_explicitly",
        "tests/unit/test_settings.py::test_safety_mode_can_be_off_only_with_the_simulator",
    ),
    "ACC-04": held(
        "Each verification of the accounts is recorded with its result.",
        "tests/flow/test_accounts.py::test_a_live_looking_account_blocks_every_write_and_no_read",
        "tests/flow/test_accounts.py::test_accounts_are_verified_again_when_the_last_word_of_the_broker_is_too_old",
    ),
    "ACC-05": held(
        "The accounts are those that the broker lists; an argument only selects among them.",
        "tests/flow/test_switch_account.py::test_account_that_the_broker_does_not_list_is_refused_and_the_old_one_stays",
        "tests/unit/safety/test_policy.py::test_an_account_argument_only_selects_among_those_the_broker_lists",
        "tests/flow/test_accounts.py::test_an_account_argument_selects_among_the_brokers_and_cannot_name_another",
        "tests/flow/test_tools_reads.py::test_account_that_is_not_on_the_link_is_refused",
    ),
    "ACC-06": held(
        "One account that may not be traded blocks all writes on its link.",
        "tests/flow/test_switch_account.py::test_nothing_is_switched_on_a_link_with_an_account_that_may_not_be_traded",
        "tests/unit/safety/test_policy.py::test_accounts_that_are_no_paper_accounts_block_every_write",
        "tests/flow/test_accounts.py::test_a_live_looking_account_blocks_every_write_and_no_read",
    ),
    "ACC-07": held(
        "Accounts are verified at each connect and again before an order when the last word is too old.",
        "tests/flow/test_broker_link.py::test_account_swapped_during_a_reconnect_is_told",
        "tests/flow/test_accounts.py::test_accounts_are_verified_again_when_the_last_word_of_the_broker_is_too_old",
        "tests/flow/test_accounts.py::test_an_account_swapped_during_a_reconnect_blocks_the_next_order",
        "tests/unit/safety/test_policy.py::test_a_verification_older_than_allowed_does_not_count",
    ),
    "ACC-08": held(
        "A port known for the other kind of account refuses the start.",
        "tests/flow/test_accounts.py::test_a_port_of_the_other_kind_of_account_refuses_the_start",
        "tests/unit/test_settings.py::test_a_port_of_the_other_kind_of_account_is_refused",
    ),
    "ACC-09": held(
        "Each order names its account, and the broker's echo is compared with it.",
        "tests/flow/test_lost_outcomes.py::test_an_order_that_the_broker_echoes_in_another_account_stops_trading",
        "tests/flow/test_accounts.py::test_an_account_argument_selects_among_the_brokers_and_cannot_name_another",
        "tests/flow/test_broker_writes.py::test_order_held_in_another_account_is_a_fault",
    ),
    "ACC-11": held(
        "Switching the account is verified and recorded, forgets known contracts, and changes nothing if refused.",
        "tests/flow/test_switch_account.py::test_later_calls_mean_the_new_account_until_they_name_another",
        "tests/flow/test_switch_account.py::test_account_that_the_broker_does_not_list_is_refused_and_the_old_one_stays",
        "tests/flow/test_switch_account.py::test_nothing_is_switched_on_a_link_with_an_account_that_may_not_be_traded",
        "tests/flow/test_switch_account.py::test_switch_is_verified_afresh_recorded_and_forgets_what_was_known_of_contracts",
        "tests/flow/test_switch_account.py::test_orders_are_refused_when_the_chosen_account_is_served_no_more",
    ),
    # ---- stopping
    "KS-01": held(
        "One switch stops all opening orders on every path at once.",
        "tests/flow/test_brackets.py::test_a_bracket_needs_the_flag_of_stops_and_passes_every_switch",
        "tests/flow/test_stopping.py::test_after_the_agent_stops_no_opening_order_reaches_the_gateway_and_entries_are_cancelled",
        "tests/flow/test_stopping.py::test_a_stop_in_one_server_holds_in_another_on_the_same_state_directory",
        "tests/surface/test_cli_beside_a_server.py::test_portfolio_halt_from_a_shell_stops_the_running_server_and_cancels_its_entries",
    ),
    "KS-02": held(
        "A stop halts, halts and closes positions, or locks down; a later one can only be stricter.",
        "tests/unit/safety/test_state.py::test_while_positions_are_closed_only_the_coordinator_touches_orders",
        "tests/surface/test_cli_stop_and_reset.py::test_one_strategy_is_halted_and_resumed_and_everything_locked_by_command",
        "tests/contract/store/test_latches.py::test_a_later_call_can_only_escalate",
    ),
    "KS-03": held(
        "One agent or one instrument is stopped alone, and the others go on.",
        "tests/flow/test_scoped_stops.py::test_a_halted_agent_opens_nothing_its_entries_go_and_the_other_agent_trades_on",
        "tests/flow/test_scoped_stops.py::test_an_instrument_is_stopped_alone_and_what_cannot_be_told_apart_stops_everything",
        "tests/contract/store/test_latches.py::test_scopes_have_latches_of_their_own_and_only_the_accounts_is_missed",
    ),
    "ST-01": held(
        "An agent is halted by its name without any proof, and resumed only with one.",
        "tests/flow/test_scoped_stops.py::test_a_halted_agent_opens_nothing_its_entries_go_and_the_other_agent_trades_on",
        "tests/surface/test_cli_stop_and_reset.py::test_one_strategy_is_halted_and_resumed_and_everything_locked_by_command",
    ),
    "ST-08": held(
        "A halted agent's entries are cancelled; what protects positions stays.",
        "tests/flow/test_scoped_stops.py::test_a_halted_agent_opens_nothing_its_entries_go_and_the_other_agent_trades_on",
    ),
    "KS-21": held(
        "Callbacks are told of halts, trips and changes of mode; one that hangs or fails delays and undoes nothing.",
        "tests/flow/test_circuit_breaker.py::test_a_fall_without_an_order_warns_pauses_and_kills_within_two_seconds_each",
        "tests/flow/test_scoped_stops.py::test_an_agent_halts_and_nothing_more_and_nobody_elses_strategy",
    ),
    "KS-04": held(
        "A stop keeps its time, actor, authentication, reason, mode and scope.",
        "tests/flow/test_stopping.py::test_after_the_agent_stops_no_opening_order_reaches_the_gateway_and_entries_are_cancelled",
        "tests/contract/store/test_latches.py::test_an_activation_keeps_who_when_how_and_why_over_a_restart",
        "tests/surface/test_cli_stop_and_reset.py::test_portfolio_halt_needs_nothing_and_status_tells_who_when_why",
    ),
    "KS-05": held(
        "A stop survives restart, kill and any step of the clock until a human ends it.",
        "tests/contract/store/test_latches.py::test_an_activation_keeps_who_when_how_and_why_over_a_restart",
        "tests/flow/test_stopping.py::test_a_stop_survives_a_restart_and_the_wall_clock",
        "tests/flow/test_crashes.py::test_killed_while_placing_orders_the_restarted_server_knows_them_all_and_doubles_none",
    ),
    "KS-06": held(
        "A switch that is missing, unreadable or contradictory counts as on.",
        "tests/flow/test_tools_reads.py::test_safety_status_says_stopped_when_the_store_cannot_be_read",
        "tests/unit/store/test_sqlite_file.py::test_damage_in_a_table_that_decides_is_found_at_the_start",
        "tests/flow/test_stopping.py::test_a_switch_that_cannot_be_read_counts_as_on",
        "tests/contract/store/test_latches.py::test_a_missing_or_inconsistent_record_reads_as_active",
        "tests/surface/test_tools_answers.py::test_server_whose_store_does_not_open_says_so_in_every_tool_and_can_still_be_stopped",
        "tests/surface/test_cli_stop_and_reset.py::test_halt_holds_by_the_stop_file_when_the_store_or_the_settings_are_broken",
    ),
    "KS-07": held(
        "Tool, shell, stop file, program, signal, environment and Redis key each stop by themselves.",
        "tests/flow/test_ways_to_stop.py::test_the_environments_flag_stops_at_the_start_and_ends_nothing",
        "tests/flow/test_ways_to_stop.py::test_the_key_in_redis_stops_and_cannot_resume_and_no_redis_opens_nothing",
        "tests/flow/test_ways_to_stop.py::test_a_program_stops_and_is_refused_a_reset",
        "tests/flow/test_ways_to_stop.py::test_a_signal_stops_and_a_server_that_is_told_to_end_ends_in_order",
        "tests/surface/test_cli_beside_a_server.py::test_portfolio_halt_from_a_shell_stops_the_running_server_and_cancels_its_entries",
        "tests/flow/test_stopping.py::test_after_the_agent_stops_no_opening_order_reaches_the_gateway_and_entries_are_cancelled",
        "tests/surface/test_cli_stop_and_reset.py::test_portfolio_halt_needs_nothing_and_status_tells_who_when_why",
        "tests/flow/test_stopping.py::test_the_sentinel_file_stops_at_once_and_is_latched",
        "tests/surface/test_cli_stop_and_reset.py::test_a_stop_file_left_by_hand_shows_as_a_stop_even_before_the_first_start",
    ),
    "KS-08": held(
        "A stop is latched before its effects; an effect that fails does not undo it.",
        "tests/surface/test_cli_stop_and_reset.py::test_halt_holds_by_the_stop_file_when_the_store_or_the_settings_are_broken",
        "tests/flow/test_stopping.py::test_a_stop_latches_before_its_effects_and_holds_when_they_fail",
        "tests/flow/test_stopping.py::test_a_stop_holds_when_the_store_cannot_be_written",
    ),
    "KS-09": held(
        "A hundred stops at once are one stop and ninety-nine recorded repeats; a later call can only be stricter.",
        "tests/flow/test_stop_scenarios.py::test_many_doors_at_once_make_one_stop_and_recorded_repeats",
        "tests/surface/test_cli_stop_and_reset.py::test_portfolio_halt_needs_nothing_and_status_tells_who_when_why",
        "tests/flow/test_stopping.py::test_a_hundred_stops_at_once_are_one_activation_and_ninety_nine_recorded_repeats",
        "tests/contract/store/test_latches.py::test_a_hundred_triggers_are_one_activation_and_ninety_nine_repeats",
        "tests/contract/store/test_latches.py::test_a_later_call_can_only_escalate",
    ),
    "KS-10": held(
        "An agent may stop and nothing else: no tool resets, narrows or loosens.",
        "tests/surface/test_tools_answers.py::test_guessed_tools_are_refused_before_anything_else",
        "tests/flow/test_stopping.py::test_no_tool_resets_resumes_approves_or_configures",
        "tests/surface/test_tools_listed.py::test_no_tool_can_loosen_anything",
        "tests/contract/store/test_latches.py::test_only_a_human_clears_it",
        "tests/flow/test_scoped_stops.py::test_an_agent_halts_and_nothing_more_and_nobody_elses_strategy",
        "tests/unit/safety/test_state.py::test_only_the_coordinator_itself_is_taken_for_it",
    ),
    "KS-12": held(
        "A stop cancels the working entry orders and keeps the orders that protect a position.",
        "tests/flow/test_brackets.py::test_a_stop_cancels_the_entry_and_with_it_the_exits_that_wait",
        "tests/surface/test_cli_beside_a_server.py::test_portfolio_halt_from_a_shell_stops_the_running_server_and_cancels_its_entries",
        "tests/flow/test_stopping.py::test_a_stop_cancels_entries_and_keeps_what_protects_a_position",
        "tests/flow/test_stopping.py::test_after_the_agent_stops_no_opening_order_reaches_the_gateway_and_entries_are_cancelled",
        "tests/surface/test_tools_answers.py::test_stop_needs_no_good_arguments_and_cancels_entries",
        "tests/unit/safety/test_state.py::test_a_reducing_stop_is_protective_and_an_opening_stop_is_not",
    ),
    "KS-13": held(
        "While stopped, a reduction passes only if the position, less what already works against it, covers it.",
        "tests/flow/test_exits.py::test_a_position_is_closed_by_the_brokers_word_while_trading_is_stopped_and_no_quota_is_used",
        "tests/flow/test_stop_losses.py::test_while_stopped_protection_may_be_added_and_tightened_but_not_weakened_or_removed",
        "tests/flow/test_stopping.py::test_cancelling_works_while_stopped_and_so_does_a_verified_reduction",
        "tests/flow/test_stopping.py::test_two_reductions_at_once_cannot_both_use_the_same_position",
        "tests/unit/safety/test_state.py::test_a_reduction_strictly_reduces_and_never_crosses_zero_whatever_else_fills",
    ),
    "KS-14": held(
        "On a person's order every position is closed, sized by the broker's word, and never across zero.",
        "tests/flow/test_closing.py::test_everything_is_cancelled_and_closed_and_then_the_stop_can_be_ended",
        "tests/flow/test_closing.py::test_partial_fills_rejections_and_a_halted_market_end_flat_without_crossing_zero",
        "tests/flow/test_closing.py::test_a_closed_market_is_waited_for_and_nothing_is_sent_before_it_opens",
        "tests/flow/test_closing.py::test_where_the_configuration_lets_nothing_be_closed_no_protection_is_taken_away",
        "tests/unit/safety/test_state.py::test_while_positions_are_closed_only_the_coordinator_touches_orders",
    ),
    "KS-15": held(
        "Ending a stop takes the operator's proof, a reason, and a log that verifies.",
        "tests/flow/test_stopping.py::test_only_the_operators_proof_ends_a_stop_and_orders_pass_again",
        "tests/surface/test_cli_stop_and_reset.py::test_only_the_right_passphrase_resets_and_five_wrong_ones_lock_the_door",
        "tests/surface/test_cli_stop_and_reset.py::test_reset_is_refused_while_the_audit_log_does_not_verify",
    ),
    "KS-16": held(
        "The operator types a passphrase at a terminal; five wrong ones lock the door for a quarter of an hour.",
        "tests/flow/test_stopping.py::test_only_the_operators_proof_ends_a_stop_and_orders_pass_again",
        "tests/surface/test_cli_stop_and_reset.py::test_a_passphrase_is_typed_at_a_terminal_or_refused",
        "tests/surface/test_cli_stop_and_reset.py::test_only_the_right_passphrase_resets_and_five_wrong_ones_lock_the_door",
        "tests/flow/test_stopping.py::test_five_wrong_passphrases_lock_the_door_for_fifteen_minutes_also_across_a_restart",
        "tests/unit/safety/test_operators.py::test_a_one_time_code_is_needed_besides_the_passphrase_and_is_good_once",
    ),
    "KS-17": held(
        "A reset in live mode or after a KILL threshold takes two different people within a quarter of an hour.",
        "tests/surface/test_cli_people.py::test_in_live_mode_a_reset_takes_two_admins",
        "tests/surface/test_cli_people.py::test_a_stop_made_by_a_kill_threshold_takes_two_admins_on_paper_too",
        "tests/unit/safety/test_operators.py::test_two_different_people_approve_within_a_quarter_of_an_hour",
        "tests/contract/store/test_approvals.py::test_two_people_grant_what_one_asked_and_a_second_vote_of_one_person_cannot_be_stored",
        "tests/contract/store/test_approvals.py::test_a_request_ends_by_the_machines_own_time",
    ),
    "KS-19": held(
        "A role belongs to a credential: who has too low a role is refused and recorded, whatever name they type.",
        "tests/unit/safety/test_operators.py::test_a_role_belongs_to_the_credential_and_not_to_a_typed_name",
        "tests/unit/safety/test_operators.py::test_each_role_may_what_those_below_it_may",
        "tests/surface/test_cli_people.py::test_in_live_mode_a_reset_takes_two_admins",
        "tests/surface/test_cli_people.py::test_operators_are_added_listed_and_removed_by_an_admin",
    ),
    "KS-18": held(
        "Stopping needs no second person, no secret, no reason and no well-formed arguments.",
        "tests/contract/store/test_latches.py::test_a_reason_is_not_required_to_stop",
        "tests/flow/test_stopping.py::test_after_the_agent_stops_no_opening_order_reaches_the_gateway_and_entries_are_cancelled",
        "tests/surface/test_cli_stop_and_reset.py::test_only_the_right_passphrase_resets_and_five_wrong_ones_lock_the_door",
        "tests/unit/safety/test_policy_order.py::test_the_status_can_be_read_and_a_stop_pressed_in_every_state",
        "tests/surface/test_tools_answers.py::test_stop_needs_no_good_arguments_and_cancels_entries",
        "tests/surface/test_tools_bad_input.py::test_a_stop_takes_any_arguments",
        "tests/surface/test_cli_stop_and_reset.py::test_portfolio_halt_needs_nothing_and_status_tells_who_when_why",
    ),
    "SIG-11": held(
        "The local ways to stop need no secret, no network and no right clock.",
        "tests/flow/test_stopping.py::test_the_sentinel_file_stops_at_once_and_is_latched",
        "tests/surface/test_cli_beside_a_server.py::test_portfolio_halt_from_a_shell_stops_the_running_server_and_cancels_its_entries",
        "tests/surface/test_control_api.py::test_local_stops_hold_with_a_clock_that_is_a_year_off",
    ),
    "KS-23": held(
        "A drill practises the whole stop path and prints what it took beside what it may take.",
        "tests/surface/test_cli_drill.py::test_a_drill_prints_what_it_took_beside_what_it_may_take_and_is_remembered",
        "tests/surface/test_cli_drill.py::test_a_drill_against_paper_needs_the_paper_mode",
    ),
    "QA-06": held(
        "The last drill shows in the status, and one that is more than thirty days old is a warning.",
        "tests/surface/test_cli_drill.py::test_a_drill_prints_what_it_took_beside_what_it_may_take_and_is_remembered",
        "tests/surface/test_cli_drill.py::test_a_drill_is_overdue_after_thirty_days",
    ),
    "KS-22": held(
        "The switch is looked at before each order, and again in the last gate before the socket.",
        "tests/flow/test_stopping.py::test_an_order_that_waits_for_the_gate_while_somebody_stops_is_dropped",
        "tests/flow/test_stopping.py::test_a_dropped_order_gives_its_quota_back_and_a_sent_one_does_not",
        "tests/flow/test_stop_scenarios.py::test_orders_that_wait_for_the_pace_are_dropped_by_a_stop_and_a_fill_under_it_is_booked",
    ),
    "KS-24": held(
        "While trading is stopped, fills are booked and records are compared.",
        "tests/flow/test_stop_scenarios.py::test_orders_that_wait_for_the_pace_are_dropped_by_a_stop_and_a_fill_under_it_is_booked",
        "tests/flow/test_closing.py::test_everything_is_cancelled_and_closed_and_then_the_stop_can_be_ended",
    ),
    "RM-06": held(
        "What is permitted is the strictest of all that is active, each cause shown with how it ends.",
        "tests/unit/safety/test_state.py::test_another_cause_never_permits_more",
        "tests/surface/test_tools_answers.py::test_every_tool_answers_in_shape_after_a_stop_and_reads_still_work",
    ),
    # ---- one intent, one order
    "ID-01": held(
        "A request with a key is carried out once, however often it is made; without a key it is given one.",
        "tests/flow/test_brackets.py::test_one_key_is_one_bracket",
        "tests/flow/test_stop_losses.py::test_one_key_is_one_stop",
        "tests/flow/test_tools_orders.py::test_same_key_twice_is_one_order_and_the_second_answer_is_marked",
        "tests/flow/test_tools_orders.py::test_minted_key_comes_back_and_names_the_order",
    ),
    "ID-02": held(
        "The key is durable before anything is sent, so a kill at any moment doubles no order.",
        "tests/flow/test_crashes.py::test_killed_while_placing_orders_the_restarted_server_knows_them_all_and_doubles_none",
        "tests/contract/store/test_intents.py::test_twenty_tasks_with_one_key_have_one_winner",
        "tests/contract/store/test_intents.py::test_every_step_that_the_table_does_not_list_is_refused",
    ),
    "ID-03": held(
        "The same key with another request is refused.",
        "tests/flow/test_brackets.py::test_one_key_is_one_bracket",
        "tests/flow/test_tools_orders.py::test_same_key_twice_is_one_order_and_the_second_answer_is_marked",
        "tests/surface/test_tools_bad_input.py::test_other_names_nulls_and_ways_to_write_a_number_ask_for_the_same",
    ),
    "ID-04": held(
        "The same key again is told that it is in progress, or gets the outcome, marked as replayed.",
        "tests/flow/test_brackets.py::test_one_key_is_one_bracket",
        "tests/flow/test_stop_losses.py::test_one_key_is_one_stop",
        "tests/flow/test_lost_outcomes.py::test_a_repeated_request_is_told_where_its_order_stands_now",
        "tests/flow/test_tools_orders.py::test_same_key_twice_is_one_order_and_the_second_answer_is_marked",
        "tests/flow/test_tools_orders.py::test_lost_answer_is_unknown_and_says_how_to_find_out",
    ),
    "ID-06": held(
        "Cancelling again is a success with the final state.",
        "tests/flow/test_broker_writes.py::test_cancelled_order_is_reported_in_the_brokers_words",
        "tests/flow/test_broker_writes.py::test_cancelling_a_filled_order_returns_the_fill",
    ),
    "ID-07": held(
        "The key travels in the order's reference, and a lost order is found by it, never by an id handed out again.",
        "tests/flow/test_lost_outcomes.py::test_an_order_that_never_arrived_is_not_credited_with_one_that_got_its_id",
        "tests/flow/test_broker_writes.py::test_lost_acknowledgement_is_an_unknown_outcome_and_the_order_is_found_by_its_reference",
        "tests/unit/broker/test_reconcile.py::test_order_id_handed_out_again_attributes_nothing",
        "tests/unit/broker/test_reconcile.py::test_no_order_is_ever_credited_to_two_references",
        "tests/unit/broker/test_book.py::test_order_ids_of_an_earlier_connection_name_nothing",
    ),
    "ID-08": held(
        "An outcome that is not proven is unknown, keeps its quota, and holds up what would open in that instrument.",
        "tests/flow/test_brackets.py::test_a_bracket_whose_answer_is_lost_is_unknown_and_found_whole",
        "tests/flow/test_lost_outcomes.py::test_while_an_outcome_is_unknown_its_quota_stays_and_nothing_more_opens_there",
        "tests/flow/test_broker_writes.py::test_lost_acknowledgement_is_an_unknown_outcome_and_the_order_is_found_by_its_reference",
        "tests/flow/test_broker_writes.py::test_link_lost_around_an_order_is_an_unknown_outcome_until_the_reconnected_truth",
        "tests/flow/test_tools_orders.py::test_lost_answer_is_unknown_and_says_how_to_find_out",
        "tests/contract/store/test_intents.py::test_unresolved_and_working_intents_are_found",
        "tests/flow/test_lost_acknowledgement.py::test_other_opening_orders_in_the_instrument_wait_while_one_is_unknown",
    ),
    "ID-09": held(
        "Orders of unknown outcome are looked for until the broker shows them or their absence is proven.",
        "tests/flow/test_brackets.py::test_a_bracket_whose_answer_is_lost_is_unknown_and_found_whole",
        "tests/flow/test_lost_outcomes.py::test_while_an_outcome_is_unknown_its_quota_stays_and_nothing_more_opens_there",
        "tests/flow/test_lost_outcomes.py::test_an_order_that_never_arrived_is_not_credited_with_one_that_got_its_id",
        "tests/flow/test_lost_acknowledgement.py::test_order_that_shows_at_the_broker_29_seconds_late_is_found_and_not_repeated",
    ),
    "ID-10": held(
        "Nothing is sent again: absence, after a quiet time on a living link, only settles that it never arrived.",
        "tests/flow/test_lost_outcomes.py::test_an_order_that_never_arrived_is_not_credited_with_one_that_got_its_id",
        "tests/flow/test_lost_acknowledgement.py::test_order_whose_link_dies_before_the_acknowledgement_is_one_order_or_none",
    ),
    "ID-11": held(
        "An order that stays unknown holds trading back and then stops it; no setting switches that off.",
        "tests/flow/test_lost_acknowledgement.py::test_order_that_stays_unknown_holds_trading_back_after_a_minute_and_stops_it_after_five",
        "tests/flow/test_lost_acknowledgement.py::test_two_orders_that_stay_unknown_stop_trading_after_a_minute",
    ),
    "ID-12": held(
        "An order is dead or alive as the broker says, whatever a remark, or a list without it, made us think.",
        "tests/flow/test_broker_writes.py::test_remark_about_a_living_order_does_not_kill_it",
        "tests/flow/test_broker_truth.py::test_order_missing_from_one_list_is_not_taken_for_ended",
        "tests/flow/test_broker_truth.py::test_order_that_we_took_for_ended_is_followed_to_its_true_end",
    ),
    "ID-13": held(
        "A fill that is told again counts once.",
        "tests/flow/test_records.py::test_a_fill_is_recorded_once_over_restarts_reconnects_and_servers",
        "tests/contract/store/test_fills.py::test_a_fill_that_is_told_again_is_no_news_also_in_another_run",
        "tests/contract/store/test_fills.py::test_a_correction_names_what_it_replaces_and_the_older_version_is_no_news_after_it",
        "tests/flow/test_broker_reads.py::test_replayed_executions_count_once",
        "tests/unit/broker/test_book.py::test_fill_told_twice_counts_once_and_a_correction_replaces_it",
    ),
    "ID-14": held(
        "Orders and trades of others are imported, counted and labelled; nothing is held back for them.",
        "tests/flow/test_reconciliation.py::test_trade_by_hand_is_explained_by_its_fill_and_counted",
    ),
    "ID-15": held(
        "Orders, fills, positions and cash are compared at the start, after outages, twice a minute and each evening.",
        "tests/flow/test_reconciliation.py::test_position_that_no_fill_explains_holds_trading_back_until_a_fill_does",
        "tests/flow/test_reconciliation.py::test_difference_is_still_held_against_trading_after_a_restart",
        "tests/flow/test_reconciliation.py::test_cash_follows_from_the_fills_and_what_does_not_is_told_once",
        "tests/flow/test_reconciliation.py::test_quiet_day_is_one_report_that_grows_and_its_end_is_one_of_its_own",
        "tests/flow/test_soak.py::test_after_random_trading_with_random_faults_both_sides_hold_the_same",
    ),
    "SU-01": held(
        "The start takes its steps in order, and writes are refused as STARTING before the last.",
        "tests/flow/test_reconciliation.py::test_start_takes_its_steps_in_order_and_then_accepts_writes",
        "tests/flow/test_reconciliation.py::test_writes_are_refused_as_starting_until_the_records_were_compared",
    ),
    "SU-02": held(
        "What must be true of an account is looked at before anything is opened in it, and named where it is not.",
        "tests/flow/test_reconciliation.py::test_account_without_equity_is_not_traded_in",
        "tests/flow/test_reconciliation.py::test_negative_cash_and_a_short_holding_hold_a_cash_account_back",
    ),
    "SU-05": held(
        "An audit log that does not verify starts halted and serves reads.",
        "tests/flow/test_reconciliation.py::test_altered_audit_log_starts_halted_and_still_serves_reads",
    ),
    "SU-06": held(
        "After a run that did not end in order nothing is opened before the records agree.",
        "tests/flow/test_reconciliation.py::test_run_that_ended_by_a_crash_is_told_until_the_records_agree",
    ),
    "EM-03": held(
        "After an outage entry orders are cancelled, protection stays, and it can be switched off.",
        "tests/flow/test_reconciliation.py::test_entry_orders_are_cancelled_after_an_outage_and_protection_stays",
        "tests/flow/test_reconciliation.py::test_entry_orders_survive_an_outage_where_that_is_configured",
    ),
    "SU-04": held(
        "What an earlier run left unfinished is resolved from the broker's truth after the restart.",
        "tests/flow/test_crashes.py::test_killed_while_placing_orders_the_restarted_server_knows_them_all_and_doubles_none",
    ),
    "LK-01": held(
        "One process writes for an account; the others read and name it; the next takes over.",
        "tests/flow/test_one_writer.py::test_of_two_servers_on_one_state_directory_one_writes_and_the_other_names_it",
        "tests/flow/test_one_writer.py::test_orders_of_the_writer_are_left_alone_by_the_others",
        "tests/flow/test_one_writer.py::test_when_the_writer_ends_the_next_takes_over_with_all_counters",
        "tests/flow/test_take_over.py::test_when_the_writer_is_killed_a_reader_takes_over_with_all_counters_and_latches",
        "tests/surface/test_cli_beside_a_server.py::test_a_server_that_must_write_ends_with_75_when_another_one_does",
    ),
    "LK-02": held(
        "The right to write vanishes with the process that has it.",
        "tests/flow/test_one_writer.py::test_when_the_writer_ends_the_next_takes_over_with_all_counters",
        "tests/flow/test_take_over.py::test_when_the_writer_is_killed_a_reader_takes_over_with_all_counters_and_latches",
    ),
    "LK-04": held(
        "A client id in use is told and never replaced by another.",
        "tests/flow/test_broker_link.py::test_client_id_in_use_is_told_and_never_replaced",
        "tests/flow/test_broker_life.py::test_only_a_person_can_free_a_client_id",
    ),
    "LK-05": held(
        "A process that lost its lock sends nothing more.",
        "tests/flow/test_one_writer.py::test_a_process_that_lost_its_lock_sends_nothing_more_and_trading_is_stopped",
    ),
    "EM-01": held(
        "A stop is carried out step by step, and after a crash the next server goes on with it to the end.",
        "tests/flow/test_closing.py::test_a_server_that_is_killed_while_it_closes_is_followed_by_one_that_finishes",
        "tests/flow/test_closing.py::test_everything_is_cancelled_and_closed_and_then_the_stop_can_be_ended",
    ),
    "EM-09": held(
        "A server that is told to end takes nothing more in, finishes what it sends, and is gone within five seconds.",
        "tests/flow/test_ways_to_stop.py::test_a_signal_stops_and_a_server_that_is_told_to_end_ends_in_order",
    ),
    "EM-02": held(
        "What waits to be sent when the link is lost is dropped, never sent later.",
        "tests/flow/test_brackets.py::test_a_link_that_dies_between_the_orders_transmits_nothing_and_says_so",
        "tests/flow/test_broker_life.py::test_what_waited_for_its_turn_when_the_link_was_lost_is_never_sent",
        "tests/flow/test_broker_writes.py::test_orders_that_wait_for_room_are_dropped_when_the_link_is_lost",
        "tests/unit/broker/test_pacing.py::test_discarded_messages_are_never_sent",
    ),
    "EM-05": held(
        "The broker's own outages are told, and after them orders, fills and positions are read anew.",
        "tests/flow/test_broker_link.py::test_fill_during_an_outage_is_found_on_reconnect",
        "tests/flow/test_broker_link.py::test_broker_offline_is_told_and_everything_is_read_anew_when_it_returns",
    ),
    "EM-06": held(
        "A link that died silently is noticed without anybody asking.",
        "tests/flow/test_broker_life.py::test_silent_death_is_noticed_without_anybody_asking_and_the_link_is_made_again",
        "tests/flow/test_broker_life.py::test_the_bound_of_a_dead_link_holds_whatever_the_deadline_of_requests",
    ),
    "EM-07": held(
        "Connecting again backs off and never gives up; the link is up only when everything was read.",
        "tests/flow/test_broker_link.py::test_connecting_backs_off_from_one_second_to_sixty",
        "tests/flow/test_broker_link.py::test_link_is_up_only_after_orders_fills_and_positions_were_read",
        "tests/flow/test_broker_life.py::test_programs_that_lose_the_same_gateway_do_not_all_come_back_in_the_same_moment",
    ),
    "EM-08": held(
        "In the nightly restart window nothing is opened, and a loss is told as what it is.",
        "tests/flow/test_restart_window.py::test_order_in_the_restart_window_is_refused_until_its_end_and_a_cancel_is_not",
        "tests/flow/test_broker_life.py::test_loss_in_the_nightly_restart_window_is_told_as_such",
    ),
    "TM-05": held(
        "The trading day begins at 17:00 in New York.",
        "tests/flow/test_limits.py::test_the_day_warns_refuses_and_begins_anew_at_seventeen_in_new_york",
        "tests/flow/test_limits.py::test_the_trading_day_follows_new_york_through_daylight_saving",
    ),
    "QA-04": held(
        "Killed in the midst of placing orders, the server comes back with every order known and none doubled.",
        "tests/flow/test_crashes.py::test_killed_while_placing_orders_the_restarted_server_knows_them_all_and_doubles_none",
        "tests/flow/test_crashes.py::test_a_campaign_of_crashes_tries_every_boundary_and_repeats_itself_for_the_same_seed",
    ),
    "QA-05": held(
        "Each rule of the policy names a test that fails without it; `make mutations` shows that it does.",
        "tests/test_mutations.py::test_every_rule_of_the_policy_names_a_test_that_notices_its_absence",
        "tests/test_mutations.py::test_every_test_of_the_mutations_exists",
        "tests/test_mutations.py::test_a_disabled_check_observes_and_never_objects",
        "tests/test_mutations.py::test_only_a_failed_test_counts_as_noticed",
    ),
    # ---- the audit log
    "AUD-01": held(
        "Every call, decision, refusal, effect and start is recorded.",
        "tests/surface/test_bad_input_matrix.py::test_every_wrong_value_of_every_argument_is_a_structured_refusal",
        "tests/flow/test_records.py::test_the_last_record_of_a_run_is_its_stop",
        "tests/surface/test_tools_answers.py::test_each_call_is_one_decision_record_with_its_class",
        "tests/surface/test_tools_bad_input.py::test_nothing_bad_reaches_the_wire_and_each_is_recorded_once",
        "tests/flow/test_tools_orders.py::test_room_for_three_lets_exactly_three_of_fifty_through",
    ),
    "AUD-02": held(
        "Each record has the documented fields.",
        "tests/contract/store/test_audit.py::test_records_read_back_in_order_with_all_fields",
        "tests/unit/audit/test_verify_and_export.py::test_an_export_holds_the_documented_fields_and_verifies_like_the_store",
    ),
    "AUD-03": held(
        "The log can only be added to, and is exported as lines of JSON.",
        "tests/contract/store/test_audit.py::test_records_can_be_neither_changed_nor_deleted",
        "tests/unit/store/test_sqlite_file.py::test_replacing_a_record_is_refused_too",
        "tests/unit/audit/test_verify_and_export.py::test_an_export_holds_the_documented_fields_and_verifies_like_the_store",
    ),
    "AUD-04": held(
        "The intent is durable before the broker is asked; if it cannot be recorded, nothing is sent.",
        "tests/flow/test_brackets.py::test_a_bracket_is_one_opening_order_in_every_count_and_each_order_has_its_record",
        "tests/unit/store/test_sqlite_file.py::test_a_full_disk_leaves_nothing_half_written",
        "tests/flow/test_lost_outcomes.py::test_what_cannot_be_recorded_is_not_sent_and_cancelling_still_works",
        "tests/contract/store/test_audit.py::test_a_record_is_durable_with_the_intent_or_not_at_all",
        "tests/unit/store/test_sqlite_file.py::test_every_commit_is_synced_in_full",
        "tests/flow/test_crashes.py::test_killed_while_placing_orders_the_restarted_server_knows_them_all_and_doubles_none",
    ),
    "AUD-06": held(
        "An export is verified on any machine, without the store.",
        "tests/unit/audit/test_verify_and_export.py::test_an_export_holds_the_documented_fields_and_verifies_like_the_store",
        "tests/surface/test_cli_audit.py::test_the_store_and_its_export_verify_and_agree_on_the_head",
    ),
    "AUD-08": held(
        "The log lies in the state directory, never in a temporary place; dividing it keeps the chain.",
        "tests/surface/test_settings_take_effect.py::test_the_log_goes_to_the_named_file_and_stdout_carries_the_protocol_alone",
        "tests/unit/test_settings.py::test_logs_in_a_temporary_directory_are_refused",
        "tests/unit/test_settings.py::test_logs_lie_under_the_state_directory",
        "tests/unit/audit/test_verify_and_export.py::test_a_divided_export_verifies_part_by_part",
        "tests/surface/test_cli_audit.py::test_an_export_never_overwrites_by_itself_and_needs_a_name",
    ),
    "AUD-09": held(
        "A record of a decision, judged again, gives the same verdict.",
        "tests/flow/test_records.py::test_a_recorded_decision_judged_again_gives_the_same_verdict",
    ),
    "AUD-12": held(
        "Each run of the server has a session id of its own.",
        "tests/unit/audit/test_log.py::test_each_run_has_a_session_id_of_its_own",
    ),
    "SEC-05": held(
        "Secrets and account numbers are kept out of the audit log and the process log.",
        "tests/surface/test_settings_take_effect.py::test_the_process_log_hides_secrets_and_account_numbers_wherever_they_stand",
        "tests/unit/audit/test_chain.py::test_secrets_inside_text_are_cut_out",
        "tests/unit/audit/test_chain.py::test_what_stands_under_a_secret_key_is_never_recorded",
        "tests/unit/audit/test_chain.py::test_account_numbers_keep_three_characters",
        "tests/unit/test_settings.py::test_secrets_and_account_numbers_appear_in_nothing_that_is_shown",
    ),
    "SEC-06": held(
        "What libraries log passes through the same redaction.",
        "tests/surface/test_settings_take_effect.py::test_the_process_log_hides_secrets_and_account_numbers_wherever_they_stand",
        "tests/flow/test_broker_link.py::test_client_library_logs_no_account_ids",
    ),
    # ---- status
    "MON-01": held(
        "The safety status shows switch, limits with what is left, refusals, link and causes, in every state.",
        "tests/flow/test_tools_reads.py::test_safety_status_counts_orders_and_shows_refusals",
        "tests/flow/test_tools_reads.py::test_safety_status_says_stopped_when_the_store_cannot_be_read",
        "tests/surface/test_tools_answers.py::test_server_whose_store_does_not_open_says_so_in_every_tool_and_can_still_be_stopped",
        "tests/surface/test_tools_answers.py::test_every_tool_answers_in_shape_after_a_stop_and_reads_still_work",
    ),
    "MON-02": held(
        "The shell's status says it in words and in its exit code.",
        "tests/surface/test_cli_stop_and_reset.py::test_status_tells_by_its_exit_code_whether_all_is_well",
        "tests/surface/test_cli_stop_and_reset.py::test_portfolio_halt_needs_nothing_and_status_tells_who_when_why",
        "tests/surface/test_cli_beside_a_server.py::test_portfolio_halt_from_a_shell_stops_the_running_server_and_cancels_its_entries",
    ),
    # ---- the control API
    "KS-11": held(
        "A signed HTTP trigger stops and answers with the state; any other is told 401 and nothing more.",
        "tests/surface/test_control_api.py::test_a_signed_trigger_stops_and_the_key_not_the_name_is_the_actor",
        "tests/surface/test_control_api.py::test_whatever_is_not_signed_right_is_told_401_and_nothing_more",
        "tests/surface/test_control_process.py::test_the_examples_of_the_page_stop_trading_without_a_server",
    ),
    "KS-20": held(
        "A reset over HTTP is off; switched on it has a key of its own and only asks a person.",
        "tests/surface/test_control_api.py::test_reset_is_not_there_and_unsigned_paths_are_for_this_machine_only",
        "tests/surface/test_control_api.py::test_a_reset_over_http_only_asks_people_and_one_request_is_made_of_many",
        "tests/surface/test_control_api.py::test_whatever_is_not_signed_right_is_told_401_and_nothing_more",
    ),
    "MON-03": held(
        "The state is shown at a terminal as it changes, until a signal ends it.",
        "tests/surface/test_cli_watching.py::test_monitor_shows_the_state_again_and_again_until_a_signal_ends_it",
    ),
    "MON-04": held(
        "The whole safety status is JSON over HTTP, redacted, with or without a server.",
        "tests/surface/test_control_process.py::test_beside_a_server_a_trigger_stops_its_orders_and_readiness_says_so",
        "tests/surface/test_control_api.py::test_metrics_and_health_are_offered_unless_switched_off_and_a_store_alone_has_figures",
    ),
    "MON-05": held(
        "Prometheus reads decisions, times, state, limits, unknown orders, data age and pacing complaints.",
        "tests/surface/test_control_process.py::test_beside_a_server_a_trigger_stops_its_orders_and_readiness_says_so",
        "tests/surface/test_control_api.py::test_metrics_and_health_are_offered_unless_switched_off_and_a_store_alone_has_figures",
    ),
    "MON-06": held(
        "A Grafana dashboard comes along, and none of its panels is empty.",
        "tests/surface/test_control_process.py::test_beside_a_server_a_trigger_stops_its_orders_and_readiness_says_so",
    ),
    "CFG-19": held(
        "Metrics and health pages can be switched off, each by itself; no decision looks at them.",
        "tests/surface/test_control_api.py::test_metrics_and_health_are_offered_unless_switched_off_and_a_store_alone_has_figures",
    ),
    "AUD-05": held(
        "Signed checkpoints stand in a second place, so that a missing tail or a rewritten chain is named.",
        "tests/flow/test_checkpoints.py::test_checkpoints_are_written_by_time_and_by_number_and_a_missing_tail_stops_the_next_start",
        "tests/flow/test_checkpoints.py::test_a_checkpoint_that_was_not_signed_here_is_noticed",
        "tests/surface/test_cli_audit.py::test_verify_holds_the_log_and_an_export_against_the_signed_checkpoints",
        "tests/unit/audit/test_verify_and_export.py::test_tampering_with_an_export_names_the_first_bad_record",
        "tests/unit/audit/test_verify_and_export.py::test_tampering_with_the_store_names_the_first_bad_record",
        "tests/unit/audit/test_verify_and_export.py::test_a_cut_tail_and_a_rewritten_chain_show_against_a_head_noted_elsewhere",
        "tests/surface/test_cli_audit.py::test_a_changed_a_missing_and_a_cut_off_record_are_named",
    ),
    "TM-06": held(
        "After so many hours of running nothing is opened until a person arms it again; restarts change nothing.",
        "tests/flow/test_session_limit.py::test_after_the_hours_of_a_session_nothing_is_opened_until_a_person_armed_it",
    ),
    "LK-03": held(
        "A SQLite store on a network file system is refused.",
        "tests/unit/store/test_file_systems.py::test_a_database_on_a_network_file_system_is_refused",
        "tests/unit/store/test_file_systems.py::test_the_mount_nearest_above_says_what_a_path_lies_on",
    ),
    "CFG-14": held(
        "A file may set thresholds; secrets stand in it by reference only, and nothing else may stand in it.",
        "tests/unit/test_thresholds_file.py::test_the_file_sets_thresholds_and_everything_else_wins_over_it",
        "tests/unit/test_thresholds_file.py::test_what_is_wrong_with_the_file_refuses_the_start_and_no_secret_is_told",
        "tests/unit/test_thresholds_file.py::test_the_file_must_be_there_and_belong_to_its_user",
    ),
    "AUD-11": held(
        "An agent reads the audit log by pages, redacted; each reading is recorded.",
        "tests/flow/test_audit_review.py::test_the_audit_log_is_read_by_pages_redacted_and_each_reading_is_recorded",
    ),
    "AUD-10": held(
        "The newest fifty refusals are in the status, with their types and how many came in this hour.",
        "tests/flow/test_violation_trend.py::test_of_sixty_refusals_the_newest_fifty_are_told_and_all_are_counted_by_the_hour",
    ),
    "MON-08": held(
        "Refusals are counted by type, by hour and by agent.",
        "tests/flow/test_violation_trend.py::test_of_sixty_refusals_the_newest_fifty_are_told_and_all_are_counted_by_the_hour",
        "tests/surface/test_control_process.py::test_beside_a_server_a_trigger_stops_its_orders_and_readiness_says_so",
    ),
    "SIG-01": held(
        "Requests are signed with HMAC-SHA256 in either of two sets of headers.",
        "tests/surface/test_control_api.py::test_a_signed_trigger_stops_and_the_key_not_the_name_is_the_actor",
    ),
    "SIG-02": held(
        "The signature covers method, path, time, id and every byte of the body.",
        "tests/surface/test_control_api.py::test_whatever_is_not_signed_right_is_told_401_and_nothing_more",
    ),
    "SIG-03": held(
        "A signature holds for 300 seconds either way and not a second longer.",
        "tests/surface/test_control_api.py::test_whatever_is_not_signed_right_is_told_401_and_nothing_more",
    ),
    "SIG-04": held(
        "A request counts once; its replay after a reset does nothing.",
        "tests/surface/test_control_api.py::test_a_request_counts_once_and_its_replay_after_a_reset_does_nothing",
    ),
    "SIG-05": held(
        "Without a key of 32 random bytes the control API does not start; stopping otherwise still works.",
        "tests/surface/test_control_api.py::test_missing_and_weak_secrets_are_refused_and_never_quoted",
        "tests/surface/test_control_process.py::test_without_a_trusted_key_the_command_refuses_and_names_the_setting",
    ),
    "SIG-06": held(
        "Several keys hold side by side, each with its id, role and time.",
        "tests/surface/test_control_api.py::test_keys_of_a_file_overlap_in_rotation_and_the_file_must_be_private",
    ),
    "SIG-07": held(
        "The control API is on loopback or encrypted, takes small bodies, and no limit or flood refuses a stop.",
        "tests/surface/test_control_api.py::test_a_flood_of_bad_requests_reaches_neither_the_store_nor_a_stop",
        "tests/surface/test_control_api.py::test_other_machines_reach_the_api_only_with_a_certificate",
        "tests/surface/test_control_api.py::test_reset_is_not_there_and_unsigned_paths_are_for_this_machine_only",
    ),
    "SIG-08": held(
        "The key is the actor; a name in the body is recorded as a claim.",
        "tests/surface/test_control_api.py::test_a_signed_trigger_stops_and_the_key_not_the_name_is_the_actor",
    ),
    "MON-07": held(
        "The process says that it lives, and whether opening orders may pass; it is not ready while stopped.",
        "tests/surface/test_control_process.py::test_beside_a_server_a_trigger_stops_its_orders_and_readiness_says_so",
        "tests/surface/test_control_api.py::test_reset_is_not_there_and_unsigned_paths_are_for_this_machine_only",
    ),
    # ---- what agents are shown
    "LLM-02": held(
        "Text from outside is cut, cleaned and marked as untrusted.",
        "tests/flow/test_research.py::test_hostile_headlines_and_articles_arrive_only_inside_the_marked_field_and_clean",
        "tests/surface/test_article_text.py::test_what_the_page_hides_from_readers_is_left_out",
        "tests/flow/test_tools_orders.py::test_broker_rejection_carries_its_code_and_quoted_text",
        "tests/surface/test_tools_bad_input.py::test_cleaned_text_is_bounded_and_visible",
        "tests/unit/broker/test_error_codes.py::test_quoted_text_is_one_short_visible_line",
    ),
    "LLM-05": held(
        "A tool's annotations tell its effects truthfully.",
        "tests/surface/test_tools_listed.py::test_listing_names_class_toolset_and_honest_hints",
    ),
    "SIM-01": held(
        "The paper gateway speaks the TWS protocol on a port: the client library connects to it unmodified.",
        "tests/contract/test_ib_async_contract.py::test_start_up_needs_no_timeout_and_agrees_on_the_newest_version",
        "tests/contract/test_simulate_command.py::test_simulate_says_where_it_listens_serves_ib_async_and_ends_on_a_signal",
    ),
    "SIM-03": held(
        "Every answer names its venue, and the paper gateway's is simulator.",
        "tests/flow/test_tools_reads.py::test_accounts_summary_and_connection_name_their_venue_times_and_currencies",
    ),
    # ---- what works already, and who may write
    "ORD-12": held(
        "With as many working stops as allowed nothing more is opened, and protection of a position still passes.",
        "tests/flow/test_order_path.py::test_with_enough_stops_entries_are_refused_and_protection_passes",
    ),
    "ORD-13": held(
        "Working orders are capped per account and per instrument; only entries are refused.",
        "tests/flow/test_order_path.py::test_working_orders_are_counted_per_symbol_and_per_account",
    ),
    "ORD-14": held(
        "Opening orders on the same instrument and side keep a pause between them.",
        "tests/flow/test_order_path.py::test_a_second_buy_of_the_same_instrument_waits_for_the_cooldown",
    ),
    "ORD-15": held(
        "The worst-case value of opening orders in a rolling cycle is capped, changes counted once.",
        "tests/flow/test_order_path.py::test_opening_value_in_a_cycle_and_in_a_day_is_capped",
        "tests/flow/test_order_path.py::test_changing_an_order_counts_its_value_once",
    ),
    # ---- the portfolio that would result
    "PL-01": held(
        "Every layer of the portfolio's limits that fails is told, in the order of the layers.",
        "tests/unit/safety/test_portfolio.py::test_every_layer_that_fails_is_told_in_the_order_of_the_layers",
        "tests/flow/test_exposure.py::test_a_preview_shows_every_layer_and_the_largest_that_passes_and_leaves_no_rejection",
    ),
    "PL-02": held(
        "One instrument takes at most its share of the equity: held, working, decided on and asked for together.",
        "tests/unit/safety/test_portfolio.py::test_equal_to_a_limit_passes_and_above_it_is_refused",
        "tests/unit/safety/test_portfolio.py::test_in_any_sequence_an_order_is_accepted_if_and_only_if_all_that_may_fill_stays_within_the_limits",
        "tests/flow/test_exposure.py::test_two_orders_of_three_percent_do_not_fit_into_five",
    ),
    "PL-03": held(
        "One instrument comes to at most its value in US dollars, orders of other clients counted.",
        "tests/unit/safety/test_portfolio.py::test_equal_to_a_limit_passes_and_above_it_is_refused",
        "tests/flow/test_exposure.py::test_an_order_of_another_client_counts",
        "tests/flow/test_exposure.py::test_orders_at_once_cannot_use_the_same_room",
    ),
    "PL-04": held(
        "The positions that one agent brought about are capped; a restart forgets nobody's share.",
        "tests/unit/safety/test_portfolio.py::test_equal_to_a_limit_passes_and_above_it_is_refused",
        "tests/unit/safety/test_portfolio.py::test_an_agents_share_is_its_own_fills_orders_and_reservations",
        "tests/flow/test_exposure.py::test_an_agents_share_a_sector_and_the_cash_are_limited_and_a_restart_forgets_no_share",
    ),
    "ST-05": held(
        "An agent's second instrument is refused where both together would be too large a share.",
        "tests/flow/test_exposure.py::test_an_agents_share_a_sector_and_the_cash_are_limited_and_a_restart_forgets_no_share",
    ),
    "PL-08": held(
        "One sector is capped, and instruments of unknown sectors count as one.",
        "tests/unit/safety/test_portfolio.py::test_equal_to_a_limit_passes_and_above_it_is_refused",
        "tests/unit/safety/test_portfolio.py::test_a_sector_is_summed_and_the_unknown_is_one_sector",
        "tests/flow/test_exposure.py::test_an_agents_share_a_sector_and_the_cash_are_limited_and_a_restart_forgets_no_share",
    ),
    "PL-11": held(
        "Purchases, fees and those that may still come included, leave the cash reserve untouched.",
        "tests/unit/safety/test_portfolio.py::test_equal_to_a_limit_passes_and_above_it_is_refused",
        "tests/unit/safety/test_portfolio.py::test_purchases_that_may_still_come_are_paid_from_settled_cash",
        "tests/flow/test_exposure.py::test_an_agents_share_a_sector_and_the_cash_are_limited_and_a_restart_forgets_no_share",
    ),
    "PL-12": held(
        "What would be lost if every stop were hit is capped; a position without a stop counts in full.",
        "tests/unit/safety/test_portfolio.py::test_equal_to_a_limit_passes_and_above_it_is_refused",
        "tests/unit/safety/test_portfolio.py::test_what_is_lost_if_every_stop_is_hit",
        "tests/unit/safety/test_portfolio.py::test_the_stop_of_a_bracket_limits_what_its_entry_risks_and_a_short_one_risks_up_to_its_stop",
    ),
    "PL-05": held(
        "All positions, long and short, take at most their share of the equity.",
        "tests/unit/safety/test_portfolio.py::test_equal_to_a_limit_passes_and_above_it_is_refused",
        "tests/unit/safety/test_portfolio.py::test_positions_working_orders_and_reserved_intents_count_besides_the_order",
    ),
    "PL-06": held(
        "All positions come to at most their value in US dollars; a cancelled entry makes room.",
        "tests/flow/test_exposure.py::test_the_sum_over_instruments_is_limited_and_a_cancelled_entry_makes_room",
    ),
    "PL-07": held(
        "The number of instruments is capped; adding to one of them is no new one.",
        "tests/flow/test_exposure.py::test_a_new_instrument_is_refused_when_the_portfolio_is_full_and_adding_to_one_is_not",
    ),
    "PL-09": held(
        "All positions are at most so many times the equity.",
        "tests/unit/safety/test_portfolio.py::test_leverage_is_gross_over_equity",
    ),
    "PL-10": held(
        "Only listed contracts are opened, nothing in live mode until it is listed; closing is always allowed.",
        "tests/unit/safety/test_portfolio.py::test_only_listed_contracts_are_opened_and_everything_may_be_closed",
        "tests/unit/safety/test_portfolio.py::test_without_a_list_a_live_account_opens_nothing_and_a_paper_account_anything",
    ),
    "PL-13": held(
        "By the broker's own preview, an opening order leaves the margin use below its warning.",
        "tests/unit/safety/test_portfolio.py::test_the_margin_after_the_order_stays_below_its_warning",
        "tests/flow/test_exposure.py::test_the_brokers_preview_of_the_margin_and_its_shares_to_lend_decide",
    ),
    "PL-14": held(
        "Nothing is sold short unless it is allowed, and then only what the broker has to lend for sure.",
        "tests/unit/safety/test_portfolio.py::test_selling_short_needs_leave_and_a_currency_pair_does_not",
        "tests/unit/safety/test_portfolio.py::test_what_is_sold_short_can_be_borrowed_for_sure",
        "tests/flow/test_exposure.py::test_selling_what_is_not_held_is_refused_by_default",
        "tests/flow/test_exposure.py::test_the_brokers_preview_of_the_margin_and_its_shares_to_lend_decide",
    ),
    "PL-15": held(
        "An order that breaks a limit of the portfolio is recorded with layer, observed value and limit.",
        "tests/flow/test_exposure.py::test_a_working_order_uses_up_its_instruments_limit_and_the_refusal_is_audited_with_its_layer",
    ),
    "PL-16": held(
        "A preview tells the largest quantity that passes every rule, what bounds it and when it may be sent.",
        "tests/unit/safety/test_sizing.py::test_what_is_returned_passes_every_rule_and_one_more_does_not",
        "tests/unit/safety/test_sizing.py::test_the_tightest_rule_bounds_and_all_that_refuse_one_step_more_are_told",
        "tests/flow/test_exposure.py::test_a_preview_shows_every_layer_and_the_largest_that_passes_and_leaves_no_rejection",
    ),
    "ORD-17": held(
        "Where it is asked for, a take-profit pays fee, slippage and a least profit; no exit at a loss is held to it.",
        "tests/unit/safety/test_take_profit.py::test_a_take_profit_pays_fee_slippage_and_profit_where_that_is_asked_for",
        "tests/unit/safety/test_take_profit.py::test_a_stop_that_loses_and_a_reduction_are_never_held_to_a_profit",
    ),
    "ORD-23": held(
        "Where it is asked for, an entry that waited too long is cancelled; protection never is.",
        "tests/flow/test_stale_entries.py::test_an_aged_entry_is_cancelled_and_a_stop_that_needed_no_quota_is_kept",
    ),
    "RL-12": held(
        "Protection and reductions use no quota of entries, and a share of the messages is kept for them.",
        "tests/flow/test_stale_entries.py::test_an_aged_entry_is_cancelled_and_a_stop_that_needed_no_quota_is_kept",
        "tests/unit/broker/test_pacing.py::test_a_share_is_kept_for_what_cancels_protects_or_reduces",
        "tests/flow/test_exits.py::test_a_position_is_closed_by_the_brokers_word_while_trading_is_stopped_and_no_quota_is_used",
        "tests/unit/safety/test_policy.py::test_reductions_use_no_opening_quota_and_meet_no_size_or_value_limit",
        "tests/flow/test_stop_losses.py::test_a_stop_on_the_wrong_side_is_refused_and_a_buy_stop_when_flat_is_an_opening_order",
    ),
    "RL-13": held(
        "A read that came too soon is asked again, at most three times and with growing pauses; an order never is.",
        "tests/flow/test_tools_history.py::test_pacing_violation_is_asked_again_after_a_pause_and_told_if_it_stays",
        "tests/unit/broker/test_error_codes.py::test_a_request_is_worth_another_try_only_where_the_broker_says_that_it_will_pass",
        "tests/flow/test_lost_acknowledgement.py::test_order_whose_link_dies_before_the_acknowledgement_is_one_order_or_none",
    ),
    "PL-17": held(
        "The status tells value at risk and expected shortfall with their sample size, as information.",
        "tests/flow/test_exposure.py::test_the_status_tells_value_at_risk_and_the_headroom_of_every_limit",
        "tests/unit/test_portfolio_risk.py::test_past_days_are_played_with_what_is_held_today",
        "tests/unit/test_portfolio_risk.py::test_the_worst_twentieth_of_a_hundred_days_is_five",
        "tests/unit/test_portfolio_risk.py::test_too_few_days_say_nothing",
    ),
    "RL-14": held(
        "Each complaint of the broker about too many messages is counted and told to those who watch.",
        "tests/flow/test_tools_history.py::test_pacing_violation_is_asked_again_after_a_pause_and_told_if_it_stays",
    ),
    "ORD-16": held(
        "An order below the contract's minimum is refused before it is sent.",
        "tests/unit/safety/test_sizing.py::test_an_order_below_the_contracts_minimum_is_refused_here",
    ),
    "ORD-18": held(
        "Nothing is opened at a wide spread, nor for more than a small part of a stock's average daily volume.",
        "tests/flow/test_order_path.py::test_an_entry_of_more_than_a_share_of_the_daily_volume_is_refused",
        "tests/unit/safety/test_policy.py::test_an_entry_is_a_small_part_of_what_trades_in_a_day",
        "tests/flow/test_order_path.py::test_a_wide_market_opens_nothing",
    ),
    "ORD-21": held(
        "The same order under another key, a moment later, is held back.",
        "tests/flow/test_order_path.py::test_the_same_order_under_another_key_is_held_back",
    ),
    "ORD-24": held(
        "No entry can trade against an own working order.",
        "tests/flow/test_order_path.py::test_an_entry_that_could_trade_with_an_own_order_is_refused",
    ),
    "ORD-25": held(
        "One absurd tick opens nothing; the next plausible one does.",
        "tests/flow/test_order_path.py::test_one_absurd_tick_opens_nothing_and_the_next_plausible_one_does",
    ),
    "ORD-26": held(
        "Own prices cannot walk away step by step.",
        "tests/flow/test_order_path.py::test_own_prices_may_not_walk_away_step_by_step",
    ),
    "RL-06": held(
        "The worst-case value of opening orders in a trading day is capped.",
        "tests/flow/test_order_path.py::test_opening_value_in_a_cycle_and_in_a_day_is_capped",
    ),
    "TM-01": held(
        "Entries keep to the regular hours of the instrument's own exchange, holidays and early closes included.",
        "tests/flow/test_trading_hours.py::test_entries_keep_to_the_exchanges_own_hours_holidays_and_early_closes_included",
        "tests/flow/test_trading_hours.py::test_a_foreign_listing_follows_its_own_exchange",
        "tests/flow/test_trading_hours.py::test_the_refusal_tells_when_the_next_session_begins",
        "tests/flow/test_trading_hours.py::test_with_regular_hours_not_asked_for_only_the_weekend_holds_back",
    ),
    "TM-02": held(
        "Nothing is opened on a weekend of the exchange; the week of currencies begins on Sunday evening.",
        "tests/flow/test_trading_hours.py::test_the_week_of_currencies_begins_on_sunday_evening",
        "tests/flow/test_trading_hours.py::test_entries_keep_to_the_exchanges_own_hours_holidays_and_early_closes_included",
        "tests/flow/test_trading_hours.py::test_with_regular_hours_not_asked_for_only_the_weekend_holds_back",
    ),
    "TM-03": held(
        "The hour holds back neither cancels nor protection nor reductions.",
        "tests/flow/test_trading_hours.py::test_cancels_and_reductions_are_not_held_back_by_the_hour",
        "tests/unit/safety/test_policy.py::test_unknown_hours_open_nothing_and_reduce_as_ever",
    ),
    "TM-04": held(
        "Unknown trading hours open nothing.",
        "tests/unit/safety/test_policy.py::test_unknown_hours_open_nothing_and_reduce_as_ever",
    ),
    "TM-07": held(
        "Nothing is opened in the last minutes of regular hours, nor in the first where the operator says so.",
        "tests/flow/test_trading_hours.py::test_entries_keep_to_the_exchanges_own_hours_holidays_and_early_closes_included",
        "tests/flow/test_trading_hours.py::test_the_refusal_tells_when_the_next_session_begins",
        "tests/flow/test_trading_hours.py::test_a_market_that_never_closes_has_no_edges_and_the_built_in_one_no_weekend",
    ),
    "RL-10": held(
        "An agent that calls too often, refused calls included, is in timeout; restarts do not end it.",
        "tests/flow/test_agent_pace.py::test_the_sixty_first_refused_call_of_a_minute_is_a_timeout_with_one_alert",
        "tests/flow/test_agent_pace.py::test_a_loop_slower_than_the_limit_is_no_loop",
        "tests/flow/test_agent_pace.py::test_a_timeout_survives_a_restart",
        "tests/flow/test_agent_pace.py::test_an_agent_in_timeout_can_cancel_stop_and_ask_for_the_state",
        "tests/flow/test_agent_pace.py::test_the_same_request_again_counts_as_an_attempt",
    ),
    "RL-11": held(
        "Reads and changes are limited; cancelling, stopping and asking for the safety status never are.",
        "tests/flow/test_agent_pace.py::test_the_thirty_first_read_of_a_minute_is_refused_and_the_safety_status_is_not",
        "tests/flow/test_agent_pace.py::test_changes_of_entries_are_limited_and_those_of_protection_and_cancels_are_not",
        "tests/flow/test_agent_pace.py::test_an_agent_in_timeout_can_cancel_stop_and_ask_for_the_state",
    ),
    "RL-15": held(
        "Many messages about orders for each one that trades warn, and then nothing more is opened that day.",
        "tests/flow/test_agent_pace.py::test_many_messages_without_a_trade_open_nothing_more_until_one_trades",
        "tests/flow/test_agent_pace.py::test_orders_that_trade_pay_for_the_messages",
    ),
    "LLM-09": held(
        "Each agent has an identity, and limits that the operator may set tighter than those of all.",
        "tests/flow/test_agents.py::test_an_agent_has_tighter_limits_and_another_name_does_not_escape_them",
        "tests/flow/test_agents.py::test_the_value_of_an_agents_order_is_limited",
        "tests/surface/test_cli_agents.py::test_a_token_is_told_once_and_kept_as_a_hash",
        "tests/surface/test_cli_agents.py::test_an_agents_limits_are_never_looser_than_those_of_all",
    ),
    "ST-07": held(
        "Who acts follows from the process or the token; what a client calls itself changes nothing.",
        "tests/flow/test_agents.py::test_an_agent_has_tighter_limits_and_another_name_does_not_escape_them",
        "tests/flow/test_agents.py::test_over_http_the_token_says_who_calls",
        "tests/flow/test_agents.py::test_an_order_reference_names_the_agent_and_is_found_by_the_key_alone",
    ),
    # ---- circuit breaker, risk modes, recovery
    "CB-01": held(
        "A trip keeps its reason, metric, figure, limit and time, and the status shows them.",
        "tests/flow/test_circuit_breaker.py::test_a_fall_without_an_order_warns_pauses_and_kills_within_two_seconds_each",
        "tests/unit/safety/test_circuit_breaker.py::test_a_trip_keeps_its_reason_and_stays_when_the_figure_recovers",
    ),
    "CB-02": held(
        "An open breaker stays open when the figure recovers; only a person closes it.",
        "tests/flow/test_circuit_breaker.py::test_a_fall_without_an_order_warns_pauses_and_kills_within_two_seconds_each",
        "tests/unit/safety/test_circuit_breaker.py::test_a_trip_keeps_its_reason_and_stays_when_the_figure_recovers",
        "tests/unit/safety/test_circuit_breaker.py::test_without_a_person_nothing_but_the_end_of_reduce_becomes_milder",
    ),
    "CB-04": held(
        "Prices that move without an order trip the breaker within two seconds.",
        "tests/flow/test_circuit_breaker.py::test_a_fall_without_an_order_warns_pauses_and_kills_within_two_seconds_each",
    ),
    "CB-05": held(
        "All breached triggers are recorded and the most severe level applies.",
        "tests/unit/safety/test_circuit_breaker.py::test_all_breaches_are_recorded_and_the_most_severe_applies",
    ),
    "CB-10": held(
        "The daily drawdown is measured from the day's peak, open losses included, payments excluded.",
        "tests/unit/safety/test_circuit_breaker.py::test_each_fall_has_its_own_mark_and_its_own_levels",
        "tests/unit/safety/test_equity.py::test_a_withdrawal_is_no_loss_and_a_deposit_hides_none",
    ),
    "CB-11": held(
        "The weekly drawdown is measured from the peak of the week.",
        "tests/unit/safety/test_circuit_breaker.py::test_each_fall_has_its_own_mark_and_its_own_levels",
        "tests/unit/safety/test_equity.py::test_each_window_has_its_own_peak_and_a_new_day_begins_where_the_old_one_ended",
    ),
    "CB-12": held(
        "The total drawdown is measured from the highest equity ever, which survives a restart.",
        "tests/unit/safety/test_circuit_breaker.py::test_each_fall_has_its_own_mark_and_its_own_levels",
        "tests/unit/safety/test_equity.py::test_marks_survive_a_restart_and_a_payment_meanwhile_is_none_of_them",
    ),
    "CB-13": held(
        "A loss since the start of the day warns, pauses and kills at its three levels.",
        "tests/flow/test_circuit_breaker.py::test_a_fall_without_an_order_warns_pauses_and_kills_within_two_seconds_each",
        "tests/unit/safety/test_circuit_breaker.py::test_each_fall_has_its_own_mark_and_its_own_levels",
    ),
    "CB-16": held(
        "What is lost within five minutes has levels of its own.",
        "tests/unit/safety/test_circuit_breaker.py::test_each_fall_has_its_own_mark_and_its_own_levels",
        "tests/unit/safety/test_equity.py::test_what_the_last_five_minutes_lost_is_forgotten_after_them",
    ),
    "CB-19": held(
        "Margin use is measured against the equity, and an account without equity is worse than any limit.",
        "tests/unit/safety/test_circuit_breaker.py::test_margin_is_measured_against_the_equity",
    ),
    "RM-02": held(
        "Each trigger warns, pauses and kills in this order, each recorded once.",
        "tests/flow/test_circuit_breaker.py::test_a_fall_without_an_order_warns_pauses_and_kills_within_two_seconds_each",
        "tests/unit/safety/test_circuit_breaker.py::test_each_level_is_recorded_once_in_its_order",
    ),
    "RM-05": held(
        "Reduced sizes end by themselves only after half an hour of calm.",
        "tests/unit/safety/test_circuit_breaker.py::test_reduced_sizes_end_by_themselves_after_half_an_hour_of_calm_and_never_sooner",
    ),
    "LED-07": held(
        "Deposits and withdrawals are neither profit nor loss nor drawdown.",
        "tests/unit/safety/test_equity.py::test_a_withdrawal_is_no_loss_and_a_deposit_hides_none",
        "tests/unit/safety/test_equity.py::test_a_loss_in_the_moment_of_a_payment_is_not_swallowed_by_it",
    ),
    "CB-03": held(
        "The breaker, its marks and counters survive a restart; a row that cannot be read is an open breaker.",
        "tests/flow/test_circuit_breaker.py::test_after_a_loss_trading_comes_back_only_by_people_and_by_stages",
        "tests/unit/safety/test_circuit_breaker.py::test_a_row_that_cannot_be_read_is_an_open_breaker",
        "tests/unit/safety/test_equity.py::test_marks_survive_a_restart_and_a_payment_meanwhile_is_none_of_them",
    ),
    "CB-06": held(
        "When the equity is unknown or the watch silent for too long, nothing is opened.",
        "tests/unit/safety/test_circuit_breaker.py::test_a_watch_that_sees_nothing_or_says_nothing_for_too_long_opens_nothing",
    ),
    "RC-01": held(
        "After a loss the breaker cannot be reset before its cool-down is over.",
        "tests/flow/test_circuit_breaker.py::test_after_a_loss_trading_comes_back_only_by_people_and_by_stages",
        "tests/surface/test_cli_breaker.py::test_the_breaker_is_reset_by_an_admin_after_the_cool_down_when_nothing_stands_against_it",
        "tests/unit/safety/test_circuit_breaker.py::test_a_reset_has_to_wait_longer_after_a_loss_than_after_a_fault",
    ),
    "RC-02": held(
        "A reset is refused while something stands against it, and each thing is named.",
        "tests/flow/test_circuit_breaker.py::test_after_a_loss_trading_comes_back_only_by_people_and_by_stages",
        "tests/surface/test_cli_breaker.py::test_the_breaker_is_reset_by_an_admin_after_the_cool_down_when_nothing_stands_against_it",
    ),
    "RC-03": held(
        "After a loss trading comes back through PAPER, where nothing reaches a real broker, and parts of the size.",
        "tests/flow/test_circuit_breaker.py::test_after_a_loss_trading_comes_back_only_by_people_and_by_stages",
    ),
    "RC-04": held(
        "A stage lasts a trading day and ten decisions without a warning at least.",
        "tests/unit/safety/test_circuit_breaker.py::test_a_stage_goes_back_by_itself_and_forward_only_by_proposal",
        "tests/surface/test_cli_breaker.py::test_a_stage_is_promoted_by_a_senior_when_it_has_lasted",
    ),
    "RC-05": held(
        "A person promotes a stage that the system proposed; trips and second warnings take it back by themselves.",
        "tests/unit/safety/test_circuit_breaker.py::test_a_stage_goes_back_by_itself_and_forward_only_by_proposal",
        "tests/surface/test_cli_breaker.py::test_a_stage_is_promoted_by_a_senior_when_it_has_lasted",
    ),
    "RC-06": held(
        "The stage survives a restart, shows in the status, and its history is in the audit log.",
        "tests/flow/test_circuit_breaker.py::test_after_a_loss_trading_comes_back_only_by_people_and_by_stages",
    ),
    "CB-14": held(
        "Losing round trips in a row, of all agents, warn and pause; one winner ends the streak.",
        "tests/flow/test_breaker_counts.py::test_losses_halt_an_agent_and_then_everybody_and_a_restart_forgets_none",
        "tests/unit/safety/test_round_trips.py::test_each_count_has_its_levels",
        "tests/unit/safety/test_round_trips.py::test_a_win_ends_the_streak_and_break_even_leaves_it",
    ),
    "CB-15": held(
        "An agent that wins too few of at least twenty round trips is halted.",
        "tests/unit/safety/test_round_trips.py::test_each_figure_of_an_agent_has_its_levels",
        "tests/unit/safety/test_round_trips.py::test_a_win_ends_the_streak_and_break_even_leaves_it",
    ),
    "CB-20": held(
        "Failed requests and orders, of at least twenty, warn and pause by their rate.",
        "tests/flow/test_breaker_counts.py::test_requests_and_orders_that_fail_pause_by_their_rate_once_there_are_enough",
        "tests/unit/safety/test_round_trips.py::test_each_count_has_its_levels",
    ),
    "CB-21": held(
        "Errors of the line and the service warn, pause and stop by the minute; information counts for nothing.",
        "tests/flow/test_breaker_counts.py::test_errors_of_the_line_pause_and_stop_and_a_wrong_clock_pauses",
        "tests/unit/safety/test_round_trips.py::test_each_count_has_its_levels",
    ),
    "CB-22": held(
        "Orders in a row that the broker rejected or that were lost warn and pause.",
        "tests/flow/test_breaker_counts.py::test_rejections_of_the_broker_count_in_a_row_and_by_the_hour",
        "tests/unit/safety/test_round_trips.py::test_each_count_has_its_levels",
    ),
    "CB-23": held(
        "Orders rejected or lost within an hour warn and pause.",
        "tests/flow/test_breaker_counts.py::test_rejections_of_the_broker_count_in_a_row_and_by_the_hour",
        "tests/unit/safety/test_round_trips.py::test_each_count_has_its_levels",
    ),
    "CB-24": held(
        "Orders that traded within an hour warn, pause and stop; the parts of one are one trade.",
        "tests/flow/test_breaker_counts.py::test_trades_by_the_hour_and_the_same_again_and_again",
        "tests/unit/safety/test_round_trips.py::test_each_count_has_its_levels",
    ),
    "CB-27": held(
        "The day's commissions warn and pause by their share of the equity.",
        "tests/flow/test_breaker_counts.py::test_losses_halt_an_agent_and_then_everybody_and_a_restart_forgets_none",
        "tests/unit/safety/test_round_trips.py::test_each_count_has_its_levels",
    ),
    "CB-29": held(
        "Orders that stay unknown warn, pause and stop, two of them sooner.",
        "tests/unit/safety/test_round_trips.py::test_each_count_has_its_levels",
        "tests/flow/test_lost_acknowledgement.py::test_order_that_stays_unknown_holds_trading_back_after_a_minute_and_stops_it_after_five",
    ),
    "CB-30": held(
        "Records that disagree with the broker's pause at once, and stop when nobody puts them right.",
        "tests/flow/test_reconciliation.py::test_position_that_no_fill_explains_holds_trading_back_until_a_fill_does",
        "tests/unit/safety/test_round_trips.py::test_each_count_has_its_levels",
    ),
    "CB-31": held(
        "Clocks that are certainly apart warn and pause.",
        "tests/flow/test_breaker_counts.py::test_errors_of_the_line_pause_and_stop_and_a_wrong_clock_pauses",
        "tests/unit/safety/test_round_trips.py::test_each_count_has_its_levels",
    ),
    "CB-33": held(
        "An agent that trades one instrument in one direction again and again is halted alone.",
        "tests/flow/test_breaker_counts.py::test_trades_by_the_hour_and_the_same_again_and_again",
        "tests/unit/safety/test_round_trips.py::test_each_figure_of_an_agent_has_its_levels",
    ),
    "ST-02": held(
        "An agent whose profit has fallen too far from its highest is halted.",
        "tests/unit/safety/test_round_trips.py::test_each_figure_of_an_agent_has_its_levels",
    ),
    "ST-03": held(
        "An agent that loses several round trips in a row is halted, and a restart forgets none of them.",
        "tests/flow/test_breaker_counts.py::test_losses_halt_an_agent_and_then_everybody_and_a_restart_forgets_none",
        "tests/unit/safety/test_round_trips.py::test_each_figure_of_an_agent_has_its_levels",
    ),
    "ST-04": held(
        "An agent's share of winners has a floor, once it has closed enough.",
        "tests/unit/safety/test_round_trips.py::test_each_figure_of_an_agent_has_its_levels",
    ),
    "ST-06": held(
        "What is reported of an agent from outside can only make it stricter.",
        "tests/flow/test_breaker_counts.py::test_losses_halt_an_agent_and_then_everybody_and_a_restart_forgets_none",
    ),
    "CB-17": held(
        "A held instrument that moves far more than it usually does warns and pauses.",
        "tests/flow/test_circuit_breaker.py::test_the_market_of_what_is_held_is_watched_too",
        "tests/unit/safety/test_market_figures.py::test_the_range_of_five_minutes_takes_twenty_samples",
    ),
    "CB-18": held(
        "Positions that move together warn and pause, once there is enough to say so.",
        "tests/flow/test_circuit_breaker.py::test_the_market_of_what_is_held_is_watched_too",
        "tests/unit/safety/test_market_figures.py::test_correlation_takes_three_instruments_and_thirty_returns",
    ),
    "CB-25": held(
        "Market data of positions that is lost while the link is up warns and pauses.",
        "tests/flow/test_circuit_breaker.py::test_the_market_of_what_is_held_is_watched_too",
    ),
    "CB-28": held(
        "Three positions in markets too wide to trade pause.",
        "tests/flow/test_circuit_breaker.py::test_the_market_of_what_is_held_is_watched_too",
    ),
    "RM-01": held(
        "Modes follow from losses, fees and exposure: normal, reduced, or nothing opened.",
        "tests/flow/test_circuit_breaker.py::test_a_fall_without_an_order_warns_pauses_and_kills_within_two_seconds_each",
        "tests/flow/test_circuit_breaker.py::test_the_market_of_what_is_held_is_watched_too",
        "tests/flow/test_breaker_counts.py::test_losses_halt_an_agent_and_then_everybody_and_a_restart_forgets_none",
    ),
    "RM-04": held(
        "Exposure that prices carry beyond its limit reduces, and further pauses; nothing is sold.",
        "tests/flow/test_circuit_breaker.py::test_the_market_of_what_is_held_is_watched_too",
    ),
    "RC-07": held(
        "A fault leaves full size after the reset; a loss always goes through the stages.",
        "tests/flow/test_reconciliation.py::test_position_that_no_fill_explains_holds_trading_back_until_a_fill_does",
        "tests/flow/test_circuit_breaker.py::test_after_a_loss_trading_comes_back_only_by_people_and_by_stages",
    ),
    "CB-32": held(
        "A store that cannot be written stops trading at once, and nothing unrecorded is sent.",
        "tests/flow/test_breaker_counts.py::test_a_store_that_takes_no_record_stops_trading_at_once",
        "tests/unit/safety/test_round_trips.py::test_each_count_has_its_levels",
    ),
    "ST-09": held(
        "An agent that a person let go on comes back at a quarter of the size, and a person promotes it.",
        "tests/flow/test_breaker_counts.py::test_losses_halt_an_agent_and_then_everybody_and_a_restart_forgets_none",
        "tests/surface/test_cli_breaker.py::test_an_agent_that_was_halted_comes_back_at_a_quarter_of_the_size",
    ),
    "CB-26": held(
        "A quote too old to value an order holds back that order and nothing else.",
        "tests/flow/test_order_rules.py::test_a_price_older_than_allowed_is_no_price",
    ),
}
