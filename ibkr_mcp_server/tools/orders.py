"""Tools about orders: check, place, change, cancel, and follow them."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import ClassVar, Literal

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from ibkr_mcp_server.domain.operations import ModificationDraft, OperationClass, OrderDraft, OrderReference
from ibkr_mcp_server.domain.orders import BrokerOrder, Execution, OrderStatus, OrderType, TimeInForce
from ibkr_mcp_server.operations import orders as operations
from ibkr_mcp_server.operations.safe_operation import Answer
from ibkr_mcp_server.safety.decision import CODES, Code, Verdict
from ibkr_mcp_server.safety.state import Action as Effect
from ibkr_mcp_server.store.intents import Intent, IntentState
from ibkr_mcp_server.tools.arguments import (
    Account,
    AccountArguments,
    Action,
    Arguments,
    InstrumentArguments,
    Number,
    PermId,
    RequestKey,
    Tif,
)
from ibkr_mcp_server.tools.registry import Call, Reply, Tool, Toolset
from ibkr_mcp_server.tools.results import Exact, Facts, Failure, Part, Quoted, Unknown, quoted
from ibkr_mcp_server.tools.views import OrderTerms, OrderView, order_terms, order_view


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


# ---- arguments


class _Keyed(Arguments):
    client_request_id: RequestKey | SkipJsonSchema[None] = Field(
        default=None, description="Your own unique key; repeating a call with it never sends twice"
    )


class _OrderArguments(InstrumentArguments):
    also_called: ClassVar = {"price": "limit_price", "time_in_force": "tif", "side": "action"}

    action: Action = Field(description="BUY or SELL")
    quantity: Number = Field(description="Units: shares, contracts, or base currency")
    tif: Tif = Field(default="DAY", description="Entries are DAY; GTC is for protective orders")
    account: Account | SkipJsonSchema[None] = Field(default=None, description="Default: the first account")

    def draft(
        self,
        order_type: OrderType,
        *,
        limit_price: Decimal | None = None,
        stop_price: Decimal | None = None,
        outside_rth: bool = False,
    ) -> OrderDraft:
        return OrderDraft(
            query=self.query(),
            side=self.action,
            quantity=self.quantity,
            order_type=order_type,
            limit_price=limit_price,
            stop_price=stop_price,
            time_in_force=TimeInForce(self.tif),
            outside_rth=outside_rth,
            account=self.account,
        )


class CheckOrderArguments(_OrderArguments):
    order_type: Literal["MKT", "LMT", "STP", "STP LMT"] = Field(description="IBKR order type")
    limit_price: Number | SkipJsonSchema[None] = Field(default=None, description="For LMT and STP LMT")
    stop_price: Number | SkipJsonSchema[None] = Field(default=None, description="For STP and STP LMT")
    outside_rth: bool = Field(default=False, description="Also work outside regular hours")


class MarketOrderArguments(_OrderArguments, _Keyed):
    also_called: ClassVar = {"time_in_force": "tif", "side": "action"}


class LimitOrderArguments(_OrderArguments, _Keyed):
    limit_price: Number = Field(description="Per unit, in the instrument's currency, on its price grid")
    outside_rth: bool = Field(default=False, description="Also work outside regular hours")


class _Reference(Arguments):
    one_of: ClassVar = ("perm_id", "order_request_id")

    perm_id: PermId | SkipJsonSchema[None] = Field(default=None, description="The order's permanent id")
    order_request_id: RequestKey | SkipJsonSchema[None] = Field(
        default=None, description="client_request_id that placed the order"
    )

    def reference(self) -> OrderReference:
        return OrderReference(perm_id=self.perm_id, client_request_id=self.order_request_id)


class ModifyOrderArguments(_Reference, _Keyed):
    also_called: ClassVar = {"price": "limit_price", "time_in_force": "tif"}

    quantity: Number | SkipJsonSchema[None] = Field(default=None, description="New total quantity, fills included")
    limit_price: Number | SkipJsonSchema[None] = Field(default=None, description="New limit price")
    stop_price: Number | SkipJsonSchema[None] = Field(default=None, description="New stop price")
    tif: Tif | SkipJsonSchema[None] = Field(default=None, description="New time in force")


class CancelOrderArguments(_Reference, _Keyed):
    pass


class OrderStatusArguments(_Reference):
    also_called: ClassVar = {"client_request_id": "order_request_id"}


# ---- facts


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


class ProblemView(Part):
    """One reason against an order."""

    code: str
    message: str
    next_step: str


class VerdictView(Part):
    """One rule's answer."""

    check: str
    passed: bool
    observed: str | Unknown = None
    limit: str | Unknown = None
    problems: tuple[ProblemView, ...]
    warnings: tuple[str, ...]


class PreviewFacts(Facts):
    would_be_approved: bool
    effect: Literal["opens", "reduces", "protects"] | Unknown = None
    verdicts: tuple[VerdictView, ...]
    reference_price: Exact | Unknown = None
    quote_age_seconds: float | Unknown = None
    worst_case_value_usd: Exact | Unknown = None
    usd_rate_source: str | Unknown = None
    terms: OrderTerms | Unknown = None


class IntentView(Part):
    """Our own record of having sent the order."""

    client_request_id: str
    state: str
    created_at: datetime
    updated_at: datetime | Unknown = None


class StatusFacts(Facts):
    outcome: Outcome
    client_request_id: str | Unknown = None
    order: OrderView | Unknown = None
    record: IntentView | Unknown = None


class OpenOrdersFacts(Facts):
    orders: tuple[OrderView, ...]


class ExecutionView(Part):
    """One fill; price and commission in the currencies beside them."""

    execution_id: str
    perm_id: int
    order_id: int | Unknown = None
    symbol: str
    con_id: int
    action: str
    quantity: Exact
    price: Exact
    currency: str
    cumulative_quantity: Exact
    average_price: Exact
    executed_at: datetime
    exchange: str
    commission: Exact | Unknown = None
    commission_currency: str | Unknown = None
    realized_pnl: Exact | Unknown = None
    account: str


class ExecutionsFacts(Facts):
    executions: tuple[ExecutionView, ...]


# ---- handlers


async def check_order(call: Call, arguments: CheckOrderArguments) -> Reply:
    draft = arguments.draft(
        OrderType(arguments.order_type),
        limit_price=arguments.limit_price,
        stop_price=arguments.stop_price,
        outside_rth=arguments.outside_rth,
    )
    preview = await operations.check_order(call.operation(draft=draft, account=arguments.account), call.desk)
    seen = preview.decision.seen.observed
    facts = PreviewFacts(
        would_be_approved=preview.would_be_approved,
        effect=None if preview.order is None else _EFFECTS.get(seen.action),
        verdicts=tuple(_verdict(verdict) for verdict in sorted(preview.verdicts, key=lambda verdict: verdict.step)),
        reference_price=seen.reference_price,
        quote_age_seconds=None if seen.quote is None else round(seen.quote.age_seconds(seen.taken_at), 3),
        worst_case_value_usd=seen.value_usd,
        usd_rate_source=seen.usd_source,
        terms=None if preview.order is None else order_terms(preview.order),
    )
    first = next(iter(preview.decision.problems), None)
    return Reply(decision=preview.decision, facts=facts, next_step=None if first is None else first[1].next_step)


_EFFECTS: dict[Effect, Literal["opens", "reduces", "protects"]] = {
    Effect.OPEN: "opens",
    Effect.REDUCE: "reduces",
    Effect.PROTECT: "protects",
}


def _verdict(verdict: Verdict) -> VerdictView:
    findings = verdict.findings
    return VerdictView(
        check=verdict.check,
        passed=verdict.passed,
        observed=findings.observed,
        limit=findings.limit,
        problems=tuple(
            ProblemView(code=found.code, message=found.message, next_step=found.next_step)
            for found in findings.problems
        ),
        warnings=findings.warnings,
    )


async def place_market_order(call: Call, arguments: MarketOrderArguments) -> Reply:
    operation = call.operation(
        draft=arguments.draft(OrderType.MKT),
        account=arguments.account,
        client_request_id=arguments.client_request_id,
    )
    return _written(await operations.send_order(operation, call.desk), arguments.client_request_id)


async def place_limit_order(call: Call, arguments: LimitOrderArguments) -> Reply:
    operation = call.operation(
        draft=arguments.draft(OrderType.LMT, limit_price=arguments.limit_price, outside_rth=arguments.outside_rth),
        account=arguments.account,
        client_request_id=arguments.client_request_id,
    )
    return _written(await operations.send_order(operation, call.desk), arguments.client_request_id)


async def modify_order(call: Call, arguments: ModifyOrderArguments) -> Reply:
    draft = ModificationDraft(
        order=arguments.reference(),
        quantity=arguments.quantity,
        limit_price=arguments.limit_price,
        stop_price=arguments.stop_price,
        time_in_force=None if arguments.tif is None else TimeInForce(arguments.tif),
    )
    operation = call.operation(draft=draft, client_request_id=arguments.client_request_id)
    return _written(await operations.send_order(operation, call.desk), arguments.client_request_id)


async def cancel_order(call: Call, arguments: CancelOrderArguments) -> Reply:
    operation = call.operation(draft=arguments.reference(), client_request_id=arguments.client_request_id)
    return _written(await operations.send_order(operation, call.desk), arguments.client_request_id)


def _written(answer: Answer[BrokerOrder], key: str | None) -> Reply:
    """The broker's word, or what an earlier or a dry run left."""
    seen = answer.decision.seen
    intent, order = answer.intent, answer.result
    terms = None if seen.order is None else order_terms(seen.order)
    if answer.dry_run:
        facts = WriteFacts(outcome=Outcome.DRY_RUN, client_request_id=key, terms=terms)
        return Reply(decision=answer.decision, facts=facts, next_step="Nothing was sent: the server runs dry.")
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


async def get_order_status(call: Call, arguments: OrderStatusArguments) -> Reply:
    answer = await operations.order_status(call.operation(draft=arguments.reference()), call.desk)
    state = answer.result
    assert state is not None
    order, intent = state.order, state.intent
    outcome = Outcome.UNKNOWN
    if order is not None:
        outcome = outcome_of(order)
    elif intent is not None:
        outcome = INTENT_OUTCOMES[intent.state]
    facts = StatusFacts(
        outcome=outcome,
        client_request_id=arguments.order_request_id or (intent.request_key if intent is not None else None),
        order=None if order is None else order_view(order, call.desk.clock.now()),
        record=None
        if intent is None
        else IntentView(
            client_request_id=intent.request_key,
            state=intent.state,
            created_at=intent.created_at,
            updated_at=intent.updated_at,
        ),
    )
    link = answer.decision.seen.observed.link
    stale = link is None or not link.is_up
    warnings = ("The link to the broker is down: this is what was known last.",) if stale else ()
    unknown = CODES[Code.OUTCOME_UNKNOWN].remedy if outcome is Outcome.UNKNOWN else None
    return Reply(decision=answer.decision, facts=facts, warnings=warnings, next_step=unknown)


async def get_open_orders(call: Call, arguments: AccountArguments) -> Reply:
    answer = await operations.open_orders(call.operation(account=arguments.account), call.desk)
    now = call.desk.clock.now()
    orders = tuple(order_view(order, now) for order in answer.result or ())
    return Reply(decision=answer.decision, facts=OpenOrdersFacts(orders=orders))


async def get_executions(call: Call, arguments: AccountArguments) -> Reply:
    answer = await operations.executions(call.operation(account=arguments.account), call.desk)
    fills = tuple(_execution(fill) for fill in answer.result or ())
    return Reply(decision=answer.decision, facts=ExecutionsFacts(executions=fills))


def _execution(fill: Execution) -> ExecutionView:
    return ExecutionView(
        execution_id=fill.execution_id,
        perm_id=fill.perm_id,
        order_id=fill.order_id or None,
        symbol=fill.instrument.label,
        con_id=fill.instrument.con_id,
        action=fill.side,
        quantity=fill.quantity,
        price=fill.price,
        currency=fill.instrument.currency,
        cumulative_quantity=fill.cumulative_quantity,
        average_price=fill.average_price,
        executed_at=fill.executed_at,
        exchange=fill.exchange,
        commission=fill.commission,
        commission_currency=fill.commission_currency,
        realized_pnl=fill.realized_pnl,
        account=fill.account,
    )


_PLACED = (
    "Answers with the broker's first word: `outcome`, perm_id, status, fills. `unknown` or OUTCOME_UNKNOWN: never send "
    "again, call get_order_status. A refusal has `code` and `next_step`; nothing was sent."
)

TOOLS = (
    Tool(
        name="check_order",
        title="Check an order",
        description="Judges an order by every rule at once and sends nothing: each rule's verdict with value and "
        "limit, worst-case value in USD, reference price with age, and whether it opens or reduces a position. Use it "
        "before placing; an approval here reserves nothing and may be gone a moment later.",
        toolset=Toolset.ORDERS,
        operation_class=OperationClass.ORDER_PLACEMENT,
        arguments=CheckOrderArguments,
        facts=PreviewFacts,
        handler=check_order,
        preview=True,
    ),
    Tool(
        name="place_market_order",
        title="Place a market order",
        description="Buys or sells at the market, in regular hours and with live data only. It travels as a limit "
        "order at `market_cap_price`, the market plus the operator's collar. " + _PLACED,
        toolset=Toolset.ORDERS,
        operation_class=OperationClass.ORDER_PLACEMENT,
        arguments=MarketOrderArguments,
        facts=WriteFacts,
        handler=place_market_order,
    ),
    Tool(
        name="place_limit_order",
        title="Place a limit order",
        description="Buys or sells at limit_price or better. " + _PLACED,
        toolset=Toolset.ORDERS,
        operation_class=OperationClass.ORDER_PLACEMENT,
        arguments=LimitOrderArguments,
        facts=WriteFacts,
        handler=place_limit_order,
    ),
    Tool(
        name="modify_order",
        title="Change a working order",
        description="Changes quantity, prices or time in force of a working order of this server, named by perm_id or "
        "order_request_id; what is left out stays. The result is judged like a new order. " + _PLACED,
        toolset=Toolset.ORDERS,
        operation_class=OperationClass.ORDER_MODIFICATION,
        arguments=ModifyOrderArguments,
        facts=WriteFacts,
        handler=modify_order,
    ),
    Tool(
        name="cancel_order",
        title="Cancel an order",
        description="Cancels a working order, named by perm_id or order_request_id. Works when trading is stopped, "
        "except for orders that protect a position. `pending` means asked for: call get_order_status; a fill may "
        "still come first.",
        toolset=Toolset.ORDERS,
        operation_class=OperationClass.ORDER_CANCELLATION,
        arguments=CancelOrderArguments,
        facts=WriteFacts,
        handler=cancel_order,
    ),
    Tool(
        name="get_order_status",
        title="Order status",
        description="Where one order stands, working or finished, named by perm_id or order_request_id: the broker's "
        "word and this server's record of it. Use it after `pending` or OUTCOME_UNKNOWN, until the outcome is known.",
        toolset=Toolset.ORDERS,
        operation_class=OperationClass.ACCOUNT_READ,
        arguments=OrderStatusArguments,
        facts=StatusFacts,
        handler=get_order_status,
    ),
    Tool(
        name="get_open_orders",
        title="Open orders",
        description="All working orders at the broker, read now, those of other clients and of people included. Only "
        "orders with placed_here can be changed here.",
        toolset=Toolset.ORDERS,
        operation_class=OperationClass.ACCOUNT_READ,
        arguments=AccountArguments,
        facts=OpenOrdersFacts,
        handler=get_open_orders,
    ),
    Tool(
        name="get_executions",
        title="Executions",
        description="The trading day's fills, newest first, with price, commission and realized profit. A missing "
        "commission has not been reported yet.",
        toolset=Toolset.ORDERS,
        operation_class=OperationClass.ACCOUNT_READ,
        arguments=AccountArguments,
        facts=ExecutionsFacts,
        handler=get_executions,
    ),
)
