"""What an approval is made of: the intents that are reserved for it, and the key to the broker's write methods.

Only `TradingSafetyManager` asks for them, once every check has passed. No other module makes an `Approved…`
(`scripts/check_architecture.py`).
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from ibkr_mcp_server.clock import Clock, trading_day
from ibkr_mcp_server.domain.operations import (
    ApprovedBracket,
    ApprovedCancellation,
    ApprovedModification,
    ApprovedOrder,
    OperationClass,
)
from ibkr_mcp_server.domain.orders import BrokerOrder, Order
from ibkr_mcp_server.safety.decision import Decision
from ibkr_mcp_server.safety.identity import BRACKET_PARTS, order_ref_for, part_key
from ibkr_mcp_server.safety.state import Action
from ibkr_mcp_server.store.intents import Intent, IntentState

Approval = ApprovedOrder | ApprovedBracket | ApprovedModification | ApprovedCancellation

_KINDS: dict[OperationClass, Literal["place", "modify", "cancel"]] = {
    OperationClass.ORDER_PLACEMENT: "place",
    OperationClass.ORDER_MODIFICATION: "modify",
    OperationClass.ORDER_CANCELLATION: "cancel",
}


def intents_of(decision: Decision, key: str, asked: str, *, clock: Clock, session_id: str) -> list[Intent]:
    """One for each order that may be sent; of a bracket the entry counts, and its exits reduce (ORD-20)."""
    observed = decision.seen.observed
    opens = observed.action is Action.OPEN

    def intent(order: Order, key: str, *, opening: bool) -> Intent:
        return _intent(decision, order, key, asked, opening=opening, clock=clock, session_id=session_id)

    if observed.order is None:
        assert observed.current is not None  # a cancellation
        return [intent(observed.current.order, key, opening=False)]
    legs = [intent(observed.order, key, opening=opens)]
    if observed.exits is not None:
        exits = (observed.exits.take_profit, observed.exits.stop_loss)
        legs += [
            intent(order, part_key(key, part), opening=False) for part, order in zip(BRACKET_PARTS, exits, strict=True)
        ]
    return legs


def _intent(
    decision: Decision, order: Order, key: str, asked: str, *, opening: bool, clock: Clock, session_id: str
) -> Intent:
    operation, observed = decision.operation, decision.seen.observed
    kind = _KINDS[operation.operation_class]
    now = clock.now()
    return Intent(
        intent_id=uuid.uuid4().hex,
        request_key=key,
        fingerprint=asked,
        kind=kind,
        state=IntentState.RESERVED,
        opening=opening,
        actor_id=operation.actor.id,
        account=order.account,
        con_id=order.instrument.con_id,
        symbol=order.instrument.label,
        side=order.side,
        quantity=order.quantity,
        order_type=order.order_type,
        limit_price=order.limit_price,
        stop_price=order.stop_price,
        worst_case_value_usd=observed.value_usd if order is observed.order else None,
        order_ref=order_ref_for(key, operation.actor.id) if kind == "place" else order.order_ref,
        decision_id=decision.decision_id,
        trading_day=trading_day(now),
        created_at=now,
        monotonic=clock.monotonic(),
        boot_id=clock.boot_id,
        session_id=session_id,
        perm_id=(observed.current.perm_id or None) if observed.current is not None else None,
        updated_at=now,
    )


def approval_of(decision: Decision, reserved: Sequence[Intent]) -> Approval:
    observed, intent = decision.seen.observed, reserved[0]
    if intent.kind == "cancel":
        assert observed.current is not None
        return ApprovedCancellation(
            target=observed.current, decision_id=decision.decision_id, intent_id=intent.intent_id
        )
    assert observed.order is not None
    if intent.kind == "modify":
        assert observed.current is not None
        order = replace(observed.order, order_ref=intent.order_ref)
        return ApprovedModification(
            current=observed.current, order=order, decision_id=decision.decision_id, intent_id=intent.intent_id
        )
    entry = _approved(decision, observed.order, intent)
    if observed.exits is None:
        return entry
    return ApprovedBracket(
        entry=entry,
        take_profit=_approved(decision, observed.exits.take_profit, reserved[1]),
        stop_loss=_approved(decision, observed.exits.stop_loss, reserved[2]),
    )


def _approved(decision: Decision, order: Order, intent: Intent) -> ApprovedOrder:
    return ApprovedOrder(
        order=replace(order, order_ref=intent.order_ref),
        decision_id=decision.decision_id,
        intent_id=intent.intent_id,
        reduces=not intent.opening,
    )


def cancellation_without_record(decision_id: str, target: BrokerOrder) -> ApprovedCancellation:
    """For a store that fails: cancelling an entry stays possible (decision 6)."""
    return ApprovedCancellation(target=target, decision_id=decision_id, intent_id="")
