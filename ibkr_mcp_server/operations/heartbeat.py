"""Tells a watcher outside that this server lives, so that its silence is noticed (AL-09).

The watcher is a service that raises an alarm when it was not called for a while. It is called only while the store can
be read and the watch over the risk looks: a process that merely exists is no sign of life.
"""

from __future__ import annotations

from ibkr_mcp_server.alerts.channels import Unsent, post_json, within
from ibkr_mcp_server.audit.log import head
from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.errors import ProductError
from ibkr_mcp_server.log import get_logger
from ibkr_mcp_server.operations.alerting import hidden
from ibkr_mcp_server.operations.desk import Desk

AGAIN_SECONDS = 15.0
"""After a call that did not get through."""
LONGEST_SILENCE_SECONDS = 30.0
"""Of the watch over the risk, which looks every second."""
SUBJECT = "heartbeat"

_log = get_logger(__name__)


class Heartbeat:
    """The job of the process that writes."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def run(self) -> None:
        """Call until cancelled; returns at once where no watcher is set."""
        url, clock = self._desk.settings.alert_heartbeat_url, self._desk.clock
        if url is None:
            return
        while True:
            beat = await self._beat(url.get_secret_value(), clock)
            await clock.sleep(float(self._desk.settings.alert_heartbeat_seconds) if beat else AGAIN_SECONDS)

    async def _beat(self, url: str, clock: Clock) -> bool:
        desk = self._desk
        if not desk.safety.writer.is_writer:
            return False
        try:
            silent = clock.monotonic() - desk.safety.breaker.looked_at
            if silent > LONGEST_SILENCE_SECONDS:
                _log.error("no heartbeat: the watch over the risk is silent", seconds=silent)
                return False
            newest = await desk.database.read(head)
            sign = {"program": "ibkr-mcp-server", "venue": str(desk.settings.broker_mode), "audit_records": newest.seq}
            await within(post_json(url, {**sign, "at": clock.now().isoformat()}), clock)
        except (Unsent, ProductError, OSError) as error:
            reason = hidden(str(error), desk.settings)
            desk.notices.tell(SUBJECT, f"The heartbeat does not reach its watcher: {reason}")
            _log.warning("no heartbeat", error=reason)
            return False
        desk.notices.tell(SUBJECT, None)
        return True
