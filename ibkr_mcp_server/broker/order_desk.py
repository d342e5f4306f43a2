"""Placing, changing and cancelling: each sends one message and waits for the broker's own first word about it.

The order of things is always the same. Room among the messages first, then the final gate, and inside it the bytes go
straight to the socket. From then on the call is finished whatever happens to its caller: its outcome is what the broker
said, or `OutcomeUnknown` when the link or the deadline ended before it said anything.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial

from ibkr_mcp_server.broker import translate
from ibkr_mcp_server.broker.base import BracketReport, LegReport
from ibkr_mcp_server.broker.book import Book
from ibkr_mcp_server.broker.error_codes import Kind, order_rejected
from ibkr_mcp_server.broker.hearing import Hearing, LinkLost
from ibkr_mcp_server.broker.library import ib_async
from ibkr_mcp_server.broker.pacing import Lane, Pacer
from ibkr_mcp_server.broker.session import Session
from ibkr_mcp_server.domain.operations import (
    ApprovedBracket,
    ApprovedCancellation,
    ApprovedModification,
    ApprovedOrder,
    FinalGate,
)
from ibkr_mcp_server.domain.orders import BrokerOrder, Order, OrderStatus
from ibkr_mcp_server.errors import Fault, OutcomeUnknown, ProductError, Refused, Unavailable

logger = logging.getLogger(__name__)

PATIENCE = 0.25
"""The share of the deadline after which an unclear word is followed by reading the open orders."""


@dataclass(kw_only=True)
class _Sending:
    """Whether the bytes have left; before that a call may be dropped, after it never."""

    sent: bool = False


@dataclass(kw_only=True, eq=False)
class _Placement:
    """A new order on its way, and what is heard of it."""

    order: Order
    wire: ib_async.Order
    order_id: int = 0
    hearing: Hearing = field(init=False)
    sent: bool = False

    def __post_init__(self) -> None:
        self.hearing = Hearing(sent=self.order)

    @property
    def spoken(self) -> bool:
        """The broker said something that is an answer."""
        hearing = self.hearing
        return hearing.no is not None or hearing.echo is not None or hearing.status is not None


class OrderDesk:
    """The writes of one connection."""

    def __init__(
        self,
        session: Session,
        *,
        book: Book,
        pacer: Pacer,
        deadline_seconds: float,
        read_open_orders: Callable[[], Awaitable[object]],
    ) -> None:
        self._session = session
        self._book = book
        self._pacer = pacer
        self._deadline_seconds = deadline_seconds
        self._read_open_orders = read_open_orders

    # ---------------------------------------------------------------------------------------------------- the writes

    async def place(self, approved: ApprovedOrder, gate: FinalGate) -> BrokerOrder:
        placement = _Placement(order=approved.order, wire=translate.wire_order(approved.order))

        async def hear(end: float) -> BrokerOrder:
            return await self._first_word(placement, end)

        lane = Lane.REDUCE if approved.reduces else Lane.OPEN
        send = partial(self._write_new, placement)
        return await self._carry_out(lane, gate, send, hear, what="the order", reference=approved.order.order_ref)

    async def place_bracket(self, approved: ApprovedBracket, gates: Sequence[FinalGate]) -> BracketReport:
        work = asyncio.ensure_future(self._bracket(approved, gates))
        while True:  # a caller that goes away is held back until the outcome is known, within the deadline
            try:
                return await asyncio.shield(work)
            except asyncio.CancelledError:
                if work.done():
                    return work.result()

    async def modify(self, approved: ApprovedModification, gate: FinalGate) -> BrokerOrder:
        session, order = self._session, approved.order
        current = self._newest(approved.current)
        self._require_own(current, "changed")
        held = self._book.echo(current.perm_id)
        if not current.is_working or held is None:
            raise self._not_working(current, "changed")
        contract = translate.contract_for(order.instrument)
        wire = translate.changed_wire_order(order, held)
        hearing = Hearing()

        def send() -> None:
            newest = self._newest(current)  # it may have ended while this call waited for its turn
            if not newest.is_working:
                raise self._not_working(newest, "changed")
            self._write(current.order_id, hearing, lambda: session.client.placeOrder(current.order_id, contract, wire))

        def spoken() -> bool:
            ended = hearing.status is not None and hearing.status.is_final
            changed = hearing.echo is not None and translate.states_the_same(hearing.echo, wire)
            return ended or changed or hearing.no is not None

        async def hear(end: float) -> BrokerOrder:
            try:
                await self._hear(hearing, spoken, end)
            finally:
                session.stop_listening(current.order_id, hearing)
            told = self._newest(current)
            if (no := hearing.no) is not None:
                raise order_rejected(no.code, no.text, what="the change; the order stays as it was")
            if told.order.account != order.account:
                raise session.account_mismatch(order.account, told.order.account)
            return told

        return await self._carry_out(
            Lane.REDUCE, gate, send, hear, what="the change of the order", reference=order.order_ref
        )

    async def cancel(self, approved: ApprovedCancellation, gate: FinalGate) -> BrokerOrder:
        session = self._session
        target = self._newest(approved.target)
        if not target.is_working:
            return target
        self._require_own(target, "cancelled")
        # What was only staged has not been described by the broker: its word needs our description.
        hearing = Hearing(sent=None if target.perm_id else target.order)

        def send() -> None:
            self._write(target.order_id, hearing, lambda: session.client.cancelOrder(target.order_id))

        def spoken() -> bool:
            word = hearing.status is not None and (hearing.status.is_final or hearing.status is _GOING)
            return word or bool(hearing.remarks and hearing.remarks[-1].kind is not Kind.WARNING)

        async def hear(end: float) -> BrokerOrder:
            try:
                await self._hear(hearing, spoken, end)
                told = self._newest(target)
                if told.is_working and told.status is not _GOING:
                    # The gateway would not cancel it: perhaps because it has ended and we have not heard of it.
                    await self._look_again(end)
                    told = self._newest(target)
            finally:
                session.stop_listening(target.order_id, hearing)
            no = hearing.no or hearing.remark(Kind.UNKNOWN)
            if told.is_working and told.status is not _GOING and no is not None:
                raise order_rejected(no.code, no.text, what="the cancellation; the order still works")
            return told

        return await self._carry_out(
            Lane.CANCEL, gate, send, hear, what="the cancellation", reference=target.order.order_ref
        )

    # ----------------------------------------------------------------------------------------------------- their parts

    def _write_new(self, placement: _Placement) -> None:
        contract = translate.contract_for(placement.order.instrument)
        order_id = placement.order_id = self._session.next_id()
        self._write(
            order_id,
            placement.hearing,
            lambda: self._session.client.placeOrder(order_id, contract, placement.wire),
        )

    async def _first_word(self, placement: _Placement, end: float) -> BrokerOrder:
        """What the broker says of a new order.

        Raises:
            Refused: the broker said no.
            TimeoutError, LinkLost: it said nothing.
        """
        session, hearing, order = self._session, placement.hearing, placement.order

        def newest() -> BrokerOrder | None:
            return self._book.order(client_id=session.client_id, order_id=placement.order_id)

        def settled() -> bool:
            """All that belongs to the word is there: the echo names the account, a rejection gives its reason."""
            return hearing.no is not None or (hearing.echo is not None and hearing.status is not OrderStatus.INACTIVE)

        try:
            await self._hear(hearing, lambda: placement.spoken, end)
            if not settled():
                with suppress(TimeoutError, LinkLost):
                    async with asyncio.timeout_at(min(end, self._soon())):
                        await hearing.until(settled)
            told = newest()
            if hearing.no is not None and told is not None and told.is_working:
                await self._look_again(end)  # a "no" for an order that was said to live: its record decides
                told = newest()
        finally:
            session.stop_listening(placement.order_id, hearing)
        if told is None or (hearing.no is not None and told.status in _NEVER_LIVED):
            no = hearing.no or hearing.remarks[-1]
            raise order_rejected(no.code, no.text, what="the order")
        if told.order.account != order.account:
            raise session.account_mismatch(order.account, told.order.account)
        return told

    async def _bracket(self, approved: ApprovedBracket, gates: Sequence[FinalGate]) -> BracketReport:
        """Stage the entry and the take-profit, and let the stop transmit them: what lives always has its stop."""
        end = asyncio.get_running_loop().time() + self._deadline_seconds
        placements = [_Placement(order=leg.order, wire=translate.wire_order(leg.order)) for leg in approved.legs]
        entry, transmitter = placements[0], placements[-1]
        failure: ProductError | None = None
        for placement, gate in zip(placements, gates, strict=True):
            placement.wire.parentId = entry.order_id
            placement.wire.transmit = placement is transmitter
            sending = _Sending()
            try:
                await self._send(
                    sending, end, Lane.OPEN, gate, partial(self._write_new, placement), "an order of the bracket"
                )
            except Exception as error:  # whatever it is, what was staged before must be told of
                failure = error if isinstance(error, ProductError) else _broke(error)
                break
            placement.sent = sending.sent
            if any(other.hearing.no for other in placements):
                break  # one was refused on the way: nothing that follows is sent, and nothing transmitted
        if transmitter.sent:
            outcomes = await self._transmitted(placements, end)
        else:
            outcomes = [await self._untransmitted(placement, failure, end) for placement in placements]
        return BracketReport(entry=outcomes[0], take_profit=outcomes[1], stop_loss=outcomes[2])

    async def _transmitted(self, placements: Sequence[_Placement], end: float) -> list[LegReport]:
        """The broker's word on each; when the transmitting order was refused, the others were never transmitted."""
        last = await self._word_of(placements[-1], end)
        others = placements[:-1]
        if last.is_dead:
            return [*[await self._untransmitted(other, None, end) for other in others], last]
        legs = await asyncio.gather(*(self._word_of(other, end) for other in others))
        if last.is_unknown and all(leg.is_unknown for leg in legs):  # the link may have died between them
            legs = [replace(leg, may_be_staged=self._as_sent(other)) for leg, other in zip(legs, others, strict=True)]
        return [*legs, last]

    async def _untransmitted(self, placement: _Placement, failure: ProductError | None, end: float) -> LegReport:
        if not placement.sent:
            return LegReport(error=failure or _not_sent())
        if placement.spoken:
            return await self._word_of(placement, end)
        self._session.stop_listening(placement.order_id, placement.hearing)
        return LegReport(order=self._as_sent(placement), staged=True)

    def _as_sent(self, placement: _Placement) -> BrokerOrder:
        """An order of which the broker says nothing as long as nobody transmits it."""
        return BrokerOrder(
            order=placement.order,
            perm_id=0,
            order_id=placement.order_id,
            client_id=self._session.client_id,
            status=OrderStatus.PENDING_SUBMIT,
            filled=Decimal(),
            remaining=placement.order.quantity,
            average_fill_price=None,
            placed_here=True,
        )

    async def _word_of(self, placement: _Placement, end: float) -> LegReport:
        try:
            return LegReport(order=await self._first_word(placement, end))
        except (TimeoutError, LinkLost) as error:
            return LegReport(error=self._lost(error, "an order of the bracket", placement.order.order_ref))
        except ProductError as error:
            return LegReport(error=error)

    def _write(self, order_id: int, hearing: Hearing, write: Callable[[], None]) -> None:
        """Listen first, then write: the answer may be read before the next line runs."""
        self._session.listen(order_id, hearing)
        try:
            write()
        except BaseException:
            self._session.stop_listening(order_id, hearing)
            raise

    async def _carry_out(
        self,
        lane: Lane,
        gate: FinalGate,
        send: Callable[[], None],
        hear: Callable[[float], Awaitable[BrokerOrder]],
        *,
        what: str,
        reference: str,
    ) -> BrokerOrder:
        """Send and hear; a caller that goes away before the bytes have left takes the call with it, later not.

        A cancellation that arrives later is held back: the outcome is returned or raised as if it had not come.
        """
        sending = _Sending()
        work = asyncio.ensure_future(self._send_and_hear(sending, lane, gate, send, hear, what, reference))
        while True:
            try:
                return await asyncio.shield(work)
            except asyncio.CancelledError:
                if work.done():
                    return work.result()
                if not sending.sent:
                    work.cancel()

    async def _send_and_hear(
        self,
        sending: _Sending,
        lane: Lane,
        gate: FinalGate,
        send: Callable[[], None],
        hear: Callable[[float], Awaitable[BrokerOrder]],
        what: str,
        reference: str,
    ) -> BrokerOrder:
        end = asyncio.get_running_loop().time() + self._deadline_seconds
        await self._send(sending, end, lane, gate, send, what)
        try:
            return await hear(end)
        except (TimeoutError, LinkLost) as error:
            raise self._lost(error, what, reference) from error

    async def _send(
        self, sending: _Sending, end: float, lane: Lane, gate: FinalGate, send: Callable[[], None], what: str
    ) -> None:
        """Write, when there is room and the gate is open; when this raises, nothing was written."""
        limit = asyncio.timeout_at(end)
        try:
            async with limit, self._pacer.permit(lane), gate():
                self._session.check_unblocked()
                send()
                sending.sent = True
                limit.reschedule(None)  # nothing may interrupt the way out any more
        except Exception as error:
            if sending.sent:
                logger.exception("The gate failed on its way out after a write; the outcome is awaited all the same.")
            elif limit.expired():
                raise Unavailable(
                    "BROKER_PACING",
                    f"{what.capitalize()} found no room among the messages to the gateway within "
                    f"{self._deadline_seconds:g} s; nothing was sent.",
                    next_step="Wait a moment, then try again.",
                    retry_after_seconds=1.0,
                ) from error
            else:
                raise

    def _lost(self, error: Exception, what: str, reference: str) -> OutcomeUnknown:
        if isinstance(error, TimeoutError):
            self._session.suspect()
            cause = f"the gateway did not answer within {self._deadline_seconds:g} s"
        else:
            cause = "the connection was lost before the gateway answered"
        return OutcomeUnknown(
            "OUTCOME_UNKNOWN",
            f"{what.capitalize()} was sent, and {cause}. It may have reached the broker or not.",
            next_step="Look for the order by its reference before doing anything again; do not send it again.",
            details=(f"order reference: {reference}",) if reference else (),
        )

    async def _hear(self, hearing: Hearing, enough: Callable[[], bool], end: float) -> None:
        """Wait for `enough` until `end`; a remark that says neither yes nor no makes it read the open orders.

        Raises:
            TimeoutError, LinkLost: it did not come.
        """

        def unclear() -> bool:
            return hearing.remark(Kind.WARNING, Kind.UNKNOWN) is not None

        async with asyncio.timeout_at(end):
            await hearing.until(lambda: enough() or unclear())
            if not enough():
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(min(end, self._soon())):
                        await hearing.until(enough)
            if not enough():
                await self._look_again(end)
                # A new order of which there is only a message of unknown kind, and which the broker does not list.
                gone = hearing.sent is not None and hearing.echo is None and hearing.remark(Kind.UNKNOWN) is not None
                await hearing.until(lambda: gone or enough())

    async def _look_again(self, end: float) -> None:
        """Read the broker's own list; its rows reach the hearing like any other news."""
        try:
            async with asyncio.timeout_at(end):
                await self._read_open_orders()
        except ProductError as error:
            raise TimeoutError from error

    def _soon(self) -> float:
        return asyncio.get_running_loop().time() + PATIENCE * self._deadline_seconds

    def _newest(self, order: BrokerOrder) -> BrokerOrder:
        """The order as the broker last told it."""
        return self._book.order(perm_id=order.perm_id, client_id=order.client_id, order_id=order.order_id) or order

    def _require_own(self, order: BrokerOrder, done: str) -> None:
        if order.client_id != self._session.client_id or order.order_id <= 0:
            placed = f"client {order.client_id}" if order.order_id > 0 else "hand"
            raise Refused(
                "NOT_OUR_ORDER",
                f"The order {order.perm_id} was placed by {placed}; it cannot be {done} from here.",
                next_step="Do it where the order was placed, in TWS or with the program that placed it.",
            )

    def _not_working(self, order: BrokerOrder, done: str) -> Refused:
        return Refused(
            "ORDER_NOT_WORKING",
            f"The order {order.perm_id} is {order.status} and cannot be {done}.",
            next_step="Read the order's status; place a new order if that is what is wanted.",
        )


def _broke(error: Exception) -> Fault:
    logger.error("Sending an order of a bracket failed.", exc_info=error)
    return Fault("INTERNAL_ERROR", f"Sending an order of the bracket failed ({type(error).__name__}).")


def _not_sent() -> Refused:
    return Refused(
        "BRACKET_INCOMPLETE",
        "The order was not sent, because another order of its bracket was refused.",
        next_step="Read the reason of the order that was refused.",
    )


_GOING = OrderStatus.PENDING_CANCEL
_NEVER_LIVED = (OrderStatus.INACTIVE, OrderStatus.CANCELLED, OrderStatus.PENDING_SUBMIT)
