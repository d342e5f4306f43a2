"""One connection to a gateway, from its handshake to its end; never used twice.

The client library's socket client and decoder do the protocol; this object takes the place of the library's own
wrapper. So the library's bookkeeping has no say here: no order is listed before the broker spoke of it, no remark turns
an order's state into "ValidationError" or "Cancelled", no answer is looked up by a name that two callers share, and
nothing of a lost connection survives into the next.

Requests with an id are matched by it. Those without one ("positions", "open orders") are asked one at a time, and
each is heard out to its end marker even when its caller has gone, so that late rows never pass for a fresh answer.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from types import SimpleNamespace
from typing import Any, Protocol, cast

from ibkr_mcp_server.broker.answers import Answer, Enough
from ibkr_mcp_server.broker.base import BrokerEvent, BrokerEventKind
from ibkr_mcp_server.broker.book import Book
from ibkr_mcp_server.broker.error_codes import Kind, explain, is_pacing, quoted, request_error
from ibkr_mcp_server.broker.hearing import Hearing, Remark
from ibkr_mcp_server.broker.library import UNSET_INTEGER, Client, ib_async, quieten, time_zone_of_naive_fills
from ibkr_mcp_server.broker.pacing import Lane, Pacer
from ibkr_mcp_server.broker.read_messages import ReadMessages
from ibkr_mcp_server.broker.tally import Tally
from ibkr_mcp_server.broker.wire_client import DecoderAlarm, WireClient
from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.errors import Fault, ProductError, Unavailable

logger = logging.getLogger(__name__)

quieten()

READ_ATTEMPTS = 3
SIGN_OF_LIFE_AFTER_SECONDS = 0.3
"""When a request that may take long is first accompanied by one that may not."""
ORDER_MESSAGES = frozenset({"3", "5", "11", "59", "101"})
"""orderStatus, openOrder, execDetails, commissionReport, completedOrder: none of them may be missed."""


@dataclass(frozen=True, kw_only=True)
class LinkProblem:
    """Why a connection did not come about or ended, and how to repair it."""

    text: str
    fatal: bool = False
    """Only a person can repair it: trying again soon is of no use."""
    wanted: bool = False
    """We ended it ourselves, to connect again at once."""


class SessionListener(Protocol):
    """Where news about the link goes."""

    def accounts_listed(self, accounts: tuple[str, ...]) -> None: ...
    def link_code(self, code: int, text: str) -> None: ...
    def broker_time(self, seconds: int, *, asked: datetime, heard: datetime) -> None: ...


@dataclass(kw_only=True)
class Call:
    """A request on its way."""

    sent: bool = False


class Session(ReadMessages):
    """A connection, and everything that is asked and heard on it."""

    def __init__(
        self,
        *,
        clock: Clock,
        pacer: Pacer,
        book: Book,
        emit: Callable[[BrokerEvent], None],
        listener: SessionListener,
        client_id: int,
        deadline_seconds: float,
        sign_of_life_seconds: float,
        jitter: random.Random,
        tally: Tally,
    ) -> None:
        """`sign_of_life_seconds` is how long a suspected gateway has to answer before the connection is given up."""
        super().__init__(book)
        self.client_id = client_id
        self.heard = clock.monotonic()
        """When anything last came from the gateway, by the clock's monotonic seconds."""
        self.heard_at: datetime | None = None
        self.ended: asyncio.Future[LinkProblem] = asyncio.get_running_loop().create_future()
        self.handshaken = False
        self.may_write = False
        """Set by the link while it is up."""
        self.highest_id = 0
        self._clock = clock
        self._pacer = pacer
        self._emit = emit
        self._listener = listener
        self._deadline_seconds = deadline_seconds
        self._sign_of_life_seconds = sign_of_life_seconds
        self._jitter = jitter
        self._tally = tally
        self._turns: dict[str, asyncio.Lock] = {}
        self._hearings: dict[int, list[Hearing]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._probe: asyncio.Task[None] | None = None
        self._message_id = ""
        # The decoder reads these two of its wrapper, to date fills that carry no time zone.
        self.ib = SimpleNamespace(TimezoneTWS="")
        self.defaultTimezone = time_zone_of_naive_fills()

        # The library leaves its client without annotations; the protocol above says what is used of it.
        self.client = cast(WireClient, Client(self))  # type: ignore[no-untyped-call]
        self.client.MaxRequests = 0  # no queue inside the library: the pacer stands before the write
        self.client.decoder.logger = DecoderAlarm(self._unreadable)
        interpret = self.client.decoder.interpret

        def interpret_and_remember(fields: list[str]) -> None:
            self._message_id = fields[0] if fields else ""
            self.heard, self.heard_at = self._clock.monotonic(), self._clock.now()
            if not self.ended.done():  # what follows a message that could not be read is not to be trusted alone
                interpret(fields)

        self.client.decoder.interpret = interpret_and_remember

    # ----------------------------------------------------------------------------------------------------- life

    async def connect(self, host: str, port: int, timeout_seconds: float) -> LinkProblem | None:
        """Make the connection; None when the gateway is ready for requests, else what is wrong."""
        attempt = asyncio.ensure_future(self.client.connectAsync(host, port, self.client_id, timeout_seconds))
        try:
            first: set[asyncio.Future[Any]] = {attempt, self.ended}
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not attempt.done():
                attempt.cancel()
            with suppress(BaseException):
                await attempt
        if not attempt.cancelled() and (error := attempt.exception()) is not None:
            return self._connect_problem(error, host, port)
        return self.ended.result() if self.ended.done() else None

    def _connect_problem(self, error: BaseException, host: str, port: int) -> LinkProblem:
        if self.ended.done() and self.ended.result().fatal:
            return self.ended.result()
        if isinstance(error, ConnectionRefusedError):
            return LinkProblem(
                text=f"Nothing listens at {host}:{port}. Start TWS or IB Gateway, enable its socket API (Configure, "
                "API, Settings), and compare its port with IBKR_PORT."
            )
        if self.client.conn.numMsgSent and isinstance(error, TimeoutError):
            return LinkProblem(
                text=f"The gateway at {host}:{port} accepted the connection and does not answer. A dialog may wait on "
                "its screen, or it hangs: log in, accept the connection, or restart it."
            )
        if isinstance(error, TimeoutError):
            return LinkProblem(text=f"{host}:{port} cannot be reached. Check IBKR_HOST, the network and the firewall.")
        return LinkProblem(
            text=f"The connection to {host}:{port} failed ({quoted(str(error)) or type(error).__name__}). "
            "Check IBKR_HOST and IBKR_PORT."
        )

    @property
    def is_alive(self) -> bool:
        return not self.ended.done() and self.client.isReady()

    def next_id(self) -> int:
        """A number that no request or order of this client has used; both share one sequence."""
        self.highest_id = self.client.getReqId()
        return self.highest_id

    def check_alive(self) -> None:
        if not self.is_alive:
            raise Unavailable(
                "LINK_DOWN",
                "The connection to the gateway was lost; nothing was sent.",
                next_step="Wait for the connection to come back, then try again.",
            )

    def check_unblocked(self) -> None:
        """Refuse to add to bytes that the gateway does not take: they could reach it much later (EM-02)."""
        self.check_alive()
        if not self.may_write:
            raise Unavailable(
                "LINK_DOWN",
                "The link changed while this waited for its turn; nothing was sent.",
                next_step="See the connection status, then try again.",
            )
        transport = self.client.conn.transport
        if transport is None or transport.is_closing() or transport.get_write_buffer_size():
            self.suspect()
            raise Unavailable(
                "LINK_DOWN",
                "The gateway does not take what is sent to it; nothing was sent.",
                next_step="See the connection status; restart the gateway if it stays.",
            )

    def lose(self, problem: LinkProblem) -> None:
        """End this connection at once; what waits is told, and bytes that have not left are dropped."""
        self._end_all(problem)
        if (transport := self.client.conn.transport) is not None:
            transport.abort()

    async def close(self) -> None:
        """End this connection politely."""
        self._end_all(LinkProblem(text="The connection was closed."))
        self.client.disconnect()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _end_all(self, problem: LinkProblem) -> None:
        if self.ended.done():
            return
        self.ended.set_result(problem)
        error = Unavailable(
            "LINK_DOWN",
            f"The connection to the gateway was lost before it answered. {problem.text}",
            next_step="Wait for the connection to come back, then ask again.",
        )
        self._pacer.discard(error)
        self.answers.fail_all(error)
        for hearing in (one for listeners in self._hearings.values() for one in listeners):
            hearing.lost = True
            hearing.news.set()
        if self.ticks is not None:
            self.ticks.lost()

    def suspect(self) -> None:
        """Something took too long: ask for the time, and end the connection if that is not answered either."""
        if not self.ended.done() and (self._probe is None or self._probe.done()):
            self._probe = self._spawn(self._ask_for_a_sign_of_life())

    async def _ask_for_a_sign_of_life(self) -> None:
        try:
            async with asyncio.timeout(self._sign_of_life_seconds), self._turn("current time"):
                answer = self._begin("current time")
                async with self._pacer.permit(Lane.PROBE):
                    self.check_alive()
                    asked = self._clock.now()
                    self.client.reqCurrentTime()
                [seconds] = await answer.done
                self._listener.broker_time(seconds, asked=asked, heard=self._clock.now())
        except TimeoutError:
            self.lose(
                LinkProblem(
                    text="The gateway stopped answering: it did not even tell the time within "
                    f"{self._sign_of_life_seconds:g} s. It is connected to again; restart it if this repeats."
                )
            )

    async def _keep_asking_for_signs_of_life(self) -> None:
        await asyncio.sleep(SIGN_OF_LIFE_AFTER_SECONDS)
        while True:
            self.suspect()
            await asyncio.sleep(self._deadline_seconds)

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)

        def finished(done: asyncio.Task[Any]) -> None:
            self._tasks.discard(done)
            if not done.cancelled():
                done.exception()  # whoever still waits has it

        task.add_done_callback(finished)
        return task

    # ------------------------------------------------------------------------------------------------- requests

    async def numbered(
        self,
        what: str,
        send: Callable[[int], None],
        cancel: Callable[[int], None] | None = None,
        *,
        withdraw: Callable[[int], None] | None = None,
        enough: Enough | None = None,
        deadline_seconds: float | None = None,
    ) -> list[Any]:
        """Rows of a request that carries an id; asked again, up to three times, when the broker asks for patience
        or says that it will pass (RL-13).

        `cancel` ends the subscription that some requests start; of one without an end marker, `enough` tells when the
        rows so far will do. `withdraw` takes a request back that nobody waits for any more. `deadline_seconds` is for
        requests that take longer than others.

        Raises:
            Refused: the broker said no.
            Unavailable: no link, no complete answer in time, or too many requests.
        """
        async with self._counted(), self.bounded(what, deadline_seconds=deadline_seconds) as call:
            for attempt in range(1, READ_ATTEMPTS + 1):
                try:
                    return await self._ask(Answer(what=what, enough=enough), send, cancel, withdraw, call)
                except Unavailable as error:
                    if error.broker_code is None or not error.retry_after_seconds or attempt == READ_ATTEMPTS:
                        raise
                call.sent = False
                await self._clock.sleep(2 ** (attempt - 1) * self._jitter.uniform(0.5, 1.0))
            raise AssertionError("unreachable")

    async def _ask(
        self,
        answer: Answer,
        send: Callable[[int], None],
        cancel: Callable[[int], None] | None,
        withdraw: Callable[[int], None] | None,
        call: Call,
    ) -> list[Any]:
        async with self._pacer.permit(Lane.READ):
            self.check_alive()
            req_id = self.next_id()
            self.answers.numbered[req_id] = answer
            send(req_id)
            call.sent = True
        try:
            return await answer.done
        finally:
            del self.answers.numbered[req_id]
            end = cancel or (withdraw if answer.done.cancelled() else None)
            if end is not None:
                self.end_subscription(end, req_id)

    def end_subscription(self, cancel: Callable[[int], None], req_id: int) -> None:
        """Send the cancellation when there is room for it, without anybody waiting."""
        if not self.ended.done():
            self._spawn(self._send_cancel(cancel, req_id))

    async def _send_cancel(self, cancel: Callable[[int], None], req_id: int) -> None:
        self.check_alive()  # one that begins after the end would wait among those of the next connection
        async with self._pacer.permit(Lane.READ):
            self.check_alive()
            cancel(req_id)

    @asynccontextmanager
    async def _counted(self) -> AsyncIterator[None]:
        """A "no" is an answer; that nothing came is a failure."""
        try:
            yield
        except Unavailable:
            self._tally.operation(failed=True)
            raise
        except ProductError:
            self._tally.operation(failed=False)
            raise
        self._tally.operation(failed=False)

    async def unnumbered(self, what: str, send: Callable[[], None]) -> list[Any]:
        """Rows of a request that is told apart by its kind only; raises as `numbered` does."""
        async with self._counted(), self.bounded(what) as call:
            exchange = self._spawn(self._hear_out(what, send, call))
            return cast("list[Any]", await asyncio.shield(exchange))

    async def _hear_out(self, what: str, send: Callable[[], None], call: Call) -> list[Any]:
        async with self._turn(what):
            self.check_alive()
            async with self._pacer.permit(Lane.READ):
                self.check_alive()
                answer = self._begin(what)
                send()
                call.sent = True
            try:
                # Longer than its caller waits and the sign of life that is asked for after that.
                async with asyncio.timeout(3 * self._deadline_seconds):
                    return await answer.done
            except TimeoutError:
                # Its end could still come and be taken for the end of the next request of its kind.
                self.lose(LinkProblem(text=f"The gateway never finished its answer about {what}. Connecting again."))
                raise
            finally:
                self.answers.families.pop(what, None)

    def _turn(self, what: str) -> asyncio.Lock:
        return self._turns.setdefault(what, asyncio.Lock())

    def _turn_is_taken(self, what: str) -> bool:
        return what in self._turns and self._turns[what].locked()

    def _begin(self, what: str) -> Answer:
        answer = self.answers.families[what] = Answer(what=what)
        return answer

    @asynccontextmanager
    async def bounded(
        self, what: str, *, sent: bool = False, deadline_seconds: float | None = None
    ) -> AsyncIterator[Call]:
        """Bound the block by the deadline; when it runs out after something was `sent`, the gateway is suspected.

        Raises:
            Unavailable: the deadline passed.
        """
        call, limit = Call(sent=sent), deadline_seconds or self._deadline_seconds
        # What may take long must not take long to fail: the gateway shows meanwhile that it is alive.
        company = self._spawn(self._keep_asking_for_signs_of_life()) if limit > self._deadline_seconds else None
        try:
            async with asyncio.timeout(limit):
                yield call
        except TimeoutError as error:
            if not call.sent and self._turn_is_taken(what):
                raise Unavailable(
                    "BROKER_TIMEOUT",
                    f"The gateway has not finished its answer to an earlier request for {what}; after {limit:g} s this "
                    "one was not sent.",
                    next_step="See the connection status, then ask again.",
                ) from error
            if not call.sent:
                raise Unavailable(
                    "BROKER_PACING",
                    f"The request for {what} found no room among the messages of the last {limit:g} s; it was not "
                    "sent.",
                    next_step="Wait a moment and ask again, with fewer requests.",
                    retry_after_seconds=1.0,
                ) from error
            self.suspect()
            raise Unavailable(
                "BROKER_TIMEOUT",
                f"The gateway did not answer the request for {what} within {limit:g} s.",
                next_step="See the connection status, then ask again.",
            ) from error
        finally:
            if company is not None:
                company.cancel()

    def listen(self, order_id: int, hearing: Hearing) -> None:
        """Tell `hearing` everything about one order of this client from now on, until `stop_listening`."""
        hearing.lost = self.ended.done()
        self._hearings.setdefault(order_id, []).append(hearing)

    def stop_listening(self, order_id: int, hearing: Hearing) -> None:
        listeners = self._hearings.get(order_id, [])
        if hearing in listeners:
            listeners.remove(hearing)
        if not listeners:
            self._hearings.pop(order_id, None)

    # -------------------------------------------------------------------- the wrapper: called by client and decoder

    def connectAck(self) -> None:
        self.handshaken = True
        self._pacer.note()  # startApi went out

    def setEventsDone(self) -> None:
        """The socket is gone."""
        if self.client.isReady():
            text = "The gateway closed the connection."
        elif self.handshaken:
            text = (
                "The gateway closed the connection before it was ready. Accept the connection on its screen, or add "
                "this machine to its trusted addresses; it may also be that its login has not finished."
            )
        else:
            text = "The gateway closed the connection during the handshake: it may be too old, or no TWS at all."
        self.lose(LinkProblem(text=text))

    def connectionClosed(self) -> None:
        """Nothing more to do: `setEventsDone` came first."""

    def managedAccounts(self, text: str) -> None:
        accounts = tuple(name.strip() for name in text.split(",") if name.strip())
        if not accounts:
            self.lose(
                LinkProblem(
                    text="The gateway lists no account. Log in to it with a user that has one, and wait until it has "
                    "finished starting."
                )
            )
            return
        self._listener.accounts_listed(accounts)
        self.answers.end_of("managed accounts", *accounts)

    def currentTime(self, time: int) -> None:
        self.answers.end_of("current time", time)

    def error(self, req_id: int, code: int, text: str, _advanced: str) -> None:
        remark = Remark(code=code, text=text)
        self._tally.remark(remark, of_the_line=req_id == -1)
        if req_id == -1:
            self._link_remark(remark)
        elif (answer := self.answers.numbered.get(req_id)) is not None:
            if remark.kind not in (Kind.WARNING, Kind.INFO):
                answer.fail(request_error(code, text, what=answer.what))
            if is_pacing(code, text):
                self._notice(code, text)  # the breaker counts what the broker complains about (RL-14)
        elif self.ticks is None or not self.ticks.remark(req_id, remark):
            order = self._book.remark(self.client_id, req_id, code, quoted(text))
            for hearing in self._hearings.get(req_id, ()):
                hearing.remarks.append(remark)
                hearing.status = order.status if order is not None and code == 202 else hearing.status
                hearing.news.set()
            self._notice(code, text)
        if is_pacing(code, text):
            self._pacer.slow_down()

    def _link_remark(self, remark: Remark) -> None:
        if remark.code == 326:
            self.lose(
                LinkProblem(
                    text=f"Client id {self.client_id} is in use by another program at this gateway. Stop that program, "
                    "or give this one another id with IBKR_CLIENT_ID; it never takes another id by itself.",
                    fatal=True,
                )
            )
        elif remark.code == 321 and "read-only" in remark.text.lower():
            self.lose(
                LinkProblem(
                    text="The gateway's API is read-only and does not show orders. Untick Read-Only API in its API "
                    "settings."
                )
            )
        else:
            self._listener.link_code(remark.code, quoted(remark.text))
            self._notice(remark.code, remark.text)

    def _notice(self, code: int, text: str) -> None:
        only_informs = explain(code).kind is Kind.INFO
        self._emit(
            BrokerEvent(
                kind=BrokerEventKind.NOTICE,
                at=self._clock.now(),
                code=code,
                text=quoted(text),
                only_informs=only_informs,
            )
        )

    def _unreadable(self) -> None:
        error, trace = sys.exc_info()[0], traceback.extract_tb(sys.exc_info()[2])
        where = f"{trace[-1].filename.rpartition('/')[2]}:{trace[-1].lineno}" if trace else "?"
        name = error.__name__ if error is not None else "?"
        # The fields stay out of the log: they hold account ids.
        logger.error(
            "A message of type %s from the gateway could not be read (%s at %s).", self._message_id, name, where
        )
        if self._message_id in ORDER_MESSAGES:
            self.lose(
                LinkProblem(
                    text=f"A message about orders (type {self._message_id}) could not be read, so the orders known "
                    "here may be incomplete. Connecting again to read them anew."
                )
            )

    # Orders and fills

    def openOrder(
        self, order_id: int, contract: ib_async.Contract, order: ib_async.Order, state: ib_async.OrderState
    ) -> None:
        if order.whatIf:
            self.answers.end(order_id, state)
            return
        told = self._book.open_order(order_id, contract, order, state)
        self.answers.add_to("open orders", told.perm_id or (told.client_id, told.order_id))
        if order.clientId == self.client_id:
            self.client.updateReqId(order_id + 1)
            for hearing in self._hearings.get(order_id, ()):
                hearing.echo = order
                hearing.status = told.status
                hearing.news.set()

    def orderStatus(
        self,
        order_id: int,
        status: str,
        filled: float,
        remaining: float,
        average_fill_price: float,
        perm_id: int,
        _parent_id: int,
        _last_fill_price: float,
        client_id: int,
        why_held: str,
        _cap_price: float = 0.0,
    ) -> None:
        listeners = self._hearings.get(order_id, []) if client_id == self.client_id else []
        told = self._book.order_status(
            perm_id=perm_id,
            client_id=client_id,
            order_id=order_id,
            status=status,
            filled=filled,
            remaining=remaining,
            average_fill_price=average_fill_price,
            why_held=why_held,
            sent=next((hearing.sent for hearing in listeners if hearing.sent is not None), None),
        )
        if told is not None:
            for hearing in listeners:
                hearing.status = told.status
                hearing.news.set()

    def openOrderEnd(self) -> None:
        self.answers.end_of("open orders")

    def execDetails(self, req_id: int, contract: ib_async.Contract, execution: ib_async.Execution) -> None:
        if execution.orderId == UNSET_INTEGER:
            execution.orderId = 0
        self.answers.add(req_id, self._book.fill(contract, execution).execution_id)

    def execDetailsEnd(self, req_id: int) -> None:
        self.answers.end(req_id)

    def commissionReport(self, report: ib_async.CommissionReport) -> None:
        self._book.commission(report)

    def orderBound(self, _perm_id: int, _client_id: int, _order_id: int) -> None:
        """The openOrder that follows says it all."""

    def account_mismatch(self, sent: str, told: str) -> Fault:
        """ACC-09: the broker holds the order in another account than the one it was sent for."""
        return Fault(
            "ACCOUNT_ECHO_MISMATCH",
            f"The order was sent for account {sent} and the broker holds it in account {told}.",
            next_step="Stop trading, cancel the order, and find out which account this login trades.",
            details=(f"sent: {sent}", f"told: {told}"),
        )
