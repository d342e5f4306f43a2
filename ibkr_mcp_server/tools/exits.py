"""Tools that lead out: close a position, cancel all orders."""

from __future__ import annotations

from ibkr_mcp_server.domain.operations import OperationClass
from ibkr_mcp_server.operations import orders as operations
from ibkr_mcp_server.operations.cancel_all import Cancelled, CancelledOrders
from ibkr_mcp_server.operations.cancel_all import cancel_all_orders as cancel_all
from ibkr_mcp_server.safety.codes import CODES, Code
from ibkr_mcp_server.tools.order_arguments import CancelAllArguments, ClosePositionArguments
from ibkr_mcp_server.tools.order_facts import PLACED, Outcome, WriteFacts, outcome_of, written
from ibkr_mcp_server.tools.registry import Call, Reply, Tool, Toolset
from ibkr_mcp_server.tools.results import Exact, Facts, Failure, Part, Unknown, remedy


async def close_position(call: Call, arguments: ClosePositionArguments) -> Reply:
    operation = call.operation(
        draft=arguments.draft(), account=arguments.account, client_request_id=arguments.client_request_id
    )
    return written(await operations.send_order(operation, call.desk), arguments.client_request_id)


class CancelledView(Part):
    """What came of cancelling one order."""

    perm_id: int | Unknown = None
    symbol: str
    action: str
    order_type: str
    remaining: Exact
    outcome: Outcome
    status: str
    code: str | Unknown = None
    error: str | Unknown = None


class CancelAllFacts(Facts):
    client_request_id: str | Unknown = None
    outcome: Outcome
    orders: tuple[CancelledView, ...]
    protective_kept: tuple[int, ...]
    not_ours: int


async def cancel_all_orders(call: Call, arguments: CancelAllArguments) -> Reply:
    operation = call.operation(account=arguments.account, client_request_id=arguments.client_request_id)
    answer = await cancel_all(operation, call.desk, include_protective=arguments.include_protective)
    done = answer.result
    assert done is not None
    views = tuple(_cancelled(one) for one in done.orders)
    failed = [one for one in done.orders if one.code is not None]
    facts = CancelAllFacts(
        client_request_id=arguments.client_request_id,
        outcome=_outcome(views),
        orders=views,
        protective_kept=tuple(order.perm_id for order in done.protective_kept),
        not_ours=done.not_ours,
    )
    return Reply(
        decision=answer.decision,
        facts=facts,
        warnings=tuple(_left(done)),
        next_step="Call get_open_orders until none of them is pending." if facts.outcome is Outcome.PENDING else None,
        failure=_failure(failed, len(views)) if failed else None,
    )


def _cancelled(one: Cancelled) -> CancelledView:
    order = one.order
    outcome = outcome_of(order)
    if one.dry_run:
        outcome = Outcome.DRY_RUN
    elif one.is_unknown:
        outcome = Outcome.UNKNOWN
    elif one.code is not None and order.is_working:
        outcome = Outcome.REFUSED
    return CancelledView(
        perm_id=order.perm_id or None,
        symbol=order.order.instrument.label,
        action=order.order.side,
        order_type=order.order.order_type,
        remaining=order.remaining,
        outcome=outcome,
        status=order.status,
        code=one.code,
        error=one.error,
    )


_WORST_FIRST = (Outcome.UNKNOWN, Outcome.REFUSED, Outcome.DRY_RUN, Outcome.ACCEPTED, Outcome.PENDING)


def _outcome(views: tuple[CancelledView, ...]) -> Outcome:
    """The least settled of all; `cancelled` when nothing is left."""
    found = {Outcome.ACCEPTED if view.outcome is Outcome.PARTIALLY_FILLED else view.outcome for view in views}
    return next((outcome for outcome in _WORST_FIRST if outcome in found), Outcome.CANCELLED)


def _left(done: CancelledOrders) -> list[str]:
    left = []
    if done.protective_kept:
        left.append(f"{len(done.protective_kept)} order(s) that protect positions were kept.")
    if done.not_ours:
        left.append(f"{done.not_ours} working order(s) of other clients or of people cannot be cancelled from here.")
    return left


def _failure(failed: list[Cancelled], asked: int) -> Failure:
    worst = next((one for one in failed if one.is_unknown), failed[0])
    code = Code.OUTCOME_UNKNOWN if worst.is_unknown else worst.code or Code.INTERNAL_ERROR
    return Failure(
        code=code,
        error=f"{len(failed)} of {asked} orders were not cancelled, or it is not known: {worst.error}",
        next_step=CODES[Code.OUTCOME_UNKNOWN].remedy if worst.is_unknown else remedy(code),
        details=[f"{one.order.perm_id}: {one.code}: {one.error}" for one in failed],
    )


TOOLS = (
    Tool(
        name="close_position",
        title="Close a position",
        description="Sells what is held, or buys back what is short: sized by the broker's word about the position, "
        "net of working exits, and never more. At the market (capped) or at limit_price. " + PLACED,
        toolset=Toolset.ORDERS,
        operation_class=OperationClass.ORDER_PLACEMENT,
        arguments=ClosePositionArguments,
        facts=WriteFacts,
        handler=close_position,
    ),
    Tool(
        name="cancel_all_orders",
        title="Cancel all orders",
        description="Cancels every working order of this server, with the broker's word for each. Stops that protect "
        "positions are kept unless include_protective is true, which works only while trading is not stopped.",
        toolset=Toolset.ORDERS,
        operation_class=OperationClass.ORDER_CANCELLATION,
        arguments=CancelAllArguments,
        facts=CancelAllFacts,
        handler=cancel_all_orders,
    ),
)
