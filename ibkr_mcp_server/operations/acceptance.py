"""Taking the broker's figures for true where no fill explains them: a person decides that, and says why."""

from __future__ import annotations

from sqlalchemy import Connection

from ibkr_mcp_server.audit.events import AuditEvent, EventType
from ibkr_mcp_server.audit.log import AuditLog
from ibkr_mcp_server.errors import Refused
from ibkr_mcp_server.safety.operator import OperatorProof
from ibkr_mcp_server.safety.roles import Power
from ibkr_mcp_server.store import reconciliations
from ibkr_mcp_server.store.database import Database
from ibkr_mcp_server.store.reconciliations import Report


def report_to_accept(database: Database) -> Report:
    """The newest report, if something in it holds trading back. Blocks.

    Raises:
        Refused: there is none, or it found everything in agreement.
    """
    report = database.read_blocking(reconciliations.newest)
    if report is None or report.clean or report.accepted_by is not None:
        raise Refused("NOTHING_TO_ACCEPT", "The newest comparison with the broker found nothing to accept.")
    return report


async def accept_figures(
    database: Database, audit: AuditLog, proof: OperatorProof, report: Report, reason: str
) -> Report:
    """Let the next comparison start from the figures of `report`.

    Raises:
        Refused: no reason was given, or the role does not reach.
    """
    proof.require(Power.ACCEPT_FIGURES)
    if not reason.strip():
        raise Refused("REASON_MISSING", "Say in a sentence why the broker's figures are right.")

    def work(connection: Connection) -> Report:
        accepted = reconciliations.accept(connection, report.seq, by=proof.actor.id, reason=reason)
        outcome = {"report": accepted.seq, "accepted": True, "reason": reason, **accepted.report}
        audit.append(connection, AuditEvent(type=EventType.RECONCILED, actor=proof.actor, outcome=outcome))
        return accepted

    return await database.run(work)
