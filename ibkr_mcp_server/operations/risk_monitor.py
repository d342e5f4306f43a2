"""Watches over the risk: every second, and at every fill, rejection and error (CB-04, T-03).

The process that writes is the one that watches. It gathers the figures, lets the triggers read them, and hands what
they say to the circuit breaker; a level that stops trading goes on to the kill switch. Prices that move without an
order are noticed like any other loss.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from functools import partial

from sqlalchemy import Connection

from ibkr_mcp_server.broker.base import BrokerEvent, BrokerEventKind
from ibkr_mcp_server.domain.accounts import masked
from ibkr_mcp_server.domain.operations import BREAKER
from ibkr_mcp_server.errors import ProductError
from ibkr_mcp_server.log import get_logger
from ibkr_mcp_server.operations.desk import Desk
from ibkr_mcp_server.operations.recovery import WATCH
from ibkr_mcp_server.safety.circuit_breaker import Applied, key_of
from ibkr_mcp_server.safety.equity import EquityMeter
from ibkr_mcp_server.safety.triggers.base import AccountFigures, Metrics, Reading
from ibkr_mcp_server.safety.triggers.table import triggers_of
from ibkr_mcp_server.store import breaker, risk_records
from ibkr_mcp_server.store.breaker import BreakerState, Stage
from ibkr_mcp_server.store.database import SOON_SECONDS
from ibkr_mcp_server.store.latches import KillMode

WATCH_SECONDS = 1.0
BALANCES_SECONDS = 15.0
"""How old balances may become before the broker is asked for them; between, the profit tells what changes."""
TELL_SECONDS = 5.0
"""How often the figures are left for people while the breaker is open, or trading comes back."""
SAVE_SECONDS = 15.0
SAVE_AT_ONCE = Decimal("0.001")
"""A mark that rises by this share is kept at once, a smaller change within `SAVE_SECONDS`."""

_WAKING = frozenset(
    {
        BrokerEventKind.EXECUTION,
        BrokerEventKind.COMMISSION,
        BrokerEventKind.ORDER_CHANGED,
        BrokerEventKind.NOTICE,
        BrokerEventKind.LINK_UP,
    }
)
_log = get_logger(__name__)


class RiskMonitor:
    """The watch of one process."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._breaker = desk.safety.breaker
        self._triggers = triggers_of(desk.settings)
        self._meters: dict[str, EquityMeter] = {}
        self._saved: dict[str, tuple[float, dict[str, object]]] = {}
        self._wake = asyncio.Event()
        self._asking: asyncio.Task[object] | None = None
        self._told_at: float | None = None
        self.readings: tuple[Reading, ...] = ()
        """What the triggers said last, for the status."""
        self.metrics: Metrics | None = None
        self.working = asyncio.Lock()
        """Held while the figures are judged and what follows from them is done."""

    def listen(self, event: BrokerEvent) -> None:
        """The adapter's listener; returns at once."""
        if event.kind is BrokerEventKind.EXECUTION and event.execution is not None:
            for meter in self._meters.values():
                meter.filled(event.execution)
        if event.kind in _WAKING:  # an answer that this event brought leaves first
            asyncio.get_running_loop().call_later(SOON_SECONDS, self._wake.set)

    async def run(self) -> None:
        """Watch until cancelled."""
        self._breaker.is_watched = True
        self._breaker.looked_at = self._desk.clock.monotonic()
        try:
            while True:
                self._wake.clear()
                due = self._desk.clock.monotonic() + WATCH_SECONDS
                try:
                    async with self.working:
                        await self.look()
                except (ProductError, OSError):
                    _log.exception("a look at the risk failed")
                await self._sleep_or_wake(due - self._desk.clock.monotonic())
        finally:
            self._breaker.is_watched = False
            if self._asking is not None:
                self._asking.cancel()

    async def _sleep_or_wake(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        sleeping = asyncio.ensure_future(self._desk.clock.sleep(seconds))
        waking = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait({sleeping, waking}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            waking.cancel()

    async def look(self) -> None:
        """Judge the figures once."""
        desk = self._desk
        if not desk.safety.writer.is_writer or not desk.broker.link.is_up:
            # Without the link everything is in SAFE; without the role nothing is written.
            self._breaker.looked_at = desk.clock.monotonic()
            self._breaker.lacks(None)
            return
        await self._meters_of(desk.broker.link.accounts)
        self.metrics = self._gather()
        self.readings = tuple(reading for trigger in self._triggers for reading in trigger.read(self.metrics))
        self._breaker.looked_at = desk.clock.monotonic()
        state = await desk.database.look(breaker.current)
        if self._breaker.changes(state, self.readings):
            state = await self._apply(self.readings)
        await self._save()
        if state.is_open or state.stage is not Stage.FULL:
            await self._tell_people()

    async def _apply(self, readings: Sequence[Reading]) -> BreakerState:
        applied: Applied = await self._desk.database.run(lambda connection: self._breaker.apply(connection, readings))
        if applied.kill is not None:
            await self._desk.safety.kill_switch.activate(KillMode.HALT_ONLY, applied.kill, BREAKER)
        return applied.state

    async def _tell_people(self) -> None:
        """Leave the figures where a person at a shell sees them: a reset is judged by them (RC-02)."""
        now = self._desk.clock.monotonic()
        if self._told_at is not None and now - self._told_at < TELL_SECONDS:
            return
        readiness = self._desk.safety.readiness
        record = {
            "missing": self._breaker.missing,
            "findings": list(readiness.findings),
            "broken_invariants": list(readiness.broken_invariants),
            "readings": {
                key_of(one): {"level": one.level.name, "observed": str(one.observed), "text": one.text}
                for one in self.readings
            },
        }
        at = self._desk.clock.now()
        await self._desk.database.run(lambda connection: risk_records.write(connection, WATCH, record, at))
        self._told_at = now

    # ---- gathering

    def _gather(self) -> Metrics:
        now = self._desk.clock.now()
        unknown: list[str] = []
        figures = tuple(self._account(account, now, unknown) for account in self._meters)
        self._breaker.lacks("; ".join(unknown) or None)
        return Metrics(at=now, accounts=figures)

    def _account(self, account: str, now: datetime, unknown: list[str]) -> AccountFigures:
        broker, meter = self._desk.broker, self._meters[account]
        balances, pnl = broker.known_balances(account), broker.known_pnl(account)
        positions = tuple(broker.known_positions() or ())
        meter.observe(now=now, monotonic=self._desk.clock.monotonic(), balances=balances, pnl=pnl, positions=positions)
        is_invested = any(held.account == account and held.quantity for held in positions)
        told = [one.received_at for one in ((pnl,) if is_invested else (pnl, balances)) if one is not None]
        age = (now - max(told)).total_seconds() if told else None
        if meter.equity is None or age is None:
            unknown.append(f"the equity of {masked(account)} is not known")
        elif age > float(self._desk.settings.breaker_input_grace_seconds):
            unknown.append(f"the equity of {masked(account)} was told {age:.0f} s ago")
        if balances is None or (now - balances.received_at).total_seconds() >= BALANCES_SECONDS:
            self._ask_for_balances(account)
        marks, margin = meter.marks, None if balances is None else balances.maintenance_margin
        return AccountFigures(
            account=masked(account),
            equity=meter.equity,
            day_start=None if marks is None else marks.day_start,
            day_peak=None if marks is None else marks.day_peak,
            week_peak=None if marks is None else marks.week_peak,
            high_water=None if marks is None else marks.high_water,
            peak_of_five_minutes=meter.peak_of_five_minutes,
            maintenance_margin=None if margin is None else margin.amount,
        )

    def _ask_for_balances(self, account: str) -> None:
        """One answer brings those of all accounts."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.ensure_future(self._balances(account))

    async def _balances(self, account: str) -> None:
        try:
            await self._desk.broker.account_summary(account)
        except (ProductError, OSError) as error:
            _log.warning("the watch got no balances", error=str(error))
        self._wake.set()

    async def _meters_of(self, accounts: Sequence[str]) -> None:
        """One meter for each account that may be traded, with the marks of earlier runs."""
        accepted = [account for account in accounts if self._desk.safety.accepts_account(account)]
        for account in accepted:
            if account not in self._meters:
                kept = await self._desk.database.read(partial(risk_records.read, name=_name(account)))
                meter = EquityMeter(account=account)
                self._meters[account] = meter if kept is None else EquityMeter.of_json(account, kept.record)
        for account in set(self._meters) - set(accepted):
            del self._meters[account]
        await self._desk.broker.watch_pnl(accepted)

    # ---- keeping

    async def _save(self) -> None:
        """Keep the marks, so that a restart forgets no peak (CB-03)."""
        now = self._desk.clock.monotonic()
        due = {account: meter.as_json() for account, meter in self._meters.items() if self._is_due(meter, now)}
        if not due:
            return

        def work(connection: Connection) -> None:
            for account, record in due.items():
                risk_records.write(connection, _name(account), record, self._desk.clock.now())

        await self._desk.database.run(work)
        for account, record in due.items():
            self._saved[account] = now, record

    def _is_due(self, meter: EquityMeter, now: float) -> bool:
        if meter.marks is None or meter.known is None:
            return False
        saved = self._saved.get(meter.account)
        if saved is None:
            return True
        at, record = saved
        if now - at >= SAVE_SECONDS:
            return meter.as_json() != record
        marks = meter.marks.as_json()
        kept = record["marks"]
        assert isinstance(kept, dict)
        if marks["day"] != kept["day"]:
            return True
        return any(
            abs(Decimal(marks[name]) - Decimal(kept[name])) > SAVE_AT_ONCE * abs(Decimal(kept[name]))
            for name in ("day_start", "day_peak", "week_peak", "high_water")
        )


def _name(account: str) -> str:
    return f"equity:{account}"
