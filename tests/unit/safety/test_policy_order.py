"""The policy as a whole: in what order reasons are told, and what each state leaves open to whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from itertools import combinations
from typing import Any

import pytest

from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.domain.operations import OperationClass
from ibkr_mcp_server.domain.orders import OrderType
from ibkr_mcp_server.safety.codes import Code, problem
from ibkr_mcp_server.safety.snapshot import Given, Recorded
from ibkr_mcp_server.safety.state import Action, Cause, EffectiveState, SafetyState
from ibkr_mcp_server.store.intents import Intent, IntentState
from tests.stores import an_intent
from tests.unit.safety import builders as world


def cause(state: SafetyState, code: Code) -> Cause:
    return Cause(state=state, code=code, reason="For a test.", is_latch=True)


def unknown_intent(**fields: Any) -> Intent:
    return an_intent(ManualClock(), state=IntentState.UNKNOWN, **fields)


@dataclass(frozen=True, kw_only=True)
class Trip:
    """One control that refuses, and what brings it about."""

    step: int
    code: Code
    causes: tuple[Cause, ...] = ()
    order: Mapping[str, Any] = field(default_factory=dict)
    instrument: Mapping[str, Any] = field(default_factory=dict)
    recorded: Mapping[str, Any] = field(default_factory=dict)
    observed: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


KEY = "a-key-of-tests"
TRIPS = (
    Trip(step=1, code=Code.KILL_SWITCH_ACTIVE, causes=(cause(SafetyState.HALT, Code.KILL_SWITCH_ACTIVE),)),
    Trip(step=2, code=Code.LINK_DOWN, causes=(cause(SafetyState.SAFE, Code.LINK_DOWN),)),
    Trip(step=3, code=Code.SAFE_MODE, causes=(cause(SafetyState.SAFE, Code.SAFE_MODE),)),
    Trip(
        step=4,
        code=Code.OUTSIDE_REGULAR_HOURS,
        order={"order_type": OrderType.MKT, "limit_price": None, "cap_price": Decimal("103.00")},
        instrument={"liquid_hours": ()},
    ),
    Trip(step=5, code=Code.RATE_LIMIT, recorded={"opening_ages_seconds": (1.0,) * 9}),
    Trip(step=6, code=Code.DAILY_LIMIT, recorded={"opening_today": 99}),
    Trip(step=7, code=Code.ACCOUNT_NOT_ACCEPTED, observed={"link": world.link(accounts=("DU9000001", "U1234567"))}),
    Trip(step=8, code=Code.QUANTITY_STEP, order={"quantity": Decimal("1.5")}),
    Trip(step=9, code=Code.ORDER_VALUE_LIMIT, observed={"value_usd": Decimal(10_001)}),
    Trip(step=12, code=Code.UNRESOLVED_ORDER, recorded={"unresolved": (unknown_intent(),)}),
    Trip(
        step=12,
        code=Code.IDEMPOTENCY_MISMATCH,
        recorded={"same_key": an_intent(ManualClock(), request_key=KEY), "fingerprint": "another"},
    ),
    Trip(
        step=13,
        code=Code.TICKET_EXPIRED,
        recorded={"confirmed": Given(problem=problem(Code.TICKET_EXPIRED, "The ticket ended."))},
    ),
)
"""One for each step of TW-03 that exists so far."""


def judged(*trips: Trip) -> list[str]:
    merged: dict[str, dict[str, Any]] = {
        name: {key: value for trip in trips for key, value in getattr(trip, name).items()}
        for name in ("order", "instrument", "recorded", "observed", "settings")
    }
    placed = world.order(instrument=world.instrument(**merged["instrument"]), **merged["order"])
    state = EffectiveState(causes=tuple(found for trip in trips for found in trip.causes))
    seen = world.snapshot(
        placed,
        recorded=Recorded(**{"state": state, **merged["recorded"]}),
        **{"value_usd": Decimal(1), **merged["observed"]},
    )
    return world.codes(seen, world.placement(client_request_id=KEY), **merged["settings"])


@pytest.mark.parametrize("trip", TRIPS, ids=lambda trip: trip.code)
def test_each_control_refuses_alone(trip: Trip) -> None:
    """TW-03."""
    assert judged(trip) == [trip.code]


@pytest.mark.parametrize(("one", "other"), list(combinations(TRIPS, 2)), ids=lambda trip: trip.code)
def test_of_two_controls_the_earlier_is_the_reason_and_the_later_is_told_too(one: Trip, other: Trip) -> None:
    """TW-03, TW-04: whichever way round they came about."""
    for pair in ((one, other), (other, one)):
        told = judged(*pair)
        assert sorted(told) == sorted([one.code, other.code])
        if one.step != other.step:
            assert told[0] == min(pair, key=lambda trip: trip.step).code


OPENS, REDUCES, PROTECTS = Action.OPEN, Action.REDUCE, Action.PROTECT
ENTRY, PROTECTION, READS = Action.CANCEL_ENTRY, Action.CANCEL_PROTECTIVE, Action.READ
AGENT_MAY: dict[SafetyState, set[Action]] = {
    SafetyState.NORMAL: set(Action),
    SafetyState.REDUCE: {OPENS, REDUCES, PROTECTS, ENTRY, READS},
    SafetyState.OBSERVE: {REDUCES, PROTECTS, ENTRY, READS},
    SafetyState.SAFE: {ENTRY, READS},
    SafetyState.HALT: {REDUCES, PROTECTS, ENTRY, READS},
    SafetyState.CLOSE: {READS},
    SafetyState.LOCKDOWN: set(),
}
"""Table 0.1 as an agent meets it; what is for humans or the coordinator only is not in it."""
ACTIONS = {
    OperationClass.ORDER_PLACEMENT: (OPENS, REDUCES, PROTECTS),
    OperationClass.ORDER_MODIFICATION: (OPENS, REDUCES),
    OperationClass.ORDER_CANCELLATION: (ENTRY, PROTECTION),
    OperationClass.MARKET_DATA: (READS,),
    OperationClass.FOREX: (READS,),
    OperationClass.ACCOUNT_READ: (READS,),
    OperationClass.ACCOUNT_MANAGEMENT: (READS,),
}
MATRIX = [(state, kind, action) for state in SafetyState for kind, actions in ACTIONS.items() for action in actions]


@pytest.mark.parametrize(("state", "kind", "action"), MATRIX, ids=str)
def test_each_class_is_open_in_the_states_of_the_table_and_in_no_other(
    state: SafetyState, kind: OperationClass, action: Action
) -> None:
    """TW-09, KS-02: operation class by safety state."""
    causes = () if state is SafetyState.NORMAL else (cause(state, Code.KILL_SWITCH_ACTIVE),)
    before = world.order()
    current = None if kind is OperationClass.ORDER_PLACEMENT else world.broker_order(before)
    placed = world.order(quantity=Decimal(9)) if kind is OperationClass.ORDER_MODIFICATION else before
    seen = world.snapshot(
        placed,
        recorded=Recorded(state=EffectiveState(causes=causes)),
        action=action,
        current=current,
        taken_at=world.NOON + timedelta(seconds=1),
    )
    found = world.codes(seen, world.placement(operation_class=kind))
    assert (found == []) is (action in AGENT_MAY[state]), found


@pytest.mark.parametrize("state", list(SafetyState))
@pytest.mark.parametrize("kind", [OperationClass.SAFETY_STATUS, OperationClass.SAFETY_STOP])
def test_the_status_can_be_read_and_a_stop_pressed_in_every_state(state: SafetyState, kind: OperationClass) -> None:
    """TW-09, KS-18."""
    causes = (cause(state, Code.KILL_SWITCH_ACTIVE),)
    seen = world.snapshot(action=READS, recorded=Recorded(state=EffectiveState(causes=causes)))
    assert world.codes(seen, world.placement(operation_class=kind), enable_trading=False) == []
