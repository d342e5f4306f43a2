"""Prepared orders: issuing a ticket, and what a ticket that comes back is worth (LLM-06 to LLM-08).

A ticket is good once, for whoever it was made for, for exactly the orders that were shown, in the safety state of that
moment, and for a short time. A person confirms it through the approval queue, outside of MCP.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection

from ibkr_mcp_server.audit.events import AuditEvent, EventType
from ibkr_mcp_server.audit.log import AuditLog
from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.domain.accounts import masked
from ibkr_mcp_server.domain.confirmation import Confirmer
from ibkr_mcp_server.domain.operations import Operation, Problem
from ibkr_mcp_server.domain.orders import Order, Side
from ibkr_mcp_server.safety.approval_queue import ApprovalQueue
from ibkr_mcp_server.safety.codes import Code, problem
from ibkr_mcp_server.safety.decision import Decision
from ibkr_mcp_server.safety.roles import Power
from ibkr_mcp_server.safety.snapshot import Given, Observed, Recorded, Snapshot
from ibkr_mcp_server.settings.model import Settings
from ibkr_mcp_server.store import approvals, tickets
from ibkr_mcp_server.store.approvals import ApprovalState, Asked
from ibkr_mcp_server.store.tickets import Ticket

ORDER = "order"
"""Kind of the request to a person."""


class Confirmations:
    """Issues tickets and judges them, inside the transactions of the safety manager."""

    def __init__(self, *, settings: Settings, queue: ApprovalQueue, audit: AuditLog, clock: Clock) -> None:
        self._settings = settings
        self._queue = queue
        self._audit = audit
        self._clock = clock

    # ---- issuing

    def too_many(self, connection: Connection, operation: Operation, needs: Confirmer) -> Problem | None:
        """LLM-08: whoever is asked too often stops reading. A person is asked by all agents together."""
        if needs is Confirmer.NOBODY:
            return None
        whose = None if needs is Confirmer.PERSON else operation.actor.id
        asked = tickets.of_the_last_hour(connection, self._clock, needs, whose)
        pending = [one for one in asked if one.used_at is None and one.left(self._clock) > 0]
        pending = [one for one in pending if self._is_undecided(connection, one)]
        most, hourly = self._settings.max_pending_confirmations, self._settings.max_confirmations_per_hour
        if len(pending) >= most:
            wait = min(one.left(self._clock) for one in pending)
            text = f"{len(pending)} prepared orders wait for a yes already."
            return problem(
                Code.CONFIRMATION_LIMIT, text, observed=str(len(pending)), limit=str(most), retry_after_seconds=wait
            )
        if len(asked) >= hourly:
            text = f"{len(asked)} orders were prepared for a yes in the last hour."
            wait = tickets.HOUR_SECONDS - tickets.age(asked[-hourly], self._clock)
            return problem(
                Code.CONFIRMATION_LIMIT, text, observed=str(len(asked)), limit=str(hourly), retry_after_seconds=wait
            )
        return None

    def _is_undecided(self, connection: Connection, ticket: Ticket) -> bool:
        if ticket.approval_id is None:
            return True
        approval = approvals.find(connection, self._clock, ticket.approval_id)
        return approval is not None and approval.is_open

    def issue(
        self,
        connection: Connection,
        decision: Decision,
        *,
        needs: Confirmer,
        fingerprint: str,
        epoch: str,
    ) -> Ticket:
        """Make and record the ticket of an order that every check lets pass."""
        operation, seen, now = decision.operation, decision.seen, self._clock.now()
        asks_person = needs is Confirmer.PERSON
        seconds = self._settings.person_confirmation_seconds if asks_person else self._settings.confirmation_seconds
        ticket = Ticket(
            ticket_id=secrets.token_hex(8),
            actor_id=operation.actor.id,
            actor_auth=operation.actor.auth,
            tool=operation.of_tool,
            arguments=operation.given,
            fingerprint=fingerprint,
            terms_hash=terms_hash(seen),
            cap_price=None if seen.order is None else seen.order.cap_price,
            account="" if seen.order is None else seen.order.account,
            epoch=epoch,
            needs=needs,
            approval_id=None,
            request_key=operation.client_request_id or f"ticket-{secrets.token_hex(12)}",
            decision_id=decision.decision_id,
            issued_at=now,
            expires_at=now + timedelta(seconds=seconds),
            monotonic=self._clock.monotonic(),
            boot_id=self._clock.boot_id,
            seconds=seconds,
        )
        if asks_person:
            asked = Asked(
                kind=ORDER,
                subject=_subject(ticket),
                terms=_terms(decision, ticket),
                reason=f"{operation.of_tool}, asked for by the agent {operation.actor.id}",
                power=Power.CONFIRM_ORDER.value,
                needed=1,
                seconds=seconds,
            )
            ticket = replace(ticket, approval_id=self._queue.ask(connection, asked, operation.actor).approval_id)
        tickets.issue(connection, ticket)
        self._record(connection, EventType.CONFIRMATION_ISSUED, decision, ticket)
        return ticket

    # ---- judging

    def find(self, connection: Connection, ticket_id: str) -> Ticket | None:
        return tickets.find(connection, ticket_id)

    def given(
        self, connection: Connection, operation: Operation, seen: Snapshot, *, fingerprint: str, epoch: str
    ) -> Given:
        """What the ticket of `operation` is worth now."""
        assert operation.ticket is not None
        ticket = tickets.find(connection, operation.ticket)
        if ticket is None or (ticket.actor_id, ticket.actor_auth) != (operation.actor.id, operation.actor.auth):
            return Given(problem=unknown_ticket(operation.ticket))
        if ticket.used_at is not None or seen.recorded.same_key is not None:
            text = f"The ticket was used at {ticket.used_at or self._clock.now():%H:%M:%S} UTC; nothing was sent now."
            step = f"Call get_order_status with order_request_id {ticket.request_key}."
            return Given(problem=replace(problem(Code.TICKET_USED, text), next_step=step))
        if ticket.left(self._clock) <= 0:
            text = f"The ticket ended at {ticket.expires_at:%H:%M:%S} UTC."
            return Given(problem=problem(Code.TICKET_EXPIRED, text))
        if ticket.epoch != epoch:
            return Given(problem=problem(Code.TICKET_VOID, "The safety state changed since the ticket was made."))
        if ticket.fingerprint != fingerprint or (seen.order is not None and ticket.terms_hash != terms_hash(seen)):
            text = "The order would not be the one that the ticket shows any more."
            return Given(problem=problem(Code.TICKET_VOID, text))
        if ticket.needs is not Confirmer.PERSON:
            return Given(by=Confirmer.AGENT, ticket=ticket)
        return self._of_person(connection, ticket)

    def _of_person(self, connection: Connection, ticket: Ticket) -> Given:
        approval = approvals.find(connection, self._clock, ticket.approval_id or "")
        if approval is None or approval.kind != ORDER or approval.subject_hash != approvals.hash_of(_subject(ticket)):
            return Given(problem=problem(Code.TICKET_VOID, "The person's approval is for something else."))
        if approval.is_granted:
            return Given(by=Confirmer.PERSON, ticket=ticket)
        if approval.state is ApprovalState.DENIED:
            return Given(problem=problem(Code.CONFIRMATION_DENIED, "A person said no to this order."))
        text = f"A person has not confirmed it yet: request {approval.approval_id}, {approval.left_seconds:.0f} s left."
        return Given(problem=problem(Code.PENDING_CONFIRMATION, text, observed=approval.approval_id))

    def use(self, connection: Connection, decision: Decision) -> None:
        """Use up the ticket of an order whose intent was reserved in the same transaction."""
        ticket = decision.seen.recorded.confirmed.ticket
        if ticket is None:
            return
        tickets.use(connection, ticket.ticket_id, self._clock.now())
        if ticket.approval_id is not None:
            approvals.move(connection, self._clock, ticket.approval_id, ApprovalState.USED)
        self._record(connection, EventType.CONFIRMATION_USED, decision, ticket)

    def _record(self, connection: Connection, event: EventType, decision: Decision, ticket: Ticket) -> None:
        outcome = {
            "ticket": ticket.ticket_id,
            "needs": ticket.needs.word,
            "approval": ticket.approval_id,
            "terms_hash": ticket.terms_hash,
            "terms": [_fields(order) for _, order in decision.seen.placed],
            "cap_price": ticket.cap_price,
            "request_key": ticket.request_key,
            "expires_at": ticket.expires_at,
        }
        self._audit.append(
            connection,
            AuditEvent(
                type=event,
                actor=decision.operation.actor,
                operation_type=decision.operation.operation_class,
                tool=ticket.tool,
                decision_id=decision.decision_id,
                intent_id=decision.intent_id,
                outcome=outcome,
            ),
        )


def epoch_of(recorded: Recorded, default_account: str | None) -> str:
    """What the safety state is, so that a ticket of another one is void: switches, causes, limits and account."""
    causes = sorted(f"{cause.state}:{cause.code}" for cause in recorded.state.causes)
    limits = recorded.limits
    raised = [[name, str(value)] for name, value in limits.raised]
    text = json.dumps([recorded.switch_generation, causes, str(limits.factor), raised, default_account])
    return hashlib.sha256(text.encode()).hexdigest()


def held_to(ticket: Ticket | None, observed: Observed) -> Observed:
    """A market order of a ticket goes out at the cap that was shown, or at a better one."""
    order = observed.order
    if ticket is None or order is None or order.cap_price is None or ticket.cap_price is None:
        return observed
    better = min if order.side is Side.BUY else max
    return replace(observed, order=replace(order, cap_price=better(order.cap_price, ticket.cap_price)))


def unknown_ticket(ticket_id: str) -> Problem:
    return problem(Code.TICKET_UNKNOWN, "There is no such ticket of this agent.", observed=ticket_id[:16])


def terms_hash(seen: Snapshot) -> str:
    """Of every field that reaches the broker. The cap of a market order moves with the market and is held apart."""
    current = seen.observed.current
    orders = [[name, _fields(order), order.account] for name, order in seen.placed]
    text = json.dumps([orders, None if current is None else current.perm_id], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _fields(order: Order) -> dict[str, Any]:  # Any: what canonical JSON takes
    return {
        "con_id": order.instrument.con_id,
        "instrument": order.instrument.label,
        "account": masked(order.account),
        "side": order.side,
        "quantity": format(order.quantity.normalize(), "f"),
        "order_type": order.order_type,
        "limit_price": _text(order.limit_price),
        "stop_price": _text(order.stop_price),
        "trailing_amount": _text(order.trailing_amount),
        "trailing_percent": _text(order.trailing_percent),
        "limit_offset": _text(order.limit_offset),
        "time_in_force": order.time_in_force,
        "good_till_date": None if order.good_till_date is None else order.good_till_date.isoformat(),
        "outside_rth": order.outside_rth,
    }


def _text(number: Any) -> str | None:  # Any: a Decimal or None
    return None if number is None else format(number.normalize(), "f")


def _subject(ticket: Ticket) -> Mapping[str, object]:
    return {
        "ticket": ticket.ticket_id,
        "terms_hash": ticket.terms_hash,
        "cap_price": _text(ticket.cap_price),
        "account": masked(ticket.account),
        "request_key": ticket.request_key,
    }


def _terms(decision: Decision, ticket: Ticket) -> tuple[str, ...]:
    """What a person is shown; it is all made from the resolved order, never from what the agent says about it."""
    seen = decision.seen
    lines = [f"{name}{_sentence(order)}" for name, order in seen.placed]
    if seen.observed.current is not None:
        lines.insert(0, f"Change of the working order {seen.observed.current.perm_id}. It would become:")
    reference, value = seen.observed.reference_price, seen.observed.value_usd
    lines.append(
        f"Reference price {'unknown' if reference is None else format(reference, 'f')}, worth at most "
        f"{'unknown' if value is None else f'{value:,.2f} USD'}."
    )
    return tuple(lines)


def _sentence(order: Order) -> str:
    instrument = order.instrument
    parts = [
        f"{order.side} {order.quantity:f} {instrument.label} ({instrument.sec_type}, contract {instrument.con_id})"
    ]
    parts += [order.order_type.value, f"in {masked(order.account)}"]
    for word, number in (
        ("limit", order.limit_price),
        ("stop", order.stop_price),
        ("at worst", order.cap_price),
        ("trailing by", order.trailing_amount),
        ("trailing %", order.trailing_percent),
        ("limit offset", order.limit_offset),
    ):
        if number is not None:
            parts.append(f"{word} {number:f}")
    parts.append(order.time_in_force.value)
    if order.good_till_date is not None:
        parts.append(f"until {order.good_till_date:%Y-%m-%d %H:%M} UTC")
    if order.outside_rth:
        parts.append("also outside regular hours")
    return ", ".join(parts)
