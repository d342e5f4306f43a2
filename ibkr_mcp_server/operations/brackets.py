"""Brackets: an entry and its two exits as one unit, and taking back one that could not be placed whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ibkr_mcp_server.broker.base import BracketReport, LegReport
from ibkr_mcp_server.domain.operations import SYSTEM, Operation, OperationClass, OrderReference, Withdrawal
from ibkr_mcp_server.domain.orders import BrokerOrder
from ibkr_mcp_server.errors import Refused
from ibkr_mcp_server.log import get_logger
from ibkr_mcp_server.operations.desk import Desk, StagedOrder
from ibkr_mcp_server.operations.orders import send_order
from ibkr_mcp_server.operations.safe_operation import Access, Answer, OperationFailed, safe_trading_operation
from ibkr_mcp_server.safety.decision import OperationRefused
from ibkr_mcp_server.safety.identity import BRACKET_PARTS, part_key
from ibkr_mcp_server.store import intents
from ibkr_mcp_server.store.intents import Intent

_log = get_logger(__name__)


async def place_bracket(operation: Operation, desk: Desk) -> Answer[BracketReport]:
    """Place all three orders, or take back what was placed of them; tells of each what the broker said."""

    async def act(access: Access) -> BracketReport:
        told = await access.send_bracket()
        doubtful = [leg.may_be_staged for leg in told.legs if leg.may_be_staged is not None]
        refs = tuple(order.order.order_ref for order in doubtful)
        # The exit before the entry, with which the broker would drop it without a word.
        desk.staged.extend(StagedOrder(order=order, bracket=refs) for order in reversed(doubtful))
        return await _unwound(told, operation, desk) if _is_half(told) else told

    return await safe_trading_operation(operation, act, desk=desk)


async def recorded_legs(entry: Intent, desk: Desk) -> Sequence[Intent | None]:
    """Our records of a bracket's orders, by the record of its entry."""
    keys = [part_key(entry.request_key, part) for part in BRACKET_PARTS]
    exits = await desk.database.read(lambda connection: [intents.find_by_key(connection, key) for key in keys])
    return [entry, *exits]


def _is_half(told: BracketReport) -> bool:
    """Something surely does not live, and something else may."""
    return any(leg.is_dead for leg in told.legs) and not all(leg.is_dead for leg in told.legs)


async def _unwound(told: BracketReport, operation: Operation, desk: Desk) -> BracketReport:
    """Take back what was placed, unless the entry has traded: then its exits are what protects the position.

    What nobody knows the outcome of is left alone.
    """
    entry = told.entry.order
    if entry is not None and entry.filled:
        return told
    # Staged exits go before the entry that they hang on, for the broker would drop them with it without a word; live
    # ones after it, for until then they protect what it may still trade.
    staged = any(leg.staged for leg in told.legs)
    order = ("stop_loss", "take_profit", "entry") if staged else ("entry", "take_profit", "stop_loss")
    legs = {name: getattr(told, name) for name in order}
    for name in order:
        legs[name] = await _taken_back(legs[name], operation.tool, desk)
    return BracketReport(**legs, unwound=True)


async def take_back_staged(desk: Desk) -> None:
    """Take back what was left untransmitted when the link died; to be called when it is up again.

    No list of the broker shows such an order, so nobody else would ever find it.
    """
    left = tuple(desk.staged)
    desk.staged.clear()
    shown = {order.order.order_ref for order in desk.broker.known_orders()}
    for one in left:
        if shown.isdisjoint(one.bracket):
            leg = LegReport(order=one.order, staged=True)
            await _taken_back(leg, "place_bracket_order", desk, bracket=one.bracket)


async def _taken_back(leg: LegReport, tool: str, desk: Desk, *, bracket: tuple[str, ...] = ()) -> LegReport:
    """Cancel one order by an operation of its own, with its own record."""
    order = leg.order
    if order is None or leg.error is not None or not (leg.staged or order.is_working):
        return leg
    part = Operation(
        tool=tool,
        operation_class=OperationClass.ORDER_CANCELLATION,
        actor=SYSTEM,
        arguments={"order_ref": order.order.order_ref, "why": "a part of its bracket could not be placed"},
        draft=Withdrawal(order=order) if leg.staged else OrderReference(perm_id=order.perm_id),
    )
    try:
        answer = await send_order(part, desk)
    except (OperationRefused, OperationFailed) as failed:
        _log.warning("a part of a bracket could not be taken back", reason=str(failed))
        if leg.staged and not (isinstance(failed, OperationFailed) and isinstance(failed.error, Refused)):
            # For when the link is back; a broker that refuses has no such order.
            desk.staged.append(StagedOrder(order=order, bracket=bracket))
        newest = order if leg.staged else _newest(order, desk)
        return replace(leg, order=newest, kept_because=str(failed))
    return LegReport(order=_newest(answer.result or order, desk))


def _newest(order: BrokerOrder, desk: Desk) -> BrokerOrder:
    ref = order.order.order_ref
    return next((known for known in desk.broker.known_orders() if known.order.order_ref == ref), order)
