"""Tools about stop orders, which protect positions: place, list, change, cancel.

The flag that turns placing off never keeps anybody from seeing, moving or cancelling what is there (CFG-04, T-27).
"""

from __future__ import annotations

from ibkr_mcp_server.domain.operations import OperationClass
from ibkr_mcp_server.operations import orders as operations
from ibkr_mcp_server.operations.stop_losses import Covered, StopOrder, stop_losses
from ibkr_mcp_server.tools.arguments import AccountArguments
from ibkr_mcp_server.tools.order_arguments import CancelOrderArguments, ModifyOrderArguments, StopLossArguments
from ibkr_mcp_server.tools.order_facts import PLACED, WriteFacts, written
from ibkr_mcp_server.tools.orders import place_order
from ibkr_mcp_server.tools.registry import Call, Reply, Tool, Toolset
from ibkr_mcp_server.tools.results import AccountId, Exact, Facts, Part
from ibkr_mcp_server.tools.views import OrderView, order_view


class StopView(Part):
    """One working stop."""

    protects: bool
    order: OrderView


class CoverView(Part):
    """One position, and how much of it working stops cover."""

    symbol: str
    con_id: int
    account: AccountId
    quantity: Exact
    covered: Exact
    uncovered: Exact


class StopLossesFacts(Facts):
    stop_losses: tuple[StopView, ...]
    positions: tuple[CoverView, ...]


async def get_stop_losses(call: Call, arguments: AccountArguments) -> Reply:
    answer = await stop_losses(call.operation(account=arguments.account), call.desk)
    found, now = answer.result, call.desk.clock.now()
    assert found is not None

    def stop(one: StopOrder) -> StopView:
        return StopView(protects=one.protects, order=order_view(one.order, now))

    facts = StopLossesFacts(
        stop_losses=tuple(map(stop, found.stops)), positions=tuple(_cover(held) for held in found.positions)
    )
    bare = [held for held in found.positions if held.uncovered]
    warnings = tuple(
        f"{held.uncovered:f} of the position in {held.position.instrument.label} has no stop." for held in bare
    )
    return Reply(decision=answer.decision, facts=facts, warnings=warnings)


def _cover(held: Covered) -> CoverView:
    position = held.position
    return CoverView(
        symbol=position.instrument.label,
        con_id=position.instrument.con_id,
        account=position.account,
        quantity=position.quantity,
        covered=held.covered,
        uncovered=held.uncovered,
    )


async def modify_stop_loss(call: Call, arguments: ModifyOrderArguments) -> Reply:
    operation = call.operation(draft=arguments.draft(only_stops=True), client_request_id=arguments.client_request_id)
    return written(await operations.send_order(operation, call.desk), arguments.client_request_id)


async def cancel_stop_loss(call: Call, arguments: CancelOrderArguments) -> Reply:
    operation = call.operation(
        draft=arguments.reference(only_stops=True), client_request_id=arguments.client_request_id
    )
    return written(await operations.send_order(operation, call.desk), arguments.client_request_id)


TOOLS = (
    Tool(
        name="place_stop_loss",
        title="Place a stop",
        description="Places a stop: STP, STP LMT, TRAIL or TRAIL LIMIT, on the loss side of the market. SELL protects "
        "a long position, BUY a short one. A stop beyond the position counts as an opening order, with all limits. "
        + PLACED,
        toolset=Toolset.ORDERS,
        operation_class=OperationClass.ORDER_PLACEMENT,
        arguments=StopLossArguments,
        facts=WriteFacts,
        handler=place_order,
    ),
    Tool(
        name="get_stop_losses",
        title="Stops",
        description="All working stops, read now, each with whether it protects a position, and how much of every "
        "position has no stop.",
        toolset=Toolset.ORDERS,
        operation_class=OperationClass.ACCOUNT_READ,
        arguments=AccountArguments,
        facts=StopLossesFacts,
        handler=get_stop_losses,
    ),
    Tool(
        name="modify_stop_loss",
        title="Change a stop",
        description="Moves or resizes a working stop of this server; what is left out stays. Protecting more is "
        "possible while trading is stopped, protecting less is not. " + PLACED,
        toolset=Toolset.ORDERS,
        operation_class=OperationClass.ORDER_MODIFICATION,
        arguments=ModifyOrderArguments,
        facts=WriteFacts,
        handler=modify_stop_loss,
    ),
    Tool(
        name="cancel_stop_loss",
        title="Cancel a stop",
        description="Cancels a working stop; the position is then without it. While trading is stopped only a person "
        "can cancel one that protects a position: move it with modify_stop_loss instead.",
        toolset=Toolset.ORDERS,
        operation_class=OperationClass.ORDER_CANCELLATION,
        arguments=CancelOrderArguments,
        facts=WriteFacts,
        handler=cancel_stop_loss,
    ),
)
