"""Ordering that all positions are closed: by people, because it trades (KS-17). Halting needs none of this."""

from __future__ import annotations

from sqlalchemy import Connection

from ibkr_mcp_server.domain.operations import ActorType
from ibkr_mcp_server.errors import Refused
from ibkr_mcp_server.safety.approval_queue import ApprovalQueue
from ibkr_mcp_server.safety.kill_switch import Activation, KillSwitch
from ibkr_mcp_server.safety.operator import OperatorProof
from ibkr_mcp_server.safety.roles import Power
from ibkr_mcp_server.store import latches
from ibkr_mcp_server.store.database import Database
from ibkr_mcp_server.store.latches import KillMode, Latch

CLOSE = "portfolio-close"
"""Kind of the request for a second person."""


async def close_portfolio(
    database: Database, kill_switch: KillSwitch, queue: ApprovalQueue, proof: OperatorProof, reason: str
) -> Activation:
    """Latch CLOSE_POSITIONS; the server that writes for the account then closes them.

    Raises:
        SecondPersonNeeded: it takes two people, and this was the first.
        Refused: the reason is missing, or the role does not reach.
    """
    proof.require(Power.CLOSE_PORTFOLIO)
    if not reason.strip():
        raise Refused("REASON_MISSING", "Closing every position needs a reason.", next_step="Say it in a sentence.")
    latch = await database.read(latches.current)
    if not was_stopped_by_a_safety_state(latch):
        subject = {"generation": latch.generation}
        terms = ("Stop trading and close every position at the market, with capped orders.",)
        await queue.two_people(CLOSE, subject, terms=terms, reason=reason, power=Power.CLOSE_PORTFOLIO, proof=proof)

        def use(connection: Connection) -> bool:
            return queue.use(connection, CLOSE, subject) is not None

        if not await database.run(use):
            raise Refused("APPROVAL_OVERTAKEN", "The approval was used or withdrawn meanwhile; ask anew.")
    return await kill_switch.activate(KillMode.CLOSE_POSITIONS, reason, proof.actor)


def was_stopped_by_a_safety_state(latch: Latch) -> bool:
    """A threshold, or the server itself for a cause of its own; not a person or an agent."""
    return latch.active and latch.is_readable and latch.actor_type is ActorType.SYSTEM
