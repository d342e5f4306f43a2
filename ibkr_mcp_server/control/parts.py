"""What the control API works with: the durable parts, and in a server process also the desk."""

from __future__ import annotations

from dataclasses import dataclass

from ibkr_mcp_server.audit.log import AuditLog
from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.operations.desk import Desk
from ibkr_mcp_server.safety.approval_queue import ApprovalQueue
from ibkr_mcp_server.safety.kill_switch import KillSwitch
from ibkr_mcp_server.settings.model import Settings
from ibkr_mcp_server.store.database import Database


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The same store as the servers', whether this process is one of them or not."""

    settings: Settings
    database: Database
    audit: AuditLog
    kill_switch: KillSwitch
    clock: Clock
    desk: Desk | None = None
    """Of the server in this process; None when the API runs alone."""

    @property
    def queue(self) -> ApprovalQueue:
        """What waits for people."""
        return ApprovalQueue(database=self.database, audit=self.audit, clock=self.clock)
