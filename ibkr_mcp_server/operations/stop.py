"""Stopping: the latch first, then its effects; and a watch for stops that come from elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from ibkr_mcp_server.domain import scopes
from ibkr_mcp_server.domain.instruments import InstrumentQuery
from ibkr_mcp_server.domain.operations import COORDINATOR, SYSTEM, Operation, OperationClass, OrderReference
from ibkr_mcp_server.domain.orders import BrokerOrder
from ibkr_mcp_server.errors import ProductError
from ibkr_mcp_server.log import get_logger
from ibkr_mcp_server.operations.desk import Desk
from ibkr_mcp_server.operations.orders import send_order
from ibkr_mcp_server.operations.safe_operation import Access, Answer, OperationFailed, safe_trading_operation
from ibkr_mcp_server.safety.decision import OperationRefused
from ibkr_mcp_server.safety.exposure import is_protective
from ibkr_mcp_server.safety.kill_switch import SENTINEL, Activation
from ibkr_mcp_server.store import intents
from ibkr_mcp_server.store.latches import KillMode, Latch

WATCH_SECONDS = 0.25
"""How often a stop from another process, or the sentinel file, is looked for. Orders never wait for this: the final
gate looks by itself."""

SECONDS_TO_RESOLVE = 1.0
"""A stop does not wait longer for the broker's word about which contract is meant."""

_log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class EntryLeft:
    """An entry order that still works after a stop, and why."""

    perm_id: int
    label: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class StopReport:
    """What a stop did."""

    scope: str
    activation: Activation
    cancelled: tuple[int, ...]
    """Permanent ids of the entry orders whose cancellation the broker took up."""
    left: tuple[EntryLeft, ...]
    protective_kept: tuple[int, ...]
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
        switch = desk.safety.kill_switch
        activation = await switch.activate(KillMode.HALT_ONLY, reason, operation.actor, scope=scope)
        cancelled, left, kept = await cancel_entries(desk, scope)
        return StopReport(
            scope=scope, activation=activation, cancelled=cancelled, left=left, protective_kept=kept, warning=warning
        )

    return await safe_trading_operation(operation, act, desk=desk)


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


async def cancel_entries(
    desk: Desk, scope: str = scopes.ACCOUNT
) -> tuple[tuple[int, ...], tuple[EntryLeft, ...], tuple[int, ...]]:
    """Cancel the working entry orders of `scope`; protective ones stay (KS-12, ST-08)."""
    if not desk.settings.kill_cancel_entry_orders:
        return (), (), ()
    positions = desk.broker.known_positions()
    working = [order for order in desk.broker.known_orders() if order.is_working]
    protective = [order for order in working if is_protective(order, positions, working)]
    belongs = await _members(desk, scope)
    entries = [order for order in working if order not in protective and belongs(order)]
    protective = [order for order in protective if belongs(order)]
    cancelled_with_entry = {order.perm_id for order in entries}
    protective = [order for order in protective if order.parent_perm_id not in cancelled_with_entry]
    outcomes = await asyncio.gather(*(cancel_one(order, desk) for order in entries))
    left = tuple(outcome for outcome in outcomes if isinstance(outcome, EntryLeft))
    cancelled = tuple(outcome for outcome in outcomes if isinstance(outcome, int))
    return cancelled, left, tuple(order.perm_id for order in protective)


async def _members(desk: Desk, scope: str) -> Callable[[BrokerOrder], bool]:
    """Which orders belong to a scope: an instrument's by their contract, a strategy's by who asked for them."""
    con_id, strategy = scopes.instrument_of(scope), scopes.strategy_of(scope)
    if con_id is not None:
        return lambda order: order.order.instrument.con_id == con_id
    if strategy is None:
        return lambda order: True
    refs = await desk.database.read(lambda connection: intents.working_refs_of(connection, strategy))
    return lambda order: order.order.order_ref in refs


async def cancel_own_entries(desk: Desk) -> tuple[EntryLeft, ...]:
    """Cancel the entry orders that this connection placed (EM-03); returns those that still work."""
    positions = desk.broker.known_positions()
    entries = [
        order
        for order in desk.broker.known_orders()
        if order.is_working
        and order.placed_here
        and order.client_id == desk.settings.client_id
        and not is_protective(order, positions)
    ]
    outcomes = await asyncio.gather(*(cancel_one(order, desk) for order in entries))
    return tuple(outcome for outcome in outcomes if isinstance(outcome, EntryLeft))


async def cancel_one(order: BrokerOrder, desk: Desk) -> int | EntryLeft:
    """Cancel an order in the house's own name; its permanent id, or why it still works."""
    operation = Operation(
        tool="stop",
        operation_class=OperationClass.ORDER_CANCELLATION,
        actor=COORDINATOR,
        arguments={"perm_id": order.perm_id},
        draft=OrderReference(perm_id=order.perm_id),
    )
    try:
        await send_order(operation, desk)
    except OperationRefused as refused:
        return EntryLeft(perm_id=order.perm_id, label=order.order.label, reason=str(refused))
    except OperationFailed as failed:
        return EntryLeft(perm_id=order.perm_id, label=order.order.label, reason=str(failed.error))
    return order.perm_id


class StopWatch:
    """Carries out the effects of stops that another process or a person with a file brought about."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._handled: dict[str, int] = {}
        """Scope → the generation of its latch whose entries were cancelled."""

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            try:
                await self.look()
            except (ProductError, OSError):
                _log.exception("the stop watch could not read the safety state")
            await self._desk.clock.sleep(WATCH_SECONDS)

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
        for latch in (status.latch, *status.others):
            if latch.active and self._handled.get(latch.scope) != latch.generation:
                await self._cancel_entries(latch)

    async def _cancel_entries(self, latch: Latch) -> None:
        if not self._desk.broker.link.is_up or not self._desk.safety.writer.is_writer:
            return  # the process that placed them cancels them; this one does when it takes over
        _, left, _ = await cancel_entries(self._desk, latch.scope)
        for entry in left:
            _log.warning("an entry order still works after a stop", perm_id=entry.perm_id, reason=entry.reason)
        self._handled[latch.scope] = latch.generation
