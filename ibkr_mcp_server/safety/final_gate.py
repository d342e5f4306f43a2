"""The last look before the socket: what was approved may have become forbidden while it waited (TW-11).

It only reads. The intent has been durable since the approval, and from the moment the gate lets it through it counts as
sent: a run that ends there leaves it RESERVED, and the next run asks the broker what became of it (decision 17).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from sqlalchemy import Connection

from ibkr_mcp_server.domain.operations import FinalGate
from ibkr_mcp_server.errors import ProductError, Refused
from ibkr_mcp_server.log import get_logger
from ibkr_mcp_server.safety.codes import Code
from ibkr_mcp_server.safety.decision import Decision
from ibkr_mcp_server.safety.kill_switch import KillSwitch
from ibkr_mcp_server.safety.policy import Policy
from ibkr_mcp_server.safety.send_gate import SendGate
from ibkr_mcp_server.safety.settlement import Settlement
from ibkr_mcp_server.safety.standing import Standing
from ibkr_mcp_server.safety.state import Action
from ibkr_mcp_server.safety.writer import WriterRole
from ibkr_mcp_server.store.database import Database
from ibkr_mcp_server.store.intents import Intent

_log = get_logger(__name__)


class FinalGates:
    """Makes the gate of each intent."""

    def __init__(
        self,
        *,
        gate: SendGate,
        standing: Standing,
        policy: Policy,
        kill_switch: KillSwitch,
        writer: WriterRole,
        database: Database,
        settlement: Settlement,
    ) -> None:
        self._gate = gate
        self._standing = standing
        self._policy = policy
        self._kill_switch = kill_switch
        self._writer = writer
        self._database = database
        self._settlement = settlement

    def of(self, decision: Decision, intent: Intent, generation: int) -> FinalGate:
        """The gate of `intent`; `generation` is that of the switches when it was approved."""

        # Between the orders of a bracket the loop goes on: a link that died after the first is noticed before the next.
        is_alone = decision.seen.observed.exits is None

        @asynccontextmanager
        async def gate() -> AsyncIterator[None]:
            async with self._gate.held():
                try:
                    await self._database.look(
                        lambda connection: self._last_look(connection, decision, generation), at_once=is_alone
                    )
                except (ProductError, OSError) as error:
                    if isinstance(error, Refused) or decision.seen.observed.action is not Action.CANCEL_ENTRY:
                        raise
                    # Decision 6: what lowers the risk does not wait for a disk.
                    _log.critical("a cancellation leaves unrecorded", intent_id=intent.intent_id, error=str(error))
                # Reading took a moment; whoever only has a file to stop with must not wait for the next order.
                if self._kill_switch.stopped_by_file and _is_opening(decision):
                    raise _state_changed("the sentinel file appeared.")
                self._settlement.let_through(intent)
                try:
                    yield
                finally:
                    self._settlement.sent(decision, intent)

        return gate

    def _last_look(self, connection: Connection, decision: Decision, generation: int) -> None:
        state, now_at = self._standing.switches(connection, decision.operation, decision.seen.observed)
        recorded = replace(
            decision.seen.recorded,
            state=state,
            not_the_writer=self._writer.objection(connection),
        )
        seen = replace(decision.seen, recorded=recorded)
        thrown = self._policy.review_switches(decision.operation, seen).failures
        if thrown:
            raise _state_changed(thrown[0][1].message)
        if _is_opening(decision) and now_at != generation:
            raise _state_changed("the kill switch was used after the order had been approved")


def _is_opening(decision: Decision) -> bool:
    return decision.seen.observed.action is Action.OPEN


def _state_changed(why: str) -> Refused:
    return Refused(
        Code.STATE_CHANGED,
        f"The order was approved and then dropped before it was sent: {why}",
        next_step="Ask get_safety_status what changed before you try again.",
    )
