"""The kill switch's latch outlives everything, and reads as active whenever it cannot be read."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import Connection, text

from ibkr_mcp_server.domain import scopes
from ibkr_mcp_server.domain.operations import SYSTEM
from ibkr_mcp_server.errors import Fault
from ibkr_mcp_server.store import latches
from ibkr_mcp_server.store.database import Database
from ibkr_mcp_server.store.latches import KillMode, Latch
from tests.stores import AGENT, NOON, OPERATOR


def press(connection: Connection, mode: KillMode = KillMode.HALT_ONLY) -> tuple[Latch, bool]:
    return latches.activate(connection, mode=mode, actor=AGENT, reason="spread too wide", now=NOON)


async def test_a_new_store_is_not_latched(database: Database) -> None:
    latch = await database.read(latches.current)
    assert (latch.active, latch.generation, latch.is_readable) == (False, 1, True)


async def test_an_activation_keeps_who_when_how_and_why_over_a_restart(url: str) -> None:
    """KS-04, KS-05, T-12."""
    database = Database.open(url)
    latched, first = await database.run(press)
    database.close()
    assert first
    again = Database.open(url)
    assert await again.read(latches.current) == latched
    again.close()
    assert (latched.active, latched.mode, latched.scope) == (True, KillMode.HALT_ONLY, "account")
    assert (latched.actor_type, latched.actor_id, latched.auth) == (AGENT.type, AGENT.id, AGENT.auth)
    assert (latched.reason, latched.activated_at, latched.generation) == ("spread too wide", NOON, 2)


async def test_a_hundred_triggers_are_one_activation_and_ninety_nine_repeats(database: Database) -> None:
    """KS-09."""
    answers = await asyncio.gather(*(database.run(press) for _ in range(100)))
    assert sum(first for _, first in answers) == 1
    latch = await database.read(latches.current)
    assert (latch.repeats, latch.generation) == (99, 2)


async def test_a_later_call_can_only_escalate(database: Database) -> None:
    await database.run(press)
    later = NOON + timedelta(minutes=1)
    closing, first = await database.run(
        lambda c: latches.activate(c, mode=KillMode.CLOSE_POSITIONS, actor=OPERATOR, reason="out", now=later)
    )
    assert not first
    assert (closing.mode, closing.actor_id, closing.reason) == (KillMode.CLOSE_POSITIONS, "root", "out")
    assert (closing.activated_at, closing.changed_at, closing.generation) == (NOON, later, 3)
    milder, _ = await database.run(press)
    assert (milder.mode, milder.actor_id, milder.generation, milder.repeats) == (closing.mode, "root", 3, 2)


def test_modes_are_ordered_by_strictness() -> None:
    assert KillMode.HALT_ONLY < KillMode.CLOSE_POSITIONS < KillMode.LOCKDOWN
    assert max(KillMode.LOCKDOWN, KillMode.HALT_ONLY) is KillMode.LOCKDOWN


async def test_a_reason_is_not_required_to_stop(database: Database) -> None:
    """KS-18."""
    latch, _ = await database.run(
        lambda c: latches.activate(c, mode=KillMode.HALT_ONLY, actor=AGENT, reason="", now=NOON)
    )
    assert latch.reason == "unspecified"


async def test_only_a_human_clears_it(database: Database) -> None:
    """Invariant 3, KS-10."""
    await database.run(press)
    for actor in (AGENT, SYSTEM):
        with pytest.raises(Fault, match="Only a human"):
            await database.run(partial(latches.clear, actor=actor, reason="please", now=NOON))
    assert (await database.read(latches.current)).active
    cleared = await database.run(lambda c: latches.clear(c, OPERATOR, "spread is back", NOON))
    assert cleared == await database.read(latches.current)
    assert (cleared.active, cleared.generation, cleared.reason) == (False, 3, "spread is back")
    again, first = await database.run(press)
    assert (again.generation, again.repeats, first) == (4, 0, True)


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM latches",
        "UPDATE latches SET mode = 'OFF'",
        "UPDATE latches SET actor_type = 'nobody'",
        "UPDATE latches SET generation = 0",
        "UPDATE latches SET repeats = 3",
        "UPDATE latches SET activated_at = 'yesterday'",
        "UPDATE latches SET activated_at = '2026-11-20T17:00:00.000000Z'",
        "UPDATE latches SET scope = 'elsewhere'",
        "UPDATE latches SET active = true",
    ],
)
async def test_a_missing_or_inconsistent_record_reads_as_active(database: Database, damage: str) -> None:
    """KS-06."""
    before = await database.read(latches.current)
    await database.run(lambda c: c.execute(text(damage)))
    latch = await database.read(latches.current)
    assert (latch.active, latch.is_readable, latch.mode) == (True, False, KillMode.HALT_ONLY)
    assert "counts as active" in latch.reason
    for read in (latches.active, partial(latches.bearing_on, scopes=["strategy:claude"])):
        account = (await database.read(read))[0]
        assert (account.scope, account.active, account.is_readable) == (scopes.ACCOUNT, True, False)

    pressed, first = await database.run(press)
    assert first
    assert pressed.generation > before.generation
    cleared = await database.run(lambda c: latches.clear(c, OPERATOR, "looked at it", NOON))
    assert (cleared.active, cleared.is_readable) == (False, True)


async def test_a_human_can_clear_a_missing_record(database: Database) -> None:
    await database.run(lambda c: c.execute(text("DELETE FROM latches")))
    cleared = await database.run(lambda c: latches.clear(c, OPERATOR, "restored", NOON))
    assert (await database.read(latches.current)) == cleared
    assert not cleared.active


async def test_scopes_have_latches_of_their_own_and_only_the_accounts_is_missed(database: Database) -> None:
    """KS-03, KS-06: a scope that was never used is off; a damaged record of one that was is on."""
    mine, other = scopes.of_strategy("claude 1.0"), scopes.of_instrument(265598)
    assert not (await database.read(lambda c: latches.current(c, mine))).active

    await database.run(
        lambda c: latches.activate(c, mode=KillMode.HALT_ONLY, actor=OPERATOR, reason="a", now=NOON, scope=mine)
    )
    assert [latch.scope for latch in await database.read(latches.active)] == ["account", mine]
    assert not (await database.read(latches.current)).active

    bearing = await database.read(lambda c: latches.bearing_on(c, (mine, other)))
    assert [(latch.scope, latch.active) for latch in bearing] == [("account", False), (mine, True)]

    await database.run(lambda c: latches.clear(c, OPERATOR, "b", NOON, scope=mine))
    assert [latch.scope for latch in await database.read(latches.active)] == ["account"]
    await database.run(lambda c: c.exec_driver_sql(f"UPDATE latches SET mode = 'X' WHERE scope = '{mine}'").rowcount)
    damaged = await database.read(lambda c: latches.bearing_on(c, (mine,)))
    assert [(latch.scope, latch.active) for latch in damaged] == [("account", False), (mine, True)]


@pytest.mark.parametrize(
    ("typed", "scope"),
    [
        ("account", "account"),
        ("strategy:claude 1.0", "strategy:claude 1.0"),
        ("instrument:0265598", "instrument:265598"),
        ("strategy: ", None),
        ("instrument:AAPL", None),
        ("instrument:0", None),
        ("Account", None),
        ("", None),
    ],
)
def test_a_scope_is_read_as_typed_or_not_at_all(typed: str, scope: str | None) -> None:
    assert scopes.parsed(typed) == scope
