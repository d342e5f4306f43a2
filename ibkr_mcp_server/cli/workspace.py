"""What commands work with: the same settings, state directory and store as the server, whether it runs or not."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ibkr_mcp_server.alerts.outbox import Outbox
from ibkr_mcp_server.audit.log import AuditLog
from ibkr_mcp_server.clock import Clock, SystemClock
from ibkr_mcp_server.errors import ConfigurationError
from ibkr_mcp_server.safety.approval_queue import ApprovalQueue
from ibkr_mcp_server.safety.kill_switch import KillSwitch
from ibkr_mcp_server.safety.send_gate import SendGate
from ibkr_mcp_server.settings.loading import load_settings
from ibkr_mcp_server.settings.model import Settings
from ibkr_mcp_server.state_dir import StateDirectory, open_state_directory, state_directory_problems
from ibkr_mcp_server.store.database import Database

EnvFile = Annotated[
    Path | None,
    typer.Option("--env-file", metavar="PATH", help="File with settings; the one that the server is started with."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """The durable parts, open; there is no link to the broker."""

    settings: Settings
    state: StateDirectory
    database: Database
    audit: AuditLog
    kill_switch: KillSwitch
    clock: Clock

    @property
    def queue(self) -> ApprovalQueue:
        """The requests to people."""
        return ApprovalQueue(database=self.database, audit=self.audit, clock=self.clock)


def settings_of(env_file: Path | None) -> Settings:
    """The settings of the environment and of `env_file`.

    Raises:
        ConfigurationError: all that is wrong with them.
    """
    return load_settings(environ=os.environ, env_file=env_file)


def existing_state(settings: Settings) -> StateDirectory:
    """The state directory for a command that only looks: nothing is made or changed.

    Raises:
        ConfigurationError: it cannot be the state directory.
    """
    problems = state_directory_problems(settings.state_directory)
    if problems:
        raise ConfigurationError(problems)
    return StateDirectory(path=settings.state_directory)


@contextmanager
def open_workspace(settings: Settings, *, read_only: bool = False) -> Iterator[Workspace]:
    """Open the store beside whatever else uses it.

    Raises:
        ConfigurationError: the state directory is not private.
        Fault, Unavailable: the store cannot be used; with `read_only` also when there is none yet.
    """
    state = existing_state(settings) if read_only else open_state_directory(settings.state_directory)
    clock = SystemClock()
    database = Database.open(settings.store_location(state), read_only=read_only)
    try:
        audit = AuditLog(
            database,
            session_id=str(uuid.uuid4()),
            config_hash=settings.fingerprint,
            clock=clock,
            hears=Outbox(settings, clock).hears,
        )
        kill_switch = KillSwitch(
            database=database, audit=audit, clock=clock, gate=SendGate(state.send_lock), sentinel=state.sentinel
        )
        yield Workspace(
            settings=settings, state=state, database=database, audit=audit, kill_switch=kill_switch, clock=clock
        )
    finally:
        database.close()
