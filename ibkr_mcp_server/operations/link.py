"""Waiting for the broker, for callers who come while the link is still being made."""

from __future__ import annotations

from ibkr_mcp_server.broker.base import LinkStatus
from ibkr_mcp_server.operations.desk import Desk


def known_link(desk: Desk) -> LinkStatus:
    """The link as it stands, without waiting for anything."""
    return desk.broker.link


async def first_link(desk: Desk, seconds: float) -> LinkStatus:
    """The link; one that is being made for the first time, and the start's other steps, get `seconds` to come up.

    A link that was up before, or whose problem is known, is not waited for: the caller learns of it at once.
    """
    link = desk.broker.link
    if not link.is_up and link.accounts_verified_at is None and link.problem is None:
        link = await desk.broker.wait_until_up(seconds)
    if link.is_up and not desk.safety.readiness.is_ready:
        await desk.safety.readiness.wait_until_settled(seconds)
        link = desk.broker.link
    return link
