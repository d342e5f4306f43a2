"""What accounts and holdings gained or lost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from ibkr_mcp_server.domain.accounts import AccountPnl, Position, PositionPnl
from ibkr_mcp_server.domain.operations import Operation
from ibkr_mcp_server.operations.account import chosen_account
from ibkr_mcp_server.operations.desk import Desk
from ibkr_mcp_server.operations.progress import Progress, silent
from ibkr_mcp_server.operations.safe_operation import Access, Answer, safe_trading_operation

MOST_POSITIONS = 60
AT_ONCE = 15
"""Each costs two of the forty messages that may leave in a second."""


@dataclass(frozen=True, kw_only=True)
class PnlReport:
    """One account and its holdings, the largest first."""

    account: AccountPnl
    base_currency: str | None
    positions: Sequence[tuple[Position, PositionPnl]]
    left_out: int
    """Holdings beyond `MOST_POSITIONS`, which were not asked for."""


async def profit_and_loss(
    operation: Operation, desk: Desk, *, per_position: bool, progress: Progress = silent
) -> Answer[PnlReport]:
    """Profit and loss of one account, the default account unless the operation names one."""

    async def act(access: Access) -> PnlReport:
        account = chosen_account(operation, access, desk)
        pnl, summary = await asyncio.gather(access.broker.account_pnl(account), access.broker.account_summary(account))
        held = await access.broker.positions(account) if per_position else ()
        largest = sorted(held, key=lambda one: abs(one.market_value or Decimal()), reverse=True)[:MOST_POSITIONS]
        rows: list[tuple[Position, PositionPnl]] = []
        for start in range(0, len(largest), AT_ONCE):
            await progress(start, len(largest), "Reading the profit and loss of each holding.")
            part = largest[start : start + AT_ONCE]
            told = await access.broker.position_pnl(account, [one.instrument.con_id for one in part])
            rows += zip(part, told, strict=True)
        return PnlReport(
            account=pnl, base_currency=summary.base_currency, positions=rows, left_out=len(held) - len(largest)
        )

    return await safe_trading_operation(operation, act, desk=desk)
