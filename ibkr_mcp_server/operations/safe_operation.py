"""The one way from a request to the broker.

`safe_trading_operation` asks the safety chain, opens the broker only on a yes, and records what came of it. Every tool,
and every other door, goes through here (TW-01).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from ibkr_mcp_server.broker.base import BracketReport, BrokerReads, LegReport
from ibkr_mcp_server.domain.operations import (
    SYSTEM,
    ApprovedBracket,
    ApprovedCancellation,
    ApprovedModification,
    ApprovedOrder,
    Operation,
    OperationClass,
)
from ibkr_mcp_server.domain.orders import BrokerOrder
from ibkr_mcp_server.errors import Fault, OutcomeUnknown, ProductError
from ibkr_mcp_server.log import get_logger
from ibkr_mcp_server.operations.desk import Desk
from ibkr_mcp_server.safety.codes import CODES, Code
from ibkr_mcp_server.safety.decision import Decision, OperationRefused
from ibkr_mcp_server.safety.manager import Admission
from ibkr_mcp_server.store.intents import Intent
from ibkr_mcp_server.store.latches import KillMode
from ibkr_mcp_server.store.tickets import Ticket

T = TypeVar("T")
A = TypeVar("A")

_log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Access:
    """What an approved operation may use."""

    decision: Decision
    broker: BrokerReads
    send: Callable[[], Awaitable[BrokerOrder]]
    """Sends exactly what was approved; an operation without an approved write has nothing to send."""
    send_bracket: Callable[[], Awaitable[BracketReport]]
    """The same for a bracket."""


@dataclass(frozen=True, kw_only=True)
class Answer(Generic[T]):
    """What came of an operation that was not refused."""

    decision: Decision
    result: T | None = None
    intent: Intent | None = None
    replayed: bool = False
    """An earlier request with the same key did this; nothing was sent now."""
    dry_run: bool = False
    """Approved and not sent, because the server runs dry."""


class OperationFailed(Exception):
    """Approved, and then it went wrong; `error` says how."""

    def __init__(self, decision: Decision, error: ProductError, intent: Intent | None = None) -> None:
        super().__init__(str(error))
        self.decision = decision
        self.error = error
        self.intent = intent


class OperationPrepared(Exception):
    """Every check lets the order pass; nothing was sent, and the ticket says what it takes."""

    def __init__(self, decision: Decision, ticket: Ticket) -> None:
        super().__init__(f"prepared as {ticket.ticket_id}")
        self.decision = decision
        self.ticket = ticket


async def safe_trading_operation(
    operation: Operation, act: Callable[[Access], Awaitable[T]], *, desk: Desk
) -> Answer[T]:
    """Act on `operation` only if every check approves it; record what was asked and what came of it.

    Raises:
        OperationRefused: a check said no; nothing reached the broker.
        OperationPrepared: it was only prepared.
        OperationFailed: approved, but the broker refused, was away, or its answer was lost (`OutcomeUnknown`: find
            out before anything else).
    """
    if operation.operation_class.writes_orders and not operation.preview:
        with desk.precedence.of_an_order():
            return await _carried_out(operation, act, desk)
    if operation.operation_class is not OperationClass.SAFETY_STOP:
        await desk.precedence.give_way()
    return await _carried_out(operation, act, desk)


async def _carried_out(operation: Operation, act: Callable[[Access], Awaitable[T]], desk: Desk) -> Answer[T]:
    admission = await desk.safety.admit(operation)
    decision = admission.decision
    if operation.preview:
        return Answer(decision=decision, result=await act(_access(admission, desk)))
    if decision.is_refused:
        raise OperationRefused(decision)
    if admission.ticket is not None:
        raise OperationPrepared(decision, admission.ticket)
    if admission.replayed is not None:
        return Answer(decision=decision, intent=admission.replayed, replayed=True)
    if admission.dry_run:
        return Answer(decision=decision, dry_run=True)
    if admission.approval is None:
        return Answer(decision=decision, result=await _read(admission, act, desk))
    # Once approved, the write is finished and recorded even if the caller has gone.
    writing = asyncio.ensure_future(_write(admission, act, desk))
    under_way = desk.safety.writes_under_way
    under_way.add(writing)
    writing.add_done_callback(under_way.discard)
    return await asyncio.shield(writing)


async def _read(admission: Admission, act: Callable[[Access], Awaitable[T]], desk: Desk) -> T:
    try:
        return await act(_access(admission, desk))
    except ProductError as error:
        raise OperationFailed(admission.decision, error) from error
    except Exception as error:
        raise OperationFailed(admission.decision, _fault(error, admission)) from error


async def _write(admission: Admission, act: Callable[[Access], Awaitable[T]], desk: Desk) -> Answer[T]:
    try:
        result = await act(_access(admission, desk))
    except Exception as error:
        intent = await _settled(admission, error, desk)
        known = error if isinstance(error, ProductError) else _fault(error, admission)
        await _stop_if_misled(error, desk)
        raise OperationFailed(admission.decision, known, intent) from error
    outcome = result if isinstance(result, BrokerOrder | BracketReport) else None
    if outcome is None:
        # TW-14: an act that returns without the broker's word has proven nothing.
        lost = OutcomeUnknown(Code.OUTCOME_UNKNOWN, "The send ended without a word from the broker.")
        raise OperationFailed(admission.decision, lost, await _settled(admission, lost, desk))
    if isinstance(outcome, BracketReport):
        for leg in outcome.legs:
            await _stop_if_misled(leg.error, desk)
    return Answer(decision=admission.decision, result=result, intent=await _settled(admission, outcome, desk))


async def _stop_if_misled(error: Exception | None, desk: Desk) -> None:
    """ACC-09: an order in another account than it was sent for stops all trading."""
    if isinstance(error, Fault) and error.code == Code.ACCOUNT_ECHO_MISMATCH:
        await desk.safety.kill_switch.activate(KillMode.HALT_ONLY, error.message, SYSTEM)


async def _settled(admission: Admission, outcome: BrokerOrder | BracketReport | Exception, desk: Desk) -> Intent | None:
    """Record the outcome of each order that was approved; returns the record of the first one."""
    approval, decision = admission.approval, admission.decision
    intent_ids = [decision.intent_id]
    if isinstance(approval, ApprovedBracket):
        intent_ids = [leg.intent_id for leg in approval.legs]
    outcomes: list[BrokerOrder | Exception]
    if isinstance(outcome, BracketReport):
        outcomes = [_of_leg(leg) for leg in outcome.legs]
    else:
        outcomes = [outcome] * len(intent_ids)
    try:
        settled = [
            await desk.safety.settle(decision, intent_id, told)
            for intent_id, told in zip(intent_ids, outcomes, strict=True)
        ]
    except (ProductError, OSError) as error:
        # The broker may hold an order that the store cannot record: nothing more may be opened.
        _log.critical("an outcome could not be recorded", decision_id=decision.decision_id, error=str(error))
        reason = "The outcome of an order could not be recorded."
        await desk.safety.kill_switch.activate(KillMode.HALT_ONLY, reason, SYSTEM)
        return None
    return settled[0]


def _of_leg(leg: LegReport) -> BrokerOrder | Exception:
    if leg.error is not None:
        return leg.error
    if leg.order is None or leg.staged:
        text = "The order was staged at the broker and could not be taken back; it was never transmitted."
        return OutcomeUnknown(Code.OUTCOME_UNKNOWN, text)
    return leg.order


def _access(admission: Admission, desk: Desk) -> Access:
    approval, gates = admission.approval, admission.gates

    def approved(kind: type[A]) -> A:
        if not isinstance(approval, kind) or not gates:
            raise Fault(Code.INTERNAL_ERROR, "There is no approved write to send.")
        return approval

    async def send() -> BrokerOrder:
        if isinstance(approval, ApprovedModification):
            return await desk.broker.modify_order(approval, gates[0])
        if isinstance(approval, ApprovedCancellation):
            return await desk.broker.cancel_order(approval, gates[0])
        return await desk.broker.place_order(approved(ApprovedOrder), gates[0])

    async def send_bracket() -> BracketReport:
        return await desk.broker.place_bracket(approved(ApprovedBracket), gates)

    return Access(decision=admission.decision, broker=desk.broker, send=send, send_bracket=send_bracket)


def _fault(error: Exception, admission: Admission) -> Fault:
    """Our own mistake: its text stays in the log (TW-15)."""
    _log.error("an operation failed", decision_id=admission.decision.decision_id, exc_info=error)
    return Fault(
        Code.INTERNAL_ERROR,
        f"The product failed ({type(error).__name__}); decision {admission.decision.decision_id}.",
        next_step=CODES[Code.INTERNAL_ERROR].remedy,
    )
