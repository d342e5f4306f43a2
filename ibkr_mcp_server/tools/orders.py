"""Tools that place, change and cancel single orders, and the one that only checks."""

from __future__ import annotations

from typing import Literal

from ibkr_mcp_server.domain.operations import OperationClass
from ibkr_mcp_server.operations import orders as operations
from ibkr_mcp_server.safety.decision import Verdict
from ibkr_mcp_server.safety.state import Action as Effect
from ibkr_mcp_server.tools.order_arguments import (
    CancelOrderArguments,
    CheckOrderArguments,
    LimitOrderArguments,
    MarketOrderArguments,
    ModifyOrderArguments,
    StopLossArguments,
)
from ibkr_mcp_server.tools.order_facts import PLACED, WriteFacts, written
from ibkr_mcp_server.tools.registry import Call, Reply, Tool, Toolset
from ibkr_mcp_server.tools.results import Exact, Facts, Part, Unknown
from ibkr_mcp_server.tools.views import OrderTerms, order_terms


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
    largest_quantity: Exact | Unknown = None
    bound_by: tuple[str, ...] | Unknown = None
    wait_seconds: float | Unknown = None


async def check_order(call: Call, arguments: CheckOrderArguments) -> Reply:
    draft = arguments.draft(arguments.order_type)
    preview = await operations.check_order(call.operation(draft=draft, account=arguments.account), call.desk)
    seen, sizing = preview.decision.seen.observed, preview.decision.sizing
    facts = PreviewFacts(
        would_be_approved=preview.would_be_approved,
        effect=None if preview.order is None else _EFFECTS.get(seen.action),
        verdicts=tuple(_verdict(verdict) for verdict in sorted(preview.verdicts, key=lambda verdict: verdict.step)),
        reference_price=seen.reference_price,
        quote_age_seconds=None if seen.quote is None else round(seen.quote.age_seconds(seen.taken_at), 3),
        worst_case_value_usd=seen.value_usd,
        usd_rate_source=seen.usd_source,
        terms=None if preview.order is None else order_terms(preview.order),
        largest_quantity=None if sizing is None else sizing.largest,
        bound_by=None if sizing is None else sizing.bound_by,
        wait_seconds=None if sizing is None else sizing.wait_seconds,
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


async def place_order(call: Call, arguments: MarketOrderArguments | LimitOrderArguments | StopLossArguments) -> Reply:
    """What every tool that places one order does; they differ in what they take."""
    operation = call.operation(
        draft=arguments.draft(arguments.order_type),
        account=arguments.account,
        client_request_id=arguments.client_request_id,
    )
    return written(await operations.send_order(operation, call.desk), arguments.client_request_id)


async def modify_order(call: Call, arguments: ModifyOrderArguments) -> Reply:
    operation = call.operation(draft=arguments.draft(), client_request_id=arguments.client_request_id)
    return written(await operations.send_order(operation, call.desk), arguments.client_request_id)


async def cancel_order(call: Call, arguments: CancelOrderArguments) -> Reply:
    operation = call.operation(draft=arguments.reference(), client_request_id=arguments.client_request_id)
    return written(await operations.send_order(operation, call.desk), arguments.client_request_id)


TOOLS = (
    Tool(
        name="check_order",
        title="Check an order",
        description="Judges an order by every rule at once and sends nothing: each rule's verdict with value and "
        "limit, worst-case value in USD, reference price with age, whether it opens or reduces; the largest_quantity "
        "that would pass, what it is bound_by, and wait_seconds until it may be sent. Reserves nothing.",
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
        description="Buys or sells at the market, in regular hours and with live data only. MKT and MOC travel as "
        "limit orders at `market_cap_price`, the market plus the operator's collar. " + PLACED,
        toolset=Toolset.ORDERS,
        operation_class=OperationClass.ORDER_PLACEMENT,
        arguments=MarketOrderArguments,
        facts=WriteFacts,
        handler=place_order,
    ),
    Tool(
        name="place_limit_order",
        title="Place a limit order",
        description="Buys or sells at limit_price or better: at once (LMT), at the close (LOC), once touched (LIT), or "
        "pegged to the best price (REL) or the midpoint (MIDPRICE). Stops: place_stop_loss. " + PLACED,
        toolset=Toolset.ORDERS,
        operation_class=OperationClass.ORDER_PLACEMENT,
        arguments=LimitOrderArguments,
        facts=WriteFacts,
        handler=place_order,
    ),
    Tool(
        name="modify_order",
        title="Change a working order",
        description="Changes quantity, prices, distances or time in force of a working order of this server, named by "
        "perm_id or order_request_id; what is left out stays. The result is judged like a new order. " + PLACED,
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
)
