"""Ending a stop: what must hold before trading may resume (KS-15)."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection

from ibkr_mcp_server.audit.verify import verify
from ibkr_mcp_server.errors import Refused
from ibkr_mcp_server.safety.kill_switch import KillSwitch
from ibkr_mcp_server.safety.operator import OperatorProof
from ibkr_mcp_server.store import intents
from ibkr_mcp_server.store.database import Database
from ibkr_mcp_server.store.intents import IntentState
from ibkr_mcp_server.store.latches import Latch


async def reset_kill_switch(database: Database, kill_switch: KillSwitch, proof: OperatorProof, reason: str) -> Latch:
    """Clear the kill switch for a human who proved themselves and says why.

    Raises:
        Refused: the switch is off, the reason is missing, or something still stands against it.
    """
    check_resumable(database)
    return await kill_switch.clear(proof, reason)


def check_resumable(database: Database) -> None:
    """Raise Refused, naming everything that stands against a reset. Blocks."""
    found = database.read_blocking(lambda connection: list(_obstacles(connection)))
    if found:
        raise Refused(
            "NOT_RESUMABLE",
            "Trading cannot resume yet.",
            details=found,
            next_step="Start the server, so that it asks the broker for lost orders; `status --safety` shows the rest.",
        )


def _obstacles(connection: Connection) -> Iterator[str]:
    report = verify(connection)
    if not report.ok:
        yield f"The audit log does not verify: {report.reason}"
    for intent in intents.unresolved(connection):
        # RESERVED never left; a lost change or cancellation holds back its own instrument only.
        if intent.kind == "place" and intent.state is not IntentState.RESERVED:
            yield (
                f"The outcome of an order is unknown: {intent.side} {intent.quantity:f} {intent.symbol} "
                f"({intent.state}, client_request_id {intent.request_key})."
            )
