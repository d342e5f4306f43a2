"""Tickets of prepared orders: what exactly may be sent, for whom, until when, and whether it was (LLM-06)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.domain.confirmation import Confirmer
from ibkr_mcp_server.store.deadlines import left_seconds
from ibkr_mcp_server.store.schema import tickets

HOUR_SECONDS = 3_600.0


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """A prepared order. Nothing of it changes but that it is used."""

    ticket_id: str
    actor_id: str
    actor_auth: str
    tool: str
    arguments: Mapping[str, Any]  # Any: JSON, as the caller gave them
    fingerprint: str
    """Of the tool with its arguments."""
    terms_hash: str
    """Of every field of the orders that would be sent, but for the cap of a market order."""
    cap_price: Decimal | None
    """The worst price of a market order; it is sent at this one or at a better one."""
    account: str
    epoch: str
    """Of the safety state in which it was made."""
    needs: Confirmer
    approval_id: str | None
    """The request to a person, where one is needed."""
    request_key: str
    """The key that the order will have (ID-01)."""
    decision_id: str
    issued_at: datetime
    expires_at: datetime
    monotonic: float
    boot_id: str
    seconds: float
    used_at: datetime | None = None

    def left(self, clock: Clock) -> float:
        """Seconds until it ends; 0 when it has."""
        return left_seconds(
            clock,
            began_at=self.issued_at,
            monotonic=self.monotonic,
            boot_id=self.boot_id,
            seconds=self.seconds,
        )


def issue(connection: Connection, ticket: Ticket) -> None:
    row = asdict(ticket) | {"arguments": json.dumps(dict(ticket.arguments)), "needs": int(ticket.needs)}
    connection.execute(insert(tickets).values(row))


def find(connection: Connection, ticket_id: str) -> Ticket | None:
    row = connection.execute(select(tickets).where(tickets.c.ticket_id == ticket_id)).one_or_none()
    return None if row is None else _ticket(row)


def use(connection: Connection, ticket_id: str, now: datetime) -> bool:
    """Use a ticket up; False when it was used before."""
    unused = (tickets.c.ticket_id == ticket_id) & tickets.c.used_at.is_(None)
    return connection.execute(update(tickets).where(unused).values(used_at=now)).rowcount == 1


def of_the_last_hour(connection: Connection, clock: Clock, needs: Confirmer, actor_id: str | None) -> list[Ticket]:
    """Those that ask `needs` for a yes, of one agent or (None) of all, used and ended ones included; oldest first."""
    query = select(tickets).where(tickets.c.needs == int(needs))
    if actor_id is not None:
        query = query.where(tickets.c.actor_id == actor_id)
    found = [_ticket(row) for row in connection.execute(query.order_by(tickets.c.issued_at)).all()]
    return [ticket for ticket in found if age(ticket, clock) < HOUR_SECONDS]


def age(ticket: Ticket, clock: Clock) -> float:
    """A stamp of the future is as young as can be: it counts."""
    if ticket.boot_id == clock.boot_id:
        return clock.monotonic() - ticket.monotonic
    return (clock.now() - ticket.issued_at).total_seconds()


def _ticket(row: Row[Any]) -> Ticket:
    values = dict(row._mapping)
    return Ticket(**(values | {"arguments": json.loads(row.arguments), "needs": Confirmer(row.needs)}))
