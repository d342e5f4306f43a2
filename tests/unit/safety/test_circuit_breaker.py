"""The circuit breaker's latch, mode and stages, in milliseconds; the flow tests of the same name drive the gateway."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.audit.log import AuditLog, tail
from ibkr_mcp_server.clock import ManualClock, next_trading_day_starts
from ibkr_mcp_server.safety.circuit_breaker import STAGE_FACTORS, Applied, CircuitBreaker, acknowledged, enter
from ibkr_mcp_server.safety.state import SafetyState
from ibkr_mcp_server.safety.triggers.base import AccountFigures, Level, Metrics, Reading
from ibkr_mcp_server.safety.triggers.table import triggers_of
from ibkr_mcp_server.settings.loading import load_settings
from ibkr_mcp_server.store import breaker
from ibkr_mcp_server.store.breaker import BreakerState, Mode, Stage
from ibkr_mcp_server.store.database import Database
from tests.private_state import lay_tables
from tests.stores import NOON, an_audit_log

SETTINGS = load_settings(environ={})


class Bench:
    """A breaker on a store of its own."""

    def __init__(self, database: Database, clock: ManualClock) -> None:
        self.database = database
        self.clock = clock
        self.log: AuditLog = an_audit_log(database, clock)
        self.breaker = CircuitBreaker(settings=SETTINGS, audit=self.log, clock=clock)

    @property
    def state(self) -> BreakerState:
        return self.database.read_blocking(breaker.current)

    def see(self, *readings: Reading) -> Applied:
        """As the watch does it."""
        if not self.breaker.changes(self.state, readings):
            return Applied(state=self.state)
        return self.database.run_blocking(lambda c: self.breaker.apply(c, readings))

    def set(self, state: BreakerState) -> None:
        self.database.run_blocking(lambda c: breaker.store(c, state, self.clock.now()))

    def damage(self, sql: str) -> None:
        self.database.run_blocking(lambda c: c.exec_driver_sql(sql))

    def pass_time(self, **length: float) -> None:
        seconds = timedelta(**length).total_seconds()
        self.clock._move_to(self.clock.monotonic() + seconds)

    def events(self, kind: EventType) -> list[dict[str, object]]:
        return [dict(one.outcome or {}) for one in self.database.read_blocking(lambda c: tail(c, 1_000, kind))]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    database = Database.open(lay_tables(tmp_path / "state" / "store.db"))
    yield Bench(database, ManualClock(NOON))
    database.close()


def reading(
    level: Level, observed: float = 50, *, trigger: str = "CB-13", scope: str = "", money: bool = True
) -> Reading:
    limits = {Level.NONE: None, Level.WARN: Decimal(2), Level.PAUSE: Decimal(3), Level.KILL: Decimal(5)}
    return Reading(
        trigger=trigger,
        metric="loss",
        level=level,
        observed=Decimal(str(observed)),
        limit=limits[level],
        unit=" %",
        is_calm=level is Level.NONE,
        loses_money=money,
        scope=scope,
    )


def test_a_trip_keeps_its_reason_and_stays_when_the_figure_recovers(bench: Bench) -> None:
    """CB-01, CB-02, CB-03: and another process reads the same."""
    bench.see(reading(Level.PAUSE, 3.5))
    bench.see(reading(Level.NONE, 0))
    state = bench.state
    assert state.is_open
    assert state.first is not None
    assert (state.first.trigger, state.first.metric, state.first.level) == ("CB-13", "loss", "PAUSE")
    assert (state.first.observed, state.first.limit, state.first.at) == (Decimal("3.5"), Decimal(3), NOON)
    another = CircuitBreaker(settings=SETTINGS, audit=bench.log, clock=bench.clock)
    (cause, *_) = bench.database.read_blocking(another.causes)
    assert (cause.state, cause.is_latch) == (SafetyState.OBSERVE, True)
    assert "CB-13 loss 3.50 % (PAUSE at 3)" in cause.reason


def test_all_breaches_are_recorded_and_the_most_severe_applies(bench: Bench) -> None:
    """CB-05, T-31: a mild trigger that comes first does not hide the one that stops trading."""
    applied = bench.see(
        reading(Level.WARN, 2.5, trigger="CB-10"),
        reading(Level.KILL, 6),
        reading(Level.PAUSE, 4, trigger="CB-16"),
    )
    assert set(applied.state.breaches) == {"CB-10", "CB-13", "CB-16"}
    assert applied.state.is_open
    assert applied.kill is not None
    assert "CB-13" in applied.kill
    assert [trip["trigger"] for trip in bench.events(EventType.CIRCUIT_BREAKER_TRIP)] == ["CB-13", "CB-16"]
    assert bench.see(reading(Level.KILL, 6)).kill is None  # once is enough: a person's reset is not undone at once
    assert "CB-16" in bench.breaker.causes_of(bench.state)[0].reason


def test_each_level_is_recorded_once_in_its_order(bench: Bench) -> None:
    """RM-02."""
    for level in (Level.WARN, Level.WARN, Level.PAUSE, Level.WARN, Level.PAUSE, Level.KILL, Level.KILL):
        bench.see(reading(level))
    assert [one["level"] for one in bench.events(EventType.MODE_CHANGE)] == ["WARN"]
    assert [one["level"] for one in bench.events(EventType.CIRCUIT_BREAKER_TRIP)] == ["PAUSE", "KILL"]


def test_reduced_sizes_end_by_themselves_after_half_an_hour_of_calm_and_never_sooner(bench: Bench) -> None:
    """RM-05: a figure that swings around its warning does not flap."""
    bench.see(reading(Level.WARN, 2.1))
    assert bench.state.mode is Mode.REDUCE
    assert bench.breaker.factor_of(bench.state) == Decimal("0.5")
    for _ in range(4):
        bench.see(reading(Level.NONE, 0.1))
        bench.pass_time(minutes=29)
        bench.see(reading(Level.WARN, 2.1))
        bench.pass_time(minutes=29)
    assert bench.state.mode is Mode.REDUCE
    assert len(bench.events(EventType.MODE_CHANGE)) == 1
    bench.see(reading(Level.NONE, 0.1))
    bench.pass_time(minutes=30)
    bench.see(reading(Level.NONE, 0.1))
    assert bench.state == replace(bench.state, mode=Mode.NORMAL, breaches={})


def test_a_reset_has_to_wait_longer_after_a_loss_than_after_a_fault(bench: Bench) -> None:
    """RC-01."""
    bench.see(reading(Level.PAUSE, trigger="CB-21", money=False))
    assert bench.state.earliest_reset is None
    bench.see(reading(Level.PAUSE))
    assert bench.state.earliest_reset == NOON + timedelta(minutes=60)
    bench.see(reading(Level.KILL))
    assert bench.state.earliest_reset == next_trading_day_starts(NOON)


def test_what_a_person_acknowledged_counts_again_when_it_gets_worse(bench: Bench) -> None:
    bench.set(BreakerState(is_open=False, mode=Mode.NORMAL, stage=Stage.FULL, generation=1, acknowledged={
        "CB-13": acknowledged(reading(Level.PAUSE, 3.5))
    }))  # fmt: skip
    bench.see(reading(Level.PAUSE, 3.6))
    assert not bench.state.is_open
    bench.see(reading(Level.PAUSE, 3.9))
    assert bench.state.is_open


def test_an_acknowledgement_ends_with_what_it_was_for(bench: Bench) -> None:
    bench.set(BreakerState(is_open=False, mode=Mode.NORMAL, stage=Stage.FULL, generation=1, acknowledged={
        "CB-13": acknowledged(reading(Level.PAUSE, 3.5))
    }))  # fmt: skip
    bench.see(reading(Level.NONE, 1))
    assert bench.state.acknowledged == {}


def test_a_stage_goes_back_by_itself_and_forward_only_by_proposal(bench: Bench) -> None:
    """RC-04, RC-05, RC-06."""
    fresh = BreakerState(is_open=False, mode=Mode.NORMAL, stage=Stage.FULL, generation=1)
    bench.set(enter(fresh, Stage.HALF, bench.clock.now()))
    bench.see(reading(Level.WARN, trigger="CB-10"))
    assert (bench.state.stage, bench.state.stage_warnings) == (Stage.HALF, 1)
    bench.see(reading(Level.WARN, trigger="CB-11"))
    assert (bench.state.stage, bench.state.stage_warnings) == (Stage.QUARTER, 0)
    bench.see(reading(Level.PAUSE))
    assert bench.state.stage is Stage.PAPER
    assert [one["stage"] for one in bench.events(EventType.STAGE_CHANGE)] == ["QUARTER", "PAPER"]

    bench.set(enter(fresh, Stage.QUARTER, bench.clock.now()))
    for _ in range(10):
        bench.database.run_blocking(bench.breaker.note_decision)
    assert bench.breaker.against_promotion(bench.state) == ["The stage QUARTER has not lasted a trading day yet."]
    bench.pass_time(days=1)
    bench.see()
    bench.see()
    proposals = [one for one in bench.events(EventType.STAGE_CHANGE) if "proposed" in one]
    assert [one["proposed"] for one in proposals] == ["HALF"]
    assert bench.state == replace(bench.state, stage=Stage.QUARTER)  # only a person promotes


def test_a_row_that_cannot_be_read_is_an_open_breaker(bench: Bench) -> None:
    for damage in ("UPDATE breaker SET details = '{'", "UPDATE breaker SET mode = 'x'", "DELETE FROM breaker"):
        bench.damage(damage)
        assert bench.state.is_open
        (cause,) = bench.database.read_blocking(bench.breaker.causes)
        assert cause.state is SafetyState.OBSERVE


def test_a_watch_that_sees_nothing_or_says_nothing_for_too_long_opens_nothing(bench: Bench) -> None:
    """CB-06: a condition, which ends by itself."""
    look = bench.breaker
    look.is_watched = True
    look.lacks("the equity is not known")
    assert bench.database.read_blocking(look.causes) == ()
    bench.pass_time(seconds=31)
    look.looked_at = bench.clock.monotonic()
    (cause,) = bench.database.read_blocking(look.causes)
    assert (cause.state, cause.is_latch) == (SafetyState.OBSERVE, False)
    look.lacks(None)
    assert bench.database.read_blocking(look.causes) == ()
    bench.pass_time(seconds=31)
    (cause,) = bench.database.read_blocking(look.causes)
    assert "said nothing for 31 s" in cause.reason


def at(**figures: float | str | None) -> Metrics:
    told = {name: None if value is None else Decimal(str(value)) for name, value in figures.items()}
    return Metrics(at=NOON, accounts=(AccountFigures(account="DU1", **told),))


def _of_accounts(metrics: Metrics) -> list[Reading]:
    """What the triggers read from the figures of an account; those of the market and of orders have their own."""
    silent = {one for each in triggers_of(SETTINGS) for one in each.read(Metrics(at=NOON))}
    return [one for each in triggers_of(SETTINGS) for one in each.read(metrics) if one not in silent]


MARKS = {"day_start": 100, "day_peak": 100, "week_peak": 100, "high_water": 100, "peak_of_five_minutes": 100}


@pytest.mark.parametrize(
    ("trigger", "mark", "levels"),
    [
        ("CB-10", "day_peak", [(4, "NONE"), (4.01, "WARN"), (5, "WARN"), (5.01, "PAUSE"), (90, "PAUSE")]),
        ("CB-11", "week_peak", [(8, "NONE"), (8.01, "WARN"), (10, "WARN"), (10.01, "PAUSE"), (90, "PAUSE")]),
        ("CB-12", "high_water", [(10, "NONE"), (10.01, "WARN"), (15.01, "PAUSE"), (20, "PAUSE"), (20.01, "KILL")]),
        ("CB-13", "day_start", [(2, "NONE"), (2.01, "WARN"), (3, "WARN"), (3.01, "PAUSE"), (5.01, "KILL")]),
        ("CB-16", "peak_of_five_minutes", [(1, "NONE"), (1.01, "WARN"), (1.51, "PAUSE"), (3, "PAUSE"), (3.01, "KILL")]),
    ],
)
def test_each_fall_has_its_own_mark_and_its_own_levels(
    trigger: str, mark: str, levels: Sequence[tuple[float, str]]
) -> None:
    """CB-10 to CB-13, CB-16, T-02: equal to a level passes, beyond it acts; the other marks say nothing to it."""
    for fall, level in levels:
        metrics = at(equity=100 - fall, **{mark: 100})
        (found,) = _of_accounts(metrics)
        assert (found.trigger, found.level.name) == (trigger, level), fall


def test_margin_is_measured_against_the_equity() -> None:
    """CB-19."""
    levels = []
    for margin in (75, 75.01, 90.01, 95.01):
        (found,) = _of_accounts(at(equity=100, maintenance_margin=margin))
        levels.append(found.level.name)
    assert levels == ["NONE", "WARN", "PAUSE", "KILL"]
    (found,) = _of_accounts(at(equity=0, maintenance_margin=1))
    assert found.level is Level.KILL


def test_what_is_unknown_or_makes_no_sense_gives_no_reading() -> None:
    """T-06: a missing or negative mark neither divides nor trips."""
    for metrics in (at(equity=None, **MARKS), at(equity=50, day_start=0, high_water=-3)):
        assert _of_accounts(metrics) == []


_LEVELS = st.sampled_from(list(Level))
_STEPS = st.lists(
    st.tuples(
        st.lists(st.tuples(st.sampled_from(["CB-10", "CB-13", "CB-21"]), _LEVELS), max_size=3), st.integers(0, 45)
    ),
    max_size=12,
)


@settings(max_examples=25, deadline=None)
@given(steps=_STEPS, stage=st.sampled_from(list(Stage)))
def test_without_a_person_nothing_but_the_end_of_reduce_becomes_milder(
    steps: list[tuple[list[tuple[str, Level]], int]], stage: Stage
) -> None:
    """Invariant 3, QA-03: whatever the figures do, the breaker never closes, and no stage goes up."""
    order = list(Stage)
    with TemporaryDirectory() as directory:
        database = Database.open(lay_tables(Path(directory) / "state" / "store.db"))
        bench = Bench(database, ManualClock(NOON))
        bench.set(enter(bench.state, stage, NOON))
        calm_since: float | None = None
        for figures, minutes in steps:
            before = bench.state
            latest = {name: reading(level, trigger=name) for name, level in figures}
            bench.see(*latest.values())
            now = bench.clock.monotonic()
            is_calm = not before.is_open and all(one.is_calm for one in latest.values())
            calm_since = (now if calm_since is None else calm_since) if is_calm else None
            after = bench.state
            assert after.is_open >= before.is_open
            assert order.index(after.stage) <= order.index(before.stage)
            assert STAGE_FACTORS[after.stage] <= STAGE_FACTORS[before.stage]
            if before.mode is Mode.REDUCE and after.mode is Mode.NORMAL:
                assert calm_since is not None
                assert now - calm_since >= 30 * 60
            if any(level >= Level.PAUSE for _, level in figures) and latest:
                worst = max(one.level for one in latest.values())
                assert after.is_open or worst < Level.PAUSE
            bench.pass_time(minutes=minutes)
        database.close()


def test_what_nobody_could_judge_was_not_calm(bench: Bench) -> None:
    """RM-05, invariant 5: neither while the watch sees nothing nor while it lacks the equity."""
    for blind in (bench.breaker.sees_nothing, lambda: bench.breaker.lacks("the equity is not known")):
        bench.see(reading(Level.WARN, 2.1))
        bench.see(reading(Level.NONE, 0.1))
        bench.pass_time(minutes=29)
        blind()
        bench.see()
        bench.pass_time(minutes=2)
        bench.see(reading(Level.NONE, 0.1))
        modes = [bench.state.mode]
        bench.breaker.lacks(None)
        bench.see(reading(Level.NONE, 0.1))
        bench.pass_time(minutes=30)
        bench.see(reading(Level.NONE, 0.1))
        assert [*modes, bench.state.mode] == [Mode.REDUCE, Mode.NORMAL]
