"""Takes back entries that nobody wanted for too long: their market has moved on (ORD-23). Off by default.

Only what this program placed to open a position is cancelled; what protects or lowers one stays as long as it lives.
"""

from __future__ import annotations

from ibkr_mcp_server.domain.orders import BrokerOrder
from ibkr_mcp_server.errors import ProductError
from ibkr_mcp_server.log import get_logger
from ibkr_mcp_server.operations.desk import Desk
from ibkr_mcp_server.operations.entries import EntryLeft, cancel_one
from ibkr_mcp_server.safety.exposure import is_protective
from ibkr_mcp_server.store import intents
from ibkr_mcp_server.store.intents import Intent

SWEEP_SECONDS = 5.0

_log = get_logger(__name__)


class StaleEntries:
    """Looks for old entries now and then."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._oldest_seconds = float(desk.settings.stale_entry_seconds)

    async def run(self) -> None:
        """Sweep until cancelled; without a limit there is nothing to do."""
        while self._oldest_seconds:
            await self._desk.clock.sleep(SWEEP_SECONDS)
            try:
                await self.sweep()
            except (ProductError, OSError):
                _log.exception("old entries could not be looked for")

    async def sweep(self) -> None:
        """Cancel the entries that are too old now; those that could not be are tried again next time."""
        desk = self._desk
        if not desk.broker.link.is_up or not desk.safety.writer.is_writer:
            return
        placed = await desk.database.read(intents.accepted_placements)
        old = {one.order_ref for one in placed if one.opening and self._age_seconds(one) > self._oldest_seconds}
        for order in desk.broker.known_orders():
            if order.order.order_ref in old and self._is_entry(order):
                outcome = await cancel_one(order, desk)
                if isinstance(outcome, EntryLeft):
                    _log.warning("an old entry could not be cancelled", perm_id=order.perm_id, reason=outcome.reason)

    def _is_entry(self, order: BrokerOrder) -> bool:
        broker = self._desk.broker
        is_ours = order.is_working and order.client_id == self._desk.settings.client_id
        return is_ours and not is_protective(order, broker.known_positions(), broker.known_orders())

    def _age_seconds(self, intent: Intent) -> float:
        """On the clock that no step of the wall clock moves, where that can be compared."""
        clock = self._desk.clock
        if intent.boot_id == clock.boot_id:
            return clock.monotonic() - intent.monotonic
        return (clock.now() - intent.created_at).total_seconds()
