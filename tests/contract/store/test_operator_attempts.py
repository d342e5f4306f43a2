"""Five wrong passphrases lock the operator's door for fifteen minutes, whatever is restarted meanwhile (KS-16)."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from ibkr_mcp_server.clock import ManualClock
from ibkr_mcp_server.store import operator_attempts
from ibkr_mcp_server.store.database import Database
from tests.stores import NOON, OtherBoot


async def fail(database: Database, clock: ManualClock, times: int) -> None:
    for _ in range(times):
        found = await database.run(lambda c: operator_attempts.begin(c, clock))
        assert not found.locked


async def test_the_sixth_attempt_is_not_judged_for_fifteen_minutes(url: str, clock: ManualClock) -> None:
    database = Database.open(url)
    await fail(database, clock, 5)
    database.close()
    restarted = Database.open(url)
    found = await restarted.run(lambda c: operator_attempts.begin(c, clock))
    assert (found.locked, found.failures, found.locked_for_seconds) == (True, 5, 900.0)
    clock.step_wall(timedelta(days=1))
    await clock.advance(899)
    found = await restarted.run(lambda c: operator_attempts.begin(c, clock))
    assert found.locked_for_seconds == 1.0
    await clock.advance(1)
    await fail(restarted, clock, 5)
    assert (await restarted.read(lambda c: operator_attempts.current(c, clock))).locked
    restarted.close()


async def test_a_success_forgets_the_failures(database: Database, clock: ManualClock) -> None:
    await fail(database, clock, 4)
    await database.run(lambda c: operator_attempts.begin(c, clock))
    await database.run(operator_attempts.succeeded)
    assert (await database.read(lambda c: operator_attempts.current(c, clock))).failures == 0


async def test_after_a_reboot_the_wall_clock_decides_and_the_future_is_locked(database: Database) -> None:
    await fail(database, ManualClock(NOON), 5)
    for seconds_later, left in ((600, 300.0), (900, 0.0), (-86_400, 900.0)):
        after = OtherBoot(NOON + timedelta(seconds=seconds_later))
        found = await database.read(partial(operator_attempts.current, clock=after))
        assert found.locked_for_seconds == left
