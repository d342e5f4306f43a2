"""The sliding window, against a plain list kept beside it (Hypothesis)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection

from ibkr_mcp_server.clock import ManualClock, next_trading_day_starts, trading_day
from ibkr_mcp_server.store import intents
from ibkr_mcp_server.store.database import Database
from tests.private_state import lay_tables
from tests.stores import NOON, OtherBoot, an_intent


class Undo(Exception):
    """Takes an example's rows back."""


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    database = Database.open(lay_tables(Path(tmp_path_factory.mktemp("store")) / "state" / "store.db"))
    yield database
    database.close()


pauses = st.integers(0, 90)
steps = st.sampled_from([timedelta(), timedelta(days=1), timedelta(days=-1), timedelta(seconds=30)])


@given(st.lists(st.tuples(pauses, steps), max_size=12), st.sampled_from([1, 60, 3600]))
def test_only_elapsed_time_frees_the_window_whatever_the_wall_clock_does(
    database: Database, moves: list[tuple[int, timedelta]], seconds: int
) -> None:
    """RL-03."""

    def work(connection: Connection) -> None:
        clock, reserved_at = ManualClock(NOON), list[float]()
        for pause, step in moves:
            asyncio.run(clock.advance(pause))
            clock.step_wall(step)
            intents.reserve(connection, an_intent(clock))
            reserved_at.append(clock.monotonic())
            ages = sorted(clock.monotonic() - at for at in reserved_at)
            assert intents.opening_in_window(connection, clock, seconds) == [age for age in ages if age < seconds]
        raise Undo

    with pytest.raises(Undo):
        database.run_blocking(work)


@given(st.lists(st.integers(-200_000, 200_000), max_size=12), st.sampled_from([1, 60, 3600]))
def test_records_of_another_boot_are_judged_by_the_wall_clock_and_never_have_negative_age(
    database: Database, offsets: list[int], seconds: int
) -> None:
    def work(connection: Connection) -> None:
        for offset in offsets:
            intents.reserve(connection, an_intent(OtherBoot(NOON + timedelta(seconds=offset))))
        ages = sorted(float(max(0, -offset)) for offset in offsets)
        found = intents.opening_in_window(connection, ManualClock(NOON), seconds)
        assert found == [age for age in ages if age < seconds]
        raise Undo

    with pytest.raises(Undo):
        database.run_blocking(work)


@given(st.datetimes(min_value=NOON.replace(tzinfo=None, year=2025), max_value=NOON.replace(tzinfo=None, year=2028)))
def test_every_moment_counts_on_one_trading_day_which_ends_at_its_boundary(database: Database, naive: datetime) -> None:
    """RL-07: across every change of daylight saving."""
    moment = naive.replace(tzinfo=UTC)
    end = next_trading_day_starts(moment)

    def work(connection: Connection) -> None:
        for at in (moment, end - timedelta(microseconds=1), end):
            intents.reserve(connection, an_intent(ManualClock(at)))
        assert intents.opening_on(connection, trading_day(moment)) == 2
        assert intents.opening_on(connection, trading_day(moment) + timedelta(days=1)) == 1
        raise Undo

    with pytest.raises(Undo):
        database.run_blocking(work)
