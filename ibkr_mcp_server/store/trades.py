"""Fills with their prices and fees, by the agent whose order they are: what profits and losses are computed from.

A correction takes the place of what it corrects, and a fee that is told later is added (ID-13).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from ibkr_mcp_server.store.prepared import Prepared
from ibkr_mcp_server.store.schema import trades

EXTERNAL = "external"
"""The strategy of orders that were not placed here."""
NEWEST = 3_000
"""How many fills are looked back upon."""

_BY_FILL = select(trades.c.revision, trades.c.strategy).where(trades.c.fill == bindparam("fill"))
_NEWEST = Prepared(select(trades).order_by(trades.c.executed_at.desc(), trades.c.fill.desc()).limit(NEWEST))


@dataclass(frozen=True, kw_only=True)
class Trade:
    """One fill."""

    fill: str
    """Its number at the broker, without the revision."""
    revision: int
    account: str
    strategy: str
    """The agent whose order it is."""
    order_key: str
    """Names the order; its parts share it."""
    con_id: int
    symbol: str
    sec_type: str
    currency: str
    side: str
    quantity: Decimal
    price: Decimal
    multiplier: Decimal | None
    commission: Decimal | None
    commission_currency: str | None
    executed_at: datetime

    @property
    def signed(self) -> Decimal:
        return self.quantity if self.side == "BUY" else -self.quantity


def note(connection: Connection, trade: Trade) -> None:
    """Keep a fill; a revision older than the known one changes nothing."""
    known = connection.execute(_BY_FILL, {"fill": trade.fill}).one_or_none()
    if known is not None and known.revision >= trade.revision:
        return
    connection.execute(delete(trades).where(trades.c.fill == trade.fill))
    connection.execute(insert(trades), {one.name: getattr(trade, one.name) for one in fields(Trade)})


def charge(connection: Connection, fill: str, commission: Decimal | None, currency: str | None) -> None:
    """The fee of a fill was told."""
    connection.execute(
        update(trades).where(trades.c.fill == fill).values(commission=commission, commission_currency=currency)
    )


def newest(connection: Connection) -> list[Trade]:
    """The newest fills, the oldest first."""
    return [Trade(**row) for row in reversed(_NEWEST.mappings(connection))]
