"""TradingSafetyManager: admits or refuses, and gives the key to the broker with an admission.

The steps that follow have modules of their own: `approvals.py` (what is reserved), `final_gate.py` (the last look
before the socket), `settlement.py` (what came of it). What every decision reads of the store is in `standing.py`.

One decision is one transaction: the latches are re-read, the windows counted, every check run, and the intent, its
quota and the audit records written and committed with full sync, or nothing at all. Two orders at once can therefore
never use the same headroom (TW-12), in this process or in another.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection

from ibkr_mcp_server.audit.events import AuditEvent, EventType
from ibkr_mcp_server.audit.log import AuditLog
from ibkr_mcp_server.broker.base import BrokerReads, LinkStatus
from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.domain.accounts import masked
from ibkr_mcp_server.domain.agents import AgentLimits
from ibkr_mcp_server.domain.confirmation import Confirmer
from ibkr_mcp_server.domain.operations import (
    SYSTEM,
    FinalGate,
    Operation,
    OperationClass,
)
from ibkr_mcp_server.domain.orders import BrokerOrder
from ibkr_mcp_server.errors import ProductError
from ibkr_mcp_server.log import get_logger
from ibkr_mcp_server.safety.agent_throttle import AgentThrottle
from ibkr_mcp_server.safety.approval_queue import ApprovalQueue
from ibkr_mcp_server.safety.approvals import Approval, approval_of, cancellation_without_record, intents_of
from ibkr_mcp_server.safety.caution import Caution
from ibkr_mcp_server.safety.checks.order_form import tradable_step
from ibkr_mcp_server.safety.circuit_breaker import CircuitBreaker, is_on_paper, is_staged
from ibkr_mcp_server.safety.codes import Code, problem
from ibkr_mcp_server.safety.confirmations import Confirmations, epoch_of, held_to
from ibkr_mcp_server.safety.decision import Basis, Decision, Place, Sizing, Validation, refuses
from ibkr_mcp_server.safety.default_account import DefaultAccount
from ibkr_mcp_server.safety.evidence import Contracts
from ibkr_mcp_server.safety.exposure import Holdings
from ibkr_mcp_server.safety.final_gate import FinalGates
from ibkr_mcp_server.safety.identity import fingerprint, mint_key
from ibkr_mcp_server.safety.kill_switch import KillSwitch
from ibkr_mcp_server.safety.minute_window import MinuteWindow
from ibkr_mcp_server.safety.observation import Observer, in_size
from ibkr_mcp_server.safety.policy import Policy, account_check
from ibkr_mcp_server.safety.readiness import Readiness
from ibkr_mcp_server.safety.records import (
    contract_event,
    decision_event,
    intent_event,
    refusal_events,
)
from ibkr_mcp_server.safety.send_gate import SendGate
from ibkr_mcp_server.safety.settlement import Settlement
from ibkr_mcp_server.safety.sizing import size
from ibkr_mcp_server.safety.snapshot import Given, Observed, Recorded, Snapshot
from ibkr_mcp_server.safety.standing import Standing
from ibkr_mcp_server.safety.state import Action, Cause, EffectiveState, SafetyState
from ibkr_mcp_server.safety.tally import Tally
from ibkr_mcp_server.safety.writer import WriterRole
from ibkr_mcp_server.settings.broker import BrokerMode
from ibkr_mcp_server.settings.model import Settings
from ibkr_mcp_server.store import intents
from ibkr_mcp_server.store.database import Database
from ibkr_mcp_server.store.intents import Intent
from ibkr_mcp_server.store.tickets import Ticket

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
    ticket: Ticket | None = None
    """Of an order that was prepared, and not sent."""


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
        agent_limits: Mapping[str, AgentLimits] | None = None,
    ) -> None:
        self.kill_switch = kill_switch
        self.breaker = CircuitBreaker(settings=settings, audit=audit, clock=clock)
        self.writer = writer
        self.readiness = Readiness()
        self.writes_under_way: set[asyncio.Future[Any]] = set()  # Any: results of all kinds
        """Approved writes that are being sent or whose outcome is being recorded."""
        self.agent_limits = agent_limits or {}
        self.policy = Policy(settings, self.agent_limits)
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
        self.tally = Tally()
        self._accepts = account_check(settings).accepts
        self._noted_verification: datetime | None = None
        self.standing = Standing(
            settings=settings,
            broker=broker,
            kill_switch=kill_switch,
            breaker=self.breaker,
            writer=writer,
            readiness=self.readiness,
            clock=clock,
        )
        self.settlement = Settlement(database=database, audit=audit, clock=clock, kill_switch=kill_switch)
        self._gates = FinalGates(
            gate=gate,
            standing=self.standing,
            policy=self.policy,
            kill_switch=kill_switch,
            writer=writer,
            database=database,
            settlement=self.settlement,
        )
        self._default_account = default_account
        self.caution = Caution()
        self._contracts = Contracts()
        self.confirmations = Confirmations(
            settings=settings,
            queue=ApprovalQueue(database=database, audit=audit, clock=clock),
            audit=audit,
            clock=clock,
        )

    # ---- admit

    async def admit(self, operation: Operation) -> Admission:
        """Judge `operation`; an approval reserves its quota and makes its intent durable.

        Never raises for a refusal: the decision carries the reasons. Whatever goes wrong on the way is a refusal of a
        write (TW-07).
        """
        begun = self._clock.monotonic()
        admission = await self._admission(operation)
        self.tally.note(admission.decision, self._clock.monotonic() - begun)
        return admission

    async def _admission(self, operation: Operation) -> Admission:
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
                    lambda c: self._decide_write(c, decision_id, operation, observed, holdings), at_once=True
                )
                if admission.approval is not None and admission.decision.seen.opens:
                    self.caution.spent(operation.actor.id)
                self._contracts.recorded(admission.decision.seen.order, with_a_write=True)
            else:
                admission = await self._decide_read(decision_id, operation, observed)
        except (ProductError, OSError) as error:
            admission = await self._without_record(decision_id, operation, observed, error)
        return admission

    def _decide_write(
        self,
        connection: Connection,
        decision_id: str,
        operation: Operation,
        observed: Observed,
        holdings: Holdings,
    ) -> Admission:
        asked = fingerprint(operation.of_tool, operation.arguments)
        key = operation.client_request_id
        if operation.ticket is not None:
            observed = held_to(self.confirmations.find(connection, operation.ticket), observed)
        recorded = self.standing.recorded(connection, operation, asked, observed)
        if self.caution.is_on(operation.actor.id):
            recorded = replace(recorded, cautious=True)
        seen = Snapshot(observed=self._observer.classified(operation, observed, holdings, recorded), recorded=recorded)
        if operation.prepares:
            return self._prepare(connection, decision_id, operation, seen, asked)
        earlier = recorded.same_key
        if (
            earlier is not None
            and earlier.fingerprint == asked
            and not observed.timeout_seconds
            and not operation.ticket
        ):
            return self._repeat(connection, decision_id, operation, seen, earlier)
        if operation.ticket is not None:
            epoch = self._epoch(recorded)
            given = self.confirmations.given(connection, operation, seen, fingerprint=asked, epoch=epoch)
            seen = replace(seen, recorded=replace(recorded, confirmed=given))
        validation = self.policy.review(operation, seen)
        decision = Decision(decision_id=decision_id, operation=operation, seen=seen, validation=validation)
        if validation.is_safe and operation.in_parts:
            self._record(connection, decision)
            return Admission(decision=decision)
        if validation.is_safe and seen.opens and is_staged(seen.recorded.state):
            self.breaker.note_decision(connection)
        dry_run = self._settings.dry_run or self._stays_on_paper(seen)
        if not validation.is_safe or dry_run:
            self._record(connection, decision, *refusal_events(decision), dry_run=dry_run)
            return Admission(decision=decision, dry_run=validation.is_safe)
        reserved = intents_of(decision, key or mint_key(), asked, clock=self._clock, session_id=self._session_id)
        for intent in reserved:
            intents.reserve(connection, intent, key_is_free=earlier is None)
        decision = replace(decision, intent_id=reserved[0].intent_id)
        self.confirmations.use(connection, decision)
        self._record(
            connection, decision, *(intent_event(EventType.INTENT_RESERVED, decision, intent) for intent in reserved)
        )
        return Admission(
            decision=decision,
            approval=approval_of(decision, reserved),
            gates=tuple(self._gates.of(decision, intent, recorded.switch_generation) for intent in reserved),
        )

    def _stays_on_paper(self, seen: Snapshot) -> bool:
        """RC-03: in the first stage what opens goes to no broker but the simulator."""
        is_real = self._settings.broker_mode is not BrokerMode.SIMULATOR
        return is_real and seen.opens and is_on_paper(seen.recorded.state)

    def _prepare(
        self, connection: Connection, decision_id: str, operation: Operation, seen: Snapshot, asked: str
    ) -> Admission:
        """Judge an order as if whoever must confirm it had; then issue the ticket that asks them."""
        earlier = seen.recorded.same_key
        used = None
        if earlier is not None and earlier.fingerprint == asked:
            text = f"client_request_id {earlier.request_key} was used for this very order already."
            used = problem(Code.IDEMPOTENCY_MISMATCH, text, observed=earlier.request_key)
        needs = self.policy.confirmation.needed(operation, seen)
        if self.policy.repeated.review(operation, seen).problems:
            needs = max(needs, Confirmer.AGENT)
        wrong = used or self.confirmations.too_many(connection, operation, needs)
        as_if = replace(seen, recorded=replace(seen.recorded, confirmed=Given(by=Confirmer.PERSON, problem=wrong)))
        validation = self.policy.review(operation, as_if)
        decision = Decision(decision_id=decision_id, operation=operation, seen=as_if, validation=validation)
        self._record(connection, decision, *refusal_events(decision))
        if not validation.is_safe:
            return Admission(decision=decision)
        epoch = self._epoch(seen.recorded)
        ticket = self.confirmations.issue(connection, decision, needs=needs, fingerprint=asked, epoch=epoch)
        return Admission(decision=decision, ticket=ticket)

    def _epoch(self, recorded: Recorded) -> str:
        return epoch_of(recorded, self._default_account.on(self._broker.link))

    def _repeat(
        self, connection: Connection, decision_id: str, operation: Operation, seen: Snapshot, earlier: Intent
    ) -> Admission:
        """The same request again: its own record answers, and nothing is sent (ID-04)."""
        validation = self.policy.judge(Basis.SAME_KEY, operation, seen)
        decision = Decision(
            decision_id=decision_id,
            operation=operation,
            seen=seen,
            validation=validation,
            basis=Basis.SAME_KEY,
            replayed_intent_id=earlier.intent_id if validation.is_safe else None,
        )
        self._record(connection, decision)
        return Admission(decision=decision, replayed=earlier if validation.is_safe else None)

    async def _decide_read(self, decision_id: str, operation: Operation, observed: Observed) -> Admission:
        recorded = await self._database.read(
            lambda connection: self.standing.recorded(connection, operation, "", observed), at_once=True
        )
        recorded = replace(
            recorded,
            market_data_ages_seconds=self.quoted.ages_seconds(),
            account_read_ages_seconds=self.account_reads.ages_seconds(),
            cautious=self.caution.is_on(operation.actor.id),
        )
        holdings = self._holdings(observed)
        seen = Snapshot(observed=self._observer.classified(operation, observed, holdings, recorded), recorded=recorded)
        validation = self.policy.review(operation, seen)
        decision = Decision(
            decision_id=decision_id,
            operation=operation,
            seen=seen,
            validation=validation,
            sizing=self._sizing(operation, observed, holdings, recorded) if operation.preview else None,
        )
        if validation.is_safe:
            self.quoted.note(len(operation.symbols))
            if operation.operation_class is OperationClass.ACCOUNT_READ:
                self.account_reads.note()
        for event in self._events(decision, with_a_write=False):
            await self._audit.record_soon(event)
        self._contracts.recorded(seen.order, with_a_write=False)
        return Admission(decision=decision)

    def _sizing(
        self, operation: Operation, observed: Observed, holdings: Holdings, recorded: Recorded
    ) -> Sizing | None:
        """What the rules say about the same order in other sizes (PL-16); None for what has no size."""
        order = observed.order
        if order is None or order.instrument.size_increment is None or order.quantity <= 0:
            return None

        recorded = replace(recorded, confirmed=Given(by=Confirmer.PERSON))  # whose yes it takes bounds no size

        def judge(quantity: Decimal) -> Validation:
            resized = self._observer.classified(operation, in_size(observed, quantity), holdings, recorded)
            return self.policy.review(operation, Snapshot(observed=resized, recorded=recorded))

        step = tradable_step(order.instrument, order.instrument.size_increment)
        return size(judge, smallest=order.instrument.min_size or step, step=step)

    async def _refused(
        self, decision_id: str, operation: Operation, observed: Observed, code: Code, text: str
    ) -> Admission:
        """A refusal that comes before the checks; recorded like every other."""
        observed = replace(observed, problems=(problem(code, text),))
        seen = Snapshot(observed=observed, recorded=Recorded(state=EffectiveState()))
        decision = Decision(
            decision_id=decision_id,
            operation=operation,
            seen=seen,
            validation=self.policy.judge(Basis.OBSERVATION, operation, seen),
            basis=Basis.OBSERVATION,
        )
        try:
            await self._database.run(lambda connection: self._record(connection, decision))
        except (ProductError, OSError):
            _log.exception("a refusal could not be recorded", decision_id=decision_id)
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
        state = EffectiveState(causes=(*self.standing.conditions(), unreadable))
        not_the_writer = None if self.writer.is_writer else "This process does not hold the writer's role."
        seen = Snapshot(observed=observed, recorded=Recorded(state=state, not_the_writer=not_the_writer))
        validation = self.policy.review(operation, seen)
        decision = Decision(decision_id=decision_id, operation=operation, seen=seen, validation=validation)
        cancels = operation.operation_class is OperationClass.ORDER_CANCELLATION
        if operation.operation_class.writes_orders and not cancels and validation.is_safe:
            failed = problem(Code.RECORD_FAILED, f"The decision could not be recorded: {error}")
            rules = (*validation.rules, Place(name="durable_intent", step=14))
            findings = (*validation.findings, refuses(failed))
            decision = replace(decision, validation=Validation(rules=rules, findings=findings))
        if decision.is_refused or not cancels or observed.current is None:
            return Admission(decision=decision)
        approval = cancellation_without_record(decision_id, observed.current)
        return Admission(decision=decision, approval=approval, gates=(self._gate.held,))

    # ---- what the checks see

    def _holdings(self, observed: Observed) -> Holdings:
        order, broker = observed.order, self._broker
        return Holdings(
            positions=broker.known_positions(),
            orders=broker.known_orders(),
            unsettled={} if order is None else broker.unsettled(order.account),
            industries=broker.known_industries(),
        )

    def state(self, connection: Connection, agent: str | None = None) -> EffectiveState:
        """The effective state now, for the status; with what stops `agent` alone."""
        return self.standing.state(connection, agent)

    async def settle(
        self, decision: Decision, intent_id: str | None, outcome: BrokerOrder | BaseException
    ) -> Intent | None:
        """Record what came of an approved write (`settlement.py`)."""
        return await self.settlement.settle(decision, intent_id, outcome)

    # ---- records

    def _record(self, connection: Connection, decision: Decision, *others: AuditEvent, dry_run: bool = False) -> None:
        """Keep `decision` in the caller's transaction, and `others` after it."""
        self._audit.append(connection, *self._events(decision, with_a_write=True, dry_run=dry_run), *others)

    def _events(self, decision: Decision, *, with_a_write: bool, dry_run: bool = False) -> list[AuditEvent]:
        """The record of a decision; before it that of its contract, unless the log of this run has it already."""
        order = decision.seen.order
        contract = None if order is None else self._contracts.of(order.instrument)
        link = decision.seen.observed.link or self._broker.link
        event = decision_event(decision, contract, link.venue, dry_run=dry_run)
        if contract is None or self._contracts.is_recorded(contract, with_a_write=with_a_write):
            return [event]
        return [contract_event(contract), event]

    def accepts_account(self, account: str) -> bool:
        """Whether `account` may be traded under this configuration."""
        return self._accepts(account)

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


def _strictest_action(operation: Operation) -> Action:
    if operation.operation_class is OperationClass.ORDER_CANCELLATION:
        return Action.CANCEL_PROTECTIVE
    return Action.OPEN if operation.operation_class.writes_orders else Action.READ
