"""Reading the audit log for somebody who is judged by it: a page at a time, newest first, itself recorded (AUD-11)."""

from __future__ import annotations

from collections.abc import Sequence

from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.audit.log import AuditRecord, tail
from ibkr_mcp_server.domain.operations import Operation
from ibkr_mcp_server.operations.desk import Desk
from ibkr_mcp_server.operations.safe_operation import Access, Answer, safe_trading_operation


async def audit_page(
    operation: Operation, desk: Desk, *, limit: int, before_seq: int | None, event_type: EventType | None
) -> Answer[Sequence[AuditRecord]]:
    """The newest records before `before_seq`, newest first."""

    async def act(access: Access) -> Sequence[AuditRecord]:
        await desk.audit.flush()
        return await desk.database.read(
            lambda connection: tail(connection, limit, event_type, before_seq=before_seq)[::-1]
        )

    return await safe_trading_operation(operation, act, desk=desk)
