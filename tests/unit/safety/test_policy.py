"""The rules, one by one, over small worlds; what the whole path makes of them is in tests/flow."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibkr_mcp_server.domain.accounts import Position
from ibkr_mcp_server.domain.confirmation import Confirmer
from ibkr_mcp_server.domain.instruments import SecType, TradingSession
from ibkr_mcp_server.domain.money import on_grid
from ibkr_mcp_server.domain.operations import Operation, OperationClass
from ibkr_mcp_server.domain.orders import OrderStatus, OrderType, Side, TimeInForce
from ibkr_mcp_server.domain.quotes import MarketDataType
from ibkr_mcp_server.safety import valuation
from ibkr_mcp_server.safety.checks import Check
from ibkr_mcp_server.safety.checks.order_pace import TradedValue
from ibkr_mcp_server.safety.checks.order_rate import wait_for_room
from ibkr_mcp_server.safety.codes import Code
from ibkr_mcp_server.safety.decision import Findings
from ibkr_mcp_server.safety.exposure import Holdings
from ibkr_mcp_server.safety.identity import part_key
from ibkr_mcp_server.safety.observation import classified
from ibkr_mcp_server.safety.policy import SWITCHES, Policy, Rule
from ibkr_mcp_server.safety.snapshot import Given, Recorded, Snapshot
from ibkr_mcp_server.safety.state import Action, Cause, EffectiveState, SafetyState
from ibkr_mcp_server.store.intents import Opening
from tests.unit.safety import builders as world

HALTED = EffectiveState(
    causes=(Cause(state=SafetyState.HALT, code=Code.KILL_SWITCH_ACTIVE, reason="Stopped.", is_latch=True),)
)


def recorded(**values: object) -> Recorded:
    return Recorded(**{"state": EffectiveState(), **values})  # type: ignore[arg-type]  # each test names real fields


def test_a_sound_order_passes_every_rule() -> None:
    assert world.codes(world.snapshot()) == []


def test_trading_is_off_until_the_master_flag_is_set() -> None:
    """CFG-01."""
    assert world.codes(world.snapshot(), enable_trading=False) == [Code.TRADING_DISABLED]


def test_foreign_exchange_needs_its_own_flag() -> None:
    """CFG-02."""
    pair = world.order(
        instrument=world.instrument(sec_type=SecType.CASH, symbol="EUR", local_symbol="EUR.USD", exchange="IDEALPRO")
    )
    assert world.codes(world.snapshot(pair)) == [Code.FOREX_DISABLED]
    assert world.codes(world.snapshot(pair), enable_forex_trading=True) == []


@pytest.mark.parametrize("listing", [{"currency": "GBP", "primary_exchange": "LSE"}, {"primary_exchange": "LSE"}])
def test_listings_outside_the_us_need_their_own_flag(listing: dict[str, str]) -> None:
    """CFG-03."""
    placed = world.order(instrument=world.instrument(**listing))
    assert world.codes(world.snapshot(placed)) == [Code.INTERNATIONAL_DISABLED]
    assert world.codes(world.snapshot(placed), enable_international_trading=True) == []


def test_placing_stop_orders_needs_its_own_flag_but_changing_one_does_not() -> None:
    """CFG-04, T-27."""
    stop = world.order(order_type=OrderType.STP, limit_price=None, stop_price=Decimal("101.00"))
    assert world.codes(world.snapshot(stop)) == [Code.STOP_LOSS_DISABLED]
    assert world.codes(world.snapshot(stop), enable_stop_loss_orders=True) == []
    moved = replace(stop, stop_price=Decimal("102.00"))
    change = world.placement(operation_class=OperationClass.ORDER_MODIFICATION)
    assert world.codes(world.snapshot(moved, current=world.broker_order(stop)), change) == []


def test_every_lock_of_live_trading_must_be_open() -> None:
    """CFG-05: all combinations; only the full one passes, and each closed lock is named."""
    locks: dict[str, Any] = {
        "live_trading": True,
        "live_trading_ack": "I accept that orders trade real money",
        "live_accounts": "U1234567",
    }
    seen = world.snapshot(
        world.order(account="U1234567"),
        link=world.link(venue="live", accounts=("U1234567",)),
        recorded=recorded(confirmed=Given(by=Confirmer.PERSON)),
    )
    for size in range(len(locks) + 1):
        for chosen in combinations(locks.items(), size):
            for trading in (True, False):
                settings = {**dict(chosen), "enable_trading": trading, "allowed_symbols": "*"}
                found = world.codes(seen, broker_mode="live", **settings)
                assert (found == []) is (size == len(locks) and trading), (chosen, trading, found)


def test_mode_and_value_decide_who_confirms_an_opening_order() -> None:
    """LLM-03, LLM-07: at the amount nobody, above it the agent, a person above the second and for every live order."""
    nobody, agent, person = Confirmer
    bounds = {"confirm_above_usd": 5_000, "human_confirm_above_usd": 8_000}
    live = {"broker_mode": "live", "live_accounts": "U1"}
    for settings, value, cautious, needed in (
        ({"broker_mode": "simulator"}, 9_000, False, nobody),
        ({"broker_mode": "simulator", **bounds}, 8_000, False, nobody),
        ({"broker_mode": "simulator", **bounds}, 8_001, False, person),
        ({"broker_mode": "simulator"}, 1, True, agent),
        ({"broker_mode": "paper"}, 5_000, False, nobody),
        ({"broker_mode": "paper"}, 5_001, False, agent),
        ({"broker_mode": "paper"}, None, False, agent),
        ({"broker_mode": "paper", **bounds}, 8_001, False, person),
        ({"broker_mode": "paper"}, 5_001, True, person),
        (live, 1, False, person),
        (live, 1, True, person),
    ):
        check = Policy(world.settings(**settings)).confirmation
        value_usd = None if value is None else Decimal(value)
        for yes in Confirmer:
            seen = world.snapshot(value_usd=value_usd, recorded=recorded(cautious=cautious, confirmed=Given(by=yes)))
            assert check.needed(world.placement(), seen) is needed
            assert (check.review(world.placement(), seen).problems == ()) is (yes >= needed)
        for action in (Action.REDUCE, Action.PROTECT):
            exit_ = world.snapshot(value_usd=value_usd, action=action, recorded=recorded(cautious=True))
            assert check.review(world.placement(), exit_).problems == ()


def test_the_first_failing_rule_in_the_order_of_tw_03_is_the_primary_reason_and_the_others_are_listed() -> None:
    """TW-03, TW-04."""
    seen = world.snapshot(
        world.order(quantity=Decimal(2000), limit_price=Decimal("150.005")),
        recorded=recorded(state=HALTED, opening_ages_seconds=(1.0,) * 5, opening_today=50),
        link=world.link(accounts=("U1234567",)),
        value_usd=Decimal(300_000),
    )
    assert world.codes(seen, enable_trading=False) == [
        Code.KILL_SWITCH_ACTIVE,
        Code.TRADING_DISABLED,
        Code.RATE_LIMIT,
        Code.DAILY_LIMIT,
        Code.CYCLE_VALUE_LIMIT,
        Code.DAILY_VALUE_LIMIT,
        Code.ACCOUNT_NOT_ACCEPTED,
        Code.ACCOUNT_NOT_SERVED,
        Code.PRICE_TICK,
        Code.ORDER_SIZE_LIMIT,
        Code.ORDER_VALUE_LIMIT,
        Code.PRICE_COLLAR,
    ]


class _Broken:
    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        raise ZeroDivisionError("secret-token-in-a-message")


def test_a_check_that_fails_to_run_refuses_and_hides_the_exception_text() -> None:
    """TW-07, TW-15: each check in turn."""
    for place, rule in enumerate(Policy(world.settings()).table[OperationClass.ORDER_PLACEMENT]):
        policy = Policy(world.settings())
        rules = list(policy.table[OperationClass.ORDER_PLACEMENT])
        broken: Check = _Broken()
        rules[place] = Rule(name=rule.name, step=rule.step, check=broken)
        policy.table[OperationClass.ORDER_PLACEMENT] = tuple(rules)
        validation = policy.review(world.placement(), world.snapshot())
        assert [found.code for _, found in validation.failures] == [Code.CHECK_ERROR], rule.name
        assert "secret" not in validation.failures[0][1].message


def test_every_operation_class_has_its_row() -> None:
    """TW-09: a class without a row could not be judged, so there is none."""
    assert set(Policy(world.settings()).table) == set(OperationClass)


def test_cancellations_meet_neither_quotas_nor_flags() -> None:
    """TW-09, RL-11, FD-11: only the state table, the order itself and its key."""
    names = {rule.name for rule in Policy(world.settings()).table[OperationClass.ORDER_CANCELLATION]}
    assert names == {*SWITCHES, "order_form", "existing_order", "idempotency"}


def test_the_final_gate_looks_at_rules_that_exist() -> None:
    names = {rule.name for rule in Policy(world.settings()).table[OperationClass.ORDER_PLACEMENT]}
    assert names >= SWITCHES


# ---- quantity, prices, size, value


@pytest.mark.parametrize(
    ("quantity", "code"),
    [
        ("0", Code.INVALID_QUANTITY),
        ("-1", Code.INVALID_QUANTITY),
        ("NaN", Code.INVALID_QUANTITY),
        ("Infinity", Code.INVALID_QUANTITY),
        ("1.5", Code.QUANTITY_STEP),
        ("0.0001", Code.QUANTITY_STEP),
    ],
)
def test_quantities_that_are_no_whole_positive_number_of_shares_are_refused(quantity: str, code: Code) -> None:
    """ORD-01."""
    seen = world.snapshot(world.order(quantity=Decimal(quantity)), value_usd=Decimal(1))
    assert world.codes(seen)[0] == code


@given(st.decimals(min_value="0.01", max_value="99", places=3))
def test_a_limit_price_passes_exactly_when_it_lies_on_the_grid(price: Decimal) -> None:
    """ORD-02."""
    found = world.codes(world.snapshot(world.order(limit_price=price)))
    assert (Code.PRICE_TICK not in found) is on_grid(price, Decimal("0.01"))


def test_a_contract_whose_rules_are_unknown_is_not_traded() -> None:
    """Invariant 5."""
    for missing in ({"min_tick": None}, {"size_increment": None}):
        placed = world.order(instrument=world.instrument(**missing))
        assert world.codes(world.snapshot(placed)) == [Code.CONTRACT_RULES_UNKNOWN]


@given(st.integers(min_value=1, max_value=2000))
def test_the_size_limit_admits_itself_and_refuses_one_more(units: int) -> None:
    """ORD-06, boundaries of section 0."""
    found = world.codes(world.snapshot(world.order(quantity=Decimal(units)), value_usd=Decimal(1)))
    assert found == ([] if units <= 1000 else [Code.ORDER_SIZE_LIMIT])


@given(st.decimals(min_value="0.01", max_value="20000", places=2))
def test_the_value_limit_admits_itself_and_refuses_a_cent_more(value: Decimal) -> None:
    """ORD-07."""
    found = world.codes(world.snapshot(value_usd=value))
    assert found == ([] if value <= 10_000 else [Code.ORDER_VALUE_LIMIT])


def test_an_order_whose_value_is_unknown_is_refused_and_never_worth_zero() -> None:
    """ORD-07, FD-2, FD-3."""
    assert world.codes(world.snapshot(value_usd=None)) == [Code.ORDER_VALUE_UNKNOWN]


@given(
    quantity=st.integers(1, 1000),
    price=st.decimals("0.01", "5000", places=2),
    multiplier=st.sampled_from([1, 100]),
    magnifier=st.sampled_from([1, 100]),
    rate=st.decimals("0.005", "2", places=4),
)
def test_value_counts_multiplier_magnifier_and_exchange_rate(
    quantity: int, price: Decimal, multiplier: int, magnifier: int, rate: Decimal
) -> None:
    """ORD-07, FD-5, FD-6."""
    placed = world.order(
        quantity=Decimal(quantity),
        limit_price=price,
        instrument=world.instrument(multiplier=Decimal(multiplier), price_magnifier=magnifier),
    )
    worst = valuation.worst_case_price(placed, world.quote(bid=price, ask=price), world.NOON, 15, Decimal(3))
    expected = quantity * price * multiplier * rate / magnifier
    assert valuation.worst_case_value_usd(placed, worst, rate) == pytest.approx(expected)


@pytest.mark.parametrize("missing", ["multiplier", "rate", "price"])
def test_a_missing_factor_makes_the_value_unknown(missing: str) -> None:
    """FD-6: derivatives without a known multiplier cannot be valued."""
    instrument = world.instrument(multiplier=None if missing == "multiplier" else Decimal(100))
    price = None if missing == "price" else Decimal(5)
    rate = None if missing == "rate" else Decimal(1)
    assert valuation.worst_case_value_usd(world.order(instrument=instrument), price, rate) is None


def test_a_sell_is_valued_as_fully_as_a_buy() -> None:
    """FD-4: a sell limit below the market can fill at the market."""
    sell = world.order(side=Side.SELL, limit_price=Decimal("98.00"))
    assert valuation.worst_case_price(sell, world.quote(), world.NOON, 15, Decimal(3)) == Decimal("100.00")


# ---- reference price and collar


@pytest.mark.parametrize(
    "quote",
    [
        None,
        world.quote(bid=None, ask=None, last=None),
        world.quote(received_at=world.NOON - timedelta(seconds=15, milliseconds=1)),
        world.quote(bid=Decimal("101"), ask=Decimal("100")),
        world.quote(ask=Decimal("-1"), last=Decimal(0)),
    ],
)
def test_no_fresh_believable_price_means_no_order(quote: object) -> None:
    """ORD-08, T-07, FD-1: nothing is invented."""
    reference = valuation.reference_price(Side.BUY, quote, world.NOON, 15)  # type: ignore[arg-type]  # quotes of the table
    assert reference is None
    found = world.codes(world.snapshot(quote=quote, reference_price=None, value_usd=None))
    assert found == [Code.NO_REFERENCE_PRICE]


def test_a_quote_exactly_as_old_as_allowed_still_counts() -> None:
    edge = world.quote(received_at=world.NOON - timedelta(seconds=15))
    assert valuation.reference_price(Side.BUY, edge, world.NOON, 15) == Decimal("100.00")
    assert valuation.reference_price(Side.SELL, edge, world.NOON, 15) == Decimal("99.98")


@given(st.decimals("90", "110", places=2), st.sampled_from(Side))
def test_a_limit_may_cross_the_reference_by_the_collar_and_no_more(price: Decimal, side: Side) -> None:
    """ORD-09."""
    placed = world.order(side=side, limit_price=price)
    found = world.codes(world.snapshot(placed, value_usd=Decimal(1)))
    inside = price <= Decimal("103.00") if side is Side.BUY else price >= Decimal("97.00")
    assert found == ([] if inside else [Code.PRICE_COLLAR])


def test_market_orders_need_regular_hours_and_live_data() -> None:
    """ORD-10."""
    placed = world.order(order_type=OrderType.MKT, limit_price=None, cap_price=Decimal("103.00"))
    assert world.codes(world.snapshot(placed)) == []
    late = world.snapshot(placed, taken_at=world.NOON + timedelta(hours=9), quote=None, reference_price=None)
    assert world.codes(late)[0] == Code.OUTSIDE_REGULAR_HOURS
    delayed = world.snapshot(placed, quote=world.quote(data_type=MarketDataType.DELAYED))
    assert world.codes(delayed) == [Code.NO_LIVE_DATA]
    unknown_hours = replace(placed, instrument=world.instrument(liquid_hours=None))
    assert world.codes(world.snapshot(unknown_hours)) == [Code.OUTSIDE_REGULAR_HOURS]


def test_only_listed_order_types_and_times_in_force_pass_and_gtc_is_for_protection() -> None:
    """ORD-10."""
    lit = world.order(order_type=OrderType.LIT, limit_price=Decimal("99.00"), stop_price=Decimal("98.00"))
    assert world.codes(world.snapshot(lit)) == [Code.ORDER_TYPE_NOT_ALLOWED]
    gtc = world.order(time_in_force=TimeInForce.GTC)
    assert world.codes(world.snapshot(gtc)) == [Code.TIME_IN_FORCE_NOT_ALLOWED]
    stop = world.order(
        side=Side.SELL, order_type=OrderType.STP, limit_price=None, stop_price=Decimal("95.00"),
        time_in_force=TimeInForce.GTC,
    )  # fmt: skip
    seen = world.snapshot(stop, action=Action.PROTECT)
    assert world.codes(seen, enable_stop_loss_orders=True) == []


# ---- limits of frequency


CENTS = st.decimals("0.01", "9999", places=2)
EARLIER = st.tuples(st.floats(0, 7_200), st.booleans(), st.booleans(), st.sampled_from("abc"), CENTS)
"""Age, whether it is of today, whether it is a placement, the order's reference, its value."""


@given(st.lists(EARLIER, max_size=8), CENTS, st.booleans())
def test_opened_value_counts_each_order_of_the_cycle_and_of_the_day_once_at_its_most(
    told: list[tuple[float, bool, bool, str, Decimal]], value: Decimal, is_change: bool
) -> None:
    """ORD-15, RL-06: a placement has a reference of its own, and what is changed is counted with its changes."""
    placed = world.order(order_ref="a")
    openings = tuple(
        Opening(
            age_seconds=age,
            is_today=is_today,
            con_id=1,
            side=Side.BUY,
            quantity=Decimal(1),
            limit_price=None,
            stop_price=None,
            value_usd=worth,
            request_key="",
            order_ref=f"{number}" if is_new else ref,
            agent="",
            is_new=is_new,
        )
        for number, (age, is_today, is_new, ref, worth) in enumerate(sorted(told))
    )
    seen = world.snapshot(
        placed,
        value_usd=value,
        current=world.broker_order(placed) if is_change else None,
        recorded=recorded(openings=openings),
    )
    sums = []
    for counts in (lambda one: one.age_seconds < 3_600, lambda one: one.is_today):
        orders = {("a" if is_change else None): value}
        for one in filter(counts, openings):
            orders[one.order_ref] = max(one.value_usd, orders.get(one.order_ref, one.value_usd))
        sums.append(sum(orders.values()))
    check = TradedValue(per_cycle_usd=Decimal(5_000), cycle_seconds=3_600.0, per_day_usd=Decimal(9_000))
    found = check.review(world.placement(), seen)
    assert found.observed == f"{sums[0]:.2f} USD in the cycle and {sums[1]:.2f} USD today, with this order"
    codes = [Code.CYCLE_VALUE_LIMIT] * (sums[0] > 5_000) + [Code.DAILY_VALUE_LIMIT] * (sums[1] > 9_000)
    assert [one.code for one in found.problems] == codes


MINUTES = st.integers(-300, 300)


@given(st.lists(st.tuples(MINUTES, MINUTES), max_size=4), MINUTES)
def test_it_is_regular_hours_in_each_session_and_at_no_other_time(sessions: list[tuple[int, int]], at: int) -> None:
    """Whatever the order, the overlaps and the seams of what the broker tells."""

    def moment(minutes: int) -> datetime:
        return world.NOON + timedelta(minutes=minutes)

    hours = tuple(TradingSession(start=moment(start), end=moment(end)) for start, end in sessions)
    traded = world.instrument(liquid_hours=hours).in_regular_hours(moment(at))
    assert traded is any(start <= at < end for start, end in sessions)


@given(st.lists(st.floats(0, 59.9), max_size=12), st.integers(1, 10))
def test_the_minute_admits_n_and_refuses_the_next_until_the_oldest_leaves(ages: list[float], limit: int) -> None:
    """RL-01: never an early or a late retry_after."""
    seen = world.snapshot(recorded=recorded(opening_ages_seconds=tuple(ages)))
    validation = Policy(world.settings(max_orders_per_minute=limit)).review(world.placement(), seen)
    if len(ages) < limit:
        assert validation.is_safe
        return
    ((_, refusal),) = validation.failures
    assert refusal.code == Code.RATE_LIMIT
    assert refusal.retry_after_seconds is not None
    still_counted = [age for age in ages if age + refusal.retry_after_seconds < 60 - 1e-3]
    assert len(still_counted) < limit


def test_the_day_admits_its_limit_warns_before_it_and_refuses_after_it() -> None:
    """RL-05."""
    policy = Policy(world.settings())
    for used, refused, warned in ((0, False, False), (19, False, False), (20, False, True), (49, False, True)):
        validation = policy.review(world.placement(), world.snapshot(recorded=recorded(opening_today=used)))
        assert (not validation.is_safe, bool(validation.warnings)) == (refused, warned), used
    assert world.codes(world.snapshot(recorded=recorded(opening_today=50))) == [Code.DAILY_LIMIT]


def test_reductions_use_no_opening_quota_and_meet_no_size_or_value_limit() -> None:
    """RL-12 in spirit, T-09: exits are never harder than entries."""
    seen = world.snapshot(
        world.order(side=Side.SELL, quantity=Decimal(5000)),
        action=Action.REDUCE,
        value_usd=Decimal(500_000),
        recorded=recorded(opening_ages_seconds=(1.0,) * 9, opening_today=99),
    )
    assert world.codes(seen) == []


def test_safety_mode_off_turns_limits_into_warnings_and_nothing_else() -> None:
    """CFG-17: simulator only; switches, accounts and prices still refuse."""
    seen = world.snapshot(value_usd=Decimal(50_000), recorded=recorded(opening_today=99))
    validation = Policy(world.settings(safety_mode=False)).review(world.placement(), seen)
    assert validation.is_safe
    assert len([text for text in validation.warnings if "not enforced" in text]) == 3
    assert world.codes(replace(seen, recorded=recorded(state=HALTED)), safety_mode=False) == [Code.KILL_SWITCH_ACTIVE]


def test_market_data_counts_symbols_and_caps_a_call() -> None:
    """RL-02, T-48."""
    quotes = world.placement(operation_class=OperationClass.MARKET_DATA, symbols=("AAPL", "MSFT"))
    seen = world.snapshot(action=Action.READ, recorded=recorded(market_data_ages_seconds=(5.0,) * 28))
    assert world.codes(seen, quotes) == []
    full = world.snapshot(action=Action.READ, recorded=recorded(market_data_ages_seconds=(5.0,) * 29))
    assert world.codes(full, quotes) == [Code.MARKET_DATA_LIMIT]
    many = replace(quotes, symbols=("AAPL",) * 51)
    assert world.codes(seen, many) == [Code.TOO_MANY_SYMBOLS]


# ---- accounts


@pytest.mark.parametrize("account", ["U1234567", "DUMMY", "du1", " DU1", "DU", "F1234567", ""])
def test_accounts_that_are_no_paper_accounts_block_every_write(account: str) -> None:
    """ACC-01, ACC-02, ACC-06: one stranger on the link is enough."""
    seen = world.snapshot(link=world.link(accounts=("DU9000001", account)))
    assert Code.ACCOUNT_NOT_ACCEPTED in world.codes(seen)


def test_an_account_argument_only_selects_among_those_the_broker_lists() -> None:
    """ACC-05, T-19."""
    seen = world.snapshot(world.order(account="DU1"))
    assert world.codes(seen) == [Code.ACCOUNT_NOT_SERVED]
    assert world.codes(world.snapshot(link=world.link(accounts=()))) == [Code.ACCOUNT_UNVERIFIED]


def test_a_verification_older_than_allowed_does_not_count() -> None:
    """ACC-07."""
    old = world.link(accounts_verified_at=world.NOON - timedelta(seconds=61))
    assert world.codes(world.snapshot(link=old)) == [Code.ACCOUNT_UNVERIFIED]
    edge = world.link(accounts_verified_at=world.NOON - timedelta(seconds=60))
    assert world.codes(world.snapshot(link=edge)) == []


# ---- existing orders


def test_only_our_own_working_orders_can_be_changed() -> None:
    """FD-42, FD-43."""
    change = world.placement(operation_class=OperationClass.ORDER_MODIFICATION)
    before = world.order()
    after = replace(before, quantity=Decimal(11))
    seen = world.snapshot(after, current=world.broker_order(before))
    assert world.codes(seen, change) == []
    done = world.snapshot(after, current=world.broker_order(before, status=OrderStatus.FILLED))
    assert world.codes(done, change) == [Code.ORDER_NOT_WORKING]
    foreign = world.snapshot(after, current=world.broker_order(before, client_id=99))
    assert world.codes(foreign, change) == [Code.NOT_OUR_ORDER]
    same = world.snapshot(before, current=world.broker_order(before))
    assert world.codes(same, change) == [Code.NOTHING_TO_CHANGE]


def test_a_modification_is_judged_as_the_whole_resulting_order() -> None:
    """ORD-19, FD-31: one share cannot be changed into two thousand."""
    change = world.placement(operation_class=OperationClass.ORDER_MODIFICATION)
    before = world.order(quantity=Decimal(10))
    after = replace(before, quantity=Decimal(2000))
    seen = world.snapshot(after, current=world.broker_order(before), value_usd=Decimal(200_000))
    assert world.codes(seen, change, max_cycle_value_usd=500_000, max_daily_value_usd=500_000) == [
        Code.ORDER_SIZE_LIMIT,
        Code.ORDER_VALUE_LIMIT,
    ]


# ---- derivatives


def option(**changes: Any) -> Any:
    values = {
        "sec_type": SecType.OPT,
        "con_id": 700,
        "primary_exchange": "",
        "trading_class": "AAPL",
        "last_trade_date": "20261218",
        "strike": Decimal(270),
        "right": "C",
        "multiplier": Decimal(100),
    }
    return world.instrument(**(values | changes))


def test_an_option_is_worth_its_premium_times_its_multiplier() -> None:
    """ORD-07: 1 at 3.00 is 300 dollars, not 3."""
    placed = world.order(instrument=option(), quantity=Decimal(2), limit_price=Decimal("3.00"))
    assert valuation.worst_case_value_usd(placed, Decimal("3.00"), Decimal(1)) == 600
    assert placed.instrument.label == "AAPL 20261218 270 C"


def test_a_derivative_whose_multiplier_is_unknown_has_no_value_and_is_refused() -> None:
    """T-07, FD-6."""
    for sec_type in (SecType.OPT, SecType.FUT):
        placed = world.order(instrument=option(multiplier=None, sec_type=sec_type), limit_price=Decimal("3.00"))
        value = valuation.worst_case_value_usd(placed, Decimal("3.00"), Decimal(1))
        assert value is None
        seen = world.snapshot(placed, value_usd=value, reference_price=Decimal("3.00"))
        assert world.codes(seen) == [Code.ORDER_VALUE_UNKNOWN]


@pytest.mark.parametrize("sec_type", [SecType.BOND, SecType.BAG, SecType.OTHER])
def test_what_does_not_follow_from_the_price_is_not_valued_by_it(sec_type: SecType) -> None:
    placed = world.order(instrument=world.instrument(sec_type=sec_type))
    assert valuation.worst_case_value_usd(placed, Decimal(100), Decimal(1)) is None


@pytest.mark.parametrize(
    ("held", "value"), [(0, Decimal(27_005)), (1, Decimal(5)), (-1, Decimal(27_005))], ids=["flat", "long", "short"]
)
def test_writing_an_option_counts_what_the_writer_may_have_to_deliver_and_closing_one_does_not(
    held: int, value: Decimal
) -> None:
    """A far option for five cents obliges to 27,000 dollars."""
    placed = world.order(
        instrument=option(), side=Side.SELL, quantity=Decimal(1), limit_price=Decimal("0.05"), account="DU9000001"
    )
    premium = valuation.worst_case_value_usd(placed, Decimal("0.05"), Decimal(1))
    position = Position(account="DU9000001", instrument=placed.instrument, quantity=Decimal(held), average_cost=None)
    seen = world.snapshot(placed, value_usd=premium).observed
    judged = classified(seen, Holdings(positions=(position,) if held else (), orders=()), ())
    assert judged.value_usd == value


def test_an_option_without_a_strike_cannot_be_written() -> None:
    placed = world.order(instrument=option(strike=None), side=Side.SELL)
    assert valuation.with_obligation(placed, Decimal(5), Decimal(1)) is None


def test_an_index_is_not_tradable() -> None:
    placed = world.order(instrument=world.instrument(sec_type=SecType.IND, symbol="SPX", local_symbol="SPX"))
    assert Code.NOT_TRADABLE in world.codes(world.snapshot(placed))


def test_derivatives_listed_abroad_need_the_flag_for_foreign_listings() -> None:
    """CFG-03: derivatives name no primary exchange."""
    abroad = world.order(instrument=option(exchange="EUREX"))
    assert Code.INTERNATIONAL_DISABLED in world.codes(world.snapshot(abroad))
    assert world.codes(world.snapshot(world.order(instrument=option()))) == []


@pytest.mark.parametrize(
    ("hours", "required", "else_"),
    [
        ({"liquid_hours": None}, ["HOURS_UNKNOWN"], ["HOURS_UNKNOWN"]),
        ({"hours_known_until": world.NOON}, ["HOURS_UNKNOWN"], ["HOURS_UNKNOWN"]),
        ({"hours_known_until": world.NOON + timedelta(seconds=1)}, [], []),
        ({"liquid_hours": ()}, ["OUTSIDE_REGULAR_HOURS"], []),
        ({"time_zone_id": "Mars/Olympus"}, ["CHECK_ERROR"], ["CHECK_ERROR"]),
    ],
)
def test_unknown_hours_open_nothing_and_reduce_as_ever(
    hours: dict[str, Any], required: list[str], else_: list[str]
) -> None:
    """TM-03, TM-04: regular hours required or not; the hours that a broker told of have an end."""
    placed = world.order(instrument=world.instrument(**hours))

    def codes(action: Action, **changes: Any) -> list[str]:
        seen = world.snapshot(placed, action=action)
        return world.codes(seen, simulator_market_always_open=False, **changes)

    assert codes(Action.OPEN) == required
    assert codes(Action.OPEN, trading_hours_only=False) == else_
    assert codes(Action.REDUCE) == []


@pytest.mark.parametrize(("average", "code"), [("199", "ILLIQUID"), ("200", None), (None, None)])
def test_an_entry_is_a_small_part_of_what_trades_in_a_day(average: str | None, code: str | None) -> None:
    """ORD-18: 10 units are 5 % of 200; what the broker does not tell is a warning, and only of stocks."""
    quoted = world.quote(average_volume=None if average is None else Decimal(average))
    seen = world.snapshot(quote=quoted)
    assert world.codes(seen) == ([] if code is None else [code])
    warnings = Policy(world.settings()).review(world.placement(), seen).warnings
    assert any("average daily volume" in text for text in warnings) is (average is None)
    assert world.codes(world.snapshot(quote=quoted, action=Action.REDUCE)) == []


@pytest.mark.parametrize("price", ["0", "-1", "NaN", "Infinity"])
def test_a_price_that_is_no_number_above_zero_is_refused(price: str) -> None:
    """The tools' schema takes none; whoever builds a draft in another way meets the rule."""
    assert Code.INVALID_PRICE in world.codes(world.snapshot(world.order(limit_price=Decimal(price))))


def test_a_percentage_to_trail_by_is_for_orders_that_trail() -> None:
    found = world.codes(world.snapshot(world.order(trailing_percent=Decimal(2))))
    assert found == [Code.PRICE_NOT_EXPECTED]


def test_the_first_and_the_last_minutes_of_a_session_open_nothing_and_tell_how_long_to_wait() -> None:
    session = TradingSession(start=world.NOON - timedelta(minutes=2), end=world.NOON + timedelta(hours=4))
    seen = world.snapshot(world.order(instrument=world.instrument(liquid_hours=(session,))))
    ((_, refusal),) = Policy(world.settings(no_entry_first_minutes=5)).review(world.placement(), seen).failures
    assert (refusal.code, refusal.retry_after_seconds) == (Code.SESSION_EDGE, 180)
    assert Policy(world.settings(no_entry_first_minutes=2)).review(world.placement(), seen).is_safe


def test_whoever_stops_or_asks_how_things_stand_is_heard_in_every_state() -> None:
    halted = Cause(state=SafetyState.LOCKDOWN, code=Code.KILL_SWITCH_ACTIVE, reason="out", is_latch=True)
    seen = Snapshot(observed=world.snapshot().observed, recorded=Recorded(state=EffectiveState(causes=(halted,))))
    for heard in (OperationClass.SAFETY_STOP, OperationClass.SAFETY_STATUS):
        assert Policy(world.settings()).review(world.placement(operation_class=heard), seen).is_safe


@given(st.lists(st.floats(0, 59.9), max_size=12), st.integers(1, 10), st.integers(1, 12))
def test_the_wait_for_room_is_as_long_as_it_takes_and_never_ends_for_what_is_too_much(
    ages: list[float], limit: int, wanted: int
) -> None:
    wait = wait_for_room(tuple(ages), limit, wanted)
    if wanted > limit:
        assert wait is None
        return
    assert wait is not None
    assert len([age for age in ages if age + wait < 60 - 1e-3]) + wanted <= limit
    assert (wait == 0) is (len(ages) + wanted <= limit)


def test_the_keys_of_a_brackets_parts_fit_into_every_key() -> None:
    """ID-01: 64 characters, and two long keys stay two."""
    assert part_key("short", "stop-loss") == "short.stop-loss"
    long = [part_key(f"{'k' * 60}{number}", "stop-loss") for number in range(2)]
    assert len(set(long)) == 2
    assert all(len(key) <= 64 for key in long)
