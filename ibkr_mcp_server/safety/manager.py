"""TradingSafetyManager: admit, reserve, guard the gate, settle. The sole maker of the `Approved…` types.

One decision is one transaction: the latches are re-read, the windows counted, every check run, and the intent, its
quota and the audit records written and committed with full sync, or nothing at all. Two orders at once can therefore
never use the same headroom (TW-12), in this process or in another.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection

from ibkr_mcp_server.audit.events import AuditEvent, EventType
from ibkr_mcp_server.audit.log import AuditLog
from ibkr_mcp_server.broker.base import BrokerReads, LinkState, LinkStatus
from ibkr_mcp_server.clock import Clock, trading_day
from ibkr_mcp_server.domain.accounts import masked
from ibkr_mcp_server.domain.operations import (
    SYSTEM,
    ApprovedBracket,
    ApprovedCancellation,
    ApprovedModification,
    ApprovedOrder,
    BracketDraft,
    FinalGate,
    Operation,
    OperationClass,
)
from ibkr_mcp_server.domain.orders import BrokerOrder, Order
from ibkr_mcp_server.errors import Fault, ProductError, Refused
from ibkr_mcp_server.log import get_logger
from ibkr_mcp_server.safety import efficiency
from ibkr_mcp_server.safety.agent_throttle import AgentThrottle
from ibkr_mcp_server.safety.decision import Code, Decision, Findings, Validation, Verdict, problem, refuses
from ibkr_mcp_server.safety.default_account import DefaultAccount
from ibkr_mcp_server.safety.exposure import Holdings
from ibkr_mcp_server.safety.identity import BRACKET_PARTS, fingerprint, mint_key, order_ref_for, part_key
from ibkr_mcp_server.safety.kill_switch import KillSwitch
from ibkr_mcp_server.safety.minute_window import MINUTE_SECONDS, MinuteWindow
from ibkr_mcp_server.safety.observation import Observer
from ibkr_mcp_server.safety.policy import Policy, account_check
from ibkr_mcp_server.safety.readiness import Readiness
from ibkr_mcp_server.safety.records import (
    broker_fields,
    decision_event,
    error_record,
    intent_event,
    limit_events,
    state_of,
)
from ibkr_mcp_server.safety.send_gate import SendGate
from ibkr_mcp_server.safety.snapshot import Observed, Recorded, Snapshot
from ibkr_mcp_server.safety.state import Action, Cause, EffectiveState, SafetyState
from ibkr_mcp_server.safety.writer import WriterRole
from ibkr_mcp_server.settings import Settings
from ibkr_mcp_server.store import intents, latches
from ibkr_mcp_server.store.database import Database
from ibkr_mcp_server.store.intents import DayOfMessages, Intent, IntentState

VIOLATIONS_KEPT = 50
"""AUD-10."""

Approval = ApprovedOrder | ApprovedBracket | ApprovedModification | ApprovedCancellation

_KINDS: dict[OperationClass, Literal["place", "modify", "cancel"]] = {
    OperationClass.ORDER_PLACEMENT: "place",
    OperationClass.ORDER_MODIFICATION: "modify",
    OperationClass.ORDER_CANCELLATION: "cancel",
}

_log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Admission:
    """A decision, and the key to the broker if it was yes."""

    decision: Decision
    approval: Approval | None = None
    gates: tuple[FinalGate, ...] = ()
    """One for each order of the approval, in the order of sending."""
    replayed: Intent | None = None
    """The earlier intent with the same key and the same request, which answers this one (ID-04)."""
    dry_run: bool = False


@dataclass(frozen=True, kw_only=True)
class Violation:
    """A refusal as the status tool shows it."""

    at: str
    code: str
    check: str
    tool: str
    message: str


class TradingSafetyManager:
    """Decides whether an operation may reach the broker, and keeps the record of it."""

    def __init__(
        self,
        *,
        settings: Settings,
        broker: BrokerReads,
        database: Database,
        audit: AuditLog,
        kill_switch: KillSwitch,
        gate: SendGate,
        writer: WriterRole,
        clock: Clock,
        default_account: DefaultAccount,
        session_id: str,
    ) -> None:
        self.kill_switch = kill_switch
        self.writer = writer
        self.readiness = Readiness()
        self.policy = Policy(settings)
        self._settings = settings
        self._broker = broker
        self._database = database
        self._audit = audit
        self._gate = gate
        self._clock = clock
        self._session_id = session_id
        self._observer = Observer(settings=settings, broker=broker, clock=clock, default_account=default_account)
        self.throttle = AgentThrottle(
            per_minute=settings.max_attempts_per_minute,
            timeout_seconds=float(settings.agent_timeout_seconds),
            database=database,
            audit=audit,
            clock=clock,
        )
        self.quoted = MinuteWindow(clock)
        self.account_reads = MinuteWindow(clock)
        self._violations: deque[Violation] = deque(maxlen=VIOLATIONS_KEPT)
        self._accepts = account_check(settings).accepts
        self._noted_verification: datetime | None = None
        self.on_lost: Callable[[], None] = lambda: None
        """Called when an outcome was lost, so that the order is looked for."""

    # ---- admit

    async def admit(self, operation: Operation) -> Admission:
        """Judge `operation`; an approval reserves its quota and makes its intent durable.

        Never raises for a refusal: the decision carries the reasons. Whatever goes wrong on the way is a refusal of a
        write (TW-07).
        """
        decision_id = uuid.uuid4().hex
        left = await self.throttle.attempt(operation)
        observed = Observed(taken_at=self._clock.now(), action=_strictest_action(operation), timeout_seconds=left)
        try:
            async with asyncio.timeout(float(self._settings.decision_timeout_seconds)):
                if not left:  # an agent in timeout costs the broker nothing
                    observed = await self._observer.observe(operation)
        except TimeoutError:
            limit = f"{self._settings.decision_timeout_seconds} s"
            text = f"Looking at contract, account and quote took longer than {limit}."
            return await self._refused(decision_id, operation, observed, Code.DECISION_TIMEOUT, text)
        except Exception as error:
            _log.exception("observation failed", tool=operation.tool)
            text = f"Gathering what the checks need failed ({type(error).__name__})."
            return await self._refused(decision_id, operation, observed, Code.CHECK_ERROR, text)
        try:
            await self.note_verification(observed.link)
            if operation.operation_class.writes_orders and not operation.preview:
                # Positions and orders are taken here, on the loop, in the step that queues the transaction: whatever
                # is decided or settled meanwhile is either among them or stands in the store before this is read.
                holdings = self._holdings(observed)
                admission = await self._database.run(
                    lambda c: self._decide_write(c, decision_id, operation, observed, holdings)
                )
            else:
                admission = await self._decide_read(decision_id, operation, observed)
        except (ProductError, OSError) as error:
            admission = await self._without_record(decision_id, operation, observed, error)
        self._note(admission.decision)
        return admission

    def _decide_write(
        self,
        connection: Connection,
        decision_id: str,
        operation: Operation,
        observed: Observed,
        holdings: Holdings,
    ) -> Admission:
        asked = fingerprint(operation.tool, operation.arguments)
        key = operation.client_request_id
        recorded = self._read_store(connection, operation, asked)
        seen = Snapshot(observed=self._observer.classified(observed, holdings, recorded), recorded=recorded)
        earlier = recorded.same_key
        if earlier is not None and earlier.fingerprint == asked and not observed.timeout_seconds:
            return self._repeat(connection, decision_id, operation, seen, earlier)
        validation = self.policy.review(operation, seen)
        decision = Decision(decision_id=decision_id, operation=operation, seen=seen, validation=validation)
        if validation.is_safe and operation.in_parts:
            self._audit.append(connection, decision_event(decision, self._broker.link.venue))
            return Admission(decision=decision)
        if not validation.is_safe or self._settings.dry_run:
            self._audit.append(
                connection,
                decision_event(decision, self._broker.link.venue, dry_run=self._settings.dry_run),
                *limit_events(decision),
            )
            return Admission(decision=decision, dry_run=validation.is_safe)
        reserved = self._intents(decision, key or mint_key(), asked)
        for intent in reserved:
            intents.reserve(connection, intent)
        decision = replace(decision, intent_id=reserved[0].intent_id)
        self._audit.append(
            connection,
            decision_event(decision, self._broker.link.venue),
            *(intent_event(EventType.INTENT_RESERVED, decision, intent) for intent in reserved),
        )
        generation = latches.current(connection).generation
        return Admission(
            decision=decision,
            approval=_approval(decision, reserved),
            gates=tuple(self._final_gate(decision, intent, generation) for intent in reserved),
        )

    def _repeat(
        self, connection: Connection, decision_id: str, operation: Operation, seen: Snapshot, earlier: Intent
    ) -> Admission:
        """The same request again: its own record answers, and nothing is sent (ID-04)."""
        if earlier.state in (IntentState.RESERVED, IntentState.SENT):
            text = f"The request {earlier.request_key} is being carried out (intent {earlier.intent_id})."
            findings = refuses(problem(Code.IN_PROGRESS, text, observed=earlier.state))
        else:
            findings = Findings(observed=earlier.state)
        verdict = Verdict(check="idempotency", step=12, findings=findings)
        decision = Decision(
            decision_id=decision_id,
            operation=operation,
            seen=seen,
            validation=Validation(verdicts=(verdict,)),
            replayed_intent_id=earlier.intent_id if not findings.problems else None,
        )
        self._audit.append(connection, decision_event(decision, self._broker.link.venue))
        return Admission(decision=decision, replayed=earlier if not findings.problems else None)

    async def _decide_read(self, decision_id: str, operation: Operation, observed: Observed) -> Admission:
        recorded = await self._database.read(lambda connection: self._read_store(connection, operation, ""))
        recorded = replace(
            recorded,
            market_data_ages_seconds=self.quoted.ages_seconds(),
            account_read_ages_seconds=self.account_reads.ages_seconds(),
        )
        observed = self._observer.classified(observed, self._holdings(observed), recorded)
        seen = Snapshot(observed=observed, recorded=recorded)
        validation = self.policy.review(operation, seen)
        decision = Decision(decision_id=decision_id, operation=operation, seen=seen, validation=validation)
        if validation.is_safe:
            self.quoted.note(len(operation.symbols))
            if operation.operation_class is OperationClass.ACCOUNT_READ:
                self.account_reads.note()
        await self._audit.record_soon(decision_event(decision, self._broker.link.venue))
        return Admission(decision=decision)

    async def _refused(
        self, decision_id: str, operation: Operation, observed: Observed, code: Code, text: str
    ) -> Admission:
        """A refusal that comes before the checks; recorded like every other."""
        verdict = Verdict(check="observation", step=0, findings=refuses(problem(code, text)))
        seen = Snapshot(observed=observed, recorded=Recorded(state=EffectiveState()))
        decision = Decision(
            decision_id=decision_id, operation=operation, seen=seen, validation=Validation(verdicts=(verdict,))
        )
        try:
            await self._audit.record(decision_event(decision, self._broker.link.venue))
        except (ProductError, OSError):
            _log.exception("a refusal could not be recorded", decision_id=decision_id)
        self._note(decision)
        return Admission(decision=decision)

    async def _without_record(
        self, decision_id: str, operation: Operation, observed: Observed, error: Exception
    ) -> Admission:
        """The store failed: nothing that opens passes; stopping, reading and cancelling an entry still do.

        A cancellation lowers risk, and making it impossible because a disk is full would break invariant 6. It is
        judged by what the broker says alone and written to the process log.
        """
        _log.critical("the store failed during a decision", tool=operation.tool, error=str(error))
        unreadable = Cause(
            state=SafetyState.HALT, code=Code.STATE_UNREADABLE, reason=f"The store failed: {error}", is_latch=True
        )
        state = EffectiveState(causes=(*self._conditions(), unreadable))
        not_the_writer = None if self.writer.is_writer else "This process does not hold the writer's role."
        seen = Snapshot(observed=observed, recorded=Recorded(state=state, not_the_writer=not_the_writer))
        validation = self.policy.review(operation, seen)
        decision = Decision(decision_id=decision_id, operation=operation, seen=seen, validation=validation)
        cancels = operation.operation_class is OperationClass.ORDER_CANCELLATION
        if operation.operation_class.writes_orders and not cancels and validation.is_safe:
            failed = problem(Code.RECORD_FAILED, f"The decision could not be recorded: {error}")
            verdict = Verdict(check="durable_intent", step=14, findings=refuses(failed))
            decision = replace(decision, validation=Validation(verdicts=(*validation.verdicts, verdict)))
        if decision.is_refused or not cancels or observed.current is None:
            return Admission(decision=decision)
        approval = ApprovedCancellation(target=observed.current, decision_id=decision_id, intent_id="")
        return Admission(decision=decision, approval=approval, gates=(self._gate.held,))

    # ---- what the checks see

    def _holdings(self, observed: Observed) -> Holdings:
        order, broker = observed.order, self._broker
        return Holdings(
            positions=broker.known_positions(),
            orders=broker.known_orders(),
            unsettled={} if order is None else broker.unsettled(order.account),
        )

    def _read_store(self, connection: Connection, operation: Operation, asked: str) -> Recorded:
        state = self._switches(connection)
        if not operation.operation_class.writes_orders:
            return Recorded(state=state)
        messages = intents.messages_on(connection, trading_day(self._clock.now()))
        state = EffectiveState(causes=(*state.causes, *self._inefficient(messages)))
        key = operation.client_request_id
        longest = max(MINUTE_SECONDS, self._settings.cycle_seconds, self._settings.price_walk_seconds)
        openings = intents.openings(connection, self._clock, longest)
        return Recorded(
            state=state,
            not_the_writer=self.writer.objection(connection),
            opening_ages_seconds=tuple(o.age_seconds for o in openings if o.age_seconds < MINUTE_SECONDS),
            opening_today=sum(opening.is_today for opening in openings),
            messages=messages,
            openings=tuple(openings),
            modification_ages_seconds=tuple(
                intents.modifications_in_window(connection, self._clock, MINUTE_SECONDS)
                if operation.operation_class is OperationClass.ORDER_MODIFICATION
                else ()
            ),
            unresolved=tuple(intents.unresolved(connection)),
            same_key=None if key is None else _holder(connection, operation, key),
            fingerprint=asked,
        )

    def _conditions(self) -> tuple[Cause, ...]:
        """Causes that end by themselves, and the configured safe mode."""
        found = []
        if self._settings.safe_mode:
            text = "Safe mode is configured (IBKR_SAFE_MODE=true)."
            found.append(Cause(state=SafetyState.SAFE, code=Code.SAFE_MODE, reason=text, is_latch=True))
        link = self._broker.link
        if not link.is_up:
            starting = (
                link.state in (LinkState.CONNECTING, LinkState.SYNCHRONISING) and link.accounts_verified_at is None
            )
            code = Code.STARTING if starting and link.problem is None else Code.LINK_DOWN
            text = f"The link to the broker is {link.state}. {link.problem or ''}".strip()
            found.append(Cause(state=SafetyState.SAFE, code=code, reason=text, is_latch=False))
        found += self.readiness.causes(is_writer=self.writer.is_writer, link_is_up=link.is_up)
        now = self._clock.now()
        for window in self._settings.no_entry_windows:
            if window.contains(now):
                text = (
                    f"It is the time of nightly restarts ({window} New York time, IBKR_RESTART_WINDOWS): nothing is "
                    f"opened before {window.ends_after(now):%H:%M} New York time."
                )
                found.append(Cause(state=SafetyState.OBSERVE, code=Code.RESTART_WINDOW, reason=text, is_latch=False))
        return tuple(found)

    def state(self, connection: Connection) -> EffectiveState:
        """The effective state now, for the status."""
        messages = intents.messages_on(connection, trading_day(self._clock.now()))
        return EffectiveState(causes=(*self._switches(connection).causes, *self._inefficient(messages)))

    def _switches(self, connection: Connection) -> EffectiveState:
        """What the final gate looks at: the legs of one bracket are no reason against one another."""
        return EffectiveState(causes=(*self.kill_switch.causes(connection), *self._conditions()))

    def _inefficient(self, messages: DayOfMessages) -> tuple[Cause, ...]:
        if not self._settings.safety_mode:
            return ()
        found = efficiency.cause(messages, self._settings.max_messages_per_fill)
        return () if found is None else (found,)

    # ---- the gate

    def _final_gate(self, decision: Decision, intent: Intent, generation: int) -> FinalGate:
        @asynccontextmanager
        async def gate() -> AsyncIterator[None]:
            async with self._gate.held():
                try:
                    await self._database.run(
                        lambda connection: self._last_look(connection, decision, intent, generation)
                    )
                except (ProductError, OSError) as error:
                    if isinstance(error, Refused) or decision.seen.observed.action is not Action.CANCEL_ENTRY:
                        raise
                    # Decision 6: what lowers the risk does not wait for a disk.
                    _log.critical("a cancellation leaves unrecorded", intent_id=intent.intent_id, error=str(error))
                # Committing took a moment; whoever only has a file to stop with must not wait for the next order.
                if self.kill_switch.sentinel_present() and _is_opening(decision):
                    raise _state_changed("the sentinel file appeared.")
                yield

        return gate

    def _last_look(self, connection: Connection, decision: Decision, intent: Intent, generation: int) -> None:
        """TW-11: what was approved may have become forbidden while it waited. Then mark the intent as sent."""
        recorded = replace(
            decision.seen.recorded,
            state=self._switches(connection),
            not_the_writer=self.writer.objection(connection),
        )
        seen = replace(decision.seen, recorded=recorded)
        thrown = self.policy.review_switches(decision.operation, seen).failures
        if thrown:
            raise _state_changed(thrown[0][1].message)
        if _is_opening(decision) and latches.current(connection).generation != generation:
            raise _state_changed("the kill switch was used after the order had been approved")
        intents.advance(connection, intent.intent_id, IntentState.SENT, now=self._clock.now())
        self._audit.append(connection, intent_event(EventType.ORDER_SENT, decision, intent))

    # ---- settle

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

    # ---- records

    def _intents(self, decision: Decision, key: str, asked: str) -> list[Intent]:
        """One for each order that may be sent; of a bracket the entry counts, and its exits reduce (ORD-20)."""
        observed = decision.seen.observed
        opens = observed.action is Action.OPEN
        if observed.order is None:
            assert observed.current is not None  # a cancellation
            return [self._intent(decision, observed.current.order, key, asked, opening=False)]
        legs = [self._intent(decision, observed.order, key, asked, opening=opens)]
        if observed.exits is not None:
            exits = (observed.exits.take_profit, observed.exits.stop_loss)
            legs += [
                self._intent(decision, order, part_key(key, part), asked, opening=False)
                for part, order in zip(BRACKET_PARTS, exits, strict=True)
            ]
        return legs

    def _intent(self, decision: Decision, order: Order, key: str, asked: str, *, opening: bool) -> Intent:
        operation, observed = decision.operation, decision.seen.observed
        kind = _KINDS[operation.operation_class]
        now = self._clock.now()
        return Intent(
            intent_id=uuid.uuid4().hex,
            request_key=key,
            fingerprint=asked,
            kind=kind,
            state=IntentState.RESERVED,
            opening=opening,
            actor_id=operation.actor.id,
            account=order.account,
            con_id=order.instrument.con_id,
            symbol=order.instrument.label,
            side=order.side,
            quantity=order.quantity,
            order_type=order.order_type,
            limit_price=order.limit_price,
            stop_price=order.stop_price,
            worst_case_value_usd=observed.value_usd if order is observed.order else None,
            order_ref=order_ref_for(key) if kind == "place" else order.order_ref,
            decision_id=decision.decision_id,
            trading_day=trading_day(now),
            created_at=now,
            monotonic=self._clock.monotonic(),
            boot_id=self._clock.boot_id,
            session_id=self._session_id,
            perm_id=(observed.current.perm_id or None) if observed.current is not None else None,
            updated_at=now,
        )

    def _note(self, decision: Decision) -> None:
        if not decision.is_refused:
            return
        check, first = decision.problems[0]
        self._violations.append(
            Violation(
                at=decision.seen.observed.taken_at.isoformat(),
                code=first.code,
                check=check,
                tool=decision.operation.tool,
                message=first.message,
            )
        )

    def accepts_account(self, account: str) -> bool:
        """Whether `account` may be traded under this configuration."""
        return self._accepts(account)

    def recent_violations(self) -> tuple[Violation, ...]:
        """The newest refusals, newest last (AUD-10)."""
        return tuple(self._violations)

    async def note_verification(self, link: LinkStatus | None) -> None:
        """Record, once for each answer of the broker, which accounts it listed and which may be traded (ACC-04)."""
        if link is None or link.accounts_verified_at in (None, self._noted_verification):
            return
        self._noted_verification, accounts = link.accounts_verified_at, link.accounts
        strange = [account for account in accounts if not self._accepts(account)]
        event = AuditEvent(
            type=EventType.ACCOUNT_REJECTED if strange or not accounts else EventType.ACCOUNT_VERIFIED,
            actor=SYSTEM,
            outcome={
                "accounts": [masked(account) for account in accounts],
                "rejected": [masked(account) for account in strange],
            },
        )
        await self._audit.record(event)


def follow(connection: Connection, intent: Intent, state: IntentState, order: BrokerOrder, now: datetime) -> Intent:
    """Move an intent to what the broker says; a report that is older than what is known changes nothing."""
    if state is not intent.state and state not in intents.TRANSITIONS[intent.state]:
        return intent
    return intents.advance(connection, intent.intent_id, state, now=now, **broker_fields(order))


def _strictest_action(operation: Operation) -> Action:
    if operation.operation_class is OperationClass.ORDER_CANCELLATION:
        return Action.CANCEL_PROTECTIVE
    return Action.OPEN if operation.operation_class.writes_orders else Action.READ


def _is_opening(decision: Decision) -> bool:
    return decision.seen.observed.action is Action.OPEN


def _approval(decision: Decision, reserved: Sequence[Intent]) -> Approval:
    observed, intent = decision.seen.observed, reserved[0]
    if intent.kind == "cancel":
        assert observed.current is not None
        return ApprovedCancellation(
            target=observed.current, decision_id=decision.decision_id, intent_id=intent.intent_id
        )
    assert observed.order is not None
    if intent.kind == "modify":
        assert observed.current is not None
        order = replace(observed.order, order_ref=intent.order_ref)
        return ApprovedModification(
            current=observed.current, order=order, decision_id=decision.decision_id, intent_id=intent.intent_id
        )
    entry = _approved(decision, observed.order, intent)
    if observed.exits is None:
        return entry
    return ApprovedBracket(
        entry=entry,
        take_profit=_approved(decision, observed.exits.take_profit, reserved[1]),
        stop_loss=_approved(decision, observed.exits.stop_loss, reserved[2]),
    )


def _approved(decision: Decision, order: Order, intent: Intent) -> ApprovedOrder:
    return ApprovedOrder(
        order=replace(order, order_ref=intent.order_ref),
        decision_id=decision.decision_id,
        intent_id=intent.intent_id,
        reduces=not intent.opening,
    )


def _holder(connection: Connection, operation: Operation, key: str) -> Intent | None:
    """The intent that holds the request's key, or one of the keys of its parts."""
    keys = [key]
    if isinstance(operation.draft, BracketDraft):
        keys += [part_key(key, part) for part in BRACKET_PARTS]
    return next(filter(None, (intents.find_by_key(connection, one) for one in keys)), None)


def _state_changed(why: str) -> Refused:
    return Refused(
        Code.STATE_CHANGED,
        f"The order was approved and then dropped before it was sent: {why}",
        next_step="Ask get_safety_status what changed before you try again.",
    )


def _reason(outcome: BaseException) -> str:
    return str(outcome) if isinstance(outcome, ProductError) else type(outcome).__name__
