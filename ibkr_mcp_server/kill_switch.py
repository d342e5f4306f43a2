"""Stopping trading from a Python program on the same machine, beside whatever server runs (requirements 3.6).

    from ibkr_mcp_server.kill_switch import KillSwitchMode, get_kill_switch

    get_kill_switch().activate(KillSwitchMode.HALT_ONLY, "the spread is absurd")

It works on the store of the environment's settings and blocks until the stop is durable and nothing is on its way. Only
a person can end a stop, with `ibkr-mcp-server reset`; `reset` and `deactivate` exist to say so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn

from ibkr_mcp_server.cli.user import local_user
from ibkr_mcp_server.cli.workspace import Workspace, open_workspace, settings_of
from ibkr_mcp_server.domain import scopes
from ibkr_mcp_server.domain.operations import Actor, ActorType
from ibkr_mcp_server.errors import Refused
from ibkr_mcp_server.safety.callbacks import Callbacks, News
from ibkr_mcp_server.store.latches import KillMode as KillSwitchMode

__all__ = ["KillSwitchMode", "KillSwitchStatus", "ProgramKillSwitch", "get_kill_switch"]


@dataclass(frozen=True, kw_only=True)
class KillSwitchStatus:
    """The switch of the account, as it stood a moment ago."""

    active: bool
    mode: KillSwitchMode | None
    reason: str | None
    triggered_at: datetime | None
    triggered_by: str | None


class ProgramKillSwitch:
    """The kill switch, for a program that runs as the user of the server."""

    def __init__(self) -> None:
        self._callbacks = Callbacks()

    def activate(self, mode: KillSwitchMode, reason: str = "", *, triggered_by: str | None = None) -> KillSwitchStatus:
        """Stop all trading. CLOSE_POSITIONS trades, so it takes people: `ibkr-mcp-server portfolio-close`.

        Raises:
            Refused: CLOSE_POSITIONS was asked for. Nothing was stopped.
        """
        if mode is KillSwitchMode.CLOSE_POSITIONS:
            raise Refused(
                "CLOSING_TAKES_PEOPLE",
                "Closing positions takes two people at a terminal; nothing was stopped.",
                next_step="Use HALT_ONLY, then run: ibkr-mcp-server portfolio-close --reason '…'",
            )
        return self._stop(mode, reason, triggered_by, scopes.ACCOUNT)

    def trigger(self, reason: str = "", triggered_by: str | None = None) -> KillSwitchStatus:
        """Stop all opening orders."""
        return self._stop(KillSwitchMode.HALT_ONLY, reason, triggered_by, scopes.ACCOUNT)

    def halt_strategy(self, name: str, reason: str = "") -> KillSwitchStatus:
        """Stop the opening orders of one agent."""
        return self._stop(KillSwitchMode.HALT_ONLY, reason, None, scopes.of_strategy(name))

    def emergency_stop(self, initiator: str | None = None) -> KillSwitchStatus:
        """Lock everything down."""
        return self._stop(KillSwitchMode.LOCKDOWN, "emergency stop", initiator, scopes.ACCOUNT)

    def is_active(self) -> bool:
        return self.get_status().active

    def get_status(self) -> KillSwitchStatus:
        with _workspace() as workspace:
            return _status(workspace)

    def register_callback(self, occasion: str, callback: Callable[[News], object]) -> None:
        """Call `callback` when this program halts something; `occasion` is `halt` or `strategy_halt`."""
        self._callbacks.register(occasion, callback)

    def reset(self, reset_by: str | None = None) -> NoReturn:
        """Always refused: a program cannot prove that a person asks."""
        raise Refused(
            "RESET_TAKES_A_PERSON",
            "Only a person at a terminal ends a stop.",
            next_step="Run: ibkr-mcp-server reset --reason '…'",
        )

    deactivate = reset

    def _stop(self, mode: KillSwitchMode, reason: str, triggered_by: str | None, scope: str) -> KillSwitchStatus:
        actor = Actor(type=ActorType.HUMAN, id=local_user(), auth="local-program")
        with _workspace() as workspace:
            workspace.kill_switch.callbacks = self._callbacks
            asyncio.run(workspace.kill_switch.activate(mode, reason, actor, scope=scope, claimed_by=triggered_by))
            return _status(workspace)


def get_kill_switch() -> ProgramKillSwitch:
    """The kill switch of the state directory that the environment's settings name."""
    return ProgramKillSwitch()


def _workspace() -> AbstractContextManager[Workspace]:
    return open_workspace(settings_of(None))


def _status(workspace: Workspace) -> KillSwitchStatus:
    found = workspace.kill_switch.status_now()
    latch = found.latch
    return KillSwitchStatus(
        active=found.active,
        mode=latch.mode if latch.active else None,
        reason=latch.reason if latch.active else None,
        triggered_at=latch.activated_at,
        triggered_by=latch.actor_id if latch.active else None,
    )
