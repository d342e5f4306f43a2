"""Ending in order (EM-09): take no more in, let what is being sent arrive, cancel entries if so configured.

The audit log is flushed and the writer's role let go when the app is closed; latches are durable at any time.
"""

from __future__ import annotations

import asyncio

from ibkr_mcp_server.log import get_logger
from ibkr_mcp_server.operations.desk import Desk
from ibkr_mcp_server.operations.entries import cancel_own_entries

LONGEST_SECONDS = 3.0
"""Of real time: whoever ends a process does not wait for a broker that does not answer."""

_log = get_logger(__name__)


async def shut_down(desk: Desk) -> None:
    """Come to rest, within `LONGEST_SECONDS`."""
    desk.safety.readiness.ending = True
    try:
        async with asyncio.timeout(LONGEST_SECONDS):
            if desk.safety.writes_under_way:
                await asyncio.wait(desk.safety.writes_under_way)
            if desk.settings.cancel_entries_on_shutdown and desk.safety.writer.is_writer and desk.broker.link.is_up:
                for entry in await cancel_own_entries(desk):
                    _log.warning("an entry order works on after the end", perm_id=entry.perm_id, reason=entry.reason)
    except TimeoutError:
        _log.warning("the end did not wait for the broker", seconds=LONGEST_SECONDS)
