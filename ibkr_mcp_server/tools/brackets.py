"""The tool that places a bracket: an entry, its take-profit and its stop-loss as one unit."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Literal

from ibkr_mcp_server.broker.base import BracketReport, LegReport
from ibkr_mcp_server.domain.operations import OperationClass
from ibkr_mcp_server.errors import OutcomeUnknown
from ibkr_mcp_server.operations.brackets import place_bracket, recorded_legs
from ibkr_mcp_server.operations.safe_operation import Answer
from ibkr_mcp_server.safety.codes import CODES, Code
from ibkr_mcp_server.safety.identity import BRACKET_PARTS, part_key
from ibkr_mcp_server.store.intents import Intent
from ibkr_mcp_server.tools.order_arguments import BracketArguments
from ibkr_mcp_server.tools.order_facts import INTENT_OUTCOMES, PLACED, Outcome, outcome_of
from ibkr_mcp_server.tools.registry import Call, Reply, Tool, Toolset
from ibkr_mcp_server.tools.results import Exact, Facts, Failure, Part, Unknown, remedy
from ibkr_mcp_server.tools.views import OrderTerms, order_terms

Role = Literal["entry", "take_profit", "stop_loss"]
ROLES: tuple[Role, ...] = ("entry", "take_profit", "stop_loss")


class LegView(Part):
    """One order of the bracket."""

    role: Role
    outcome: Outcome
    client_request_id: str | Unknown = None
    perm_id: int | Unknown = None
    order_id: int | Unknown = None
    status: str | Unknown = None
    filled: Exact | Unknown = None
    remaining: Exact | Unknown = None
    average_fill_price: Exact | Unknown = None
    code: str | Unknown = None
    error: str | Unknown = None
    terms: OrderTerms | Unknown = None


class BracketFacts(Facts):
    outcome: Outcome
    client_request_id: str | Unknown = None
    replayed: bool = False
    unwound: bool = False
    legs: tuple[LegView, ...] = ()


async def place_bracket_order(call: Call, arguments: BracketArguments) -> Reply:
    operation = call.operation(
        draft=arguments.bracket(), account=arguments.account, client_request_id=arguments.client_request_id
    )
    answer = await place_bracket(operation, call.desk)
    if answer.dry_run:
        facts = BracketFacts(outcome=Outcome.DRY_RUN, client_request_id=arguments.client_request_id)
        return Reply(decision=answer.decision, facts=facts, next_step="Nothing was sent: the server runs dry.")
    if answer.result is None:
        assert answer.intent is not None  # without the broker's word an answer is a repeat, and has its record
        return _replayed(answer, answer.intent, await recorded_legs(answer.intent, call.desk))
    return _told(answer, answer.result, answer.intent, arguments.client_request_id)


def _told(answer: Answer[BracketReport], told: BracketReport, entry: Intent | None, key: str | None) -> Reply:
    key = key if entry is None else entry.request_key
    keys = (None, None, None) if key is None else (key, *(part_key(key, part) for part in BRACKET_PARTS))
    placed = [order for _, order in answer.decision.seen.placed]
    legs = tuple(
        _leg(role, leg, leg_key, order_terms(order))
        for role, leg, leg_key, order in zip(ROLES, told.legs, keys, placed, strict=True)
    )
    failure = _failure(told, legs)
    facts = BracketFacts(outcome=_overall(legs), client_request_id=key, unwound=told.unwound, legs=legs)
    next_step = "All three are at the broker: the exits wait until the entry has filled. Follow it with wait_for_order."
    if facts.outcome is Outcome.FILLED:
        next_step = "The entry has filled and its exits work. When one of them fills, the other is cancelled."
    return Reply(decision=answer.decision, facts=facts, next_step=next_step, failure=failure)


def _leg(role: Role, leg: LegReport, key: str | None, terms: OrderTerms) -> LegView:
    order = leg.order
    outcome = Outcome.UNKNOWN
    if isinstance(leg.error, OutcomeUnknown) or leg.staged:
        outcome = Outcome.UNKNOWN
    elif leg.error is not None:
        outcome = Outcome.REJECTED if leg.error.broker_code is not None else Outcome.NOT_SENT
    elif order is not None:
        outcome = outcome_of(order)
    code = None if leg.error is None else leg.error.code
    error = leg.kept_because or (None if leg.error is None else leg.error.message)
    if order is None:
        return LegView(role=role, outcome=outcome, client_request_id=key, code=code, error=error, terms=terms)
    return LegView(
        role=role,
        outcome=outcome,
        client_request_id=key,
        perm_id=order.perm_id or None,
        order_id=order.order_id or None,
        status=order.status,
        filled=order.filled,
        remaining=order.remaining,
        average_fill_price=order.average_fill_price,
        code=code,
        error=error,
        terms=terms,
    )


def _overall(legs: Sequence[LegView]) -> Outcome:
    """The entry's outcome, unless that of any order is not known."""
    return Outcome.UNKNOWN if any(leg.outcome is Outcome.UNKNOWN for leg in legs) else legs[0].outcome


_LIVE = (Outcome.ACCEPTED, Outcome.PARTIALLY_FILLED, Outcome.FILLED, Outcome.PENDING)


def _failure(told: BracketReport, legs: Sequence[LegView]) -> Failure | None:
    """None when all three live; otherwise why not, and what is left of it."""
    details = [f"{leg.role}: {leg.outcome}" + (f", {leg.code}: {leg.error}" if leg.code else "") for leg in legs]
    if any(leg.outcome is Outcome.UNKNOWN for leg in legs):
        names = ", ".join(leg.client_request_id or leg.role for leg in legs if leg.outcome is Outcome.UNKNOWN)
        return Failure(
            code=Code.OUTCOME_UNKNOWN,
            error=f"It is not known what became of {names}.",
            next_step="Do not send it again. Call get_order_status with each of these as order_request_id.",
            details=details,
        )
    if all(leg.outcome in _LIVE for leg in legs):
        return None
    why = next((leg.error for leg in told.legs if leg.error is not None), None)
    broker_code = None if why is None else why.broker_code
    broker_text = None if why is None else why.broker_text
    left = [leg for leg in legs if leg.outcome in _LIVE]
    if left:
        names = ", ".join(f"{leg.role} ({leg.outcome})" for leg in left)
        return Failure(
            code=Code.BRACKET_INCOMPLETE,
            error=f"The bracket is not whole. Left of it: {names}.",
            next_step=CODES[Code.BRACKET_INCOMPLETE].remedy,
            details=details,
            broker_code=broker_code,
            broker_text=broker_text,
        )
    code = Code.BROKER_REJECTED if why is None else why.code
    reason = "" if why is None else f" {why.message}"
    return Failure(
        code=code,
        error=f"The bracket was not placed, and nothing of it works.{reason}",
        next_step=remedy(code) if why is None or not why.next_step else why.next_step,
        details=details,
        broker_code=broker_code,
        broker_text=broker_text,
    )


def _replayed(answer: Answer[BracketReport], entry: Intent, recorded: Sequence[Intent | None]) -> Reply:
    """The same request again: what is known of the first one now (ID-04)."""
    legs = tuple(_recorded(role, intent) for role, intent in zip(ROLES, recorded, strict=True) if intent is not None)
    facts = BracketFacts(outcome=_overall(legs), client_request_id=entry.request_key, replayed=True, legs=legs)
    text = f"This request was made at {entry.created_at:%Y-%m-%d %H:%M:%S} UTC; nothing was sent now."
    failure = None
    if not all(leg.outcome in _LIVE or leg.outcome is Outcome.CANCELLED for leg in legs):
        unknown = facts.outcome is Outcome.UNKNOWN
        code = Code.OUTCOME_UNKNOWN if unknown else Code.BRACKET_INCOMPLETE
        failure = Failure(
            code=code,
            error=f"The earlier request {entry.request_key} did not become a whole bracket.",
            next_step=CODES[code].remedy,
            details=[f"{leg.role}: {leg.outcome}" for leg in legs],
        )
    return Reply(
        decision=answer.decision,
        facts=facts,
        warnings=(text,),
        next_step="Call get_order_status for the present state of each order.",
        failure=failure,
    )


def _recorded(role: Role, intent: Intent) -> LegView:
    filled = intent.filled_quantity
    return LegView(
        role=role,
        outcome=INTENT_OUTCOMES[intent.state],
        client_request_id=intent.request_key,
        perm_id=intent.perm_id,
        order_id=intent.order_id,
        status=intent.broker_status,
        filled=filled,
        remaining=None if filled is None else max(Decimal(0), intent.quantity - filled),
        average_fill_price=intent.average_fill_price,
    )


TOOLS = (
    Tool(
        name="place_bracket_order",
        title="Place a bracket",
        description="Places an entry with a take-profit and a stop-loss as one unit: the exits wait until the entry "
        "has filled, then one cancels the other. Counts as one opening order. What cannot be placed whole is taken "
        "back. " + PLACED.replace("perm_id, status, fills", "and every leg"),
        toolset=Toolset.ORDERS,
        operation_class=OperationClass.ORDER_PLACEMENT,
        arguments=BracketArguments,
        facts=BracketFacts,
        handler=place_bracket_order,
    ),
)
