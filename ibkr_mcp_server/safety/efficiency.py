"""How many messages about orders the broker gets for each order that trades (RL-15).

IBKR watches the same figure of its clients: (submits + changes + cancels) / (executed orders + 1) in a day.
"""

from __future__ import annotations

from ibkr_mcp_server.safety.codes import Code
from ibkr_mcp_server.safety.state import Cause, SafetyState
from ibkr_mcp_server.store.intents import DayOfMessages


def ratio(day: DayOfMessages) -> float:
    return day.sent / (day.executed + 1)


def told(day: DayOfMessages) -> str:
    """`ratio` in words, with what it is made of."""
    return f"{ratio(day):.1f} ({day.sent} submits, changes and cancels, {day.executed} orders that traded)"


def cause(day: DayOfMessages, limit: int) -> Cause | None:
    """Why nothing more is opened today, once the limit is reached; it ends with a fill or with the trading day."""
    if ratio(day) < limit:
        return None
    text = f"Messages for each order that traded come to {told(day)} in this trading day; the limit is {limit}."
    return Cause(state=SafetyState.OBSERVE, code=Code.ORDER_EFFICIENCY, reason=text, is_latch=False)
