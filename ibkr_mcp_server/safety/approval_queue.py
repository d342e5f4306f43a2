"""The approval queue with its rules and its records: who may approve, that two are two, and what they approved.

`two_people` is what anything calls that one person may not do alone (KS-17): a reset in live mode or after a KILL
threshold, or loosening a limit. Both prove themselves within `DUAL_SECONDS`, in whatever order; either both run the
command, or the second one runs `approve ID`.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection

from ibkr_mcp_server.audit.events import AuditEvent, EventType
from ibkr_mcp_server.audit.log import AuditLog
from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.domain.operations import Actor
from ibkr_mcp_server.errors import Refused
from ibkr_mcp_server.safety.operator import OperatorProof
from ibkr_mcp_server.safety.roles import Power
from ibkr_mcp_server.store import approvals
from ibkr_mcp_server.store.approvals import Approval, ApprovalState, Asked
from ibkr_mcp_server.store.database import Database

DUAL_SECONDS = 15 * 60.0
"""How long the second person has (KS-17)."""


class SecondPersonNeeded(Refused):
    """The first person's word is kept; another person must give theirs."""

    def __init__(self, approval: Approval) -> None:
        self.approval = approval
        minutes = approval.left_seconds / 60
        super().__init__(
            "SECOND_PERSON_NEEDED",
            f"{approval.votes[0].principal} approved it as request {approval.approval_id}; another person must as "
            f"well, within {minutes:.0f} min. Nothing was done yet.",
            next_step=f"The other person runs: ibkr-mcp-server approve {approval.approval_id}",
        )


class ApprovalQueue:
    """Requests to people, durable and recorded."""

    def __init__(self, *, database: Database, audit: AuditLog, clock: Clock) -> None:
        self._database = database
        self._audit = audit
        self._clock = clock

    # ---- inside a transaction of the caller

    def ask(self, connection: Connection, asked: Asked, actor: Actor) -> Approval:
        """Queue a request."""
        made = approvals.request(connection, self._clock, asked, actor)
        self._append(connection, EventType.APPROVAL_REQUESTED, actor, made)
        return made

    def grant(self, connection: Connection, approval_id: str, proof: OperatorProof) -> Approval:
        """One person's yes; look at `is_granted` of the answer.

        Raises:
            Refused: the request is not open, the role does not reach, or this person said yes before.
        """
        found = self._open(connection, approval_id)
        proof.require(Power(found.power))
        if any(vote.principal == proof.actor.id for vote in found.votes):
            raise Refused(
                "SAME_PERSON",
                f"{proof.actor.id} approved the request {approval_id} already; it takes another person.",
                next_step=f"The other person runs: ibkr-mcp-server approve {approval_id}",
            )
        granted = approvals.vote(connection, self._clock, approval_id, proof.actor, proof.role)
        self._append(connection, EventType.APPROVAL_GRANTED, proof.actor, granted)
        return granted

    def deny(self, connection: Connection, approval_id: str, proof: OperatorProof, reason: str) -> Approval:
        """One person's no ends a request; also one that was granted and not used yet.

        Raises:
            Refused: the request is not open, or the role does not reach.
        """
        proof.require(Power.DENY)
        self._open(connection, approval_id, or_granted=True)
        denied = approvals.move(connection, self._clock, approval_id, ApprovalState.DENIED)
        self._append(connection, EventType.APPROVAL_DENIED, proof.actor, denied, said=reason)
        return denied

    def use(self, connection: Connection, kind: str, subject: Mapping[str, object]) -> Approval | None:
        """Use up a granted request for exactly `subject`; None when there is none."""
        found = approvals.for_subject(connection, self._clock, kind, subject)
        if found is None or not found.is_granted:
            return None
        return approvals.move(connection, self._clock, found.approval_id, ApprovalState.USED)

    # ---- transactions of their own

    async def two_people(
        self,
        kind: str,
        subject: Mapping[str, object],
        *,
        terms: tuple[str, ...],
        reason: str,
        power: Power,
        proof: OperatorProof,
    ) -> None:
        """Return when two different people with `power` have approved exactly `subject`; call `use` with the deed.

        Raises:
            SecondPersonNeeded: this was the first person.
            Refused: the role does not reach, or the same person asked twice.
        """
        proof.require(power)

        def work(connection: Connection) -> Approval:
            found = approvals.for_subject(connection, self._clock, kind, subject)
            if found is not None and found.is_granted:
                return found
            if found is None:
                asked = Asked(
                    kind=kind,
                    subject=subject,
                    terms=terms,
                    reason=reason,
                    power=power.value,
                    needed=2,
                    seconds=DUAL_SECONDS,
                )
                found = self.ask(connection, asked, proof.actor)
            return self.grant(connection, found.approval_id, proof)

        approval = await self._database.run(work)
        if not approval.is_granted:
            raise SecondPersonNeeded(approval)

    async def approve(self, approval_id: str, proof: OperatorProof) -> Approval:
        """As `grant`."""
        return await self._database.run(lambda connection: self.grant(connection, approval_id, proof))

    async def refuse(self, approval_id: str, proof: OperatorProof, reason: str) -> Approval:
        """As `deny`."""
        return await self._database.run(lambda connection: self.deny(connection, approval_id, proof, reason))

    def _open(self, connection: Connection, approval_id: str, *, or_granted: bool = False) -> Approval:
        found = approvals.find(connection, self._clock, approval_id)
        if found is None:
            raise no_such_request(approval_id)
        if not (found.is_open or (or_granted and found.is_granted)):
            raise Refused(
                "APPROVAL_NOT_OPEN",
                f"The request {approval_id} is {found.standing}; it cannot be decided any more.",
                next_step="`ibkr-mcp-server approvals` lists what is open.",
            )
        return found

    def _append(
        self, connection: Connection, event: EventType, actor: Actor, approval: Approval, *, said: str = ""
    ) -> None:
        outcome = {
            "approval": approval.approval_id,
            "kind": approval.kind,
            "subject": dict(approval.subject),
            "subject_hash": approval.subject_hash,
            "requested_by": approval.requested_by,
            "reason": said or approval.reason,
            "approved_by": [vote.principal for vote in approval.votes],
            "needed": approval.needed,
            "state": approval.state,
            "expires_at": approval.expires_at,
        }
        self._audit.append(connection, AuditEvent(type=event, actor=actor, outcome=outcome))


def no_such_request(approval_id: str) -> Refused:
    return Refused(
        "APPROVAL_UNKNOWN",
        f"There is no request {approval_id[:40]!r}.",
        next_step="`ibkr-mcp-server approvals` lists what is open.",
    )
