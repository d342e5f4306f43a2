"""What an order tool tells: the outcome in a closed vocabulary, the broker's word, and the order's terms."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from ibkr_mcp_server.domain.orders import BrokerOrder, OrderStatus
from ibkr_mcp_server.operations.safe_operation import Answer
from ibkr_mcp_server.safety.codes import CODES, Code
from ibkr_mcp_server.store.intents import Intent, IntentState
from ibkr_mcp_server.tools.registry import Reply
from ibkr_mcp_server.tools.results import Exact, Facts, Failure, Quoted, Unknown, quoted
from ibkr_mcp_server.tools.views import OrderTerms, order_terms


class Outcome(StrEnum):
    """What came of a write (TW-14)."""

    ACCEPTED = "accepted"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELLED = "cancelled"
    PENDING = "pending"
    """Sent; the broker has not said the last word."""
    REJECTED = "rejected"
    """By the broker."""
    REFUSED = "refused"
    """By the safety chain; nothing was sent."""
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"
    DRY_RUN = "dry_run"


class WriteFacts(Facts):
    """What came of placing, changing or cancelling."""

    outcome: Outcome
    client_request_id: str | Unknown = None
    replayed: bool = False
    perm_id: int | Unknown = None
    order_id: int | Unknown = None
    status: str | Unknown = None
    filled: Exact | Unknown = None
    remaining: Exact | Unknown = None
    average_fill_price: Exact | Unknown = None
    reported_at: datetime | Unknown = None
    broker_message: Quoted | Unknown = None
    terms: OrderTerms | Unknown = None


PLACED = (
    "Answers with the broker's first word: `outcome`, perm_id, status, fills. `unknown` or OUTCOME_UNKNOWN: never send "
    "again, call get_order_status. A refusal has `code` and `next_step`; nothing was sent."
)
"""Ends the description of every tool that sends an order."""


def written(answer: Answer[BrokerOrder], key: str | None) -> Reply:
    """The broker's word, or what an earlier or a dry run left."""
    seen = answer.decision.seen
    intent, order = answer.intent, answer.result
    terms = None if seen.order is None else order_terms(seen.order)
    if answer.dry_run:
        facts = WriteFacts(outcome=Outcome.DRY_RUN, client_request_id=key, terms=terms)
        return Reply(
            decision=answer.decision,
            facts=facts,
            next_step="Nothing was sent: the server runs dry, or trading comes back from a loss on paper first.",
        )
    if order is None:
        assert intent is not None  # without the broker's word an answer is a repeat, and has its record
        return _replayed(answer, intent)
    outcome = outcome_of(order)
    facts = WriteFacts(
        outcome=outcome,
        client_request_id=intent.request_key if intent is not None else key,
        perm_id=order.perm_id or None,
        order_id=order.order_id or None,
        status=order.status,
        filled=order.filled,
        remaining=order.remaining,
        average_fill_price=order.average_fill_price,
        reported_at=order.updated_at,
        broker_message=quoted(order.last_message),
        terms=terms or order_terms(order.order),
    )
    return Reply(
        decision=answer.decision, facts=facts, next_step=_NEXT.get(outcome), failure=_turned_down(outcome, order)
    )


def outcome_of(order: BrokerOrder) -> Outcome:
    """The broker's status in our closed vocabulary."""
    if order.status is OrderStatus.FILLED:
        return Outcome.FILLED
    if order.status is OrderStatus.CANCELLED:
        return Outcome.CANCELLED
    if order.status is OrderStatus.INACTIVE:
        return Outcome.REJECTED
    if order.status in (OrderStatus.PENDING_CANCEL, OrderStatus.PENDING_SUBMIT):
        return Outcome.PENDING
    return Outcome.PARTIALLY_FILLED if order.filled > 0 else Outcome.ACCEPTED


_NEXT = {
    Outcome.ACCEPTED: "The order works at the broker. Follow it with get_order_status.",
    Outcome.PARTIALLY_FILLED: "The rest still works. Follow it with get_order_status.",
    Outcome.PENDING: "Sent and not final yet. Call get_order_status; do not send it again.",
}


def _turned_down(outcome: Outcome, order: BrokerOrder) -> Failure | None:
    if outcome is not Outcome.REJECTED:
        return None
    return Failure(
        code=Code.BROKER_REJECTED,
        error=f"The broker holds the order as {order.status}: it was rejected and will not work.",
        next_step=CODES[Code.BROKER_REJECTED].remedy,
        broker_code=order.last_error_code,
        broker_text=order.last_message,
    )


INTENT_OUTCOMES = {
    IntentState.RESERVED: Outcome.PENDING,
    IntentState.SENT: Outcome.PENDING,
    IntentState.ACCEPTED: Outcome.ACCEPTED,
    IntentState.FILLED: Outcome.FILLED,
    IntentState.CANCELLED: Outcome.CANCELLED,
    IntentState.REJECTED: Outcome.REJECTED,
    IntentState.EXPIRED: Outcome.NOT_SENT,
    IntentState.UNKNOWN: Outcome.UNKNOWN,
}
"""What our own record proves about an order."""


def _replayed(answer: Answer[BrokerOrder], intent: Intent) -> Reply:
    """The same request again: what is known of the first one now (ID-04)."""
    outcome = INTENT_OUTCOMES[intent.state]
    if outcome is Outcome.ACCEPTED and intent.filled_quantity:
        outcome = Outcome.PARTIALLY_FILLED
    filled = intent.filled_quantity
    facts = WriteFacts(
        outcome=outcome,
        client_request_id=intent.request_key,
        replayed=True,
        perm_id=intent.perm_id,
        order_id=intent.order_id,
        status=intent.broker_status,
        filled=filled,
        remaining=None if filled is None else max(Decimal(0), intent.quantity - filled),
        average_fill_price=intent.average_fill_price,
        reported_at=intent.updated_at,
    )
    text = f"This request was made at {intent.created_at:%Y-%m-%d %H:%M:%S} UTC; nothing was sent now."
    return Reply(
        decision=answer.decision,
        facts=facts,
        warnings=(text,),
        next_step="Call get_order_status for its present state.",
        failure=_bad_end(intent),
    )


def _bad_end(intent: Intent) -> Failure | None:
    code, text = {
        IntentState.REJECTED: (Code.BROKER_REJECTED, "The broker rejected it."),
        IntentState.UNKNOWN: (Code.OUTCOME_UNKNOWN, "It was sent, and what the broker did with it is not known yet."),
        IntentState.EXPIRED: (Code.STATE_CHANGED, "It never reached the broker."),
    }.get(intent.state, (None, ""))
    if code is None:
        return None
    told = intent.result if isinstance(intent.result, dict) else {}
    again = "If it is still wanted, ask again with a new client_request_id."
    return Failure(
        code=code,
        error=f"The earlier request {intent.request_key}: {text} {intent.release_reason or ''}".strip(),
        next_step=CODES[code].remedy if code is not Code.STATE_CHANGED else again,
        broker_code=told.get("broker_code"),
        broker_text=told.get("broker_text"),
    )
