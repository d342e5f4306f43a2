"""Intents: one for each key, counted once, moved only where the table allows."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import product

import pytest
from sqlalchemy import Connection

from ibkr_mcp_server.clock import ManualClock, trading_day
from ibkr_mcp_server.errors import Fault
from ibkr_mcp_server.store import agent_positions, intents
from ibkr_mcp_server.store.agent_positions import AgentPosition
from ibkr_mcp_server.store.database import Database
from ibkr_mcp_server.store.intents import FINAL, TRANSITIONS, Intent, IntentState, KeyTaken
from tests.stores import NOON, OtherBoot, an_intent


async def reserved(database: Database, clock: ManualClock, **fields: object) -> Intent:
    intent = an_intent(clock, **fields)
    await database.run(lambda connection: intents.reserve(connection, intent))
    return intent


async def test_an_intent_reads_back_as_it_was_written(database: Database, clock: ManualClock) -> None:
    intent = await reserved(
        database,
        clock,
        quantity=Decimal("0.000100"),
        limit_price=Decimal("1E+2"),
        stop_price=Decimal("190.10"),
        worst_case_value_usd=None,
        created_at=datetime(2026, 11, 20, 17, 0, 0, 7, tzinfo=UTC),
        monotonic=12345.678901234567,
        perm_id=2**40,
    )
    expected = replace(intent, updated_at=intent.created_at)
    assert await database.read(lambda c: intents.get(c, intent.intent_id)) == expected
    assert await database.read(lambda c: intents.find_by_key(c, intent.request_key)) == expected
    assert await database.read(lambda c: intents.find_by_ref(c, intent.order_ref)) == expected
    assert await database.read(lambda c: intents.get(c, "nobody")) is None
    read = await database.read(lambda c: intents.get(c, intent.intent_id))
    assert read is not None
    assert str(read.quantity) == "0.000100"


async def test_twenty_tasks_with_one_key_have_one_winner(database: Database, clock: ManualClock) -> None:
    async def attempt(number: int) -> str:
        intent = an_intent(clock, request_key="order-0001", fingerprint=str(number))
        try:
            await database.run(lambda connection: intents.reserve(connection, intent))
        except KeyTaken as taken:
            return taken.existing.fingerprint
        return intent.fingerprint

    answers = await asyncio.gather(*(attempt(number) for number in range(20)))
    assert len(set(answers)) == 1
    assert await database.read(lambda c: intents.opening_on(c, trading_day(NOON))) == 1


async def test_a_modification_is_not_found_in_the_place_of_its_order(database: Database, clock: ManualClock) -> None:
    placed = await reserved(database, clock, order_ref="ref-1")
    await reserved(database, clock, order_ref="ref-1", kind="modify")
    found = await database.read(lambda c: intents.find_by_ref(c, "ref-1"))
    assert found is not None
    assert found.intent_id == placed.intent_id


async def test_the_outcome_is_stored_with_the_state(database: Database, clock: ManualClock) -> None:
    intent = await reserved(database, clock)
    clock.step_wall(timedelta(seconds=1))
    moved = await database.run(
        lambda c: intents.advance(
            c,
            intent.intent_id,
            IntentState.FILLED,
            now=clock.now(),
            perm_id=77,
            filled_quantity=Decimal("10"),
            average_fill_price=Decimal("190.49"),
            result={"status": "Filled", "order": [1, None, "é"]},
        )
    )
    assert moved == await database.read(lambda c: intents.get(c, intent.intent_id))
    assert (moved.perm_id, moved.updated_at) == (77, clock.now())
    assert moved.result == {"status": "Filled", "order": [1, None, "é"]}


async def test_every_step_that_the_table_does_not_list_is_refused(database: Database, clock: ManualClock) -> None:
    class Undo(Exception):
        pass

    def attempt(connection: Connection, before: IntentState, after: IntentState) -> None:
        intent = an_intent(clock)
        intents.reserve(connection, intent)
        if before is IntentState.EXPIRED:
            intents.release(connection, intent.intent_id, "never sent", NOON)
        else:
            intents.advance(connection, intent.intent_id, before, now=NOON)
        if after is before or after in TRANSITIONS[before]:
            assert intents.advance(connection, intent.intent_id, after, now=NOON).state is after
        else:
            with pytest.raises(Fault, match=f"from {before} to {after}"):
                intents.advance(connection, intent.intent_id, after, now=NOON)

    def work(connection: Connection) -> None:
        for before, after in product(IntentState, IntentState):
            attempt(connection, before, after)
        raise Undo

    with pytest.raises(Undo):
        await database.run(work)


def test_what_the_broker_ended_never_becomes_working_again() -> None:
    for state in FINAL - {IntentState.REJECTED, IntentState.EXPIRED}:  # both may be our own conclusion
        assert TRANSITIONS[state] <= FINAL


async def test_order_that_was_given_back_and_shows_up_after_all_counts_again(
    database: Database, clock: ManualClock
) -> None:
    """RL-08."""
    intent = await reserved(database, clock)
    await database.run(lambda c: intents.release(c, intent.intent_id, "never sent", NOON))
    assert await database.read(lambda c: intents.opening_on(c, intent.trading_day)) == 0
    await database.run(lambda c: intents.advance(c, intent.intent_id, IntentState.ACCEPTED, now=NOON))
    assert await database.read(lambda c: intents.opening_on(c, intent.trading_day)) == 1


async def test_what_was_fixed_at_the_reservation_cannot_be_changed(database: Database, clock: ManualClock) -> None:
    intent = await reserved(database, clock)
    with pytest.raises(Fault, match="quantity"):
        await database.run(
            lambda c: intents.advance(
                c,
                intent.intent_id,
                IntentState.SENT,
                now=NOON,
                quantity=Decimal(99),  # type: ignore[call-arg]  # the mistake under test
            )
        )
    with pytest.raises(Fault, match="no intent"):
        await database.run(lambda c: intents.advance(c, "nobody", IntentState.SENT, now=NOON))


async def test_a_number_that_is_not_finite_is_never_stored(database: Database, clock: ManualClock) -> None:
    """T-06."""
    for value in (Decimal("NaN"), Decimal("Infinity")):
        with pytest.raises(Fault, match="finite"):
            await reserved(database, clock, worst_case_value_usd=value)
    assert await database.read(intents.unresolved) == []


async def test_quota_comes_back_only_for_what_never_left(database: Database, clock: ManualClock) -> None:
    """RL-08, T-10."""
    released, sent, rejected = [await reserved(database, clock) for _ in range(3)]

    def work(connection: Connection) -> None:
        intents.release(connection, released.intent_id, "the final gate closed", NOON)
        intents.advance(connection, sent.intent_id, IntentState.UNKNOWN, now=NOON)
        intents.advance(connection, rejected.intent_id, IntentState.REJECTED, now=NOON)

    await database.run(work)
    assert await database.read(lambda c: intents.opening_on(c, trading_day(NOON))) == 2
    assert await database.read(lambda c: intents.opening_in_window(c, clock, 60)) == [0.0, 0.0]
    for intent in (released, sent, rejected):
        with pytest.raises(Fault, match="cannot be given back"):
            await database.run(partial(intents.release, intent_id=intent.intent_id, reason="again", now=NOON))


async def test_only_opening_intents_use_up_quota(database: Database, clock: ManualClock) -> None:
    await reserved(database, clock, opening=False, kind="cancel")
    assert await database.read(lambda c: intents.opening_on(c, trading_day(NOON))) == 0
    assert await database.read(lambda c: intents.opening_in_window(c, clock, 60)) == []


async def test_the_window_slides_and_its_edge_is_free_again(database: Database, clock: ManualClock) -> None:
    await reserved(database, clock)
    await clock.advance(20)
    await reserved(database, clock)
    await clock.advance(39)
    assert await database.read(lambda c: intents.opening_in_window(c, clock, 60)) == [39.0, 59.0]
    await clock.advance(1)
    assert await database.read(lambda c: intents.opening_in_window(c, clock, 60)) == [40.0]


@pytest.mark.parametrize("step", [timedelta(days=1), timedelta(days=-1)])
async def test_a_step_of_the_wall_clock_changes_no_window(
    database: Database, clock: ManualClock, step: timedelta
) -> None:
    """RL-03."""
    await reserved(database, clock)
    await clock.advance(30)
    clock.step_wall(step)
    assert await database.read(lambda c: intents.opening_in_window(c, clock, 60)) == [30.0]
    await clock.advance(30)
    assert await database.read(lambda c: intents.opening_in_window(c, clock, 60)) == []


async def test_after_a_reboot_the_wall_clock_decides_and_the_future_counts_as_now(database: Database) -> None:
    before = ManualClock(NOON)
    await reserved(database, before)
    for seconds_later, ages in ((45, [45.0]), (60, []), (-86_400, [0.0])):
        after = OtherBoot(NOON + timedelta(seconds=seconds_later))
        found = await database.read(partial(intents.opening_in_window, clock=after, seconds=60))
        assert found == ages


async def test_counters_are_the_same_after_a_restart(url: str, clock: ManualClock) -> None:
    """RL-09, T-11."""
    for count in range(1, 4):
        database = Database.open(url)
        await reserved(database, clock)
        assert len(await database.read(lambda c: intents.opening_in_window(c, clock, 60))) == count
        assert await database.read(lambda c: intents.opening_on(c, trading_day(NOON))) == count
        database.close()


@pytest.mark.parametrize(
    ("moment", "day"),
    [
        (datetime(2026, 3, 6, 21, 59, 59, tzinfo=UTC), date(2026, 3, 6)),  # before daylight saving: 17:00 is 22:00 UTC
        (datetime(2026, 3, 6, 22, 0, tzinfo=UTC), date(2026, 3, 7)),
        (datetime(2026, 3, 9, 20, 59, 59, tzinfo=UTC), date(2026, 3, 9)),  # after: 21:00 UTC
        (datetime(2026, 3, 9, 21, 0, tzinfo=UTC), date(2026, 3, 10)),
    ],
)
async def test_the_daily_count_starts_anew_at_17_00_new_york(database: Database, moment: datetime, day: date) -> None:
    """RL-07."""
    await reserved(database, ManualClock(moment))
    assert await database.read(lambda c: intents.opening_on(c, day)) == 1
    assert await database.read(lambda c: intents.opening_on(c, day + timedelta(days=1))) == 0
    assert await database.read(lambda c: intents.opening_on(c, day - timedelta(days=1))) == 0


async def test_unresolved_and_working_intents_are_found(database: Database, clock: ManualClock) -> None:
    """ID-08."""
    by_state: dict[IntentState, Intent] = {}
    for state in (IntentState.SENT, IntentState.ACCEPTED, IntentState.UNKNOWN, IntentState.FILLED):
        intent = by_state[state] = await reserved(database, clock)
        await database.run(partial(intents.advance, intent_id=intent.intent_id, state=state, now=NOON))
    by_state[IntentState.RESERVED] = await reserved(database, clock)
    await reserved(database, clock, con_id=1)

    found = await database.read(intents.unresolved)
    assert {i.state for i in found} == {IntentState.RESERVED, IntentState.SENT, IntentState.UNKNOWN}
    working = await database.read(lambda c: intents.working_opening(c, 265598))
    assert {i.intent_id for i in working} == {
        i.intent_id for state, i in by_state.items() if state is not IntentState.FILLED
    }


async def test_what_an_agents_orders_trade_is_summed(database: Database, clock: ManualClock) -> None:
    """PL-04: buys and sells of placements, each fill once, also one that is corrected."""
    bought = await reserved(database, clock, actor_id="fast", quantity=Decimal(10))
    sold = await reserved(database, clock, actor_id="fast", side="SELL")
    changed = await reserved(database, clock, actor_id="fast", kind="modify")
    other = await reserved(database, clock, actor_id="slow")

    async def filled(intent: Intent, quantity: str, state: IntentState = IntentState.ACCEPTED) -> None:
        await database.run(
            lambda c: intents.advance(c, intent.intent_id, state, now=NOON, filled_quantity=Decimal(quantity))
        )

    for quantity in ("4", "4", "10.5", "10"):
        await filled(bought, quantity)
    await filled(sold, "3")
    await filled(changed, "10")
    await filled(other, "1")
    await filled(other, "0")
    assert await database.read(agent_positions.all_of) == (
        AgentPosition(agent="fast", account="DU9000001", con_id=265598, quantity=Decimal("7.0")),
    )
