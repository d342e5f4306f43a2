"""The switches: what the effective state of table 0.1 permits right now."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ibkr_mcp_server.domain.operations import COORDINATOR, Actor, ActorType, Operation, OperationClass, Problem
from ibkr_mcp_server.safety.codes import Code, problem
from ibkr_mcp_server.safety.decision import PASSED, Findings, refuses
from ibkr_mcp_server.safety.snapshot import Snapshot
from ibkr_mcp_server.safety.state import Action, Cause, Party, SafetyState


class CauseGroup(StrEnum):
    """Where a cause stands in the order of TW-03. Every cause belongs to one group, so none can be overlooked."""

    KILL_SWITCH = "kill_switch"
    CONDITION = "condition"
    SAFE_MODE = "safe_mode"


def group_of(cause: Cause) -> CauseGroup:
    if cause.state in (SafetyState.HALT, SafetyState.CLOSE, SafetyState.LOCKDOWN):
        return CauseGroup.KILL_SWITCH
    return CauseGroup.SAFE_MODE if cause.code == Code.SAFE_MODE else CauseGroup.CONDITION


@dataclass(frozen=True, kw_only=True)
class StateCheck:
    """Refuses what the causes of one group do not permit to whoever asks."""

    group: CauseGroup

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        if operation.operation_class in _ALWAYS_HEARD:
            return PASSED
        state = seen.recorded.state
        if not state.causes:
            return _NORMAL
        party = party_of(operation.actor)
        # A reducing order was verified against the broker's position when it was classified (exposure.py).
        forbidden = [action for action in _needed(seen) if not state.permits(action, party)]
        if not forbidden:
            return Findings(observed=state.name)
        return refuses(
            *(
                self._problem(cause, action, seen)
                for action in forbidden
                for cause in state.causes_against(action, party)
                if group_of(cause) is self.group
            )
        )

    def _problem(self, cause: Cause, action: Action, seen: Snapshot) -> Problem:
        code = Code(cause.code)
        text = cause.reason
        if action is Action.CANCEL_PROTECTIVE:
            code = Code.PROTECTIVE_ORDER
            what = "The change takes protection from" if seen.observed.weakens_protection else "The order protects"
            text = f"{what} a position, and {text[0].lower()}{text[1:]}"
        exposure, order = seen.observed.exposure, seen.order
        if action is Action.OPEN and exposure is not None and order is not None:
            room = exposure.reducible(order.side)
            if room > 0:
                text += f" A {order.side} of at most {room:f} would be a reduction, which may still pass."
        return problem(code, text, observed=cause.state)


_ALWAYS_HEARD = OperationClass.SAFETY_STATUS, OperationClass.SAFETY_STOP
_NORMAL = Findings(observed=SafetyState.NORMAL)


def party_of(actor: Actor) -> Party:
    if actor == COORDINATOR:
        return Party.COORDINATOR
    return Party.HUMAN if actor.type is ActorType.HUMAN else Party.AGENT


def _needed(seen: Snapshot) -> tuple[Action, ...]:
    """What must be permitted: the action itself, and for a change that weakens protection its removal as well."""
    action = seen.observed.action
    return (action, Action.CANCEL_PROTECTIVE) if seen.observed.weakens_protection else (action,)
