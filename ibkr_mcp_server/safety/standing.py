"""How things stand: what the store has recorded, and every cause that holds operations back now.

Read inside the transaction that decides, so that two decisions never see the same headroom.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import Connection

from ibkr_mcp_server.broker.base import BrokerReads, LinkState
from ibkr_mcp_server.clock import Clock, trading_day
from ibkr_mcp_server.domain.operations import BracketDraft, Operation, OperationClass
from ibkr_mcp_server.safety import efficiency
from ibkr_mcp_server.safety.agent_stages import stage_of
from ibkr_mcp_server.safety.circuit_breaker import STAGE_FACTORS, CircuitBreaker
from ibkr_mcp_server.safety.codes import Code
from ibkr_mcp_server.safety.identity import BRACKET_PARTS, part_key
from ibkr_mcp_server.safety.kill_switch import KillSwitch, Stops
from ibkr_mcp_server.safety.limits_in_force import LimitsInForce, limits_in_force
from ibkr_mcp_server.safety.minute_window import MINUTE_SECONDS
from ibkr_mcp_server.safety.readiness import Readiness
from ibkr_mcp_server.safety.snapshot import Observed, Recorded
from ibkr_mcp_server.safety.state import Cause, EffectiveState, SafetyState
from ibkr_mcp_server.safety.writer import WriterRole
from ibkr_mcp_server.settings.model import Settings
from ibkr_mcp_server.store import agent_positions, breaker, intents
from ibkr_mcp_server.store.breaker import BreakerState
from ibkr_mcp_server.store.intents import DayOfMessages, Intent


class Standing:
    """Reads the present standing for a decision, for the final gate and for the status."""

    def __init__(
        self,
        *,
        settings: Settings,
        broker: BrokerReads,
        kill_switch: KillSwitch,
        breaker: CircuitBreaker,
        writer: WriterRole,
        readiness: Readiness,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._broker = broker
        self._kill_switch = kill_switch
        self._breaker = breaker
        self._writer = writer
        self._readiness = readiness
        self._clock = clock
        self.more_conditions: list[Callable[[], Sequence[Cause]]] = []
        """Causes that other parts of the server look after."""

    def recorded(self, connection: Connection, operation: Operation, asked: str, observed: Observed) -> Recorded:
        """Read inside the decision's transaction; `asked` is the fingerprint of the request."""
        risk = breaker.current(connection)
        state, stops = self._switches(connection, operation, observed, risk)
        if not operation.operation_class.writes_orders:
            return Recorded(state=state)
        messages = intents.messages_on(connection, trading_day(self._clock.now()))
        state = EffectiveState(causes=(*state.causes, *self._inefficient(messages)))
        key = operation.client_request_id
        longest = max(MINUTE_SECONDS, self._settings.cycle_seconds, self._settings.price_walk_seconds)
        openings = intents.openings(connection, self._clock, longest)
        return Recorded(
            state=state,
            not_the_writer=self._writer.objection(connection),
            opening_ages_seconds=tuple(o.age_seconds for o in openings if o.age_seconds < MINUTE_SECONDS),
            opening_today=sum(opening.is_today for opening in openings),
            messages=messages,
            openings=tuple(openings),
            modification_ages_seconds=tuple(
                intents.modifications_in_window(connection, self._clock, MINUTE_SECONDS)
                if operation.operation_class is OperationClass.ORDER_MODIFICATION
                else ()
            ),
            agent_positions=agent_positions.all_of(connection),
            unresolved=tuple(intents.unresolved(connection)),
            limits=self.limits(connection, risk, agent=operation.actor.id if stops.agent_was_stopped else None),
            same_key=None if key is None else _holder(connection, operation, key),
            fingerprint=asked,
            switch_generation=stops.generation,
        )

    def limits(
        self, connection: Connection, risk: BreakerState | None = None, *, agent: str | None = None
    ) -> LimitsInForce:
        """How the limits of this moment differ from the configured ones; `risk` if it was read already."""
        factor = self._breaker.factor_of(risk or breaker.current(connection))
        if agent is not None:
            factor *= STAGE_FACTORS[stage_of(connection, agent).stage]
        return limits_in_force(connection, self._clock, factor)

    def conditions(self) -> tuple[Cause, ...]:
        """Causes that end by themselves, and the configured safe mode."""
        found = []
        if self._settings.safe_mode:
            text = "Safe mode is configured (IBKR_SAFE_MODE=true)."
            found.append(Cause(state=SafetyState.SAFE, code=Code.SAFE_MODE, reason=text, is_latch=True))
        link = self._broker.link
        if not link.is_up:
            starting = (
                link.state in (LinkState.CONNECTING, LinkState.SYNCHRONISING) and link.accounts_verified_at is None
            )
            code = Code.STARTING if starting and link.problem is None else Code.LINK_DOWN
            text = f"The link to the broker is {link.state}. {link.problem or ''}".strip()
            found.append(Cause(state=SafetyState.SAFE, code=code, reason=text, is_latch=False))
        found += self._readiness.causes(is_writer=self._writer.is_writer, link_is_up=link.is_up)
        for conditions in self.more_conditions:
            found += conditions()
        now = self._clock.now()
        for window in self._settings.no_entry_windows:
            if window.contains(now):
                text = (
                    f"It is the time of nightly restarts ({window} New York time, IBKR_RESTART_WINDOWS): nothing is "
                    f"opened before {window.ends_after(now):%H:%M} New York time."
                )
                found.append(Cause(state=SafetyState.OBSERVE, code=Code.RESTART_WINDOW, reason=text, is_latch=False))
        return tuple(found)

    def state(self, connection: Connection, agent: str | None) -> EffectiveState:
        """The effective state now, for the status; with what stops `agent` alone."""
        messages = intents.messages_on(connection, trading_day(self._clock.now()))
        stops = self._kill_switch.bearing_on(connection, agent=agent)
        risk = self._breaker.causes(connection)
        return EffectiveState(causes=(*stops.causes, *risk, *self.conditions(), *self._inefficient(messages)))

    def switches(self, connection: Connection, operation: Operation, observed: Observed) -> tuple[EffectiveState, int]:
        """What the final gate looks at, and the generation of the kill switches that bear on the operation.

        The legs of one bracket are no reason against one another.
        """
        state, stops = self._switches(connection, operation, observed, breaker.current(connection))
        return state, stops.generation

    def _switches(
        self, connection: Connection, operation: Operation, observed: Observed, risk: BreakerState
    ) -> tuple[EffectiveState, Stops]:
        order = observed.order or (None if observed.current is None else observed.current.order)
        con_id = None if order is None else order.instrument.con_id
        stops = self._kill_switch.bearing_on(connection, agent=operation.actor.id, con_id=con_id)
        causes = self._breaker.causes_of(risk)
        return EffectiveState(causes=(*stops.causes, *causes, *self.conditions())), stops

    def _inefficient(self, messages: DayOfMessages) -> tuple[Cause, ...]:
        if not self._settings.safety_mode:
            return ()
        found = efficiency.cause(messages, self._settings.max_messages_per_fill)
        return () if found is None else (found,)


def _holder(connection: Connection, operation: Operation, key: str) -> Intent | None:
    """The intent that holds the request's key, or one of the keys of its parts."""
    keys = [key]
    if isinstance(operation.draft, BracketDraft):
        keys += [part_key(key, part) for part in BRACKET_PARTS]
    return next(filter(None, (intents.find_by_key(connection, one) for one in keys)), None)
