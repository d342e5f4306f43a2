"""The kill switch: stops opening orders on every path, and stays on until a human clears it.

It stops the whole account, one strategy or one instrument (`domain/scopes.py`). Anybody may stop; the latch is written
before any effect follows, and unreadable means on. Clearing takes an `OperatorProof`, which no tool can obtain. What a
stop brings about at the broker is the business of `operations/stop_coordinator.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection

from ibkr_mcp_server.audit.events import AuditEvent, EventType
from ibkr_mcp_server.audit.log import AuditLog
from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.domain import scopes
from ibkr_mcp_server.domain.operations import SYSTEM, Actor, ActorType
from ibkr_mcp_server.domain.scopes import ACCOUNT
from ibkr_mcp_server.errors import Fault, ProductError, Refused
from ibkr_mcp_server.safety.callbacks import Callbacks, Occasion
from ibkr_mcp_server.safety.codes import Code
from ibkr_mcp_server.safety.operator import OperatorProof
from ibkr_mcp_server.safety.roles import Power
from ibkr_mcp_server.safety.send_gate import SendGate
from ibkr_mcp_server.safety.state import Cause, SafetyState
from ibkr_mcp_server.store import latches
from ibkr_mcp_server.store.database import Database
from ibkr_mcp_server.store.latches import KillMode, Latch

SENTINEL = Actor(type=ActorType.HUMAN, id="sentinel file", auth="sentinel-file")
SIGNAL = Actor(type=ActorType.HUMAN, id="signal", auth="signal")
ENVIRONMENT = Actor(type=ActorType.HUMAN, id="environment", auth="environment")

_ROWS = {
    KillMode.HALT_ONLY: SafetyState.HALT,
    KillMode.CLOSE_POSITIONS: SafetyState.CLOSE,
    KillMode.LOCKDOWN: SafetyState.LOCKDOWN,
}


Consent = Callable[[Connection], Mapping[str, object]]
"""Raises Refused while somebody's consent is missing; else what to record of it."""


def _nobody_else(connection: Connection) -> Mapping[str, object]:
    return {}


@dataclass(frozen=True, kw_only=True)
class Activation:
    """What a stop achieved."""

    latch: Latch | None
    """The durable latch; None when the store could not be written and the stop holds in memory and by the file."""
    first: bool
    """False when the switch was on already and this only repeats it."""
    durable: bool
    nothing_in_flight: bool
    """No process was sending when the stop returned; False names a process that hangs."""
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class Stops:
    """What the latches mean for one decision."""

    causes: tuple[Cause, ...]
    generation: int
    """Changes with every use of a switch that bears on the decision."""
    agent_was_stopped: bool = False
    """The agent's own switch was used before, so that it may be on its way back in stages (ST-09)."""


class KillSwitch:
    """The switches of one state directory."""

    def __init__(
        self,
        *,
        database: Database,
        audit: AuditLog,
        clock: Clock,
        gate: SendGate,
        sentinel: Path,
        holds: bool = True,
    ) -> None:
        self._database = database
        self._audit = audit
        self._clock = clock
        self._gate = gate
        self._sentinel = sentinel
        self._holds = holds
        self._stopping: Counter[str] = Counter()
        """By scope, the stops that are being carried out and are not durable yet."""
        self._memory_reason: str | None = None
        self.callbacks = Callbacks()

    async def activate(
        self,
        mode: KillMode,
        reason: str = "",
        actor: Actor = SYSTEM,
        *,
        scope: str = ACCOUNT,
        claimed_by: str | None = None,
    ) -> Activation:
        """Stop. Idempotent; a repeat can only escalate (KS-09). `claimed_by` is a name that nothing proves (SIG-08).

        Returns only when the latch is durable and no approved order is on its way any more. Strategies and instruments
        are only halted; positions are closed for the account as a whole. An agent halts, whatever it asks for (KS-10).

        Raises:
            Fault: an agent names a strategy that is not its own.
        """
        reason = reason.strip() or "unspecified"
        strategy = scopes.strategy_of(scope)
        if actor.type is ActorType.AGENT and strategy not in (None, actor.id):
            raise Fault("NOT_ITS_STRATEGY", f"{actor.id!r} cannot stop the strategy {strategy!r}.")
        if scope != ACCOUNT or actor.type is ActorType.AGENT:
            mode = KillMode.HALT_ONLY
        self._stopping[scope] += 1  # decisions refuse from here on, before the disk has answered
        try:
            latch, first = await self._database.run(
                lambda connection: self._latch(connection, mode, reason, actor, scope, claimed_by)
            )
            durable, trouble = True, None
        except (ProductError, OSError) as error:
            # Fail closed: stopped in memory, and by the file for every other process and the next start. The file
            # knows no scopes, so all trading stops.
            latch, first, durable, trouble = None, self._memory_reason is None, False, str(error)
            self._memory_reason = reason
            trouble = self._leave_sentinel(reason) or trouble
        finally:
            self._stopping[scope] -= 1
        in_flight = await self._wait_for_senders()
        news = {"scope": scope, "mode": str(mode), "reason": reason, "actor": actor.id}
        self.callbacks.call(
            Occasion.HALT if strategy is None else Occasion.STRATEGY_HALT, {**news, "first": first, "durable": durable}
        )
        return Activation(
            latch=latch, first=first, durable=durable, nothing_in_flight=in_flight is None, problem=trouble or in_flight
        )

    def _latch(
        self, connection: Connection, mode: KillMode, reason: str, actor: Actor, scope: str, claimed_by: str | None
    ) -> tuple[Latch, bool]:
        latch, first = latches.activate(
            connection, mode=mode, reason=reason, actor=actor, now=self._clock.now(), scope=scope
        )
        event = AuditEvent(
            type=EventType.KILL_SWITCH_ACTIVATE if scopes.strategy_of(scope) is None else EventType.STRATEGY_HALT,
            actor=actor,
            outcome={
                "scope": scope,
                "mode": str(latch.mode),
                "reason": reason,
                "first": first,
                "generation": latch.generation,
                "claimed_by": claimed_by,
            },
        )
        self._audit.append(connection, event)
        return latch, first

    def _leave_sentinel(self, reason: str) -> str | None:
        try:
            self._sentinel.write_text(reason + "\n", encoding="utf-8")
        except OSError as error:
            return f"the stop holds in this process only: {error}"
        return None

    async def _wait_for_senders(self) -> str | None:
        try:
            async with self._gate.held():
                return None
        except ProductError as error:
            return error.message

    async def clear(
        self, proof: OperatorProof, reason: str, *, scope: str = ACCOUNT, consent: Consent = _nobody_else
    ) -> Latch:
        """Reset a switch; a human did this and says why (KS-15, KS-16).

        `consent` finds in the same transaction what else has to allow it, and tells the record of that.

        Raises:
            Refused: no reason, the role does not reach, the switch is off, the sentinel file cannot be removed, or
                somebody's consent is missing.
        """
        proof.require(power_to_end(scope))
        if not reason.strip():
            raise Refused(
                "REASON_MISSING", "A reset needs a reason.", next_step="Say in a sentence why trading may resume."
            )
        if not self.is_active_now(scope):
            raise not_active(scope)
        stopped_by_file = scope == ACCOUNT and self._remove_sentinel()

        def work(connection: Connection) -> Latch:
            consented = consent(connection)
            latch = latches.clear(connection, actor=proof.actor, reason=reason, now=self._clock.now(), scope=scope)
            is_strategy = scopes.strategy_of(scope) is not None
            event = AuditEvent(
                type=EventType.STRATEGY_RESUME if is_strategy else EventType.KILL_SWITCH_DEACTIVATE,
                actor=proof.actor,
                outcome={"scope": scope, "reason": reason, "generation": latch.generation, **consented},
            )
            self._audit.append(connection, event)
            return latch

        try:
            latch = await self._database.run(work)
        except BaseException:
            if stopped_by_file:  # what no record ended goes on: the file may be all that stops the next start
                self._leave_sentinel("A reset failed.")
            raise
        if scope == ACCOUNT:
            self._memory_reason = None
        self.callbacks.call(
            Occasion.RESUME if scopes.strategy_of(scope) is None else Occasion.STRATEGY_RESUME,
            {"scope": scope, "reason": reason, "actor": proof.actor.id},
        )
        return latch

    def _remove_sentinel(self) -> bool:
        """Whether there was one."""
        try:
            self._sentinel.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise Refused(
                "SENTINEL_STAYS",
                f"The file {self._sentinel.name} cannot be removed: {error.strerror}.",
                next_step="Remove it from the state directory, then reset again.",
            ) from error
        return True

    def is_active_now(self, scope: str = ACCOUNT) -> bool:
        """Whether the switch of `scope` is on, read for a person; blocking."""
        if scope == ACCOUNT:
            return self.status_now().active
        return self._database.read_blocking(lambda connection: latches.current(connection, scope)).active

    def status_now(self) -> KillStatus:
        """The switch as it is now, read for a person; blocking."""
        return self._database.read_blocking(self.status)

    def status(self, connection: Connection) -> KillStatus:
        latch, *others = latches.active(connection)
        sentinel = self.sentinel_present()
        return KillStatus(
            active=latch.active or sentinel or self._memory_reason is not None or self._stopping[ACCOUNT] > 0,
            latch=latch,
            sentinel=sentinel,
            read_at=self._clock.now(),
            others=tuple(others),
        )

    def sentinel_present(self) -> bool:
        """Whether the file is there; a directory that cannot be looked into counts as yes."""
        try:
            self._sentinel.lstat()
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return True

    @property
    def stopped_by_file(self) -> bool:
        """Whether the file alone holds orders back."""
        return self._holds and self.sentinel_present()

    def bearing_on(self, connection: Connection, *, agent: str | None = None, con_id: int | None = None) -> Stops:
        """Why trading is stopped for `agent` in the contract `con_id`; inside the decision's transaction."""
        strategy = None if agent is None else scopes.of_strategy(agent)
        mine = [] if strategy is None else [strategy]
        mine += [scopes.of_instrument(con_id)] if con_id else []
        # Looked at before the latches: a stop that ends in between has committed it.
        being_carried_out = self._memory_reason is not None or any(map(self._stopping.get, (ACCOUNT, *mine)))
        bearing = latches.bearing_on(connection, mine)
        found = [_cause(latch) for latch in bearing if latch.active]
        if self.sentinel_present():
            found.append(_halt(f"The file {self._sentinel.name} in the state directory stops all trading."))
        if being_carried_out:
            found.append(_halt("A stop is being carried out."))
        return Stops(
            causes=tuple(found) if self._holds else (),
            generation=sum(latch.generation for latch in bearing),
            agent_was_stopped=any(latch.scope == strategy for latch in bearing),
        )


@dataclass(frozen=True, kw_only=True)
class KillStatus:
    """What the status tool and the command line show (KS-04)."""

    active: bool
    latch: Latch
    sentinel: bool
    read_at: datetime
    others: tuple[Latch, ...] = field(default=())
    """The strategies and instruments that are stopped."""


def power_to_end(scope: str) -> Power:
    """What it takes to end the stop of `scope`."""
    return Power.RESET if scopes.strategy_of(scope) is None else Power.RESUME_STRATEGY


def not_active(scope: str) -> Refused:
    """There is nothing to reset."""
    what = "The kill switch is off" if scope == ACCOUNT else f"No stop of {scopes.named(scope)} is active"
    return Refused("NOT_ACTIVE", f"{what}; there is nothing to reset.")


def _cause(latch: Latch) -> Cause:
    since = f" since {latch.activated_at:%Y-%m-%d %H:%M:%S} UTC" if latch.activated_at else ""
    if latch.scope == ACCOUNT:
        return _halt(f"The kill switch is on ({latch.mode}){since}: {latch.reason}", _ROWS[latch.mode])
    what = scopes.named(latch.scope)
    return _halt(f"{what[0].upper()}{what[1:]} is halted{since}: {latch.reason}")


def _halt(reason: str, state: SafetyState = SafetyState.HALT) -> Cause:
    return Cause(state=state, code=Code.KILL_SWITCH_ACTIVE, reason=reason, is_latch=True)
