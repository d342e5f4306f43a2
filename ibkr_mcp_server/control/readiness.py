"""Whether opening orders may be accepted: what /readyz says (MON-07)."""

from __future__ import annotations

from ibkr_mcp_server.control.parts import Parts
from ibkr_mcp_server.errors import ProductError
from ibkr_mcp_server.safety.state import Action, Permission


async def obstacles(parts: Parts) -> list[str]:
    """The codes of all that keeps opening orders out; empty when they may pass."""
    desk = parts.desk
    if desk is None:
        return ["NO_SERVER_HERE"]  # a process that takes no orders is not ready for them
    try:
        state = await parts.database.read(desk.safety.state)
        writes = await parts.database.read(desk.safety.writer.objection) is None
    except (ProductError, OSError):
        return ["STATE_UNREADABLE"]
    found = [] if state.permission(Action.OPEN) is Permission.YES else [cause.code for cause in state.causes]
    if not writes:
        found.append("NOT_THE_WRITER")
    if not parts.settings.enable_trading:
        found.append("TRADING_DISABLED")
    return list(dict.fromkeys(str(code) for code in found))
