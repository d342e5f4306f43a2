"""Mistakes that other software of this kind makes, and the tests that show that this one does not.

The numbers are those of the list of field defects. A mistake that cannot be made here yet, or cannot be shown from
outside, stands in `NOT_SHOWN` with the reason, so that a gap is an entry and not silence.
"""

from __future__ import annotations

from tests.promises import Promise, held

NUMBER_OF_DEFECTS = 59

FIELD_DEFECTS: dict[str, Promise] = {
    # ---- price and value
    "FD-1": held(
        "No price is ever invented: an order that cannot be priced is refused.",
        "tests/flow/test_order_rules.py::test_without_a_price_no_order_passes_whatever_its_limit",
        "tests/unit/safety/test_policy.py::test_no_fresh_believable_price_means_no_order",
    ),
    "FD-2": held(
        "The value limit is never skipped for want of a price.",
        "tests/flow/test_order_rules.py::test_without_a_price_no_order_passes_whatever_its_limit",
        "tests/unit/safety/test_policy.py::test_an_order_whose_value_is_unknown_is_refused_and_never_worth_zero",
    ),
    "FD-3": held(
        "An order of unknown value is not worth zero.",
        "tests/unit/safety/test_order_types.py::test_every_type_is_valued_at_the_worst_price_it_could_fill_at",
        "tests/flow/test_order_rules.py::test_a_market_order_is_worth_its_cap_and_travels_with_it",
        "tests/unit/safety/test_policy.py::test_an_order_whose_value_is_unknown_is_refused_and_never_worth_zero",
    ),
    "FD-4": held(
        "A sell that opens is valued and limited like a buy.",
        "tests/flow/test_order_rules.py::test_the_value_limit_counts_the_worst_price_on_either_side",
        "tests/unit/safety/test_policy.py::test_a_sell_is_valued_as_fully_as_a_buy",
        "tests/unit/safety/test_state.py::test_a_fill_that_lowers_the_position_counts_before_the_broker_has_booked_it",
    ),
    "FD-5": held(
        "Values are compared in dollars, whatever the currency of the listing.",
        "tests/flow/test_order_rules.py::test_other_currencies_and_pence_are_valued_in_dollars",
        "tests/unit/safety/test_policy.py::test_value_counts_multiplier_magnifier_and_exchange_rate",
    ),
    "FD-6": held(
        "The multiplier counts, and an unknown one makes the value unknown.",
        "tests/flow/test_derivatives.py::test_an_option_order_is_valued_with_its_multiplier_and_refused_above_the_value_limit",
        "tests/flow/test_derivatives.py::test_an_order_whose_multiplier_the_broker_does_not_tell_is_refused",
        "tests/unit/safety/test_policy.py::test_a_derivative_whose_multiplier_is_unknown_has_no_value_and_is_refused",
        "tests/unit/safety/test_policy.py::test_value_counts_multiplier_magnifier_and_exchange_rate",
        "tests/unit/safety/test_policy.py::test_a_missing_factor_makes_the_value_unknown",
    ),
    "FD-7": held(
        "The limit of units is the one that is configured, on every tool.",
        "tests/flow/test_order_rules.py::test_each_rule_passes_at_its_limit_and_refuses_beyond_it",
        "tests/flow/test_order_rules.py::test_every_tool_that_places_orders_meets_the_same_limits",
    ),
    "FD-8": held(
        "Refusals stop nothing but themselves: after many of them a good order passes.",
        "tests/flow/test_limits.py::test_refused_orders_of_every_kind_leave_all_counters_alone",
    ),
    # ---- kill switch and reset
    "FD-9": held(
        "No word in the code or in a call overrides the switch.",
        "tests/flow/test_stopping.py::test_no_tool_resets_resumes_approves_or_configures",
    ),
    "FD-10": held(
        "The switch can be pressed by tool, shell and file, lasts, and cancels the entries.",
        "tests/flow/test_stopping.py::test_a_stop_cancels_entries_and_keeps_what_protects_a_position",
        "tests/flow/test_stopping.py::test_after_the_agent_stops_no_opening_order_reaches_the_gateway_and_entries_are_cancelled",
        "tests/flow/test_stopping.py::test_the_sentinel_file_stops_at_once_and_is_latched",
        "tests/flow/test_stopping.py::test_a_stop_survives_a_restart_and_the_wall_clock",
        "tests/surface/test_cli_beside_a_server.py::test_portfolio_halt_from_a_shell_stops_the_running_server_and_cancels_its_entries",
    ),
    "FD-11": held(
        "Nothing that stops trading stops cancelling or a verified exit.",
        "tests/flow/test_stopping.py::test_cancelling_works_while_stopped_and_so_does_a_verified_reduction",
        "tests/unit/safety/test_policy.py::test_cancellations_meet_neither_quotas_nor_flags",
    ),
    "FD-12": held(
        "A live order can be cancelled by a client that cannot be asked back.",
        "tests/flow/test_accounts.py::test_a_live_account_needs_every_lock_open",
    ),
    "FD-13": held(
        "No tool resets or switches anything on again.",
        "tests/flow/test_stopping.py::test_no_tool_resets_resumes_approves_or_configures",
        "tests/surface/test_tools_listed.py::test_no_tool_can_loosen_anything",
    ),
    "FD-14": held(
        "No midnight, no clock and no restart ends a stop.",
        "tests/flow/test_stopping.py::test_a_stop_survives_a_restart_and_the_wall_clock",
    ),
    "FD-18": held(
        "A limit that changed while the server was down shows in the log.",
        "tests/flow/test_records.py::test_each_start_records_what_applied_and_its_fingerprint",
    ),
    "FD-15": held(
        "The breaker is fed with the equity and with what fills realized, never with commissions alone.",
        "tests/flow/test_circuit_breaker.py::test_a_fall_without_an_order_warns_pauses_and_kills_within_two_seconds_each",
        "tests/flow/test_breaker_counts.py::test_losses_halt_an_agent_and_then_everybody_and_a_restart_forgets_none",
    ),
    "FD-26": held(
        "A yes is bound to every field of the order that was shown, to its caller, its account and the state.",
        "tests/flow/test_confirmation.py::test_a_ticket_ends_and_is_void_in_another_state_for_another_agent_or_order",
    ),
    "FD-27": held(
        "What takes a person's yes is not sent without it, whatever an agent calls.",
        "tests/flow/test_confirmation.py::test_a_person_confirms_outside_of_mcp_and_nobody_else_can",
    ),
    "FD-28": held(
        "A yes is good for one order, once, and its time is only the least of its bounds.",
        "tests/flow/test_confirmation.py::test_above_the_amount_an_agent_orders_in_two_steps_and_each_ticket_is_good_once",
        "tests/flow/test_confirmation.py::test_no_sequence_of_calls_uses_a_ticket_twice_or_for_other_terms",
    ),
    "FD-16": held(
        "Every path to an order asks the same switch.",
        "tests/surface/test_tools_answers.py::test_every_tool_answers_in_shape_after_a_stop_and_reads_still_work",
        "tests/surface/test_tools_listed.py::test_handlers_never_touch_the_broker",
    ),
    "FD-17": held(
        "A stop latches first, then cancels, and tells what still works.",
        "tests/flow/test_stopping.py::test_a_stop_latches_before_its_effects_and_holds_when_they_fail",
    ),
    # ---- paper and live
    "FD-19": held(
        "Paper is proved by the broker's own list of accounts, not by a port.",
        "tests/flow/test_accounts.py::test_a_live_looking_account_blocks_every_write_and_no_read",
    ),
    "FD-20": held(
        "The account that is checked is the one that the order names on the wire.",
        "tests/flow/test_accounts.py::test_an_account_argument_selects_among_the_brokers_and_cannot_name_another",
    ),
    "FD-21": held(
        "A typing error refuses the start and never means live.",
        "tests/unit/test_settings.py::test_any_other_word_for_a_switch_is_refused",
        "tests/unit/test_settings.py::test_broker_mode_is_exactly_one_of_three_words",
        "tests/unit/test_settings.py::test_acknowledgement_of_live_trading_is_accepted_word_for_word_only",
    ),
    "FD-22": held(
        "No argument chooses a host, a port or a mode.",
        "tests/surface/test_tools_listed.py::test_no_argument_chooses_a_broker_or_how_to_reach_it",
    ),
    "FD-23": held(
        "Read-only is what the server itself refuses; no flag of the client library is relied on.",
        "tests/surface/test_tool_choice.py::test_read_only_server_shows_and_answers_nothing_that_writes",
        "tests/surface/test_tool_choice.py::test_read_only_leaves_out_exactly_the_classes_that_write",
    ),
    "FD-24": held(
        "There is no bypass: nothing is off in live mode, and on paper only what was acknowledged and shows.",
        "tests/flow/test_disabled_controls.py::test_a_control_is_off_never_in_live_mode_and_on_paper_only_with_the_acknowledgement",
        "tests/unit/test_settings.py::test_safety_mode_can_be_off_only_with_the_simulator",
        "tests/unit/safety/test_policy.py::test_every_lock_of_live_trading_must_be_open",
    ),
    "FD-25": held(
        "No argument lets the model confirm, force or override.",
        "tests/surface/test_tools_listed.py::test_no_tool_can_loosen_anything",
    ),
    # ---- limits, counters, idempotency
    "FD-29": held(
        "Counters survive a restart.",
        "tests/flow/test_limits.py::test_counters_survive_a_restart",
        "tests/contract/store/test_intents.py::test_counters_are_the_same_after_a_restart",
    ),
    "FD-30": held(
        "What is refused, cancelled or read uses no quota of orders.",
        "tests/flow/test_limits.py::test_refused_orders_of_every_kind_leave_all_counters_alone",
        "tests/flow/test_limits.py::test_cancels_modifications_downwards_and_reads_use_no_order_quota",
    ),
    "FD-31": held(
        "A small order cannot be changed into a large one past the limits.",
        "tests/unit/safety/test_state.py::test_a_change_that_can_cost_more_or_wake_an_order_sooner_opens_more",
        "tests/flow/test_order_rules.py::test_an_order_cannot_be_changed_past_the_limits",
        "tests/unit/safety/test_policy.py::test_a_modification_is_judged_as_the_whole_resulting_order",
    ),
    "FD-32": held(
        "What counts is what would be sent: every placing tool meets the same limits.",
        "tests/flow/test_order_rules.py::test_every_tool_that_places_orders_meets_the_same_limits",
    ),
    "FD-33": held(
        "A kind of request that nobody knows is refused, not given a default.",
        "tests/surface/test_tools_answers.py::test_guessed_tools_are_refused_before_anything_else",
        "tests/unit/safety/test_policy.py::test_every_operation_class_has_its_row",
    ),
    "FD-34": held(
        "Every setting is read by the code that it governs.",
        "tests/surface/test_settings_take_effect.py::test_every_setting_is_read_by_the_code_that_it_governs",
        "tests/surface/test_settings_take_effect.py::test_only_what_the_level_admits_is_logged",
        "tests/surface/test_settings_take_effect.py::test_the_log_goes_to_the_named_file_and_stdout_carries_the_protocol_alone",
    ),
    "FD-35": held(
        "There is one settings object, and each variable has the name that is documented.",
        "tests/unit/test_settings.py::test_documented_defaults_of_the_mandatory_variables_hold",
        "tests/unit/test_settings.py::test_effective_configuration_lists_every_setting_once_in_order",
    ),
    "FD-36": held(
        "The caller supplies no counters: an argument outside the schema is refused.",
        "tests/surface/test_bad_input_matrix.py::test_every_wrong_value_of_every_argument_is_a_structured_refusal",
        "tests/surface/test_tools_listed.py::test_every_argument_is_described_and_no_other_is_taken",
        "tests/surface/test_tools_bad_input.py::test_nothing_bad_reaches_the_wire_and_each_is_recorded_once",
    ),
    "FD-37": held(
        "A rule that fails refuses: nothing that it forbids reaches the gateway.",
        "tests/flow/test_limits.py::test_refused_orders_of_every_kind_leave_all_counters_alone",
        "tests/flow/test_limits.py::test_the_sixth_opening_order_in_a_minute_is_refused_and_passes_when_the_first_has_left",
    ),
    "FD-38": held(
        "A repeated request is told where its order stands now.",
        "tests/flow/test_lost_outcomes.py::test_a_repeated_request_is_told_where_its_order_stands_now",
    ),
    "FD-39": held(
        "No order is sent without a durable record, so a kill leaves no phantom.",
        "tests/flow/test_crashes.py::test_killed_while_placing_orders_the_restarted_server_knows_them_all_and_doubles_none",
    ),
    # ---- truth of results
    "FD-40": held(
        "An order's state is the broker's word, waited for and followed.",
        "tests/flow/test_broker_writes.py::test_placed_order_returns_the_brokers_first_word",
        "tests/flow/test_broker_writes.py::test_cancelled_order_is_reported_in_the_brokers_words",
        "tests/flow/test_broker_writes.py::test_fill_that_wins_against_the_cancellation_is_reported",
    ),
    "FD-41": held(
        "An error never looks like emptiness.",
        "tests/surface/test_tools_answers.py::test_every_call_ends_within_five_seconds_when_the_gateway_freezes_in_mid_session",
        "tests/surface/test_tools_answers.py::test_every_tool_answers_within_a_second_without_a_gateway",
        "tests/flow/test_tools_reads.py::test_no_quote_at_all_is_a_failure",
        "tests/flow/test_broker_link.py::test_frozen_gateway_bounds_every_read_and_the_link_is_made_anew",
    ),
    "FD-42": held(
        "Orders are read from the broker, and those of an earlier run can be changed and cancelled.",
        "tests/unit/safety/test_policy.py::test_only_our_own_working_orders_can_be_changed",
        "tests/flow/test_broker_writes.py::test_orders_can_be_changed_and_cancelled_after_a_reconnect",
        "tests/flow/test_broker_reads.py::test_order_that_another_client_ended_is_known_as_ended",
    ),
    "FD-43": held(
        "A change keeps what it does not change.",
        "tests/flow/test_brackets.py::test_the_stop_of_a_waiting_bracket_can_be_moved_and_keeps_its_bracket",
        "tests/flow/test_order_types.py::test_a_change_keeps_what_it_does_not_name_of_every_type",
        "tests/flow/test_stop_losses.py::test_a_trailing_stop_keeps_its_distance_and_where_it_stands_when_its_size_changes",
        "tests/unit/broker/test_translate.py::test_a_change_of_the_quantity_keeps_every_other_term_of_every_type",
        "tests/unit/safety/test_policy.py::test_only_our_own_working_orders_can_be_changed",
        "tests/flow/test_broker_writes.py::test_changed_order_keeps_its_identity_and_what_was_not_changed",
        "tests/unit/broker/test_translate.py::test_change_keeps_what_the_broker_holds",
    ),
    "FD-44": held(
        "An order has the same ids in every tool.",
        "tests/flow/test_tools_orders.py::test_an_order_has_the_same_ids_in_every_tool",
    ),
    "FD-45": held(
        "A stop limit has no default size or limit, and none on the wrong side.",
        "tests/flow/test_stop_losses.py::test_a_stop_limit_has_neither_a_default_size_nor_a_default_limit_nor_one_on_the_wrong_side",
        "tests/unit/safety/test_order_types.py::test_a_stop_must_lie_where_it_waits_and_its_limit_where_it_fills",
    ),
    "FD-46": held(
        "Currency pairs are named by both currencies.",
        "tests/flow/test_tools_reads.py::test_currency_pairs_are_named_by_both_currencies_everywhere",
        "tests/flow/test_broker_reads.py::test_symbol_forms_resolve_to_one_contract",
        "tests/flow/test_tools_reads.py::test_one_unknown_symbol_does_not_spoil_the_others",
    ),
    "FD-47": held(
        "Every tool works on a real gateway, over every transport.",
        "tests/surface/test_every_tool.py::test_in_memory",
        "tests/surface/test_every_tool.py::test_over_stdio",
        "tests/surface/test_every_tool.py::test_over_http",
    ),
    "FD-48": held(
        "Reconnecting never gives up, and every failure is an error result.",
        "tests/surface/test_tools_answers.py::test_every_call_ends_within_five_seconds_when_the_gateway_freezes_in_mid_session",
        "tests/flow/test_broker_link.py::test_connecting_backs_off_from_one_second_to_sixty",
        "tests/flow/test_broker_reads.py::test_absent_quote_is_a_refusal_or_has_no_sides",
        "tests/surface/test_tools_answers.py::test_every_tool_answers_within_a_second_without_a_gateway",
    ),
    "FD-49": held(
        "NaN, minus one and the other stand-ins for no price are unknown, not prices.",
        "tests/flow/test_tools_reads.py::test_accounts_summary_and_connection_name_their_venue_times_and_currencies",
        "tests/unit/broker/test_translate.py::test_stand_ins_for_no_price_are_unknown",
        "tests/unit/broker/test_translate.py::test_figures_that_were_not_sent_are_unknown_not_zero",
    ),
    "FD-50": held(
        "The first hit is never taken: several contracts are an error with candidates.",
        "tests/surface/test_bad_input_matrix.py::test_a_symbol_that_is_none_or_several_is_refused_and_never_interpreted",
        "tests/flow/test_broker_reads.py::test_ambiguous_symbol_is_refused_with_candidates",
    ),
    "FD-51": held(
        "The price of a stop travels in the field that TWS has for it.",
        "tests/flow/test_broker_writes.py::test_stop_price_travels_in_its_own_field",
    ),
    "FD-52": held(
        "A failure is an error result that a client can see, not a text.",
        "tests/surface/test_tools_answers.py::test_every_tool_answers_in_shape_after_a_stop_and_reads_still_work",
        "tests/surface/test_tools_listed.py::test_facts_never_hide_the_envelope_and_a_refusal_fits_the_schema",
    ),
    # ---- process, network, audit
    "FD-53": held(
        "HTTP is served to this machine alone and to nobody without the token.",
        "tests/surface/test_transports.py::test_nothing_is_answered_without_the_token",
        "tests/surface/test_transports.py::test_empty_or_short_token_protects_nothing_and_is_not_accepted",
        "tests/unit/test_settings.py::test_http_listens_only_where_this_machine_alone_can_reach_it",
        "tests/unit/test_settings.py::test_an_optional_setting_may_be_absent_but_not_empty",
    ),
    "FD-54": held(
        "Stdout carries the protocol alone, and logs hide what is secret, however talkative they are.",
        "tests/surface/test_settings_take_effect.py::test_the_log_goes_to_the_named_file_and_stdout_carries_the_protocol_alone",
        "tests/surface/test_settings_take_effect.py::test_the_process_log_hides_secrets_and_account_numbers_wherever_they_stand",
    ),
    "FD-55": held(
        "The event loop is left as it is: while it runs it cannot be entered again.",
        "tests/flow/test_broker_link.py::test_the_event_loop_is_left_as_it_is",
    ),
    "FD-56": held(
        "The log is durable, private, chained, and holds what was decided on.",
        "tests/unit/test_settings.py::test_logs_in_a_temporary_directory_are_refused",
        "tests/unit/store/test_sqlite_file.py::test_every_commit_is_synced_in_full",
        "tests/unit/audit/test_verify_and_export.py::test_tampering_with_an_export_names_the_first_bad_record",
    ),
    "FD-57": held(
        "What cannot be recorded is not sent, and cancelling still works.",
        "tests/flow/test_lost_outcomes.py::test_what_cannot_be_recorded_is_not_sent_and_cancelling_still_works",
    ),
    "FD-58": held(
        "No symbol is a command.",
        "tests/surface/test_bad_input_matrix.py::test_a_symbol_that_is_none_or_several_is_refused_and_never_interpreted",
    ),
    "FD-59": held(
        "Text that others wrote crosses marked and cleaned.",
        "tests/flow/test_research.py::test_hostile_headlines_and_articles_arrive_only_inside_the_marked_field_and_clean",
        "tests/flow/test_tools_orders.py::test_broker_rejection_carries_its_code_and_quoted_text",
        "tests/flow/test_tools_reads.py::test_symbol_resolves_to_one_contract_with_its_grid",
    ),
}

NOT_SHOWN: dict[str, str] = {}
