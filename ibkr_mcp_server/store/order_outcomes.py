"""How the newest orders ended at the broker; what was refused here never became an intent and does not count (T-28)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, or_, select

from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.store.prepared import Prepared
from ibkr_mcp_server.store.schema import IntentState, intents

LOOKED_BACK = 200

_FAILED = frozenset({IntentState.REJECTED, IntentState.UNKNOWN})
_SUCCEEDED = frozenset({IntentState.ACCEPTED, IntentState.FILLED, IntentState.CANCELLED})
_NEWEST = Prepared(
    select(intents.c.state, intents.c.created_at, intents.c.monotonic, intents.c.boot_id)
    .where(intents.c.kind == "place", or_(*(intents.c.state == state for state in sorted(_FAILED | _SUCCEEDED))))
    .order_by(intents.c.created_at.desc(), intents.c.intent_id.desc())
    .limit(LOOKED_BACK)
)


@dataclass(frozen=True, kw_only=True)
class OrderFailures:
    """Orders that the broker rejected, or whose outcome was lost."""

    in_a_row: int
    """The newest orders, up to the last that succeeded."""
    in_the_hour: int


def failures(connection: Connection, clock: Clock, since: datetime | None) -> OrderFailures:
    """Those of orders decided on after `since`."""
    now, monotonic = clock.now(), clock.monotonic()
    in_a_row = in_the_hour = 0
    is_row = True
    for row in _NEWEST.records(connection):
        if since is not None and row.created_at <= since:
            break
        failed = row.state in _FAILED
        is_row = is_row and failed
        in_a_row += is_row
        same_boot = row.boot_id == clock.boot_id
        age = monotonic - row.monotonic if same_boot else (now - row.created_at).total_seconds()
        in_the_hour += failed and age < 3_600
    return OrderFailures(in_a_row=in_a_row, in_the_hour=in_the_hour)
