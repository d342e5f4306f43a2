"""What came of an approved write, written down; and what the broker tells of it afterwards."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Connection

from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.audit.log import AuditLog
from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.domain.orders import BrokerOrder
from ibkr_mcp_server.errors import Fault, ProductError, Refused
from ibkr_mcp_server.safety.decision import Code, Decision
from ibkr_mcp_server.safety.records import broker_fields, error_record, intent_event, state_of
from ibkr_mcp_server.store import intents
from ibkr_mcp_server.store.database import Database
from ibkr_mcp_server.store.intents import Intent, IntentState


class Settlement:
    """Records outcomes."""

    def __init__(self, *, database: Database, audit: AuditLog, clock: Clock) -> None:
        self._database = database
        self._audit = audit
        self._clock = clock
        self.on_lost: Callable[[], None] = lambda: None
        """Called when an outcome was lost, so that the order is looked for."""

    async def settle(
        self, decision: Decision, intent_id: str | None, outcome: BrokerOrder | BaseException
    ) -> Intent | None:
        """Record what came of an approved write, and give back only what surely did not happen (RL-08).

        `intent_id` is None for what the store could not record; then there is nothing to settle.
        """
        if intent_id is None:
            return None

        def work(connection: Connection) -> Intent:
            intent = intents.get(connection, intent_id)
            if intent is None:
                raise Fault(Code.INTERNAL_ERROR, f"The intent {intent_id} vanished from the store.")
            event_type, settled = self._settled(connection, intent, outcome)
            self._audit.append(connection, intent_event(event_type, decision, settled, outcome))
            return settled

        settled = await self._database.run(work)
        if settled.state is IntentState.UNKNOWN:
            self.on_lost()
        return settled

    def _settled(
        self, connection: Connection, intent: Intent, outcome: BrokerOrder | BaseException
    ) -> tuple[EventType, Intent]:
        now = self._clock.now()
        if isinstance(outcome, BrokerOrder):
            state, event = state_of(intent.kind, outcome)
            return event, follow(connection, intent, state, outcome, now)
        if intent.state is IntentState.RESERVED:
            # The gate never marked it as sent, so it provably did not leave.
            released = intents.release(connection, intent.intent_id, _reason(outcome), now)
            return EventType.SAFETY_VIOLATION, released
        if isinstance(outcome, Refused) and outcome.code == Code.STATE_CHANGED:
            # Marked as sent and stopped a moment later: nothing left, but the quota stays used, to be on the safe side.
            dropped = intents.advance(
                connection, intent.intent_id, IntentState.EXPIRED, now=now, result=error_record(outcome)
            )
            return EventType.SAFETY_VIOLATION, dropped
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
    if intent.state in _CONCLUDED and state is not intent.state:
        if not is_newest or not (order.is_working or order.filled > filled):
            return intent
        learned["result"] = None  # it said why the order had ended
    return intents.advance(connection, intent.intent_id, state, now=now, **learned)


_CONCLUDED = frozenset({IntentState.REJECTED, IntentState.EXPIRED})


def _reason(outcome: BaseException) -> str:
    return str(outcome) if isinstance(outcome, ProductError) else type(outcome).__name__
