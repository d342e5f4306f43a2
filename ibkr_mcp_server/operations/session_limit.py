"""Stops opening after so many hours of running, until a person looked and armed it again (TM-06).

Protection, exits and reads go on. The time is counted by the process that writes and kept in the store; a crash loses
at most `COUNT_SECONDS` of it.
"""

from __future__ import annotations

import asyncio

from sqlalchemy import Connection

from ibkr_mcp_server.audit.events import AuditEvent, EventType
from ibkr_mcp_server.audit.log import AuditLog
from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.domain.operations import SYSTEM
from ibkr_mcp_server.errors import ProductError
from ibkr_mcp_server.log import get_logger
from ibkr_mcp_server.operations.desk import Desk
from ibkr_mcp_server.safety.operator import OperatorProof
from ibkr_mcp_server.safety.roles import Power
from ibkr_mcp_server.safety.state import SafetyState
from ibkr_mcp_server.store import session_time
from ibkr_mcp_server.store.database import Database
from ibkr_mcp_server.store.session_time import SessionTime

COUNT_SECONDS = 30.0
LOOK_SECONDS = 5.0
"""How soon a person's word is heard once the time is up."""

_log = get_logger(__name__)


class SessionLimit:
    """The job that counts; tells the readiness when the time is up."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._limit = 3_600 * float(desk.settings.max_session_duration_hours)
        self._counted_at = desk.clock.monotonic()
        self._armed: int | None = None
        self._is_over = False
        self._looking = asyncio.Lock()

    async def run(self) -> None:
        """Count until cancelled."""
        while True:
            try:
                await self.look()
            except (ProductError, OSError):
                _log.exception("the time of the session could not be counted")
            await self._desk.clock.sleep(LOOK_SECONDS if self._is_over else COUNT_SECONDS)

    async def look(self) -> None:
        """Count what has passed, and say whether the time is up."""
        async with self._looking:
            await self._look()

    async def _look(self) -> None:
        desk = self._desk
        if self._armed is None or self._is_over or not desk.safety.writer.is_writer:
            self._counted_at = desk.clock.monotonic()
            found = await desk.database.read(session_time.read)
        else:
            found = await desk.database.run(self._count)
        self._armed = found.armed
        if (found.used_seconds >= self._limit) is not self._is_over:
            self._is_over = not self._is_over
            desk.safety.readiness.session_over = self._sentence(found) if self._is_over else None
            if self._is_over and desk.safety.writer.is_writer:
                await desk.audit.record(_event(SafetyState.OBSERVE, self._sentence(found)))

    def _count(self, connection: Connection) -> SessionTime:
        now = self._desk.clock.monotonic()
        passed, self._counted_at = now - self._counted_at, now
        return session_time.add(connection, passed, armed=self._armed or 0)

    def _sentence(self, found: SessionTime) -> str:
        hours = self._desk.settings.max_session_duration_hours
        since = "" if found.armed_at is None else f" since {found.armed_by} armed it at {found.armed_at}"
        return f"Servers have run for {hours:g} hours{since}; a person must look and run `ibkr-mcp-server rearm`."


async def rearm(database: Database, audit: AuditLog, clock: Clock, proof: OperatorProof, reason: str) -> None:
    """A person looked: the time begins anew."""
    proof.require(Power.PROMOTE_STAGE)

    def work(connection: Connection) -> None:
        session_time.arm(connection, proof.actor.id, clock.now())
        audit.append(
            connection,
            AuditEvent(type=EventType.MODE_CHANGE, actor=proof.actor, outcome={"to": "armed", "reason": reason}),
        )

    await database.run(work)


def _event(state: SafetyState, reason: str) -> AuditEvent:
    return AuditEvent(type=EventType.MODE_CHANGE, actor=SYSTEM, outcome={"to": state, "reason": reason})
