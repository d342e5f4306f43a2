"""What the audit log keeps of decisions, intents and outcomes, and what an intent keeps of the broker's word."""

from __future__ import annotations

from functools import lru_cache

from ibkr_mcp_server.audit.canonical import Rendered, canonical, joined
from ibkr_mcp_server.audit.events import AuditEvent, EventType
from ibkr_mcp_server.domain.accounts import masked
from ibkr_mcp_server.domain.operations import SYSTEM, OperationClass, Problem
from ibkr_mcp_server.domain.orders import BrokerOrder, OrderStatus
from ibkr_mcp_server.errors import ProductError
from ibkr_mcp_server.safety.codes import Code
from ibkr_mcp_server.safety.decision import PORTFOLIO_STEPS, Decision, Validation
from ibkr_mcp_server.safety.evidence import Contract, evidence_of
from ibkr_mcp_server.store.intents import Intent, IntentState, Outcome


def decision_type(of: OperationClass) -> EventType:
    """Each call has one record of its decision; that of a request for market data has a type of its own."""
    asks_for_prices = of in (OperationClass.MARKET_DATA, OperationClass.FOREX)
    return EventType.MARKET_DATA_REQUEST if asks_for_prices else EventType.DECISION


def decision_event(decision: Decision, contract: Contract | None, venue: str, *, dry_run: bool = False) -> AuditEvent:
    """AUD-09: everything that the verdict rests on, so that the log alone can repeat it (`replay.py`)."""
    operation, observed, recorded = decision.operation, decision.seen.observed, decision.seen.recorded
    order, quote = observed.order, observed.quote
    return AuditEvent(
        type=decision_type(operation.operation_class),
        actor=operation.actor,
        operation_type=operation.operation_class,
        tool=operation.tool,
        decision_id=decision.decision_id,
        intent_id=decision.intent_id,
        order_data={
            "arguments": dict(operation.arguments),
            "operation": evidence_of(operation),
            "order": None if order is None else evidence_of(order),
            "exits": [evidence_of(placed) for _, placed in decision.seen.placed[1:]],
            "contract": None if contract is None else contract.hash,
            "venue": venue,
        },
        validation_result={
            **validation_record(decision.validation),
            "basis": decision.basis,
            "state": recorded.state.name,
            "quote_age_seconds": None if quote is None else round(quote.age_seconds(observed.taken_at), 3),
            "observed": evidence_of(observed),
            "recorded": evidence_of(recorded),
        },
        outcome={
            "approved": not decision.is_refused,
            "preview": operation.preview,
            "dry_run": dry_run,
            "replayed_intent": decision.replayed_intent_id,
            "codes": [found.code for _, found in decision.problems],
        },
    )


def contract_event(contract: Contract) -> AuditEvent:
    """A contract with the rules that orders in it were judged by; records of decisions name it by its hash."""
    return AuditEvent(
        type=EventType.CONTRACT_RULES, actor=SYSTEM, order_data={"contract": contract.text, "hash": contract.hash}
    )


def refusal_events(decision: Decision) -> list[AuditEvent]:
    """Beside the decision, what people count: each layer that an order breaks (PL-15), bad orders, failed checks."""
    found = [(verdict, problem) for verdict in decision.validation.verdicts for problem in verdict.findings.problems]
    events = []
    for verdict, problem in found:
        kind = None
        if problem.code == Code.CHECK_ERROR:
            kind = EventType.CHECK_ERROR
        elif verdict.step in PORTFOLIO_STEPS:
            kind = EventType.ORDER_REJECTED_LIMITS
        elif verdict.check == "order_form":
            kind = EventType.ORDER_VALIDATION_FAILED
        if kind is not None:
            events.append(_refusal_event(kind, decision, verdict.check, problem))
    return events


def _refusal_event(kind: EventType, decision: Decision, check: str, problem: Problem) -> AuditEvent:
    return AuditEvent(
        type=kind,
        actor=decision.operation.actor,
        operation_type=decision.operation.operation_class,
        tool=decision.operation.tool,
        decision_id=decision.decision_id,
        outcome={"layer": check, "code": problem.code, "observed": problem.observed, "limit": problem.limit},
    )


def validation_record(validation: Validation) -> dict[str, object]:
    """The four fields of TW-06."""
    return {
        "is_safe": validation.is_safe,
        "errors": [f"{found.code}: {found.message}" for _, found in validation.failures],
        "warnings": list(validation.warnings),
        "safety_checks": joined(
            _check_record(rule.name, not found.problems, found.observed, found.limit)
            for rule, found in zip(validation.rules, validation.findings, strict=True)
        ),
    }


@lru_cache(maxsize=1024)
def _check_record(check: str, passed: bool, observed: str | None, limit: str | None) -> Rendered:
    """Most checks say the same of most orders."""
    return canonical({"check": check, "passed": passed, "observed": observed, "limit": limit})


def intent_event(
    event: EventType, decision: Decision, intent: Intent, outcome: BrokerOrder | BaseException | None = None
) -> AuditEvent:
    return AuditEvent(
        type=event,
        actor=decision.operation.actor,
        operation_type=decision.operation.operation_class,
        tool=decision.operation.tool,
        decision_id=decision.decision_id,
        intent_id=intent.intent_id,
        order_data=intent_record(intent),
        outcome=_outcome_record(intent, outcome),
        broker_ids={
            "perm_id": intent.perm_id,
            "order_id": intent.order_id,
            "client_id": intent.client_id,
            "order_ref": intent.order_ref,
        },
    )


def state_of(kind: str, order: BrokerOrder) -> tuple[IntentState, EventType]:
    """Where an intent stands, by the broker's word about its order."""
    if kind == "cancel":
        ended = order.status is OrderStatus.CANCELLED
        return (IntentState.CANCELLED if ended else IntentState.ACCEPTED), EventType.ORDER_CANCELLED
    if order.status is OrderStatus.FILLED:
        return IntentState.FILLED, EventType.ORDER_FILLED
    if order.status is OrderStatus.CANCELLED:
        return IntentState.CANCELLED, EventType.ORDER_CANCELLED
    if order.status is OrderStatus.INACTIVE:
        return IntentState.REJECTED, EventType.ORDER_ATTEMPT
    return IntentState.ACCEPTED, EventType.ORDER_MODIFIED if kind == "modify" else EventType.ORDER_PLACED


def broker_fields(order: BrokerOrder) -> Outcome:
    """What an intent keeps of the broker's report."""
    return {
        "perm_id": order.perm_id or None,
        "order_id": order.order_id,
        "client_id": order.client_id,
        "broker_status": order.status,
        "filled_quantity": order.filled,
        "average_fill_price": order.average_fill_price,
    }


def intent_record(intent: Intent) -> dict[str, object]:
    return {
        "kind": intent.kind,
        "state": intent.state,
        "request_key": intent.request_key,
        "account": masked(intent.account),
        "con_id": intent.con_id,
        "symbol": intent.symbol,
        "side": intent.side,
        "quantity": intent.quantity,
        "order_type": intent.order_type,
        "limit_price": intent.limit_price,
        "stop_price": intent.stop_price,
        "opening": intent.opening,
        "trading_day": intent.trading_day,
    }


def error_record(outcome: BaseException) -> dict[str, object]:
    if isinstance(outcome, ProductError):
        return {
            "code": outcome.code,
            "message": outcome.message,
            "next_step": outcome.next_step,
            "broker_code": outcome.broker_code,
            "broker_text": outcome.broker_text,
        }
    return {"code": Code.OUTCOME_UNKNOWN, "message": f"The send ended with {type(outcome).__name__}."}


def _outcome_record(intent: Intent, outcome: BrokerOrder | BaseException | None) -> dict[str, object]:
    if outcome is None:
        return {"state": intent.state}
    if isinstance(outcome, BrokerOrder):
        return {
            "state": intent.state,
            "status": outcome.status,
            "filled": outcome.filled,
            "remaining": outcome.remaining,
            "average_fill_price": outcome.average_fill_price,
            "message": outcome.last_message,
        }
    return {"state": intent.state, **error_record(outcome)}
