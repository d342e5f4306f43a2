"""What the audit log keeps of decisions, intents and outcomes, and what an intent keeps of the broker's word."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache

from ibkr_mcp_server.audit.canonical import Rendered, canonical
from ibkr_mcp_server.audit.events import AuditEvent, EventType
from ibkr_mcp_server.domain.accounts import masked
from ibkr_mcp_server.domain.instruments import TradingSession
from ibkr_mcp_server.domain.operations import Problem
from ibkr_mcp_server.domain.orders import BrokerOrder, Order, OrderStatus
from ibkr_mcp_server.errors import ProductError
from ibkr_mcp_server.safety.decision import PORTFOLIO_STEPS, Code, Decision, Validation
from ibkr_mcp_server.store.intents import Intent, IntentState, Opening, Outcome


def decision_event(decision: Decision, venue: str, *, dry_run: bool = False) -> AuditEvent:
    """AUD-09: everything that the verdict rests on, so that the record alone can repeat it."""
    seen = decision.seen
    observed = seen.observed
    return AuditEvent(
        type=EventType.DECISION,
        actor=decision.operation.actor,
        operation_type=decision.operation.operation_class,
        tool=decision.operation.tool,
        decision_id=decision.decision_id,
        intent_id=decision.intent_id,
        order_data={
            "arguments": dict(decision.operation.arguments),
            "order": None if decision.seen.order is None else _order_record(decision.seen.order, decision.seen.now),
            "exits": [_order_record(placed, decision.seen.now) for _, placed in decision.seen.placed[1:]],
            "venue": venue,
        },
        validation_result={
            **_validation_record(decision.validation),
            "action": observed.action,
            "state": seen.recorded.state.name,
            "causes": [cause.reason for cause in seen.recorded.state.causes],
            "quote": observed.quote,
            "quote_age_seconds": None
            if observed.quote is None
            else round(observed.quote.age_seconds(observed.taken_at), 3),
            "reference_price": observed.reference_price,
            "usd_per_unit": observed.usd_per_unit,
            "usd_source": observed.usd_source,
            "worst_case_value_usd": observed.value_usd,
            "exposure": observed.exposure,
            "portfolio": observed.portfolio,
            "margin": observed.margin,
            "opening_last_minute": len(seen.recorded.opening_ages_seconds),
            "opening_today": seen.recorded.opening_today,
            "messages": seen.recorded.messages,
            "openings": [_opening_record(opening) for opening in seen.recorded.openings],
            "limits": seen.recorded.limits,
            "confirmed_by": seen.recorded.confirmed.by.word,
            "cautious": seen.recorded.cautious,
            "timeout_seconds": observed.timeout_seconds,
            "account_read_ages_seconds": seen.recorded.account_read_ages_seconds,
            "modification_ages_seconds": seen.recorded.modification_ages_seconds,
            "working": [_working_record(order) for order in observed.working],
            "earlier_price": observed.earlier_price,
            "unresolved": [intent.intent_id for intent in seen.recorded.unresolved],
            "accounts_verified_at": None if observed.link is None else observed.link.accounts_verified_at,
            "taken_at": observed.taken_at,
        },
        outcome={
            "approved": not decision.is_refused,
            "preview": decision.operation.preview,
            "dry_run": dry_run,
            "replayed_intent": decision.replayed_intent_id,
            "codes": [found.code for _, found in decision.problems],
        },
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


def _validation_record(validation: Validation) -> dict[str, object]:
    """The four fields of TW-06."""
    return {
        "is_safe": validation.is_safe,
        "errors": [f"{found.code}: {found.message}" for _, found in validation.failures],
        "warnings": list(validation.warnings),
        "safety_checks": [
            _check_record(verdict.check, verdict.passed, verdict.findings.observed, verdict.findings.limit)
            for verdict in validation.verdicts
        ],
    }


@lru_cache(maxsize=1024)
def _check_record(check: str, passed: bool, observed: str | None, limit: str | None) -> Rendered:
    """Most checks say the same of most orders."""
    return canonical({"check": check, "passed": passed, "observed": observed, "limit": limit})


def _opening_record(opening: Opening) -> Rendered:
    """All its fields; only the age, the first of them, differs from decision to decision."""
    return Rendered(f'{{"age_seconds":"{opening.age_seconds}",{_unchanging(opening[1:])}')


@lru_cache(maxsize=2048)
def _unchanging(fields: tuple[object, ...]) -> str:
    return canonical(dict(zip(Opening._fields[1:], fields, strict=True)))[1:]


def _working_record(order: BrokerOrder) -> dict[str, object]:
    """A working order as the checks look at it."""
    return {
        "perm_id": order.perm_id,
        "con_id": order.order.instrument.con_id,
        "side": order.order.side,
        "quantity": order.order.quantity,
        "order_type": order.order.order_type,
        "limit_price": order.order.limit_price,
        "placed_here": order.placed_here,
        "parent_perm_id": order.parent_perm_id,
    }


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


def _sessions_near(sessions: tuple[TradingSession, ...] | None, now: datetime) -> list[TradingSession] | None:
    """The sessions that a verdict of this moment can rest on: of the day before, now, and next."""
    if sessions is None:
        return None
    lately = [session for session in sessions if session.end > now - timedelta(days=1)]
    return sorted(lately, key=lambda session: session.start)[:4]


def _order_record(order: Order, now: datetime) -> dict[str, object]:
    instrument, price = order.instrument, order.limit_price or order.stop_price
    return {
        "con_id": instrument.con_id,
        "instrument": instrument.label,
        "sec_type": instrument.sec_type,
        "exchange": instrument.exchange,
        "primary_exchange": instrument.primary_exchange,
        "currency": instrument.currency,
        "multiplier": instrument.multiplier,
        "price_magnifier": instrument.price_magnifier,
        "price_increment": instrument.min_tick if price is None else instrument.price_increment(price),
        "size_increment": instrument.size_increment,
        "min_size": instrument.min_size,
        "time_zone_id": instrument.time_zone_id,
        "hours_known_until": instrument.hours_known_until,
        "liquid_hours": _sessions_near(instrument.liquid_hours, now),
        "trading_hours": _sessions_near(instrument.trading_hours, now),
        "account": masked(order.account),
        "side": order.side,
        "quantity": order.quantity,
        "order_type": order.order_type,
        "limit_price": order.limit_price,
        "stop_price": order.stop_price,
        "trailing_amount": order.trailing_amount,
        "trailing_percent": order.trailing_percent,
        "limit_offset": order.limit_offset,
        "cap_price": order.cap_price,
        "time_in_force": order.time_in_force,
        "good_till_date": order.good_till_date,
        "outside_rth": order.outside_rth,
    }
