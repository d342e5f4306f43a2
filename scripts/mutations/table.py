"""Which test notices when a rule is missing: the table of the mutations.

Every rule of `safety/policy.py` has a line, as `tests/test_mutations.py` sees to. The tests are mostly those that hold
its promise in `tests/promises.py`, through the real parts where one shows this rule and no other.
"""

from __future__ import annotations

from ibkr_mcp_server.safety.policy import Policy
from ibkr_mcp_server.settings.model import Settings

RULES = "tests/flow/test_order_rules.py::"
PATH = "tests/flow/test_order_path.py::"
LIMITS = "tests/flow/test_limits.py::"
PACE = "tests/flow/test_agent_pace.py::"
PORTFOLIO = "tests/unit/safety/test_portfolio.py::"
POLICY = "tests/unit/safety/test_policy.py::"

NOTICED_BY: dict[str, tuple[str, ...]] = {
    "registered_tool": ("tests/surface/test_tools_answers.py::test_guessed_tools_are_refused_before_anything_else",),
    "kill_switch": (
        "tests/flow/test_stopping.py::test_after_the_agent_stops_no_opening_order_reaches_the_gateway_and_entries_are_cancelled",
        POLICY + "test_safety_mode_off_turns_limits_into_warnings_and_nothing_else",
    ),
    "effective_state": (
        "tests/flow/test_restart_window.py::test_order_in_the_restart_window_is_refused_until_its_end_and_a_cancel_is_not",
    ),
    "writer": (
        "tests/flow/test_one_writer.py::test_of_two_servers_on_one_state_directory_one_writes_and_the_other_names_it",
    ),
    "safe_mode": (RULES + "test_safe_mode_lets_an_agent_cancel_and_nothing_else",),
    "trading_gates": (RULES + "test_a_fresh_installation_places_nothing",),
    "market_order_hours": (RULES + "test_a_market_order_after_the_close_is_refused_with_the_next_opening",),
    "trading_hours": (
        "tests/flow/test_trading_hours.py::test_with_regular_hours_not_asked_for_only_the_weekend_holds_back",
    ),
    "agent_orders": ("tests/flow/test_agents.py::test_the_value_of_an_agents_order_is_limited",),
    "agent_timeout": (PACE + "test_a_timeout_survives_a_restart",),
    "account_read_rate": (PACE + "test_the_thirty_first_read_of_a_minute_is_refused_and_the_safety_status_is_not",),
    "modification_rate": (PACE + "test_changes_of_entries_are_limited_and_those_of_protection_and_cancels_are_not",),
    "order_rate": (LIMITS + "test_the_sixth_opening_order_in_a_minute_is_refused_and_passes_when_the_first_has_left",),
    "market_data_rate": (LIMITS + "test_market_data_is_limited_by_symbol_not_by_call",),
    "daily_orders": (LIMITS + "test_the_day_warns_refuses_and_begins_anew_at_seventeen_in_new_york",),
    "account": ("tests/flow/test_accounts.py::test_a_live_looking_account_blocks_every_write_and_no_read",),
    "order_form": (RULES + "test_each_rule_passes_at_its_limit_and_refuses_beyond_it",),
    "existing_order": (POLICY + "test_only_our_own_working_orders_can_be_changed",),
    "order_kind": (POLICY + "test_only_listed_order_types_and_times_in_force_pass_and_gtc_is_for_protection",),
    "order_size": (RULES + "test_each_rule_passes_at_its_limit_and_refuses_beyond_it",),
    "order_value": (RULES + "test_the_value_limit_counts_the_worst_price_on_either_side",),
    "order_price": (RULES + "test_a_price_older_than_allowed_is_no_price",),
    "stop_side": (
        "tests/flow/test_stop_losses.py::test_a_stop_on_the_wrong_side_is_refused_and_a_buy_stop_when_flat_is_an_opening_order",
    ),
    "bracket": ("tests/flow/test_brackets.py::test_a_bracket_whose_parts_do_not_fit_is_refused_whole",),
    "take_profit_edge": (
        "tests/unit/safety/test_take_profit.py::test_a_take_profit_pays_fee_slippage_and_profit_where_that_is_asked_for",
    ),
    "closes_only": ("tests/flow/test_exits.py::test_a_part_is_closed_at_a_limit_and_never_more_than_is_held",),
    "liquidity": (PATH + "test_a_wide_market_opens_nothing",),
    "plausible_quote": (PATH + "test_one_absurd_tick_opens_nothing_and_the_next_plausible_one_does",),
    "working_orders": (PATH + "test_working_orders_are_counted_per_symbol_and_per_account",),
    "stop_loss_orders": (PATH + "test_with_enough_stops_entries_are_refused_and_protection_passes",),
    "self_match": (PATH + "test_an_entry_that_could_trade_with_an_own_order_is_refused",),
    "order_cooldown": (PATH + "test_a_second_buy_of_the_same_instrument_waits_for_the_cooldown",),
    "traded_value": (PATH + "test_opening_value_in_a_cycle_and_in_a_day_is_capped",),
    "price_walk": (PATH + "test_own_prices_may_not_walk_away_step_by_step",),
    "repeated_order": (PATH + "test_the_same_order_under_another_key_is_held_back",),
    "unresolved_order": ("tests/unit/safety/test_policy_order.py::test_each_control_refuses_alone",),
    "portfolio_known": (PORTFOLIO + "test_an_opening_order_without_a_projection_is_refused",),
    "margin_after": (PORTFOLIO + "test_the_margin_after_the_order_stays_below_its_warning",),
    "short_selling": (PORTFOLIO + "test_selling_short_needs_leave_and_a_currency_pair_does_not",),
    "leverage": (PORTFOLIO + "test_leverage_is_gross_over_equity",),
    "position_size": (PORTFOLIO + "test_equal_to_a_limit_passes_and_above_it_is_refused",),
    "position_value": (PORTFOLIO + "test_equal_to_a_limit_passes_and_above_it_is_refused",),
    "total_exposure": (PORTFOLIO + "test_equal_to_a_limit_passes_and_above_it_is_refused",),
    "total_exposure_pct": (PORTFOLIO + "test_equal_to_a_limit_passes_and_above_it_is_refused",),
    "strategy_exposure": (PORTFOLIO + "test_equal_to_a_limit_passes_and_above_it_is_refused",),
    "sector_exposure": (PORTFOLIO + "test_equal_to_a_limit_passes_and_above_it_is_refused",),
    "cash_reserve": (PORTFOLIO + "test_equal_to_a_limit_passes_and_above_it_is_refused",),
    "capital_at_risk": (PORTFOLIO + "test_equal_to_a_limit_passes_and_above_it_is_refused",),
    "concurrent_positions": (PORTFOLIO + "test_equal_to_a_limit_passes_and_above_it_is_refused",),
    "order_efficiency": (PACE + "test_many_messages_without_a_trade_open_nothing_more_until_one_trades",),
    "allowed_instruments": (PORTFOLIO + "test_only_listed_contracts_are_opened_and_everything_may_be_closed",),
    "average_volume": (PATH + "test_an_entry_of_more_than_a_share_of_the_daily_volume_is_refused",),
    "confirmation": (
        "tests/flow/test_confirmation.py::test_above_the_amount_an_agent_orders_in_two_steps_and_each_ticket_is_good_once",
    ),
    "idempotency": (
        "tests/flow/test_tools_orders.py::test_same_key_twice_is_one_order_and_the_second_answer_is_marked",
    ),
}
"""Rule → the tests to try, in this order, until one fails."""


def rules_of_the_policy() -> list[str]:
    """The names in the policy's own table, in the order of their steps."""
    table = Policy(Settings()).table
    steps = {rule.name: rule.step for rules in table.values() for rule in rules}
    return sorted(steps, key=lambda name: (steps[name], name))
