"""Keeps our record of each order true to what the broker tells afterwards.

Order reports and fills arrive as events and are written in the order told. Orders whose outcome was lost are looked for
at the broker, by their reference, until they are found or provably never arrived (ID-09, ID-10); nothing is ever sent
again from here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Connection

from ibkr_mcp_server.audit.events import AuditEvent, EventType
from ibkr_mcp_server.broker.base import BrokerEvent, BrokerEventKind
from ibkr_mcp_server.broker.reconcile import Finding, Unresolved, reconcile
from ibkr_mcp_server.domain.operations import SYSTEM
from ibkr_mcp_server.domain.orders import (
    ORDER_REF_PREFIX,
    BrokerOrder,
    Execution,
    OrderStatus,
    OrderType,
    Side,
    fill_of,
)
from ibkr_mcp_server.errors import ProductError
from ibkr_mcp_server.log import get_logger
from ibkr_mcp_server.operations.comparison import Difference, Kind
from ibkr_mcp_server.operations.desk import Desk
from ibkr_mcp_server.safety.records import intent_record, state_of
from ibkr_mcp_server.safety.settlement import follow
from ibkr_mcp_server.store import fills, intents, trades
from ibkr_mcp_server.store.intents import Intent, IntentState
from ibkr_mcp_server.store.trades import Trade

PROBE_SECONDS = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
"""ID-09: when to look again for an order whose outcome is unknown; the last one repeats."""
QUIET_SECONDS = 30.0
"""ID-10: only when the order left, and the link came up, this long ago does absence prove that it never arrived."""

_log = get_logger(__name__)


class OrderFollower:
    """Applies what the broker tells to the intents of the store."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._events: asyncio.Queue[BrokerEvent] = asyncio.Queue()
        self._link_up_since: float | None = None
        self._lost_since: dict[str, float] = {}
        """By intent id, when this run first asked for an outcome that was lost; in the clock's monotonic seconds."""
        self._look = asyncio.Event()
        self._probing = asyncio.Lock()
        self._noted: set[str] = set()
        self.on_recorded: Callable[[BrokerEvent], None] = lambda event: None
        """Called when what an event told was written down."""
        self._compared: dict[str, _Word] = {}
        """What the lists said of each of our references when its record was last compared with them."""

    def listen(self, event: BrokerEvent) -> None:
        """The adapter's listener; returns at once."""
        self._events.put_nowait(event)

    async def run(self) -> None:
        """Apply events until cancelled."""
        while True:
            event = await self._events.get()
            try:
                await self._apply(event)
                self.on_recorded(event)
            except (ProductError, OSError):
                _log.exception("a broker event could not be recorded", kind=event.kind)
            finally:
                self._events.task_done()

    async def settled(self) -> None:
        """Return once every event that has arrived is recorded."""
        await self._events.join()

    def take_over(self) -> None:
        """The writer's role came to this process: write down what the broker told meanwhile, and look for the rest."""
        for order in self._desk.broker.known_orders():
            self.listen(BrokerEvent(kind=BrokerEventKind.ORDER_CHANGED, at=self._desk.clock.now(), order=order))
        self._look.set()

    async def _apply(self, event: BrokerEvent) -> None:
        if event.kind in _OF_ORDERS and not self._desk.safety.writer.is_writer:
            return  # the process that writes keeps the record of orders
        if event.kind is BrokerEventKind.ORDER_CHANGED and event.order is not None and event.order.placed_here:
            order = event.order
            newest = self._desk.broker.known_order(order.perm_id) or order
            is_newest = (newest.status, newest.filled) == (order.status, order.filled)
            await self._desk.database.soon(lambda connection: self._order_changed(connection, order, is_newest))
        elif event.kind is BrokerEventKind.EXECUTION and event.execution is not None:
            fill = event.execution
            await self._desk.database.run(lambda connection: self._filled(connection, fill))
        elif event.kind is BrokerEventKind.COMMISSION and event.execution is not None:
            charged = event.execution
            await self._desk.database.run(
                lambda connection: trades.charge(
                    connection, fill_of(charged.execution_id)[0], charged.commission, charged.commission_currency
                )
            )
        elif event.kind is BrokerEventKind.ACCOUNTS_CHANGED:
            await self._desk.safety.note_verification(self._desk.broker.link)
        elif event.kind is BrokerEventKind.LINK_UP:
            _log.info("link up", text=event.text)
            self._link_up_since = self._desk.clock.monotonic()
            await self._desk.audit.record(_link_event(EventType.LINK_UP, event))
            await self._desk.safety.note_verification(self._desk.broker.link)
            self._look.set()
        elif event.kind is BrokerEventKind.LINK_DOWN:
            self._link_up_since = None
            _log.warning("link down", text=event.text, code=event.code)
            await self._desk.audit.record(_link_event(EventType.LINK_DOWN, event, why=self._why_down()))

    def _why_down(self) -> str | None:
        """Why the link goes as it should; None when it should not."""
        if self._desk.safety.readiness.ending:
            return "the server ends"
        now = self._desk.clock.now()
        nightly = any(window.contains(now) for window in self._desk.settings.no_entry_windows)
        return "nightly restart" if nightly else None

    def _order_changed(self, connection: Connection, order: BrokerOrder, is_newest: bool) -> None:
        intent = intents.find_by_ref(connection, order.order.order_ref)
        if intent is None:
            return
        held = order.order
        if (held.instrument.con_id, held.side, held.account) != (intent.con_id, intent.side, intent.account):
            _log.error("an order under a reference of ours contradicts its record", perm_id=order.perm_id)
            return  # nothing is credited to an order that is another one (ID-07); the comparison holds trading back
        state, event_type = state_of(intent.kind, order)
        after = follow(connection, intent, state, order, self._desk.clock.now(), is_newest=is_newest)
        if (after.state, after.broker_status) != (intent.state, intent.broker_status):
            self._desk.audit.append(connection, _order_event(event_type, after, order))

    def _filled(self, connection: Connection, fill: Execution) -> None:
        intent = intents.find_by_ref(connection, fill.order_ref) if fill.order_ref else None
        intent_id = intent.intent_id if intent is not None else None
        number, revision = fill_of(fill.execution_id)
        now = self._desk.clock.now()
        news = fills.note(connection, fill.execution_id, fill=number, revision=revision, intent_id=intent_id, now=now)
        if not news.is_new:
            return  # told again, as at every connect
        trades.note(connection, _trade(fill, number, revision, trades.EXTERNAL if intent is None else intent.actor_id))
        event = AuditEvent(
            type=EventType.ORDER_FILLED,
            actor=SYSTEM,
            intent_id=intent_id,
            outcome={
                "execution_id": fill.execution_id,
                "corrects": news.corrects,
                "side": fill.side,
                "quantity": fill.quantity,
                "price": fill.price,
                "currency": fill.instrument.currency,
                "cumulative_quantity": fill.cumulative_quantity,
                "executed_at": fill.executed_at,
                "instrument": fill.instrument.label,
            },
            broker_ids={"perm_id": fill.perm_id, "order_id": fill.order_id, "client_id": fill.client_id},
        )
        self._desk.audit.append(connection, event)

    def note_fills(self, connection: Connection, executions: Sequence[Execution]) -> None:
        """Record the fills of the broker's list that are not recorded yet, as those of the time before we listened."""
        for fill in executions:
            if fill.execution_id not in self._noted:
                self._filled(connection, fill)
        self._noted = {fill.execution_id for fill in executions}

    def put_right(
        self,
        connection: Connection,
        *,
        read_at: datetime,
        open_orders: Sequence[BrokerOrder],
        completed: Sequence[BrokerOrder],
        executions: Sequence[Execution],
    ) -> list[Difference]:
        """Compare our orders with complete lists of the broker, and follow the broker.

        Those that we take for working must be in the lists; those that we take for ended must not show there that they
        work or have traded more. What was heard of an order since `read_at` is newer than the lists.
        """
        words = _told(open_orders, completed, executions)
        news = [order_ref for order_ref, word in words.items() if self._compared.get(order_ref) != word]
        known = [*intents.accepted_placements(connection), *intents.ended_placements(connection, news)]
        ours = [intent for intent in known if intent.updated_at is None or intent.updated_at < read_at]
        self._compared = {ref: words[ref] for ref in words.keys() - {one.order_ref for one in known if one not in ours}}
        found = _reconcile(ours, open_orders=open_orders, completed_orders=completed, executions=executions)
        differences = []
        for intent, finding in zip(ours, found, strict=True):
            after, kind = intent, Kind.ORDER_PUT_RIGHT
            if finding.conflicts:
                text = f"{intent.request_key} and {len(finding.conflicts)} orders of the broker contradict each other."
                differences.append(Difference(kind=Kind.ORDER_CONFLICT, text=text))
            elif finding.order is not None:
                state, _ = state_of(intent.kind, finding.order)
                told = (state, finding.order.filled)
                if told != (intent.state, intent.filled_quantity):
                    now = self._desk.clock.now()
                    after = follow(connection, intent, state, finding.order, now, is_newest=True)
            elif intent.state is IntentState.ACCEPTED and self.link_up_for() >= QUIET_SECONDS:
                gone = {"code": "ORDER_GONE", "message": "The broker does not list the order any more."}
                now = self._desk.clock.now()
                after = intents.advance(connection, intent.intent_id, IntentState.EXPIRED, now=now, result=gone)
                kind = Kind.ORDER_GONE
            if after.state is not intent.state or after.filled_quantity != intent.filled_quantity:
                self._desk.audit.append(connection, _order_event(EventType.ORDER_RECONCILED, after, finding.order))
                text = f"{intent.request_key}: {intent.state} here, {after.state} at the broker."
                differences.append(Difference(kind=kind, text=text))
        return differences

    # ---- orders whose outcome is unknown

    async def resolve_unknown(self) -> None:
        """Look for lost orders whenever the link comes up, and again with growing pauses; until cancelled."""
        while True:
            await self._look.wait()
            self._look.clear()
            for pause in (0.0, *PROBE_SECONDS):
                if pause:
                    await self._desk.clock.sleep(pause)
                if not await self._probe():
                    break
            else:
                self._look.set()

    def look_again(self) -> None:
        """An order's outcome was just lost: begin to look for it."""
        self._look.set()

    async def look_for_lost(self) -> None:
        """Look once, now (SU-04)."""
        await self._probe()

    async def _probe(self) -> bool:
        """Look once; True while something remains unknown."""
        async with self._probing:
            return await self._probe_once()

    async def _probe_once(self) -> bool:
        lost = [intent for intent in await self._desk.database.read(intents.unresolved) if self._is_lost(intent)]
        if not self._desk.safety.writer.is_writer:
            return False  # orders of a process that lives are in flight, not lost
        still = {intent.intent_id for intent in lost}
        self._lost_since = {one: since for one, since in self._lost_since.items() if one in still}
        if not lost:
            return False
        if not self._desk.broker.link.is_up:
            return False  # the next LINK_UP begins anew
        try:
            findings = await self._findings(lost)
            await self._desk.database.run(lambda connection: self._resolve(connection, lost, findings))
        except (ProductError, OSError):
            _log.exception("looking for lost orders failed")
        return True

    def link_up_for(self) -> float:
        """Seconds for which the link has been up without a break; 0 while it is down."""
        return 0.0 if self._link_up_since is None else self._desk.clock.monotonic() - self._link_up_since

    def unknown_for(self, intent_id: str) -> float:
        """For how long the broker could have told the outcome of an intent, and did not; in seconds.

        From when this run first asked for it, so that no step of the wall clock ends that time or draws it out.
        """
        now = self._desk.clock.monotonic()
        return min(self.link_up_for(), now - self._lost_since.setdefault(intent_id, now))

    def _is_lost(self, intent: Intent) -> bool:
        """What this run is sending just now is in flight, not lost."""
        return intent.state is IntentState.UNKNOWN or intent.session_id != self._desk.session_id

    async def _findings(self, lost: Sequence[Intent]) -> dict[str, Finding]:
        broker = self._desk.broker
        found = _reconcile(
            lost,
            open_orders=await broker.open_orders(),
            completed_orders=await broker.completed_orders(),
            executions=await broker.executions(),
        )
        return {intent.intent_id: finding for intent, finding in zip(lost, found, strict=True)}

    def _resolve(self, connection: Connection, lost: Sequence[Intent], findings: dict[str, Finding]) -> None:
        now = self._desk.clock.now()
        for intent in lost:
            # RESERVED by an earlier run, too: the gate may have let it through just before that run ended.
            finding = findings[intent.intent_id]
            fate = fate_of(intent, finding, is_quiet=self.unknown_for(intent.intent_id) >= QUIET_SECONDS)
            if fate is not None and fate.result is None and finding.order is not None:
                after = follow(connection, intent, fate.state, finding.order, now)
            elif fate is not None and intent.state is not IntentState.RESERVED:
                after = intents.advance(connection, intent.intent_id, fate.state, now=now, result=fate.result)
            elif intent.state is not IntentState.UNKNOWN:
                after = intents.advance(connection, intent.intent_id, IntentState.UNKNOWN, now=now)
            else:
                continue
            if after.state is not intent.state:
                event = EventType.ORDER_UNKNOWN if after.state is IntentState.UNKNOWN else EventType.ORDER_RECONCILED
                self._desk.audit.append(connection, _order_event(event, after, None))


_Word = tuple[OrderStatus | None, Decimal]


def _told(
    open_orders: Sequence[BrokerOrder], completed: Sequence[BrokerOrder], executions: Sequence[Execution]
) -> dict[str, _Word]:
    """Where the order under each reference of ours stands, by the broker's lists."""
    told: dict[str, _Word] = {fill.order_ref: (None, fill.cumulative_quantity) for fill in executions}
    told |= {order.order.order_ref: (order.status, order.filled) for order in (*open_orders, *completed)}
    return {order_ref: word for order_ref, word in told.items() if order_ref.startswith(ORDER_REF_PREFIX)}


_OF_ORDERS = (BrokerEventKind.ORDER_CHANGED, BrokerEventKind.EXECUTION, BrokerEventKind.COMMISSION)


def _trade(fill: Execution, number: str, revision: int, strategy: str) -> Trade:
    return Trade(
        fill=number,
        revision=revision,
        account=fill.account,
        strategy=strategy,
        order_key=str(fill.perm_id) if fill.perm_id else fill.order_ref or number,
        con_id=fill.instrument.con_id,
        symbol=fill.instrument.label,
        sec_type=fill.instrument.sec_type,
        currency=fill.instrument.currency,
        side=fill.side,
        quantity=fill.quantity,
        price=fill.price,
        multiplier=fill.instrument.multiplier,
        commission=fill.commission,
        commission_currency=fill.commission_currency,
        executed_at=fill.executed_at,
    )


@dataclass(frozen=True, kw_only=True)
class Fate:
    """What became of an intent whose outcome was lost."""

    state: IntentState
    result: dict[str, str] | None = None
    """Why it came to nothing; None where the order's own record says it all."""


def fate_of(intent: Intent, finding: Finding, *, is_quiet: bool) -> Fate | None:
    """What the broker's records prove about `intent`; None while they prove nothing.

    That something is missing from them proves nothing before a quiet period has passed (`is_quiet`, ID-10).
    """
    order = finding.order
    if finding.conflicts:
        return None
    if order is None:
        if not is_quiet:
            return None
        if intent.kind == "place":
            return Fate(state=IntentState.REJECTED, result=_never("The broker has no such order."))
        return Fate(state=IntentState.EXPIRED, result=_never("The broker does not list the order any more."))
    if intent.kind == "cancel":
        if order.status is OrderStatus.CANCELLED or order.status is OrderStatus.PENDING_CANCEL:
            return Fate(state=state_of(intent.kind, order)[0])
        if not order.is_working:
            return Fate(state=IntentState.REJECTED, result=_never(f"The order ended as {order.status} before that."))
        return Fate(state=IntentState.REJECTED, result=_never("The order still works.")) if is_quiet else None
    if intent.kind == "modify" and order.is_working and not _holds(order, intent):
        return Fate(state=IntentState.REJECTED, result=_never("The order is as it was.")) if is_quiet else None
    return Fate(state=state_of(intent.kind, order)[0])


def _holds(order: BrokerOrder, intent: Intent) -> bool:
    """Whether the broker holds the order as a modification asked for it."""
    held = order.order
    return (held.quantity, held.limit_price, held.stop_price) == (
        intent.quantity,
        intent.limit_price,
        intent.stop_price,
    )


def _never(message: str) -> dict[str, str]:
    return {"code": "NEVER_ARRIVED", "message": message}


def _reconcile(
    ours: Sequence[Intent],
    *,
    open_orders: Sequence[BrokerOrder],
    completed_orders: Sequence[BrokerOrder],
    executions: Sequence[Execution],
) -> list[Finding]:
    unresolved = [
        Unresolved(
            order_ref=intent.order_ref,
            con_id=intent.con_id,
            side=Side(intent.side),
            account=intent.account,
            quantity=intent.quantity,
            order_type=OrderType(intent.order_type),
            perm_id=intent.perm_id or 0,
        )
        for intent in ours
    ]
    return reconcile(unresolved, open_orders=open_orders, completed_orders=completed_orders, executions=executions)


def _order_event(event: EventType, intent: Intent, order: BrokerOrder | None) -> AuditEvent:
    outcome: dict[str, object] = {"state": intent.state, "status": intent.broker_status}
    if order is not None:
        outcome |= {"filled": order.filled, "remaining": order.remaining, "message": order.last_message}
    return AuditEvent(
        type=event,
        actor=SYSTEM,
        decision_id=intent.decision_id,
        intent_id=intent.intent_id,
        order_data=intent_record(intent),
        outcome=outcome,
        broker_ids={"perm_id": intent.perm_id, "order_ref": intent.order_ref},
    )


def _link_event(event_type: EventType, event: BrokerEvent, *, why: str | None = None) -> AuditEvent:
    outcome = {"text": event.text, "code": event.code, **({"expected": why} if why is not None else {})}
    return AuditEvent(type=event_type, actor=SYSTEM, outcome=outcome)
