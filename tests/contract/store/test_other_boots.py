"""After the machine was started anew its monotonic clock says nothing of what was before; the wall clock decides."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.domain.confirmation import Confirmer
from ibkr_mcp_server.store import agent_timeouts, tickets
from ibkr_mcp_server.store.database import Database
from ibkr_mcp_server.store.tickets import Ticket
from tests.stores import NOON, OtherBoot


async def test_an_agents_timeout_goes_on_by_the_wall_clock_and_one_of_the_future_has_just_begun(
    database: Database, clock: ManualClock
) -> None:
    """RL-10: a restart of the machine is no way out of it."""
    await database.run(lambda connection: agent_timeouts.begin(connection, clock, "claude", 200))
    for minutes, left in ((-30, 300.0), (0, 300.0), (2, 180.0), (6, 0.0)):
        later = OtherBoot(NOON + timedelta(minutes=minutes))
        assert left == await database.read(
            lambda connection, later=later: agent_timeouts.left_seconds(connection, later, "claude", 300)  # type: ignore[misc]  # the loop's clock
        )


async def test_the_tickets_of_the_last_hour_are_counted_by_the_wall_clock(
    database: Database, clock: ManualClock
) -> None:
    """LLM-08: requests for a yes are few, also around a restart of the machine."""
    ticket = Ticket(
        ticket_id="a-ticket",
        actor_id="claude",
        actor_auth="stdio",
        tool="place_limit_order",
        arguments={},
        fingerprint="f" * 64,
        terms_hash="t" * 64,
        cap_price=Decimal("100.00"),
        account="DU1",
        epoch="0",
        needs=Confirmer.PERSON,
        approval_id=None,
        request_key="a-key",
        decision_id="a-decision",
        issued_at=clock.now(),
        expires_at=clock.now() + timedelta(minutes=1),
        monotonic=clock.monotonic(),
        boot_id=clock.boot_id,
        seconds=60.0,
    )
    await database.run(lambda connection: tickets.issue(connection, ticket))
    for minutes, counted in ((-30, 1), (59, 1), (61, 0)):
        later = OtherBoot(NOON + timedelta(minutes=minutes))
        found = await database.read(
            lambda connection, later=later: tickets.of_the_last_hour(connection, later, Confirmer.PERSON, "claude")  # type: ignore[misc]  # the loop's clock
        )
        assert len(found) == counted
