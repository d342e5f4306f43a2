"""Stopping: the latch first, then its effects; and a watch for stops that come from elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from ibkr_mcp_server.domain import scopes
from ibkr_mcp_server.domain.instruments import InstrumentQuery
from ibkr_mcp_server.domain.operations import SYSTEM, Operation
from ibkr_mcp_server.domain.orders import BrokerOrder
from ibkr_mcp_server.errors import ProductError
from ibkr_mcp_server.log import get_logger
from ibkr_mcp_server.operations.desk import Desk
from ibkr_mcp_server.operations.entries import Entries, cancel_entries, working_entries
from ibkr_mcp_server.operations.safe_operation import Access, Answer, safe_trading_operation
from ibkr_mcp_server.operations.stop_coordinator import StopCoordinator
from ibkr_mcp_server.safety.kill_switch import SENTINEL, SIGNAL, Activation
from ibkr_mcp_server.store.latches import KillMode

WATCH_SECONDS = 0.25
"""How often a stop from another process, or the sentinel file, is looked for. Orders never wait for this: the final
gate looks by itself."""

SECONDS_TO_RESOLVE = 1.0
"""A stop does not wait longer for the broker's word about which contract is meant."""

_log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class StopReport:
    """What a stop did."""

    scope: str
    activation: Activation
    entries: Entries
    warning: str | None = None


OWN_ORDERS = "me"
"""What an agent calls its own strategy."""


async def emergency_stop(
    operation: Operation, reason: str, desk: Desk, *, only: str | None = None
) -> Answer[StopReport]:
    """Stop opening orders and cancel the working entries; only a human can undo it.

    `only` narrows it to the agent's own orders (`OWN_ORDERS`) or to one symbol. What cannot be told apart from
    everything stops everything.
    """

    async def act(access: Access) -> StopReport:
        scope, warning = await _scope(operation, only, access)
        before = await _entries_to_tell(desk, scope)
        switch = desk.safety.kill_switch
        activation = await switch.activate(KillMode.HALT_ONLY, reason, operation.actor, scope=scope)
        cancels = desk.settings.kill_cancel_entry_orders
        entries = await cancel_entries(desk, scope, before=before) if cancels else Entries()
        return StopReport(scope=scope, activation=activation, entries=entries, warning=warning)

    return await safe_trading_operation(operation, act, desk=desk)


async def _entries_to_tell(desk: Desk, scope: str) -> Sequence[BrokerOrder]:
    """What works just before a stop. Only for its report, so whatever fails here must not hold the stop up."""
    try:
        return (await working_entries(desk, scope))[0]
    except (ProductError, OSError):
        return ()


async def _scope(operation: Operation, only: str | None, access: Access) -> tuple[str, str | None]:
    if only is None:
        return scopes.ACCOUNT, None
    if only == OWN_ORDERS:
        return scopes.of_strategy(operation.actor.id), None
    try:
        async with asyncio.timeout(SECONDS_TO_RESOLVE):
            instrument = await access.broker.resolve(InstrumentQuery(symbol=only))
    except (ProductError, TimeoutError):
        return scopes.ACCOUNT, f"Which contract {only!r} is could not be found out, so everything was stopped."
    return scopes.of_instrument(instrument.con_id), None


async def stop_by_signal(desk: Desk, reason: str) -> None:
    """Stop everything because somebody sent this process a signal."""
    await desk.safety.kill_switch.activate(KillMode.HALT_ONLY, reason, SIGNAL)


class StopWatch:
    """Notices stops that another process, or a person with a file, brought about, and has them carried out."""

    def __init__(self, desk: Desk, coordinator: StopCoordinator) -> None:
        self._desk = desk
        self._coordinator = coordinator

    async def run(self) -> None:
        """Watch until cancelled."""
        try:
            while True:
                try:
                    await self.look()
                except (ProductError, OSError):
                    _log.exception("the stop watch could not read the safety state")
                await self._desk.clock.sleep(WATCH_SECONDS)
        finally:
            await self._coordinator.close()

    async def role_lost(self, problem: str) -> None:
        """Stop everything: somebody took the writer's lock away, and two processes might write (LK-05)."""
        await self._desk.safety.kill_switch.activate(KillMode.HALT_ONLY, problem, SYSTEM)

    async def look(self) -> None:
        """Notice a new stop and act on it."""
        switch = self._desk.safety.kill_switch
        status = await self._desk.database.read(switch.status)
        if status.sentinel and not status.latch.active:
            await switch.activate(KillMode.HALT_ONLY, "the sentinel file was found", SENTINEL)
            status = await self._desk.database.read(switch.status)
        await self._coordinator.look((status.latch, *status.others))
