"""What a take-profit must bring at least (ORD-17); off by default."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from ibkr_mcp_server.domain.operations import Operation
from ibkr_mcp_server.safety.codes import Code, problem
from ibkr_mcp_server.safety.decision import PASSED, Findings, beyond, passes
from ibkr_mcp_server.safety.snapshot import Snapshot

BASIS_POINTS = 10_000


@dataclass(frozen=True, kw_only=True)
class TakeProfitEdge:
    """Refuses a bracket whose take-profit would not pay fee, slippage and `profit_bps`; 0 asks for nothing.

    Only the order that somebody chose for its profit is held to this: stops, reductions and closes never are (T-41).
    """

    profit_bps: Decimal
    fee_bps: Decimal
    slippage_bps: Decimal

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        exits, entry = seen.observed.exits, seen.order
        if not self.profit_bps or exits is None or entry is None:
            return PASSED
        price = seen.observed.reference_price if entry.limit_price is None else entry.limit_price
        target = exits.take_profit.limit_price
        if price is None or target is None or price <= 0:
            return PASSED  # refused by the rules about prices
        edge = (target - price) * entry.side.sign / price * BASIS_POINTS
        least = self.profit_bps + self.fee_bps + self.slippage_bps
        observed, limit = f"{edge:.1f} bps", f"at least {least:f} bps"
        if edge >= least:
            return passes(observed, limit)
        text = f"The take-profit {target:f} lies {observed} from {price:f}; fee, slippage and profit ask for {limit}."
        return beyond(problem(Code.TAKE_PROFIT_EDGE, text, observed=observed, limit=limit))
