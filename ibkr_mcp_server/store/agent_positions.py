"""What each agent's own orders bought and sold, summed by account and contract: its share of the positions (PL-04)."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import Connection, bindparam, insert, select, update

from ibkr_mcp_server.store.prepared import Prepared
from ibkr_mcp_server.store.schema import agent_positions


@dataclass(frozen=True, kw_only=True)
class AgentPosition:
    """Signed units, fills of this program's orders only."""

    agent: str
    account: str
    con_id: int
    quantity: Decimal


def add(connection: Connection, agent: str, account: str, con_id: int, quantity: Decimal) -> None:
    """Count another fill, negative for a sale; a fill that turned out smaller is the difference."""
    which = {"of_agent": agent, "of_account": account, "of_contract": con_id}
    held = connection.execute(_QUANTITY, which).scalar_one_or_none()
    if held is None:
        values = {"agent": agent, "account": account, "con_id": con_id, "quantity": quantity}
        connection.execute(insert(agent_positions), values)
    else:
        connection.execute(_UPDATE, which | {"now": held + quantity})


def all_of(connection: Connection) -> tuple[AgentPosition, ...]:
    """Every share that is not zero."""
    return tuple(share for share in _ALL.rows(connection) if share.quantity)


_HERE = (
    (agent_positions.c.agent == bindparam("of_agent"))
    & (agent_positions.c.account == bindparam("of_account"))
    & (agent_positions.c.con_id == bindparam("of_contract"))
)
_QUANTITY = select(agent_positions.c.quantity).where(_HERE)
_UPDATE = update(agent_positions).where(_HERE).values(quantity=bindparam("now"))
_ALL = Prepared(select(agent_positions), meaning=lambda row: AgentPosition(**row._asdict()))
