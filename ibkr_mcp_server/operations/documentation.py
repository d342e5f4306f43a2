"""Explaining what the product can do; nothing is asked of the broker."""

from __future__ import annotations

from collections.abc import Callable

from ibkr_mcp_server.domain.operations import Operation
from ibkr_mcp_server.operations.desk import Desk
from ibkr_mcp_server.operations.safe_operation import Access, Answer, safe_trading_operation
from ibkr_mcp_server.safety.policy import Policy


async def documentation(operation: Operation, write: Callable[[Policy], str], desk: Desk) -> Answer[str]:
    """A page that `write` makes with the policy that is in force."""

    async def act(access: Access) -> str:
        return write(desk.safety.policy)

    return await safe_trading_operation(operation, act, desk=desk)
