"""The exits of a bracket lie on either side of its entry (ORD-20)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from ibkr_mcp_server.domain.operations import Operation, Problem
from ibkr_mcp_server.domain.orders import Exits, Order, OrderType, Side
from ibkr_mcp_server.safety.checks.stop_side import limit_problems
from ibkr_mcp_server.safety.codes import Code, problem
from ibkr_mcp_server.safety.decision import PASSED, Findings
from ibkr_mcp_server.safety.snapshot import Snapshot
from ibkr_mcp_server.safety.valuation import collar


@dataclass(frozen=True, kw_only=True)
class Bracket:
    """Refuses exits that would trade as soon as the entry has filled.

    The take-profit lies beyond the entry's price, the stop before it and before the market; without a limit the entry
    is at the market.
    """

    collar_pct: Decimal

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        exits, entry, reference = seen.observed.exits, seen.order, seen.observed.reference_price
        if exits is None or entry is None or reference is None:  # without a reference the price check refuses
            return PASSED
        price = reference if entry.limit_price is None else entry.limit_price
        found = [*_sides(exits, entry, price, self._market(entry, seen)), *limit_problems(exits.stop_loss)]
        stop = exits.stop_loss
        if stop.order_type is OrderType.STP_LMT and stop.limit_price is not None and stop.stop_price is not None:
            worst = collar(stop.side, stop.stop_price, self.collar_pct)
            if (stop.limit_price - worst) * stop.side.sign > 0:
                text = f"stop-loss: a limit of {stop.limit_price:f} lies too far beyond its stop {stop.stop_price:f}."
                limit = f"{worst.normalize():f}"
                found.append(problem(Code.PRICE_COLLAR, text, observed=f"{stop.limit_price:f}", limit=limit))
        return Findings(problems=tuple(found), observed=f"entry at {price:f}")

    def _market(self, entry: Order, seen: Snapshot) -> Decimal | None:
        """The side of the quote that the stop will watch."""
        quote = seen.observed.quote
        if quote is None:
            return None
        return quote.bid if entry.side is Side.BUY else quote.ask


def _sides(exits: Exits, entry: Order, price: Decimal, market: Decimal | None) -> Iterator[Problem]:
    sign = entry.side.sign
    beyond, before = ("above", "below") if entry.side is Side.BUY else ("below", "above")
    profit, stop = exits.take_profit.limit_price, exits.stop_loss.stop_price
    if profit is not None and (profit - price) * sign <= 0:
        text = f"The take-profit {profit:f} of a {entry.side} bracket must lie {beyond} its entry at {price:f}."
        yield problem(Code.BRACKET_PRICES, text, observed=f"{profit:f}", limit=f"{beyond} {price:f}")
    levels = [price] if market is None else [price, market]
    nearest = min(levels) if entry.side is Side.BUY else max(levels)
    if stop is not None and (stop - nearest) * sign >= 0:
        text = f"The stop-loss {stop:f} of a {entry.side} bracket must lie {before} entry and market: {nearest:f}."
        yield problem(Code.BRACKET_PRICES, text, observed=f"{stop:f}", limit=f"{before} {nearest:f}")
