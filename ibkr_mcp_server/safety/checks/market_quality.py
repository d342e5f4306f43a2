"""Whether the market can be trusted with an opening order: a plausible quote, and a spread that is not too wide."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

from ibkr_mcp_server.domain.instruments import SecType
from ibkr_mcp_server.domain.operations import Operation
from ibkr_mcp_server.safety.codes import Code, problem
from ibkr_mcp_server.safety.decision import PASSED, Findings, beyond, passes
from ibkr_mcp_server.safety.plausible import jumped
from ibkr_mcp_server.safety.snapshot import Snapshot

ZERO = Decimal(0)


@dataclass(frozen=True, kw_only=True)
class Liquidity:
    """Refuses to open while the spread is wider than `max_spread_pct` percent of its middle (ORD-18)."""

    max_spread_pct: Decimal

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        quote, order = seen.observed.quote, seen.order
        if order is None or quote is None or seen.observed.reference_price is None or not seen.opens:
            return PASSED  # without a usable quote order_price refuses
        if order.instrument.is_option:
            return PASSED  # wide by nature
        limit = self._limit
        bid, ask = quote.bid, quote.ask
        if bid is None or ask is None or bid <= ZERO or ask <= ZERO:
            text = f"{order.instrument.label} is quoted on one side only (bid {bid}, ask {ask})."
            return beyond(problem(Code.ILLIQUID, text, limit=limit))
        spread = (ask - bid) / (ask + bid) * 200
        observed = f"{spread:.2f} %"
        if spread <= self.max_spread_pct:
            return passes(observed, limit)
        text = f"The spread of {order.instrument.label} is {observed} of its middle (bid {bid}, ask {ask})."
        return Findings(
            problems=(problem(Code.ILLIQUID, text, observed=observed, limit=limit),), observed=observed, limit=limit
        )

    @cached_property
    def _limit(self) -> str:
        return f"{self.max_spread_pct:f} % of the middle"


@dataclass(frozen=True, kw_only=True)
class AverageVolume:
    """Refuses to open more than `max_pct` percent of a stock's average daily volume, and says where none is told."""

    max_pct: Decimal

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        quote, order = seen.observed.quote, seen.order
        if order is None or quote is None or not seen.opens or order.instrument.sec_type is not SecType.STK:
            return PASSED
        limit = self._limit
        average = quote.average_volume
        if average is None:
            text = f"The broker does not tell the average daily volume of {order.instrument.label}: not checked."
            return Findings(warnings=(text,), limit=limit)
        observed = f"{order.quantity:f} of {average:f} a day"
        if order.quantity * 100 <= average * self.max_pct:
            return passes(observed, limit)
        text = f"{order.quantity:f} {order.instrument.label} is more than {limit}, which is {average:f}."
        return Findings(
            problems=(problem(Code.ILLIQUID, text, observed=observed, limit=limit),), observed=observed, limit=limit
        )

    @cached_property
    def _limit(self) -> str:
        return f"{self.max_pct:f} % of the average daily volume"


@dataclass(frozen=True, kw_only=True)
class PlausibleQuote:
    """Refuses to open on a quote that jumped by more than `max_jump_pct` percent without a trade there (ORD-25)."""

    max_jump_pct: Decimal

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        order, reference, before = seen.order, seen.observed.reference_price, seen.observed.earlier_price
        if order is None or reference is None or before is None or not seen.opens:
            return PASSED
        jump = abs(reference - before) / before * 100
        observed, limit = f"{jump:.1f} % from {before:f}", f"{self.max_jump_pct:f} %"
        quote = seen.observed.quote
        last = None if quote is None else quote.last
        if not jumped(before, reference, last, self.max_jump_pct):
            return passes(observed, limit)
        text = (
            f"The price of {order.instrument.label} went from {before:f} to {reference:f} ({jump:.1f} %), and no trade "
            f"confirms it (last {last})."
        )
        return Findings(
            problems=(problem(Code.IMPLAUSIBLE_QUOTE, text, observed=observed, limit=limit),),
            observed=observed,
            limit=limit,
        )
