"""Selling more than is held (PL-14)."""

from __future__ import annotations

from dataclasses import dataclass

from ibkr_mcp_server.domain.operations import Operation
from ibkr_mcp_server.domain.orders import Side
from ibkr_mcp_server.safety.decision import PASSED, Code, Findings, problem
from ibkr_mcp_server.safety.snapshot import Snapshot


@dataclass(frozen=True, kw_only=True)
class ShortSelling:
    """Unless `allowed`, refuses a sell after which the position could be short, other working sells counted.

    Currency pairs are an exchange of two balances, not a sale of what was borrowed; the exposure limits hold for them.
    """

    allowed: bool

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        order, portfolio = seen.order, seen.observed.portfolio
        if order is None or portfolio is None or not seen.opens or order.side is not Side.SELL:
            return PASSED
        observed, limit = f"{portfolio.shorted:f} short", "allowed" if self.allowed else "0 short"
        if self.allowed or order.instrument.is_forex or not portfolio.shorted:
            return Findings(observed=observed, limit=limit)
        text = (
            f"If all sells of {order.instrument.label} filled, the account would be {portfolio.shorted:f} short, and "
            "selling short is off (IBKR_ALLOW_SHORT)."
        )
        refusal = problem(Code.SHORT_NOT_ALLOWED, text, observed=observed, limit=limit)
        return Findings(problems=(refusal,), observed=observed, limit=limit)
