"""Table 0.1 and the sign test behind it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibkr_mcp_server.domain.accounts import Position
from ibkr_mcp_server.domain.operations import COORDINATOR, SYSTEM, Actor, ActorType
from ibkr_mcp_server.domain.orders import BrokerOrder, OrderStatus, OrderType, Side, TimeInForce
from ibkr_mcp_server.safety.checks.safety_state import party_of
from ibkr_mcp_server.safety.codes import Code
from ibkr_mcp_server.safety.exposure import action_of, exposure_of, is_protective, opens_more, weakens_protection
from ibkr_mcp_server.safety.state import Action, Cause, EffectiveState, Party, Permission, SafetyState
from tests.unit.safety import builders as world

causes = st.builds(
    Cause,
    state=st.sampled_from(SafetyState),
    code=st.just(Code.KILL_SWITCH_ACTIVE),
    reason=st.just("."),
    is_latch=st.booleans(),
)


@given(st.lists(causes, max_size=6), causes, st.sampled_from(Action))
def test_another_cause_never_permits_more(active: list[Cause], added: Cause, action: Action) -> None:
    """RM-06 and invariant 3: cell by cell the strictest row counts."""
    before = EffectiveState(causes=tuple(active)).permission(action)
    after = EffectiveState(causes=(*active, added)).permission(action)
    assert after <= before
    assert after == min(before, EffectiveState(causes=(added,)).permission(action))


@pytest.mark.parametrize("state", [state for state in SafetyState if state not in ("NORMAL", "REDUCE")])
def test_no_row_below_reduce_permits_opening(state: SafetyState) -> None:
    effective = EffectiveState(causes=(Cause(state=state, code="X", reason=".", is_latch=True),))
    assert effective.permission(Action.OPEN) is Permission.NO
    assert effective.name is state


@pytest.mark.parametrize("state", [SafetyState.HALT, SafetyState.SAFE, SafetyState.OBSERVE])
def test_entries_can_be_cancelled_while_stopped(state: SafetyState) -> None:
    """Invariant 6, T-13."""
    effective = EffectiveState(causes=(Cause(state=state, code="X", reason=".", is_latch=True),))
    assert effective.permission(Action.CANCEL_ENTRY) is Permission.YES


def effective(*states: SafetyState) -> EffectiveState:
    return EffectiveState(causes=tuple(Cause(state=state, code="X", reason=".", is_latch=True) for state in states))


@given(st.lists(causes, max_size=6), st.sampled_from(Action))
def test_an_agent_may_do_nothing_that_neither_a_person_nor_the_coordinator_may(
    active: list[Cause], action: Action
) -> None:
    """Table 0.1: the parties differ only in what they may do besides."""
    state = EffectiveState(causes=tuple(active))
    if state.permits(action, Party.AGENT):
        assert state.permits(action, Party.HUMAN)
        assert state.permits(action, Party.COORDINATOR)
    assert not (state.permits(Action.OPEN, Party.COORDINATOR) and not state.permits(Action.OPEN, Party.AGENT))


@pytest.mark.parametrize("action", [Action.REDUCE, Action.PROTECT, Action.CANCEL_ENTRY, Action.CANCEL_PROTECTIVE])
def test_while_positions_are_closed_only_the_coordinator_touches_orders(action: Action) -> None:
    """KS-14, single owner; in SAFE as well, where else nobody could (invariant 6), and not after a lockdown."""
    for closing in (effective(SafetyState.CLOSE), effective(SafetyState.CLOSE, SafetyState.HALT)):
        assert closing.permits(action, Party.COORDINATOR)
        assert not closing.permits(action, Party.AGENT)
        assert not closing.permits(action, Party.HUMAN)
    assert effective(SafetyState.CLOSE, SafetyState.SAFE).permits(action, Party.COORDINATOR)
    locked = effective(SafetyState.LOCKDOWN)
    assert locked.permits(action, Party.HUMAN)
    assert locked.permits(action, Party.COORDINATOR) is (action is Action.CANCEL_ENTRY)
    assert effective(SafetyState.SAFE).permits(action, Party.COORDINATOR) is (action is Action.CANCEL_ENTRY)


def test_only_the_coordinator_itself_is_taken_for_it() -> None:
    assert party_of(COORDINATOR) is Party.COORDINATOR
    assert party_of(Actor(type=ActorType.AGENT, id=COORDINATOR.id, auth=COORDINATOR.auth)) is Party.AGENT
    assert party_of(SYSTEM) is Party.AGENT
    assert party_of(Actor(type=ActorType.HUMAN, id="o", auth="passphrase")) is Party.HUMAN


def position(quantity: int) -> Position:
    return Position(account="DU9000001", instrument=world.instrument(), quantity=Decimal(quantity), average_cost=None)


units = st.integers(-300, 300)


@given(held=units, working=st.lists(st.tuples(st.sampled_from(Side), st.integers(1, 100)), max_size=5),
       side=st.sampled_from(Side), quantity=st.integers(1, 400))  # fmt: skip
def test_a_reduction_strictly_reduces_and_never_crosses_zero_whatever_else_fills(
    held: int, working: list[tuple[Side, int]], side: Side, quantity: int
) -> None:
    """KS-13, PL of section 0: counting all working orders on the same side as filled first."""
    orders = [
        world.broker_order(world.order(side=its_side, quantity=Decimal(size)), perm_id=place + 1)
        for place, (its_side, size) in enumerate(working)
    ]
    exposure = exposure_of(265598, "DU9000001", [position(held)], orders)
    action = action_of(world.order(side=side, quantity=Decimal(quantity)), exposure)
    same_side = sum(size for its_side, size in working if its_side is side)
    after = held + side.sign * (same_side + quantity)
    reduces = held * side.sign < 0 and after * (1 if held > 0 else -1) >= 0
    assert (action is Action.REDUCE) is reduces


def test_unknown_positions_make_every_order_an_opening_one() -> None:
    """Invariant 5."""
    exposure = exposure_of(265598, "DU9000001", None, [])
    assert action_of(world.order(side=Side.SELL), exposure) is Action.OPEN


def test_a_reducing_stop_is_protective_and_an_opening_stop_is_not() -> None:
    sell_stop = world.broker_order(world.order(side=Side.SELL, order_type=OrderType.STP, stop_price=Decimal(90)))
    buy_stop = world.broker_order(world.order(side=Side.BUY, order_type=OrderType.STP, stop_price=Decimal(110)))
    assert is_protective(sell_stop, [position(100)])
    assert not is_protective(buy_stop, [position(100)])
    assert not is_protective(sell_stop, [])
    assert is_protective(buy_stop, None), "while positions are unknown, protection is not taken away by mistake"
    assert not is_protective(world.broker_order(world.order(side=Side.SELL)), [position(100)])


def _exit(perm_id: int, **changes: Any) -> BrokerOrder:
    """A sell of 100 that shares its quantity with others of its group."""
    placed = world.order(side=Side.SELL, quantity=Decimal(100))
    return world.broker_order(placed, perm_id=perm_id, **{"oca_group": "exits", **changes})


def test_orders_of_one_group_share_a_quantity_and_others_do_not() -> None:
    """Take-profit and stop of one position are one exit, not two."""
    shared = exposure_of(265598, "DU9000001", [position(100)], [_exit(1), _exit(2)])
    assert shared.working_sells == 100
    apart = exposure_of(
        265598, "DU9000001", [position(300)], [_exit(1), _exit(2, oca_group="others"), _exit(3, oca_group="")]
    )
    assert apart.working_sells == 300
    assert apart.reducible(Side.SELL) == 0


def test_a_change_of_one_of_a_group_is_judged_without_the_others_that_share_its_quantity() -> None:
    stop, profit = _exit(1), _exit(2)
    exposure = exposure_of(265598, "DU9000001", [position(100)], [stop, profit], replaced=stop)
    assert exposure.reducible(Side.SELL) == 100


def test_an_exit_that_waits_for_its_entry_counts_only_as_far_as_the_entry_has_filled() -> None:
    bought = world.order(quantity=Decimal(100))
    for filled, counts in ((0, 0), (40, 40)):
        entry = world.broker_order(bought, perm_id=5, filled=Decimal(filled), remaining=Decimal(100 - filled))
        waiting = _exit(6, parent_perm_id=5)
        exposure = exposure_of(265598, "DU9000001", [position(50)], [entry, waiting])
        assert exposure.working_sells == counts
        assert exposure.working_buys == 100 - filled
        changed = exposure_of(265598, "DU9000001", [position(filled)], [entry, waiting], replaced=waiting)
        assert changed.position == 100, "judged by the position that its entry makes"


def test_the_stop_of_an_entry_that_still_works_is_protective() -> None:
    entry = world.broker_order(world.order(), perm_id=5)
    stop = world.broker_order(
        world.order(side=Side.SELL, order_type=OrderType.STP, stop_price=Decimal(90)), perm_id=6, parent_perm_id=5
    )
    assert is_protective(stop, [], [entry, stop])
    assert not is_protective(stop, [], [replace(entry, status=OrderStatus.CANCELLED), stop])


def test_finished_orders_use_up_no_reduction() -> None:
    sold = world.broker_order(world.order(side=Side.SELL, quantity=Decimal(60)), status=OrderStatus.CANCELLED)
    exposure = exposure_of(265598, "DU9000001", [position(100)], [sold])
    assert exposure.reducible(Side.SELL) == 100


def test_asking_for_more_units_or_a_worse_price_opens_more() -> None:
    """ORD-19."""
    before = world.order()
    assert opens_more(before, world.order(quantity=Decimal(11)))
    assert opens_more(before, world.order(limit_price=Decimal("100.01")))
    assert not opens_more(before, world.order(quantity=Decimal(9)))
    assert not opens_more(before, world.order(limit_price=Decimal("99.00")))


@pytest.mark.parametrize(
    ("change", "more"),
    [
        ({"stop_price": Decimal("110.01")}, True),
        ({"stop_price": Decimal("109.99")}, True),
        ({"trailing_amount": Decimal("5.01")}, True),
        ({"trailing_amount": None, "trailing_percent": Decimal(1)}, True),
        ({"trailing_amount": Decimal("4.99")}, True),
        ({"quantity": Decimal(9)}, False),
        ({"limit_offset": Decimal("0.51")}, True),
        ({"time_in_force": TimeInForce.GTC}, True),
        ({"outside_rth": True}, True),
    ],
)
def test_a_change_that_can_cost_more_or_wake_an_order_sooner_opens_more(change: dict[str, Any], more: bool) -> None:
    """ORD-19, FD-31: not only the limit price. Under a halt an entry's trigger cannot be moved to the market."""
    before = world.order(
        order_type=OrderType.TRAIL_LIMIT,
        limit_price=None,
        stop_price=Decimal("110.00"),
        trailing_amount=Decimal("5.00"),
        limit_offset=Decimal("0.50"),
    )
    assert opens_more(before, replace(before, **change)) is more


@pytest.mark.parametrize(
    ("change", "weaker"),
    [
        ({"stop_price": Decimal("95.01"), "limit_price": Decimal("94.01")}, False),
        ({"stop_price": Decimal("94.99"), "limit_price": Decimal("93.99")}, True),
        ({"limit_price": Decimal("94.50")}, True),
        ({"limit_price": Decimal("93.00")}, False),
        ({"quantity": Decimal(9)}, True),
        ({"quantity": Decimal(11)}, False),
        ({"time_in_force": TimeInForce.DAY}, True),
    ],
)
def test_moving_a_stop_away_is_told_from_moving_it_closer(change: dict[str, Any], weaker: bool) -> None:
    """Table 0.1: an agent that may not cancel a protective order may not empty it of its meaning either."""
    before = world.order(
        side=Side.SELL,
        order_type=OrderType.STP_LMT,
        stop_price=Decimal("95.00"),
        limit_price=Decimal("94.00"),
        time_in_force=TimeInForce.GTC,
    )
    assert weakens_protection(before, replace(before, **change)) is weaker


def test_a_fill_that_lowers_the_position_counts_before_the_broker_has_booked_it() -> None:
    """FD-4: the position report trails the fill, and a second full exit would open a short position."""
    sold = exposure_of(265598, "DU9000001", [position(100)], [], unsettled=Decimal(-100))
    assert sold.reducible(Side.SELL) == 0
    bought = exposure_of(265598, "DU9000001", [position(100)], [], unsettled=Decimal(50))
    assert bought.reducible(Side.SELL) == 100, "a purchase counts only once it is booked"
