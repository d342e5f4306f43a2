"""The effective safety state: several rows of table 0.1 can be active at once, and the strictest cell counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum


class SafetyState(StrEnum):
    """Rows of table 0.1 of the requirements, mildest first."""

    NORMAL = "NORMAL"
    REDUCE = "REDUCE"
    OBSERVE = "OBSERVE"
    SAFE = "SAFE"
    HALT = "HALT"
    CLOSE = "CLOSE"
    LOCKDOWN = "LOCKDOWN"


class Action(StrEnum):
    """Columns of table 0.1."""

    OPEN = "open"
    REDUCE = "reduce"
    PROTECT = "protect"
    CANCEL_ENTRY = "cancel_entry"
    CANCEL_PROTECTIVE = "cancel_protective"
    READ = "read"


class Permission(IntEnum):
    """Cells of table 0.1; a smaller number is stricter."""

    NO = 0
    COORDINATOR_ONLY = 1
    HUMAN_ONLY = 2
    COORDINATOR_OR_HUMAN = 3
    VERIFIED = 4
    """Yes, if the broker-confirmed position covers it (KS-13)."""
    YES = 5


class Party(StrEnum):
    """Who acts, as the table distinguishes them."""

    AGENT = "agent"
    HUMAN = "human"
    COORDINATOR = "coordinator"
    """Carries out a stop (`operations/stop_coordinator.py`); nobody can speak in its name."""


_PERMITTED = {
    Party.AGENT: {Permission.VERIFIED, Permission.YES},
    Party.HUMAN: {Permission.HUMAN_ONLY, Permission.COORDINATOR_OR_HUMAN, Permission.VERIFIED, Permission.YES},
    Party.COORDINATOR: {
        Permission.COORDINATOR_ONLY,
        Permission.COORDINATOR_OR_HUMAN,
        Permission.VERIFIED,
        Permission.YES,
    },
}


_TABLE: dict[SafetyState, dict[Action, Permission]] = {
    SafetyState.NORMAL: dict.fromkeys(Action, Permission.YES),
    SafetyState.REDUCE: dict.fromkeys(Action, Permission.YES) | {Action.CANCEL_PROTECTIVE: Permission.HUMAN_ONLY},
    SafetyState.OBSERVE: dict.fromkeys(Action, Permission.YES)
    | {Action.OPEN: Permission.NO, Action.CANCEL_PROTECTIVE: Permission.HUMAN_ONLY},
    SafetyState.SAFE: {
        Action.OPEN: Permission.NO,
        Action.REDUCE: Permission.HUMAN_ONLY,
        Action.PROTECT: Permission.HUMAN_ONLY,
        Action.CANCEL_ENTRY: Permission.YES,
        Action.CANCEL_PROTECTIVE: Permission.HUMAN_ONLY,
        Action.READ: Permission.YES,
    },
    SafetyState.HALT: {
        Action.OPEN: Permission.NO,
        Action.REDUCE: Permission.VERIFIED,
        Action.PROTECT: Permission.YES,
        Action.CANCEL_ENTRY: Permission.YES,
        Action.CANCEL_PROTECTIVE: Permission.HUMAN_ONLY,
        Action.READ: Permission.YES,
    },
    SafetyState.CLOSE: dict.fromkeys(Action, Permission.COORDINATOR_ONLY)
    | {Action.OPEN: Permission.NO, Action.READ: Permission.YES},
    SafetyState.LOCKDOWN: {
        Action.OPEN: Permission.NO,
        Action.REDUCE: Permission.HUMAN_ONLY,
        Action.PROTECT: Permission.HUMAN_ONLY,
        Action.CANCEL_ENTRY: Permission.COORDINATOR_OR_HUMAN,
        Action.CANCEL_PROTECTIVE: Permission.HUMAN_ONLY,
        Action.READ: Permission.NO,
    },
}


_ORDER = list(SafetyState)


def row(state: SafetyState) -> Mapping[Action, Permission]:
    """One row of the table."""
    return _TABLE[state]


@dataclass(frozen=True, kw_only=True)
class Cause:
    """Why a row is active."""

    state: SafetyState
    code: str
    reason: str
    is_latch: bool
    """A latch is left only by a human; a condition ends when its cause has verifiably gone."""


@dataclass(frozen=True, kw_only=True)
class EffectiveState:
    """All active rows together."""

    causes: tuple[Cause, ...] = ()

    @property
    def name(self) -> SafetyState:
        """The lowest active row of the table."""
        return max((cause.state for cause in self.causes), key=_ORDER.index, default=SafetyState.NORMAL)

    def permission(self, action: Action) -> Permission:
        return min((_TABLE[cause.state][action] for cause in self.causes), default=Permission.YES)

    def permits(self, action: Action, party: Party) -> bool:
        """Whether `party` may do it in every active state."""
        return not self.causes_against(action, party)

    def causes_against(self, action: Action, party: Party) -> Sequence[Cause]:
        """The causes that keep `party` from `action`, the most severe first."""
        against = [cause for cause in self.causes if not self._lets(cause.state, action, party)]
        return sorted(against, key=lambda cause: -_ORDER.index(cause.state))

    def _lets(self, state: SafetyState, action: Action, party: Party) -> bool:
        cell = _TABLE[state][action]
        if cell is Permission.HUMAN_ONLY and party is Party.COORDINATOR and state is not SafetyState.LOCKDOWN:
            # Only a human orders positions closed, and the coordinator is their hand. Without this the strictest of
            # SAFE (a human) and CLOSE (the coordinator) would be nobody, against invariant 6.
            return any(cause.state is SafetyState.CLOSE for cause in self.causes)
        return cell in _PERMITTED[party]
