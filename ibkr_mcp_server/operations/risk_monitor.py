"""Watches over the risk: every second, and at every fill, rejection and error (CB-04, T-03).

The process that writes is the one that watches. It gathers the figures, lets the triggers read them, and hands what
they say to the circuit breaker; a level that stops trading goes on to the kill switch. Prices that move without an
order are noticed like any other loss.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from ibkr_mcp_server.broker.base import BrokerEvent, BrokerEventKind
from ibkr_mcp_server.domain import scopes
from ibkr_mcp_server.domain.accounts import Position, masked
from ibkr_mcp_server.domain.operations import BREAKER, SYSTEM
from ibkr_mcp_server.domain.orders import OrderStatus
from ibkr_mcp_server.errors import ProductError
from ibkr_mcp_server.log import get_logger
from ibkr_mcp_server.operations import risk_figures
from ibkr_mcp_server.operations.desk import Desk
from ibkr_mcp_server.operations.follow import OrderFollower
from ibkr_mcp_server.operations.market_watch import MarketWatch
from ibkr_mcp_server.operations.recovery import WATCH
from ibkr_mcp_server.operations.risk_memory import RiskMemory
from ibkr_mcp_server.safety.callbacks import Occasion
from ibkr_mcp_server.safety.circuit_breaker import Applied, key_of
from ibkr_mcp_server.safety.equity import EquityMeter
from ibkr_mcp_server.safety.triggers.base import AccountFigures, Level, Metrics, Reading
from ibkr_mcp_server.safety.triggers.store_failure import StoreFailure
from ibkr_mcp_server.safety.triggers.table import strategy_triggers_of, triggers_of
from ibkr_mcp_server.store import breaker, risk_records
from ibkr_mcp_server.store.breaker import BreakerState, Stage
from ibkr_mcp_server.store.intents import IntentState
from ibkr_mcp_server.store.latches import KillMode
from ibkr_mcp_server.waits import sleep_or_wake

WATCH_SECONDS = 1.0
BALANCES_SECONDS = 15.0
"""How old balances may become before the broker is asked for them; between, the profit tells what changes."""
RECORDS_SECONDS = 10.0
"""How often the store is read without news, because windows of time move on."""
TELL_SECONDS = 5.0
"""How often the figures are left for people while the breaker is open, or trading comes back."""

WAKE_SECONDS = 0.01
"""After an event; several that come together are judged together."""

_WAKING = frozenset(
    {BrokerEventKind.EXECUTION, BrokerEventKind.COMMISSION, BrokerEventKind.NOTICE, BrokerEventKind.LINK_UP}
)
_log = get_logger(__name__)


class RiskMonitor:
    """The watch of one process."""

    def __init__(self, desk: Desk, follower: OrderFollower) -> None:
        self._desk = desk
        self._breaker = desk.safety.breaker
        self._follower = follower
        self.market = MarketWatch(desk)
        self._triggers = triggers_of(desk.settings)
        self._of_strategies = strategy_triggers_of(desk.settings)
        self._recorded: risk_figures.Recorded | None = None
        self._recorded_at: float | None = None
        self._counting: datetime | None = None
        self._memory = RiskMemory(desk)
        self._mismatch_since: float | None = None
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
        if _is_pressing(event):
            self._wake_soon()

    def recorded(self, event: BrokerEvent) -> None:
        """What an event told was written down, where the figures are computed from."""
        self._recorded_at = None
        if _is_pressing(event):
            self._wake_soon()

    def settled(self, state: IntentState) -> None:
        """The outcome of an order was written down."""
        self._recorded_at = None
        if state in (IntentState.REJECTED, IntentState.UNKNOWN):
            self._wake_soon()

    def _wake_soon(self) -> None:
        """An answer that brought the news leaves first."""
        asyncio.get_running_loop().call_later(WAKE_SECONDS, self._wake.set)

    def wake(self) -> None:
        """Look now; called on the event loop."""
        self._wake.set()

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
                left = due - self._desk.clock.monotonic()
                if left > 0:
                    await sleep_or_wake(self._desk.clock, left, self._wake)
                else:
                    await asyncio.sleep(0)  # a look that took too long still lets the others run
        finally:
            self._breaker.is_watched = False
            self.market.close()
            if self._asking is not None:
                self._asking.cancel()

    async def look(self) -> None:
        """Judge the figures once."""
        desk = self._desk
        if desk.database.trouble is not None:
            await self._store_failed(desk.database.trouble)
        if not desk.safety.writer.is_writer or not desk.broker.link.is_up:
            # Without the link everything is in SAFE; without the role nothing is written.
            self._breaker.sees_nothing()
            return
        accounts = [account for account in desk.broker.link.accounts if desk.safety.accepts_account(account)]
        await self._memory.recall(accounts)
        await desk.broker.watch_pnl(accounts)
        state = await desk.database.look(breaker.current)
        await self._read(state)
        self.metrics = self._gather(state)
        of_agents = tuple(found for trigger in self._of_strategies for found in trigger.read(self.metrics))
        self.readings = (
            *(found for trigger in self._triggers for found in trigger.read(self.metrics)),
            *(_warning(found) for found in of_agents if found.scope not in self._halted),
        )
        self._breaker.looked_at = desk.clock.monotonic()
        if self._breaker.changes(state, self.readings):
            before, state = state, await self._apply(self.readings)
            self._call_back(before, state)
        await self._halt(of_agents)
        await self._memory.save()
        if state.is_open or state.stage is not Stage.FULL:
            await self._tell_people()

    async def _read(self, state: BreakerState) -> None:
        """What the store has recorded: after news, and now and then because time passes."""
        now = self._desk.clock.monotonic()
        is_old = self._recorded_at is None or now - self._recorded_at >= RECORDS_SECONDS
        if is_old or self._counting != state.counting_since:
            self._recorded_at, self._counting = now, state.counting_since  # before: news of now come again
            self._recorded = await self._desk.database.read(
                lambda connection: risk_figures.read(
                    connection, self._desk.clock, state, self._rate, venue=self._desk.broker.link.venue
                )
            )

    @property
    def _meters(self) -> Mapping[str, EquityMeter]:
        return self._memory.meters

    @property
    def _halted(self) -> frozenset[str]:
        return frozenset() if self._recorded is None else self._recorded.halted

    async def _store_failed(self, trouble: str) -> None:
        """CB-32: what cannot be recorded must not be done."""
        self._desk.database.trouble = None
        metrics = Metrics(at=self._desk.clock.now(), store_trouble=trouble)
        for reading in StoreFailure().read(metrics):
            reason = f"The circuit breaker stops trading: {reading.text}: {trouble}"
            await self._desk.safety.kill_switch.activate(KillMode.HALT_ONLY, reason, BREAKER)

    async def _apply(self, readings: Sequence[Reading]) -> BreakerState:
        applied: Applied = await self._desk.database.run(lambda connection: self._breaker.apply(connection, readings))
        if applied.kill is not None:
            await self._desk.safety.kill_switch.activate(KillMode.HALT_ONLY, applied.kill, BREAKER)
        return applied.state

    def _call_back(self, before: BreakerState, after: BreakerState) -> None:
        """KS-21: whoever asked to be told."""
        callbacks = self._desk.safety.kill_switch.callbacks
        if after.is_open and not before.is_open:
            first = after.first
            trigger = None if first is None else first.trigger
            callbacks.call(Occasion.TRIP, {"trigger": trigger, "mode": str(after.mode)})
        if after.mode is not before.mode:
            callbacks.call(Occasion.MODE_CHANGE, {"before": str(before.mode), "mode": str(after.mode)})

    async def _halt(self, readings: Sequence[Reading]) -> None:
        """Agents beyond their own limits stop alone (ST-02 to ST-04, CB-33)."""
        for reading in readings:
            if reading.level >= Level.PAUSE and reading.scope not in self._halted:
                reason = f"The circuit breaker halts this agent: {reading.text}."
                scope = scopes.of_strategy(reading.scope)
                await self._desk.safety.kill_switch.activate(KillMode.HALT_ONLY, reason, SYSTEM, scope=scope)
                self._memory.peaks.pop(reading.scope, None)  # after a person's resume it begins where it then stands
                self._recorded_at = None

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

    def _gather(self, state: BreakerState) -> Metrics:
        desk, now, recorded = self._desk, self._desk.clock.now(), self._recorded
        assert recorded is not None
        unknown: dict[str, float] = {}
        figures = tuple(self._account(account, now, unknown) for account in self._meters)
        self._breaker.lacks("; ".join(unknown) or None, for_seconds=max(unknown.values(), default=0.0))
        equities = {account: meter.equity for account, meter in self._meters.items() if meter.equity is not None}
        failed, operations = desk.broker.failed_operations()
        offset = desk.broker.link.clock_offset
        held = [one for one in desk.broker.known_positions() or () if one.account in self._meters and one.quantity]
        self.market.look(held)
        return Metrics(
            at=now,
            accounts=figures,
            strategies=risk_figures.strategies(
                recorded,
                self._rate,
                positions=tuple(desk.broker.known_positions() or ()),
                prices=self.market.prices,
                equities=equities,
                peaks=self._memory.peaks,
                now=now,
                since=state.counting_since,
            ),
            losses_in_a_row=recorded.losses_in_a_row,
            win_rate_pct=recorded.win_rate_pct,
            order_failures_in_a_row=recorded.failures.in_a_row,
            order_failures_in_the_hour=recorded.failures.in_the_hour,
            failed_operations=failed,
            operations=operations,
            api_errors=desk.broker.api_errors(),
            trades_in_the_hour=recorded.trades_in_the_hour,
            fees_pct=self._fees_pct(recorded),
            unknown_seconds=tuple(map(self._follower.unknown_for, recorded.unknown)),
            mismatch_seconds=self._mismatch(recorded.disagreeing_since),
            volatility=self.market.volatility(),
            correlation_pct=self.market.correlation_pct(),
            feed_lost_seconds=self.market.feed_lost_seconds(is_invested=bool(held)),
            illiquid=self.market.illiquid,
            exposure_pct=self._exposure_pct(held),
            clock_offset_seconds=None if offset is None else offset.at_least_seconds,
        )

    def _exposure_pct(self, held: Sequence[Position]) -> Decimal | None:
        """RM-04: of the account whose positions come closest to the tighter limit; what has no price does not count."""
        settings, shares = self._desk.settings, list[Decimal]()
        for account, meter in self._meters.items():
            values = [
                abs(value) * self._rate(one.instrument.currency)
                for one in held
                if one.account == account and (value := self._value(one)) is not None
            ]
            gross = sum(values, Decimal())
            shares.append(gross / settings.max_total_exposure_usd * 100)
            if meter.equity is not None and meter.equity > 0:
                shares.append(gross / meter.equity * 100 / settings.max_total_exposure_pct * 100)
        return max(shares, default=None)

    def _value(self, held: Position) -> Decimal | None:
        """By the newest price sampled, else as the broker valued it, which TWS does every three minutes."""
        price = self.market.prices.get(held.instrument.con_id)
        if price is None or held.instrument.multiplier is None:
            return held.market_value if held.instrument.sec_type != "CASH" else None
        return held.quantity * Decimal(str(price)) * held.instrument.multiplier

    def _fees_pct(self, recorded: risk_figures.Recorded) -> Decimal | None:
        """The account whose fees weigh most."""
        known = {account: meter.equity for account, meter in self._meters.items() if meter.equity}
        shares = (recorded.fees_today.get(account, Decimal()) / equity * 100 for account, equity in known.items())
        return max(shares, default=None)

    def _rate(self, currency: str) -> Decimal:
        """Units of the base currency for one of `currency`, as the broker told it with the balances; 1 when unknown."""
        for account in self._meters:
            balances = self._desk.broker.known_balances(account)
            if balances is not None and currency in balances.exchange_rates:
                return balances.exchange_rates[currency]
        return Decimal(1)

    def _mismatch(self, recorded_since: datetime | None) -> float | None:
        """For how long the broker's records have contradicted ours; a restart in the middle changes nothing."""
        if not self._desk.safety.readiness.findings:
            self._mismatch_since = None
            return None
        now = self._desk.clock.monotonic()
        if self._mismatch_since is None:
            passed = 0.0 if recorded_since is None else (self._desk.clock.now() - recorded_since).total_seconds()
            self._mismatch_since = now - max(0.0, passed)
        return now - self._mismatch_since

    def _account(self, account: str, now: datetime, unknown: dict[str, float]) -> AccountFigures:
        """The figures of one account; what of them is `unknown`, and for how many seconds it has been, is added."""
        broker, meter = self._desk.broker, self._meters[account]
        balances, pnl = broker.known_balances(account), broker.known_pnl(account)
        known = broker.known_positions() or ()
        positions = tuple(replace(one, market_value=self._value(one)) for one in known if one.account == account)
        meter.observe(now=now, monotonic=self._desk.clock.monotonic(), balances=balances, pnl=pnl, positions=positions)
        is_invested = any(held.quantity for held in positions)
        told = [one.received_at for one in ((pnl,) if is_invested else (pnl, balances)) if one is not None]
        age = (now - max(told)).total_seconds() if told else None
        if meter.equity is None or age is None:
            unknown[f"the equity of {masked(account)} is not known"] = 0.0
        elif age > float(self._desk.settings.breaker_input_grace_seconds):
            unknown[f"the equity of {masked(account)} was told {age:.0f} s ago"] = age
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


def _is_pressing(event: BrokerEvent) -> bool:
    """A fill, a rejection or an error. That an order works or was taken back moves no figure that cannot wait for the
    second's look, and an agent that places many orders would otherwise have them all wait for as many looks.
    """
    if event.kind is BrokerEventKind.ORDER_CHANGED and event.order is not None:
        return event.order.status is OrderStatus.INACTIVE or bool(event.order.filled)
    return event.kind in _WAKING and not event.only_informs


def _warning(reading: Reading) -> Reading:
    """What halts one agent is a warning to all."""
    return replace(reading, level=min(reading.level, Level.WARN), loses_money=False)
