"""Writes a checkpoint of the audit chain now and then, off the way of orders (AUD-05)."""

from __future__ import annotations

import asyncio

from ibkr_mcp_server.audit.chain import GENESIS, Head
from ibkr_mcp_server.audit.checkpoints import CheckpointFile
from ibkr_mcp_server.audit.events import AuditEvent, EventType
from ibkr_mcp_server.audit.log import head
from ibkr_mcp_server.domain.operations import SYSTEM
from ibkr_mcp_server.errors import ProductError
from ibkr_mcp_server.log import get_logger
from ibkr_mcp_server.operations.desk import Desk

RECORDS, SECONDS = 1_000, 60.0
"""A checkpoint is due after so many records, or so long after the last one if there were any."""
LOOK_SECONDS = 5.0

_log = get_logger(__name__)


class Checkpointer:
    """The job of the process that writes."""

    def __init__(self, desk: Desk, file: CheckpointFile) -> None:
        self._desk = desk
        self._file = file
        self._last = GENESIS
        self._written_at = desk.clock.monotonic()
        self._looking = asyncio.Lock()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self._desk.clock.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Write a checkpoint if one is due; one that fails is told in the safety status and tried again."""
        async with self._looking:
            await self._look()

    async def _look(self) -> None:
        desk = self._desk
        if not desk.safety.writer.is_writer:
            return
        try:
            found = await desk.database.read(head)
            if not self._is_due(found):
                return
            await self._write(found)
            event = AuditEvent(
                type=EventType.CHAIN_CHECKPOINT, actor=SYSTEM, outcome={"head_seq": found.seq, "head_hash": found.hash}
            )
            own = await desk.audit.record(event)
            self._last = Head(own.seq, own.hash)  # its own record calls for no other one
        except (ProductError, OSError, ValueError) as error:
            _log.exception("the audit log has no new checkpoint")
            desk.notices.tell("checkpoints", f"The audit log gets no checkpoints: {error}.")
        else:
            desk.notices.tell("checkpoints", None)

    async def close(self) -> None:
        """A last checkpoint; it leaves no record, which would need another one."""
        try:
            await self._desk.audit.flush()
            found = await self._desk.database.read(head)
            if found != GENESIS and self._desk.safety.writer.is_writer:
                await self._write(found)
        except (ProductError, OSError, ValueError):
            _log.exception("the audit log has no last checkpoint")

    def _is_due(self, found: Head) -> bool:
        records = found.seq - self._last.seq
        waited = self._desk.clock.monotonic() - self._written_at
        return records >= RECORDS or (records > 0 and waited >= SECONDS)

    async def _write(self, found: Head) -> None:
        await asyncio.to_thread(self._file.add, found, self._desk.clock.now())
        self._written_at = self._desk.clock.monotonic()
