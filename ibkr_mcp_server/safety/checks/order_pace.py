"""Pace of opening orders beyond their number: pauses, repeats, and the value that goes out in a while."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

from ibkr_mcp_server.clock import next_trading_day_starts
from ibkr_mcp_server.domain.confirmation import Confirmer
from ibkr_mcp_server.domain.operations import Operation
from ibkr_mcp_server.safety.codes import Code, problem
from ibkr_mcp_server.safety.decision import PASSED, Findings, beyond, judged, passes
from ibkr_mcp_server.safety.snapshot import Snapshot
from ibkr_mcp_server.store.intents import Opening


@dataclass(frozen=True, kw_only=True)
class OrderCooldown:
    """Keeps `seconds` between opening orders on the same instrument and side (ORD-14)."""

    seconds: float

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        order = seen.order
        if order is None or not seen.opens or seen.observed.current is not None:
            return PASSED
        con_id, side, youngest = order.instrument.con_id, order.side, self.seconds
        for earlier in seen.recorded.openings:
            if earlier.age_seconds >= self.seconds:
                return self._kept  # the youngest come first
            if earlier.is_new and earlier.con_id == con_id and earlier.side == side:
                youngest = earlier.age_seconds
                break
        else:
            return self._kept
        limit = self._kept.limit
        text = (
            f"The last opening {order.side} of {order.instrument.label} was {youngest:.1f} s ago; "
            f"{self.seconds:g} s must lie between."
        )
        wait = round(self.seconds - youngest, 3)
        observed = f"{youngest:.1f} s ago"
        return beyond(problem(Code.COOLDOWN, text, observed=observed, limit=limit, retry_after_seconds=wait))

    @cached_property
    def _kept(self) -> Findings:
        return Findings(limit=f"{self.seconds:g} s between")


@dataclass(frozen=True, kw_only=True)
class RepeatedOrder:
    """Holds back an opening order that says what one with another key said within `seconds` (ORD-21)."""

    seconds: float

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        order = seen.order
        if order is None or not seen.opens or seen.observed.current is not None:
            return PASSED
        if seen.recorded.confirmed.by >= Confirmer.AGENT:
            return PASSED  # it is meant: somebody looked at it twice
        said = (order.instrument.con_id, order.side, order.quantity, order.limit_price, order.stop_price)
        for earlier in seen.recorded.openings:
            if earlier.age_seconds >= self.seconds:
                break  # the youngest come first
            told = (earlier.con_id, earlier.side, earlier.quantity, earlier.limit_price, earlier.stop_price)
            if told == said:
                text = (
                    f"The same order was accepted {earlier.age_seconds:.1f} s ago as {earlier.request_key}; a repeat "
                    f"within {self.seconds:g} s is taken for a mistake."
                )
                wait = round(self.seconds - earlier.age_seconds, 3)
                return Findings(
                    problems=(
                        problem(Code.REPEATED_ORDER, text, observed=earlier.request_key, retry_after_seconds=wait),
                    )
                )
        return PASSED


@dataclass(frozen=True, kw_only=True)
class TradedValue:
    """Caps the worst-case value of opening orders in a rolling cycle (ORD-15) and in a trading day (RL-06)."""

    per_cycle_usd: Decimal
    cycle_seconds: float
    per_day_usd: Decimal

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        if seen.order is None or not seen.opens:
            return PASSED
        value = seen.observed.value_usd
        if value is None:
            return PASSED  # refused by order_value
        openings = seen.recorded.openings
        in_cycle: Sequence[Opening] = openings
        if openings and openings[-1].age_seconds >= self.cycle_seconds:  # the youngest come first
            in_cycle = [one for one in openings if one.age_seconds < self.cycle_seconds]
        today = [one for one in openings if one.is_today]
        cycle = self._sum(seen, value, in_cycle)
        day = cycle if len(in_cycle) == len(today) == len(openings) else self._sum(seen, value, today)
        shown = f"{cycle:.2f} USD"
        observed = f"{shown} in the cycle and {shown if day is cycle else f'{day:.2f} USD'} today, with this order"
        limit = self._limit
        found = []
        if cycle > self.per_cycle_usd:
            text = f"Opening orders of the last {self.cycle_seconds / 60:g} min would come to {cycle:.2f} USD."
            wait = self._until_room(seen, value)
            found.append(
                problem(Code.CYCLE_VALUE_LIMIT, text, observed=observed, limit=limit, retry_after_seconds=wait)
            )
        if day > self.per_day_usd:
            text = f"Opening orders of this trading day would come to {day:.2f} USD."
            wait = (next_trading_day_starts(seen.now) - seen.now).total_seconds()
            found.append(
                problem(Code.DAILY_VALUE_LIMIT, text, observed=observed, limit=limit, retry_after_seconds=wait)
            )
        return judged(found, observed, limit)

    @cached_property
    def _limit(self) -> str:
        return f"{self.per_cycle_usd:f} USD in {self.cycle_seconds / 60:g} min, {self.per_day_usd:f} USD a day"

    def _sum(self, seen: Snapshot, value: Decimal, counting: Sequence[Opening]) -> Decimal:
        """The value of these orders and this one; an order that was changed counts once, at its most."""
        current = seen.observed.current
        changes = [earlier for earlier in counting if not earlier.is_new]
        if current is None and not changes:
            return sum([earlier.value_usd for earlier in counting], value)
        worth = {None if current is None else current.order.order_ref: value}
        for earlier in counting:
            known = worth.get(earlier.order_ref)
            if known is None or earlier.value_usd > known:
                worth[earlier.order_ref] = earlier.value_usd
        return sum(worth.values(), Decimal(0))

    def _until_room(self, seen: Snapshot, value: Decimal) -> float | None:
        """Seconds until enough of the older orders have left the cycle; None when it never fits."""
        ages = sorted({earlier.age_seconds for earlier in seen.recorded.openings}, reverse=True)
        for age in (age for age in ages if age < self.cycle_seconds):
            younger = [one for one in seen.recorded.openings if one.age_seconds < age]
            if self._sum(seen, value, younger) <= self.per_cycle_usd:
                return round(self.cycle_seconds - age, 3)
        return None


@dataclass(frozen=True, kw_only=True)
class PriceWalk:
    """Stops own prices in one instrument from walking away step by step (ORD-26).

    A buy may not stand more than `pct` percent above the lowest, a sell not more below the highest, of the own opening
    prices of the last `seconds`.
    """

    pct: Decimal
    seconds: float

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        order = seen.order
        price = None if order is None else (order.limit_price or order.cap_price)
        if order is None or price is None or not seen.opens:
            return PASSED
        con_id, side = order.instrument.con_id, order.side
        prices = []
        for earlier in seen.recorded.openings:
            if earlier.age_seconds >= self.seconds:
                break  # the youngest come first
            if earlier.con_id == con_id and earlier.side == side and earlier.limit_price is not None:
                prices.append(earlier.limit_price)
        if not prices:
            return PASSED
        sign = order.side.sign
        start = min(prices) if sign > 0 else max(prices)
        bound = start * (1 + sign * self.pct / 100)
        limit = f"{'at most' if sign > 0 else 'at least'} {bound.normalize():f}"
        if (price - bound) * sign <= 0:
            return passes(f"{price:f}", limit)
        text = (
            f"A {order.side} at {price:f} is more than {self.pct:f} % from {start:f}, where the own orders in "
            f"{order.instrument.label} began in the last {self.seconds / 60:g} min."
        )
        return Findings(
            problems=(problem(Code.PRICE_WALK, text, observed=f"{price:f}", limit=limit),),
            observed=f"{price:f}",
            limit=limit,
        )
