"""Requests that a door could not even read: judged and recorded like all others, and always refused."""

from __future__ import annotations

from typing import NoReturn

from ibkr_mcp_server.domain.operations import Operation
from ibkr_mcp_server.errors import Fault
from ibkr_mcp_server.operations.desk import Desk
from ibkr_mcp_server.operations.safe_operation import Access, safe_trading_operation
from ibkr_mcp_server.safety.codes import Code
from ibkr_mcp_server.safety.decision import OperationRefused


async def refuse(operation: Operation, desk: Desk) -> NoReturn:
    """Let the chain judge an operation that has problems; the record and the reasons are the chain's.

    Raises:
        OperationRefused: always; the chain reports the operation's problems among its reasons.
    """

    async def act(access: Access) -> None:
        if access.decision.is_refused:  # a preview is told its verdict instead of being stopped by it
            raise OperationRefused(access.decision)

    await safe_trading_operation(operation, act, desk=desk)
    raise Fault(Code.INTERNAL_ERROR, f"A request with problems was approved: {operation.tool}.")
