"""Takes the steps of the start that come after the store, and keeps our records in agreement with the broker's.

Orders, fills, positions and cash are compared at the start, after each return of the link, every half minute, and at
the end of the trading day; each outcome is a stored report (ID-15). Nothing is ever sent from here but cancellations of
entry orders after an outage (EM-03).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection

from ibkr_mcp_server.audit.checkpoints import CheckpointFile
from ibkr_mcp_server.audit.events import AuditEvent, EventType
from ibkr_mcp_server.audit.verify import verify_database
from ibkr_mcp_server.broker.base import BrokerEvent, BrokerEventKind
from ibkr_mcp_server.clock import trading_day
from ibkr_mcp_server.domain.accounts import AccountSummary
from ibkr_mcp_server.domain.operations import SYSTEM
from ibkr_mcp_server.domain.orders import BrokerOrder
from ibkr_mcp_server.errors import ProductError, Unavailable
from ibkr_mcp_server.log import get_logger
from ibkr_mcp_server.operations.brackets import take_back_staged
from ibkr_mcp_server.operations.comparison import (
    Anchor,
    Difference,
    Kind,
    Truth,
    broken_invariants,
    cash_anchor,
    compare_cash,
    compare_positions,
    external_orders,
    position_anchor,
)
from ibkr_mcp_server.operations.desk import Desk
from ibkr_mcp_server.operations.entries import cancel_own_entries
from ibkr_mcp_server.operations.follow import OrderFollower
from ibkr_mcp_server.safety.readiness import Step
from ibkr_mcp_server.store import intents, reconciliations
from ibkr_mcp_server.store.database import Database
from ibkr_mcp_server.store.reconciliations import Report
from ibkr_mcp_server.store.runs import unclean_run_before
from ibkr_mcp_server.waits import sleep_or_wake

AGAIN_SECONDS = 1.0
"""After a comparison that the broker did not answer."""

_log = get_logger(__name__)


class Occasion(StrEnum):
    START = "start"
    LINK_RESTORED = "link restored"
    PERIODIC = "periodic"
    AFTER_STOP = "after a stop"
    END_OF_DAY = "end of the trading day"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What one comparison came to."""

    truth: Truth
    differences: tuple[Difference, ...]
    anchors: dict[str, Any]

    @property
    def is_clean(self) -> bool:
        return not any(found.blocks for found in self.differences)


class Reconciler:
    """Compares, and reports to the readiness of the safety chain."""

    def __init__(
        self, desk: Desk, follower: OrderFollower, *, store_location: str, checkpoints: CheckpointFile
    ) -> None:
        self._desk = desk
        self._follower = follower
        self._store_location = store_location
        self._checkpoints = checkpoints
        self._readiness = desk.safety.readiness
        self._wake = asyncio.Event()
        self._outage = False
        """The link was up in this run, was lost, and its return was not worked off yet."""
        self._stopped = False
        """A stop was carried out, and what came of it was not compared yet."""
        self._steps_recorded: set[Step] = set()
        self.working = asyncio.Lock()
        """Held while a comparison is under way."""

    # ---- told

    def listen(self, event: BrokerEvent) -> None:
        """The adapter's listener; returns at once."""
        if event.kind is BrokerEventKind.LINK_DOWN:
            self._outage = True
            self._readiness.link_lost()
        elif event.kind is BrokerEventKind.LINK_UP:
            self._wake.set()

    def take_over(self) -> None:
        """The writer's role came to this process: it starts as a new one would."""
        self._readiness.begin()
        self._wake.set()

    def after_stop(self) -> None:
        """A stop was carried out: compare now, because whoever ends it needs to know (KS-15)."""
        self._stopped = True
        self._wake.set()

    # ---- the walk

    async def run(self) -> None:
        """Start, then compare again and again; until cancelled."""
        await self._steps_without_broker()
        day = trading_day(self._desk.clock.now())
        while True:
            self._wake.clear()
            pause = float(self._desk.settings.reconcile_seconds)
            if not self._desk.safety.writer.is_writer:
                self._readiness.read_only()
            elif self._desk.broker.link.is_up:
                today = trading_day(self._desk.clock.now())
                occasion = self._occasion(day_ended=today != day)
                was_stopped, self._stopped = self._stopped, False
                try:
                    await self.reconcile(occasion)
                    day = today
                except (ProductError, OSError) as error:
                    self._stopped = was_stopped
                    _log.warning("the comparison with the broker failed", occasion=occasion, error=str(error))
                    pause = AGAIN_SECONDS
            await sleep_or_wake(self._desk.clock, pause, self._wake)

    def _occasion(self, *, day_ended: bool) -> Occasion:
        if not self._readiness.is_ready:
            return Occasion.START
        if self._outage:
            return Occasion.LINK_RESTORED
        if self._stopped:
            return Occasion.AFTER_STOP
        return Occasion.END_OF_DAY if day_ended else Occasion.PERIODIC

    async def _steps_without_broker(self) -> None:
        """Configuration, lock and store were taken when the app was opened; the chain is read beside the trade."""
        desk, readiness = self._desk, self._readiness
        await self._record_step(Step.CONFIGURATION, desk.settings.fingerprint)
        await self._record_step(Step.LOCK, "held" if desk.safety.writer.is_writer else "another process writes")
        await self._record_step(Step.STORE, "sound")
        readiness.step = Step.AUDIT_CHAIN
        readiness.chain_problem = await asyncio.to_thread(_chain_problem, self._store_location, self._checkpoints)
        await self._record_step(Step.AUDIT_CHAIN, readiness.chain_problem or "verified")
        readiness.step = Step.LATCHES
        readiness.unclean_stop = await desk.database.read(
            lambda connection: unclean_run_before(connection, desk.session_id)
        )
        stopped = await desk.database.read(desk.safety.kill_switch.status)
        await self._record_step(Step.LATCHES, "stopped" if stopped.active else "clear")
        readiness.step = Step.LINK

    async def _record_step(self, step: Step, outcome: str) -> None:
        if step in self._steps_recorded:
            return
        self._steps_recorded.add(step)
        event = AuditEvent(type=EventType.START_STEP, actor=SYSTEM, outcome={"step": step, "outcome": outcome})
        try:
            await self._desk.audit.record(event)
        except (ProductError, OSError):
            _log.exception("a step of the start could not be recorded", step=step)

    # ---- one comparison

    async def reconcile(self, occasion: Occasion) -> Report:
        """Compare everything once, put right what only we had wrong, and keep the report.

        Raises:
            ProductError: the broker or the store did not answer; nothing was concluded.
        """
        async with self.working:
            return await self._reconcile(occasion)

    async def _reconcile(self, occasion: Occasion) -> Report:
        desk, readiness = self._desk, self._readiness
        if occasion is Occasion.START:
            link = desk.broker.link
            await self._record_step(Step.LINK, link.address)
            accepted = [account for account in link.accounts if desk.safety.accepts_account(account)]
            await self._record_step(Step.ACCOUNTS, f"{len(accepted)} of {len(link.accounts)} accepted")
            readiness.step = Step.RECONCILIATION
        await self._follower.settled()
        await self._follower.look_for_lost()
        await self._note_late()
        with_marks = occasion is not Occasion.PERIODIC or bool(readiness.broken_invariants)
        verdict = await self._verdict(with_marks=with_marks)
        broken = readiness.broken_invariants
        if with_marks:
            broken = tuple(broken_invariants(verdict.truth, cash_account=desk.settings.cash_account))
            if not readiness.is_ready or any(text.startswith("UNKNOWN_ORDERS") for text in broken):
                broken += await desk.database.read(self._unknown_orders)
        report = await desk.database.run(lambda connection: self._keep(connection, occasion, verdict, broken))
        if occasion is Occasion.START:
            await self._record_step(Step.RECONCILIATION, "clean" if verdict.is_clean else "differences")
            await self._record_step(Step.INVARIANTS, " ".join(broken) or "hold")
            await self._record_step(Step.READY, "writes are accepted as far as the state allows")
        was_outage, self._outage = self._outage, False
        if desk.broker.link.is_up:
            readiness.compared(
                findings=tuple(found.text for found in verdict.differences if found.blocks), broken_invariants=broken
            )
            if was_outage and occasion is Occasion.LINK_RESTORED:
                await self._after_outage()
            await take_back_staged(desk)
        return report

    async def _note_late(self) -> None:
        """Orders that stay unknown although the broker answers hold trading back (ID-11); CB-29 judges them, too."""
        late = float(self._desk.settings.max_unknown_order_seconds)
        self._readiness.lost_orders = tuple(
            intent.request_key
            for intent in await self._desk.database.read(intents.unresolved)
            if intent.state is intents.IntentState.UNKNOWN and self._follower.unknown_for(intent.intent_id) >= late
        )

    async def _after_outage(self) -> None:
        """EM-03: what may have lost its reason while nobody could watch it goes; protection stays."""
        if not self._desk.settings.auto_cancel_orders_on_disconnect:
            return
        for entry in await cancel_own_entries(self._desk):
            _log.warning("an entry order still works after an outage", perm_id=entry.perm_id, reason=entry.reason)

    async def _verdict(self, *, with_marks: bool) -> Verdict:
        truth = await self._truth(with_marks=with_marks)
        verdict = await self._desk.database.run(lambda connection: self._compare(connection, truth))
        if verdict.is_clean:
            return verdict
        # The records were read one after the other and may straddle a fill: what is found counts when it is seen twice.
        again = replace(await self._truth(with_marks=False, balances=truth.summaries), marked=truth.marked)
        return await self._desk.database.run(lambda connection: self._compare(connection, again))

    async def _truth(self, *, with_marks: bool, balances: Sequence[AccountSummary] | None = None) -> Truth:
        broker, link, begun_at = self._desk.broker, self._desk.broker.link, self._desk.clock.now()
        if not link.is_up:
            raise Unavailable("LINK_DOWN", "The link was lost during the comparison.")
        open_orders = await broker.open_orders()
        completed = await broker.completed_orders()
        summaries = balances or [await broker.account_summary(account) for account in link.accounts]
        if with_marks:
            positions = [held for account in link.accounts for held in await broker.positions(account)]
        else:
            positions = list(await broker.positions())
        return Truth(
            begun_at=begun_at,
            taken_at=self._desk.clock.now(),
            accounts=link.accounts,
            positions=[held for held in positions if held.account in link.accounts],
            marked=positions if with_marks else (),
            summaries=summaries,
            open_orders=open_orders,
            completed_orders=completed,
            executions=await broker.executions(),
        )

    def _compare(self, connection: Connection, truth: Truth) -> Verdict:
        self._follower.note_fills(connection, truth.executions)
        anchored = reconciliations.newest_anchored(connection, self._desk.broker.link.venue)
        kept = {} if anchored is None or anchored.anchors is None else anchored.anchors
        positions = Anchor.of_json(kept["positions"]) if kept.get("positions") else None
        cash = Anchor.of_json(kept["cash"]) if kept.get("cash") else None
        cash_now = cash_anchor(truth)
        unexplained = compare_positions(positions, truth)
        wait = bool(unexplained) and positions is not None and truth.is_settling()
        differences = [
            *self._compare_orders(connection, truth),
            *(() if wait else unexplained),
            *compare_cash(cash, cash_now, truth.taken_at),
            *external_orders(truth),
        ]
        anchors = {
            "positions": kept.get("positions") if wait else position_anchor(truth).remembering(positions).as_json(),
            "cash": kept.get("cash") if cash_now is None else cash_now.remembering(cash).as_json(),
        }
        return Verdict(truth=truth, differences=tuple(differences), anchors=anchors)

    def _compare_orders(self, connection: Connection, truth: Truth) -> list[Difference]:
        found = self._follower.put_right(
            connection,
            read_at=truth.begun_at,
            open_orders=truth.open_orders,
            completed=truth.completed_orders,
            executions=truth.executions,
        )
        strangers = [
            order
            for order in truth.open_orders
            if order.placed_here and intents.find_by_ref(connection, order.order.order_ref) is None
        ]
        return found + [Difference(kind=Kind.ORDER_WITHOUT_INTENT, text=_stranger(order)) for order in strangers]

    def _unknown_orders(self, connection: Connection) -> tuple[str, ...]:
        lost = [
            intent.request_key
            for intent in intents.unresolved(connection)
            if intent.kind == "place" and (intent.session_id != self._desk.session_id or intent.perm_id is None)
            if intent.state is intents.IntentState.UNKNOWN
        ]
        return (f"UNKNOWN_ORDERS: the outcome of {', '.join(lost)} is not known yet.",) if lost else ()

    def _keep(self, connection: Connection, occasion: Occasion, verdict: Verdict, broken: tuple[str, ...]) -> Report:
        desk, truth = self._desk, verdict.truth
        report: dict[str, Any] = {
            "differences": [asdict(found) for found in verdict.differences],
            "broken_invariants": list(broken),
            "accounts": len(truth.accounts),
            "open_orders": sum(order.is_working for order in truth.open_orders),
            "executions": len(truth.executions),
            "positions": sum(position.quantity != Decimal() for position in truth.positions),
        }
        kept, is_new = reconciliations.add(
            connection,
            now=truth.taken_at,
            session_id=desk.session_id,
            venue=desk.broker.link.venue,
            occasion=occasion,
            clean=verdict.is_clean,
            report=report,
            anchors=verdict.anchors,
            may_repeat=occasion is Occasion.PERIODIC,
        )
        if is_new:
            outcome = {"report": kept.seq, "occasion": occasion, "clean": kept.clean, **report}
            desk.audit.append(connection, AuditEvent(type=EventType.RECONCILED, actor=SYSTEM, outcome=outcome))
        return kept


def _stranger(order: BrokerOrder) -> str:
    return (
        f"The broker holds {order.order.label} (perm_id {order.perm_id}) under a reference of ours, and no record of "
        "this store knows it."
    )


def _chain_problem(store_location: str, checkpoints: CheckpointFile) -> str | None:
    """Why the audit log does not verify; read on a connection of its own, so that nothing waits for it."""
    known = checkpoints.newest()  # first, so that the log cannot be older than it
    if known.problem is not None:
        return known.problem
    try:
        database = Database.open(store_location, read_only=True)
    except ProductError as error:
        return error.message
    try:
        report = verify_database(database, expected_head=known.head)
    except ProductError as error:
        return error.message
    finally:
        database.close()
    return None if report.ok else f"{report.reason} (first bad record: {report.first_bad_seq})"
