"""The circuit breaker: turns readings into a latch, a risk mode and a recovery stage. Only a person makes it milder.

OPEN stops what opens and is left by a person's reset alone (CB-02); there is no half-open, because a breaker that
protects money does not test itself with orders. REDUCE halves the size limits and ends by itself when every figure has
been calm for half an hour (RM-05). All breached triggers are recorded, and the most severe level applies (CB-05, T-31).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from sqlalchemy import Connection

from ibkr_mcp_server.audit.events import AuditEvent, EventType
from ibkr_mcp_server.audit.log import AuditLog
from ibkr_mcp_server.clock import Clock, next_trading_day_starts, trading_day
from ibkr_mcp_server.domain.operations import SYSTEM
from ibkr_mcp_server.safety.codes import Code
from ibkr_mcp_server.safety.state import Cause, EffectiveState, SafetyState
from ibkr_mcp_server.safety.triggers.base import Level, Reading
from ibkr_mcp_server.settings.model import Settings
from ibkr_mcp_server.store import breaker
from ibkr_mcp_server.store.breaker import Acknowledged, Breach, BreakerState, Mode, Stage

WORSE = Decimal("1.1")
"""A figure that a person acknowledged counts again when it is a tenth worse."""
WARNINGS_OF_A_STAGE = 2
"""RC-05: with so many in one stage it is taken back."""
STAGE_FACTORS = {
    Stage.PAPER: Decimal("0.25"),
    Stage.QUARTER: Decimal("0.25"),
    Stage.HALF: Decimal("0.5"),
    Stage.FULL: Decimal(1),
}
"""RC-03, on all size limits. In PAPER orders that open are judged by the limits of the stage that follows."""


@dataclass(frozen=True, kw_only=True)
class Applied:
    """What readings changed."""

    state: BreakerState
    kill: str | None = None
    """Why trading must be stopped altogether; None if it need not be."""


class CircuitBreaker:
    """The breaker of one store."""

    def __init__(self, *, settings: Settings, audit: AuditLog, clock: Clock) -> None:
        self._settings = settings
        self._audit = audit
        self._clock = clock
        self._calm_since: float | None = None
        """In memory on purpose: a restart begins the half hour anew."""
        self.missing: str | None = None
        """What the watch lacks to judge the risk (CB-06); None while it has all."""
        self.missing_since: float | None = None
        self.looked_at = clock.monotonic()
        """When the watch last judged the figures."""
        self.is_watched = False
        """This process runs the watch; without it silence proves nothing."""

    # ---- what decisions see

    def causes(self, connection: Connection) -> tuple[Cause, ...]:
        """Why the breaker, the mode or the stage hold trading back; one read of one row."""
        return self.causes_of(breaker.current(connection))

    def causes_of(self, state: BreakerState) -> tuple[Cause, ...]:
        return (*self._latched(state), *self._blind())

    def _latched(self, state: BreakerState) -> tuple[Cause, ...]:
        found = []
        if not state.is_readable:
            text = "The circuit breaker's state cannot be read, so it counts as open."
            return (_cause(SafetyState.OBSERVE, Code.STATE_UNREADABLE, text, is_latch=True),)
        if state.is_open:
            found.append(_cause(SafetyState.OBSERVE, Code.CIRCUIT_BREAKER_OPEN, _why_open(state), is_latch=True))
        if state.mode is Mode.REDUCE:
            text = f"The risk is high, so the size limits are multiplied by {self._settings.reduce_factor:g}"
            warned = "; ".join(one.text for one in sorted(state.breaches.values(), key=lambda one: one.at))
            text = f"{text}: {warned}." if warned else f"{text}."
            found.append(_cause(SafetyState.REDUCE, Code.RISK_REDUCED, text, is_latch=False))
        if state.stage is not Stage.FULL:
            code = Code.PAPER_STAGE if state.stage is Stage.PAPER else Code.RECOVERY_STAGE
            found.append(_cause(SafetyState.REDUCE, code, _stage_text(state.stage), is_latch=True))
        return tuple(found)

    def factor_of(self, state: BreakerState) -> Decimal:
        """What mode and stage multiply the size limits by (RM-03, RC-03)."""
        reduced = Decimal(str(self._settings.reduce_factor)) if state.mode is Mode.REDUCE else Decimal(1)
        return reduced * STAGE_FACTORS[state.stage]

    def _blind(self) -> tuple[Cause, ...]:
        """CB-06: what nobody could judge for too long opens nothing."""
        if not self.is_watched:
            return ()
        now, grace = self._clock.monotonic(), float(self._settings.breaker_input_grace_seconds)
        if self.missing is not None and self.missing_since is not None and now - self.missing_since > grace:
            text = f"For {now - self.missing_since:.0f} s the risk cannot be judged: {self.missing}."
        elif now - self.looked_at > grace:
            text = f"The watch over the risk has said nothing for {now - self.looked_at:.0f} s."
        else:
            return ()
        return (_cause(SafetyState.OBSERVE, Code.RISK_UNKNOWN, text, is_latch=False),)

    # ---- what the watch reports

    def lacks(self, what: str | None, *, for_seconds: float = 0.0) -> None:
        """The watch has what it needs, or lacks `what`, which was told last so long ago if it ever was."""
        if what is None:
            self.missing = self.missing_since = None
        else:
            since = self._clock.monotonic() - for_seconds
            self.missing_since = since if self.missing_since is None else min(self.missing_since, since)
            self.missing = what

    def sees_nothing(self) -> None:
        """Nothing is judged, because another state holds everything back; what was calm has to begin anew."""
        self.looked_at = self._clock.monotonic()
        self.lacks(None)
        self._calm_since = None

    def changes(self, state: BreakerState, readings: Sequence[Reading]) -> bool:
        """Whether `apply` would change anything; asked every second, without the store."""
        now = self._clock.monotonic()
        is_calm = not state.is_open and self.missing is None and all(reading.is_calm for reading in readings)
        self._calm_since = (self._calm_since or now) if is_calm else None
        return bool(
            self._rises(state, readings)
            or self._lapsed(state, readings)
            or self._is_calm_again(state)
            or self._may_propose(state)
        )

    def apply(self, connection: Connection, readings: Sequence[Reading]) -> Applied:
        """Record what the readings bring about. It can only make things stricter, but for the end of REDUCE."""
        state = breaker.current(connection)
        before, now = state, self._clock.now()
        rises = self._rises(state, readings)
        for key in self._lapsed(state, readings):
            state = replace(state, acknowledged={k: one for k, one in state.acknowledged.items() if k != key})
        for reading in rises:
            state = self._risen(connection, state, reading, now)
        state = self._stage_after(connection, state, rises, now)
        kills = [reading.text for reading in rises if reading.level is Level.KILL]
        if not rises and self._is_calm_again(state):
            state = replace(state, mode=Mode.NORMAL, breaches={})
            self._record(connection, EventType.MODE_CHANGE, {"mode": Mode.NORMAL, "was": Mode.REDUCE})
        if not rises and self._may_propose(state):
            state = replace(state, proposed=True)
            outcome = {"stage": state.stage, "proposed": state.stage.above, "decisions": state.stage_decisions}
            self._record(connection, EventType.STAGE_CHANGE, outcome)
        if state != before:
            state = breaker.store(connection, state, now)
        kill = f"The circuit breaker stops trading: {'; '.join(kills)}." if kills else None
        return Applied(state=state, kill=kill)

    def note_decision(self, connection: Connection) -> None:
        """An opening order was decided on; the stages of a recovery count them (RC-04)."""
        state = breaker.current(connection)
        if state.is_readable and state.stage is not Stage.FULL:
            breaker.store(connection, replace(state, stage_decisions=state.stage_decisions + 1), self._clock.now())

    # ---- parts of it

    def _rises(self, state: BreakerState, readings: Sequence[Reading]) -> list[Reading]:
        """Readings that reach a level which was not known yet, the most severe first."""
        risen = [
            reading
            for reading in readings
            if reading.level > _known_level(state, reading) and not _is_acknowledged(state, reading)
        ]
        return sorted(risen, key=lambda reading: (-reading.level, reading.trigger))

    def _lapsed(self, state: BreakerState, readings: Sequence[Reading]) -> list[str]:
        """Acknowledgements whose figure has come back below its warning."""
        return [
            key
            for reading in readings
            if reading.level is Level.NONE and (key := key_of(reading)) in state.acknowledged
        ]

    def _is_calm_again(self, state: BreakerState) -> bool:
        if state.mode is not Mode.REDUCE or state.is_open or self._calm_since is None:
            return False
        return self._clock.monotonic() - self._calm_since >= 60 * self._settings.reduce_ends_after_minutes

    def _may_propose(self, state: BreakerState) -> bool:
        return not state.proposed and not self.against_promotion(state)

    def against_promotion(self, state: BreakerState) -> list[str]:
        """What stands against the next stage (RC-04); empty when it may be proposed."""
        if state.stage is Stage.FULL:
            return ["Trading is at full size already."]
        found = []
        if state.is_open:
            found.append("The circuit breaker is open.")
        if state.stage_since is None or trading_day(state.stage_since) >= trading_day(self._clock.now()):
            found.append(f"The stage {state.stage} has not lasted a trading day yet.")
        needed = self._settings.stage_decisions
        if state.stage_decisions < needed:
            found.append(f"{state.stage_decisions} decisions without a warning; {needed} are needed.")
        return found

    def _risen(self, connection: Connection, state: BreakerState, reading: Reading, now: datetime) -> BreakerState:
        breach = _breach(reading, now)
        outcome = {
            "trigger": breach.trigger,
            "metric": breach.metric,
            "scope": breach.scope,
            "level": breach.level,
            "observed": breach.observed,
            "limit": breach.limit,
            "unit": breach.unit,
        }
        trips = reading.level >= Level.PAUSE
        if trips:
            cool_until = self._cool_until(reading, now)
            later = max(filter(None, (state.earliest_reset, cool_until)), default=None)
            state = replace(
                state,
                is_open=True,
                opened_at=state.opened_at if state.is_open else now,
                first=state.first if state.is_open else breach,
                earliest_reset=later,
            )
            self._record(connection, EventType.CIRCUIT_BREAKER_TRIP, {**outcome, "earliest_reset": later})
        if state.mode is not Mode.REDUCE or not trips:
            self._record(connection, EventType.MODE_CHANGE, {"mode": Mode.REDUCE, "was": state.mode, **outcome})
        return replace(state, mode=Mode.REDUCE, breaches={**state.breaches, key_of(reading): breach})

    def _stage_after(
        self, connection: Connection, state: BreakerState, rises: Sequence[Reading], now: datetime
    ) -> BreakerState:
        """RC-05: a trip, or the second warning in a stage, takes it back by one."""
        if state.stage is Stage.FULL or not rises:
            return state
        warnings = state.stage_warnings + sum(reading.level is Level.WARN for reading in rises)
        if rises[0].level is Level.WARN and warnings < WARNINGS_OF_A_STAGE:
            return replace(state, stage_warnings=warnings, stage_decisions=0, proposed=False)
        outcome = {"stage": state.stage.below, "was": state.stage, "because": rises[0].text}
        self._record(connection, EventType.STAGE_CHANGE, outcome)
        return enter(state, state.stage.below, now)

    def _cool_until(self, reading: Reading, now: datetime) -> datetime | None:
        """RC-01."""
        if not reading.loses_money:
            return None
        if reading.level is Level.KILL:
            return next_trading_day_starts(now)
        return now + timedelta(minutes=self._settings.breaker_cooldown_minutes)

    def _record(self, connection: Connection, event: EventType, outcome: Mapping[str, object]) -> None:
        self._audit.append(connection, AuditEvent(type=event, actor=SYSTEM, outcome=outcome))


def enter(state: BreakerState, stage: Stage, now: datetime) -> BreakerState:
    """The state at the beginning of `stage`."""
    return replace(state, stage=stage, stage_since=now, stage_decisions=0, stage_warnings=0, proposed=False)


def is_on_paper(state: EffectiveState) -> bool:
    """The first stage of a recovery is among the causes."""
    return any(cause.code == Code.PAPER_STAGE for cause in state.causes)


def is_staged(state: EffectiveState) -> bool:
    """Some stage of a recovery is among the causes."""
    return any(cause.code in (Code.PAPER_STAGE, Code.RECOVERY_STAGE) for cause in state.causes)


def key_of(reading: Reading) -> str:
    return f"{reading.trigger}:{reading.scope}" if reading.scope else reading.trigger


def acknowledged(reading: Reading) -> Acknowledged:
    return Acknowledged(level=reading.level.name, observed=reading.observed)


def _known_level(state: BreakerState, reading: Reading) -> Level:
    known = state.breaches.get(key_of(reading))
    return Level.NONE if known is None else Level[known.level]


def _is_acknowledged(state: BreakerState, reading: Reading) -> bool:
    known = state.acknowledged.get(key_of(reading))
    if known is None or reading.level > Level[known.level]:
        return False
    worse = reading.observed < known.observed / WORSE if reading.is_floor else reading.observed > known.observed * WORSE
    return not worse


def _breach(reading: Reading, now: datetime) -> Breach:
    assert reading.limit is not None  # a level was reached
    return Breach(
        trigger=reading.trigger,
        metric=reading.metric,
        scope=reading.scope,
        level=reading.level.name,
        observed=reading.observed,
        limit=reading.limit,
        unit=reading.unit,
        at=now,
        loses_money=reading.loses_money,
    )


def _why_open(state: BreakerState) -> str:
    since = f" since {state.opened_at:%Y-%m-%d %H:%M:%S} UTC" if state.opened_at else ""
    first = state.first.text if state.first is not None else "unknown"
    others = [
        one.text
        for key, one in sorted(state.breaches.items(), key=lambda item: item[1].at)
        if one.level != Level.WARN.name
        and (state.first is None or (one.trigger, one.scope) != (state.first.trigger, state.first.scope))
    ]
    also = f" Also: {'; '.join(others)}." if others else ""
    return f"The circuit breaker is open{since}: {first}.{also}"


def _stage_text(stage: Stage) -> str:
    if stage is Stage.PAPER:
        return "Trading comes back in stages; in PAPER what opens is decided and recorded, and reaches no real broker."
    return f"Trading comes back in stages; in {stage} the size limits are multiplied by {STAGE_FACTORS[stage]}."


def _cause(state: SafetyState, code: Code, reason: str, *, is_latch: bool) -> Cause:
    return Cause(state=state, code=code, reason=reason, is_latch=is_latch)
