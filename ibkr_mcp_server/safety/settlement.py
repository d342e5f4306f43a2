"""What came of an approved write, written down; and what the broker tells of it afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Connection

from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.audit.log import AuditLog
from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.domain.operations import SYSTEM
from ibkr_mcp_server.domain.orders import BrokerOrder
from ibkr_mcp_server.errors import Fault, ProductError, Refused
from ibkr_mcp_server.log import get_logger
from ibkr_mcp_server.safety.codes import Code
from ibkr_mcp_server.safety.decision import Decision
from ibkr_mcp_server.safety.kill_switch import KillSwitch
from ibkr_mcp_server.safety.records import broker_fields, error_record, intent_event, state_of
from ibkr_mcp_server.store import intents
from ibkr_mcp_server.store.database import SOON_SECONDS, Database
from ibkr_mcp_server.store.intents import Intent, IntentState
from ibkr_mcp_server.store.latches import KillMode

_log = get_logger(__name__)


SENT_WITHIN_SECONDS = 0.05
"""That an order was sent is mostly recorded together with the answer to it, which takes a gateway some milliseconds."""


class Settlement:
    """Records what was sent and what came of it.

    The intent and the decision were durable before anything left (invariant 1). What follows them is written a moment
    after it happened, so that nobody waits for the disk, yet before anything else is decided or read (`Database.soon`).
    If it cannot be written, trading stops; if the process ends first, the next one asks the broker.
    """

    def __init__(self, *, database: Database, audit: AuditLog, clock: Clock, kill_switch: KillSwitch) -> None:
        self._database = database
        self._audit = audit
        self._clock = clock
        self._kill_switch = kill_switch
        self._let_through: dict[str, Intent] = {}
        """By id: what may be on its way to the broker and is not settled."""
        self._stops: set[asyncio.Task[object]] = set()
        self.on_settled: Callable[[IntentState], None] = lambda state: None
        """Called when an outcome was recorded: where the intent then stands."""
        self.on_lost: Callable[[], None] = lambda: None
        """Called when an outcome was lost, so that the order is looked for."""

    def let_through(self, intent: Intent) -> None:
        """The gate opened: from here on it counts as sent, whatever the store says."""
        self._let_through[intent.intent_id] = intent

    def sent(self, decision: Decision, intent: Intent) -> None:
        """The gate closed behind it."""
        now = self._clock.now()

        def work(connection: Connection) -> None:
            intents.advance(connection, intent.intent_id, IntentState.SENT, now=now)
            self._audit.append(connection, intent_event(EventType.ORDER_SENT, decision, intent))

        self._record(work, within=SENT_WITHIN_SECONDS)

    async def settle(
        self, decision: Decision, intent_id: str | None, outcome: BrokerOrder | BaseException
    ) -> Intent | None:
        """Record what came of an approved write, and give back only what surely did not happen (RL-08).

        `intent_id` is None for what the store could not record; then there is nothing to settle. What the broker said
        is recorded soon; that it said no, or nothing, is durable when this returns.
        """
        if not intent_id:
            return None
        passed = self._let_through.pop(intent_id, None)

        def work(connection: Connection) -> Intent:
            intent = intents.get(connection, intent_id)
            if intent is None:
                raise Fault(Code.INTERNAL_ERROR, f"The intent {intent_id} vanished from the store.")
            event_type, settled = self._settled(connection, intent, outcome, passed=passed is not None)
            self._audit.append(connection, intent_event(event_type, decision, settled, outcome))
            return settled

        if passed is not None and isinstance(outcome, BrokerOrder):
            self._record(work)
            state, _ = state_of(passed.kind, outcome)
            return replace(passed, state=state, **broker_fields(outcome))
        settled = await self._database.run(work)
        self.on_settled(settled.state)
        if settled.state is IntentState.UNKNOWN:
            self.on_lost()
        return settled

    def _record(self, work: Callable[[Connection], object], *, within: float = SOON_SECONDS) -> None:
        self._database.soon(work, within=within).add_done_callback(self._recorded)

    def _recorded(self, done: asyncio.Future[object]) -> None:
        if done.cancelled():
            return
        error = done.exception()
        if error is None:
            if isinstance(recorded := done.result(), Intent):
                self.on_settled(recorded.state)
            return
        # The broker may hold an order that the store cannot record: nothing more may be opened (CB-32).
        _log.critical("an outcome could not be recorded", error=str(error))
        stop = self._kill_switch.activate(KillMode.HALT_ONLY, "The outcome of an order could not be recorded.", SYSTEM)
        task: asyncio.Task[object] = asyncio.ensure_future(stop)
        self._stops.add(task)
        task.add_done_callback(self._stops.discard)

    def _settled(
        self, connection: Connection, intent: Intent, outcome: BrokerOrder | BaseException, *, passed: bool
    ) -> tuple[EventType, Intent]:
        now = self._clock.now()
        if isinstance(outcome, BrokerOrder):
            state, event = state_of(intent.kind, outcome)
            return event, follow(connection, intent, state, outcome, now)
        if intent.state is IntentState.RESERVED and not passed:
            # The gate never let it through, so it provably did not leave.
            released = intents.release(connection, intent.intent_id, _reason(outcome), now)
            return EventType.SAFETY_VIOLATION, released
        if isinstance(outcome, Refused):
            rejected = intents.advance(
                connection, intent.intent_id, IntentState.REJECTED, now=now, result=error_record(outcome)
            )
            return EventType.ORDER_ATTEMPT, rejected
        # Sent, and nothing proves what became of it.
        lost = intents.advance(connection, intent.intent_id, IntentState.UNKNOWN, now=now, result=error_record(outcome))
        return EventType.ORDER_UNKNOWN, lost


def follow(
    connection: Connection,
    intent: Intent,
    state: IntentState,
    order: BrokerOrder,
    now: datetime,
    *,
    is_newest: bool = False,
) -> Intent:
    """Move an intent to what the broker says; a report that is older than what is known changes nothing.

    An order that we took for rejected or expired moves only if this is the newest that the broker told of it
    (`is_newest`), and only if it then works or has traded.
    """
    filled = intent.filled_quantity or Decimal()
    if state is not intent.state and state not in intents.TRANSITIONS[intent.state]:
        return intent
    if not is_newest and order.filled < filled:
        return intent
    learned = broker_fields(order)
    if state is intent.state and all(getattr(intent, name) == value for name, value in learned.items()):
        return intent  # told again
    if intent.state in _CONCLUDED and state is not intent.state:
        if not is_newest or not (order.is_working or order.filled > filled):
            return intent
        learned["result"] = None  # it said why the order had ended
    return intents.advance(connection, intent.intent_id, state, now=now, **learned)


_CONCLUDED = frozenset({IntentState.REJECTED, IntentState.EXPIRED})


def _reason(outcome: BaseException) -> str:
    return str(outcome) if isinstance(outcome, ProductError) else type(outcome).__name__
