"""Tools that follow orders: one order's state, the working orders, the fills."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from ibkr_mcp_server.domain.operations import OperationClass
from ibkr_mcp_server.domain.orders import Execution
from ibkr_mcp_server.operations import orders as operations
from ibkr_mcp_server.operations.orders import OrderState
from ibkr_mcp_server.operations.waiting import wait_for_order as wait
from ibkr_mcp_server.safety.codes import CODES, Code
from ibkr_mcp_server.safety.decision import Decision
from ibkr_mcp_server.tools.arguments import AccountArguments
from ibkr_mcp_server.tools.order_arguments import OrderStatusArguments, WaitForOrderArguments
from ibkr_mcp_server.tools.order_facts import INTENT_OUTCOMES, Outcome, outcome_of
from ibkr_mcp_server.tools.registry import Call, Reply, Tool, Toolset
from ibkr_mcp_server.tools.results import AccountId, Exact, Facts, Part, Unknown
from ibkr_mcp_server.tools.views import OrderView, order_view


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


class WaitFacts(StatusFacts):
    ended_by: Literal["final", "change", "timeout", "link_down"]
    waited_seconds: float


class OpenOrdersFacts(Facts):
    orders: tuple[OrderView, ...]


class CompletedOrdersFacts(Facts):
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
    account: AccountId


class ExecutionsFacts(Facts):
    executions: tuple[ExecutionView, ...]


async def get_order_status(call: Call, arguments: OrderStatusArguments) -> Reply:
    answer = await operations.order_status(call.operation(draft=arguments.reference()), call.desk)
    state = answer.result
    assert state is not None
    facts = StatusFacts(**_told(state, arguments, call))
    unknown = CODES[Code.OUTCOME_UNKNOWN].remedy if facts.outcome is Outcome.UNKNOWN else None
    return Reply(decision=answer.decision, facts=facts, warnings=_stale(answer.decision), next_step=unknown)


async def wait_for_order(call: Call, arguments: WaitForOrderArguments) -> Reply:
    answer = await wait(
        call.operation(draft=arguments.reference()),
        call.desk,
        until=arguments.until,
        timeout_seconds=arguments.timeout_seconds,
        progress=call.progress,
    )
    waited = answer.result
    assert waited is not None
    told = _told(waited.state, arguments, call)
    facts = WaitFacts(**told, ended_by=waited.ended_by, waited_seconds=waited.seconds)
    return Reply(
        decision=answer.decision, facts=facts, warnings=_stale(answer.decision), next_step=_AFTER[waited.ended_by]
    )


_AFTER = {
    "final": None,
    "change": "Call wait_for_order again for the next change.",
    "timeout": "Nothing final yet. Call wait_for_order again, or cancel the order.",
    "link_down": "The link to the broker was lost; call get_connection_status, then ask again.",
}


def _told(state: OrderState, arguments: OrderStatusArguments, call: Call) -> dict[str, Any]:
    """The fields of StatusFacts; Any, because each has a type of its own."""
    order, intent = state.order, state.intent
    outcome = Outcome.UNKNOWN
    if order is not None:
        outcome = outcome_of(order)
    elif intent is not None:
        outcome = INTENT_OUTCOMES[intent.state]
    record = None
    if intent is not None:
        record = IntentView(
            client_request_id=intent.request_key,
            state=intent.state,
            created_at=intent.created_at,
            updated_at=intent.updated_at,
        )
    return {
        "outcome": outcome,
        "client_request_id": arguments.order_request_id or (intent.request_key if intent is not None else None),
        "order": None if order is None else order_view(order, call.desk.clock.now()),
        "record": record,
    }


def _stale(decision: Decision) -> tuple[str, ...]:
    link = decision.seen.observed.link
    return () if link is not None and link.is_up else ("The link to the broker is down: this is what was known last.",)


async def get_open_orders(call: Call, arguments: AccountArguments) -> Reply:
    answer = await operations.open_orders(call.operation(account=arguments.account), call.desk)
    now = call.desk.clock.now()
    orders = tuple(order_view(order, now) for order in answer.result or ())
    return Reply(decision=answer.decision, facts=OpenOrdersFacts(orders=orders))


async def get_completed_orders(call: Call, arguments: AccountArguments) -> Reply:
    answer = await operations.completed_orders(call.operation(account=arguments.account), call.desk)
    now = call.desk.clock.now()
    orders = tuple(order_view(order, now) for order in answer.result or ())
    return Reply(decision=answer.decision, facts=CompletedOrdersFacts(orders=orders))


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


TOOLS = (
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
        name="wait_for_order",
        title="Wait for an order",
        description="Waits until an order has ended (or, with until=change, until anything about it changes), at most "
        "timeout_seconds, and tells where it stands. Use it instead of asking get_order_status again and again.",
        toolset=Toolset.ORDERS,
        operation_class=OperationClass.ACCOUNT_READ,
        arguments=WaitForOrderArguments,
        facts=WaitFacts,
        handler=wait_for_order,
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
        name="get_completed_orders",
        title="Completed orders",
        description="Orders that the broker lists as finished in the current trading day, newest first: filled, "
        "cancelled or rejected, those of other clients and of people included, with how much was filled and the "
        "broker's reason. Fills with prices and commissions are in get_executions.",
        toolset=Toolset.ORDERS,
        operation_class=OperationClass.ACCOUNT_READ,
        arguments=AccountArguments,
        facts=CompletedOrdersFacts,
        handler=get_completed_orders,
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
