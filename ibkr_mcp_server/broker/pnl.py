"""Profit and loss as TWS's portfolio window shows it, of an account and of its holdings.

These are subscriptions without an end marker: each is opened, heard until it says something, and closed again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from ibkr_mcp_server.broker import translate
from ibkr_mcp_server.broker.session import Session
from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.domain.accounts import AccountPnl, PositionPnl

HEARD_ENOUGH = 3
"""Updates come about once a second; figures that are still unset after so many are not known to TWS."""


class ProfitAndLoss:
    """The reads of one connection."""

    def __init__(self, session: Session, *, clock: Clock) -> None:
        self._session = session
        self._clock = clock

    async def of_account(self, account: str) -> AccountPnl:
        """See `BrokerReads.account_pnl`."""
        client = self._session.client
        rows = await self._session.numbered(
            "the profit and loss of the account",
            lambda req_id: client.reqPnL(req_id, account, ""),
            client.cancelPnL,
            enough=_says_something,
        )
        daily, unrealized, realized = map(translate.number, rows[-1])
        return AccountPnl(
            account=account,
            received_at=self._clock.now(),
            daily=daily,
            unrealized=unrealized,
            realized=realized,
        )

    async def of_positions(self, account: str, con_ids: Sequence[int]) -> list[PositionPnl]:
        """See `BrokerReads.position_pnl`."""
        return list(await asyncio.gather(*(self._of_position(account, con_id) for con_id in con_ids)))

    async def _of_position(self, account: str, con_id: int) -> PositionPnl:
        client = self._session.client
        rows = await self._session.numbered(
            f"the profit and loss of contract {con_id}",
            lambda req_id: client.reqPnLSingle(req_id, account, "", con_id),
            client.cancelPnLSingle,
            enough=lambda heard: _says_something([row[1:] for row in heard]),
        )
        held, daily, unrealized, realized, value = map(translate.number, rows[-1])
        return PositionPnl(
            con_id=con_id,
            received_at=self._clock.now(),
            quantity=held,
            daily=daily,
            unrealized=unrealized,
            realized=realized,
            market_value=value,
        )


def _says_something(rows: Sequence[Sequence[Any]]) -> bool:
    """The first updates after a start of TWS hold nothing but unset figures."""
    return any(translate.number(figure) is not None for figure in rows[-1]) or len(rows) >= HEARD_ENOUGH
