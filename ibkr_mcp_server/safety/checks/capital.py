"""What may be spent, and what may be lost: the cash reserve (PL-11) and the capital at risk (PL-12)."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

from ibkr_mcp_server.domain.operations import Operation
from ibkr_mcp_server.domain.orders import Side
from ibkr_mcp_server.safety.codes import Code, problem
from ibkr_mcp_server.safety.decision import PASSED, Findings, passes, refuses
from ibkr_mcp_server.safety.snapshot import Snapshot

ZERO = Decimal(0)
BASIS_POINTS = 10_000


def investable(cash_usd: Decimal, equity_usd: Decimal, reserve_pct: Decimal, reserve_usd: Decimal) -> Decimal:
    """Settled cash above the reserve: a share of the equity, or a sum if that is larger."""
    return max(ZERO, cash_usd - max(reserve_pct * equity_usd / 100, reserve_usd))


@dataclass(frozen=True, kw_only=True)
class CashReserve:
    """Lets purchases cost no more than the settled cash above the reserve: a share of the equity, or a sum if larger.

    All purchases that may still come count, with their fees. Selling needs no cash.
    """

    reserve_pct: Decimal
    reserve_usd: Decimal
    fee_bps: Decimal

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        portfolio, order = seen.projected, seen.order
        if portfolio is None or order is None or order.side is not Side.BUY:
            return PASSED
        outlay, equity = portfolio.outlay_usd, portfolio.equity_usd
        if outlay is None or equity is None or equity <= ZERO:
            return PASSED  # refused by portfolio_known
        if portfolio.cash_usd is None:
            text = "The broker has not told how much settled cash the account has."
            return refuses(problem(Code.CASH_UNKNOWN, text))
        cost = outlay * self._with_fees
        most = investable(portfolio.cash_usd, equity, self.reserve_pct, self.reserve_usd)
        observed, limit = f"{cost:.2f} USD with fees", f"{most:.2f} USD above the reserve"
        if cost <= most:
            return passes(observed, limit)
        text = f"All purchases with this one would cost {observed}; {limit} may be spent, of {portfolio.cash_usd:.2f}."
        return Findings(
            problems=(problem(Code.CASH_RESERVE, text, observed=observed, limit=limit),), observed=observed, limit=limit
        )

    @cached_property
    def _with_fees(self) -> Decimal:
        return 1 + self.fee_bps / BASIS_POINTS


@dataclass(frozen=True, kw_only=True)
class CapitalAtRisk:
    """Caps what would be lost if every stop were hit; a position without a stop counts in full (C-24, T-40)."""

    most: Decimal
    """Fraction of the equity."""

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        portfolio = seen.projected
        if portfolio is None:
            return PASSED
        at_risk, equity = portfolio.at_risk_usd, portfolio.equity_usd
        if at_risk is None or equity is None or equity <= ZERO:
            return PASSED
        observed, limit = f"{at_risk / equity:.4f}", self._limit
        if at_risk <= self.most * equity:
            return passes(observed, limit)
        text = (
            f"If every stop were hit, {observed} of the equity ({at_risk:,.2f} USD) would be lost, "
            f"positions without a stop in full; the limit is {self.most:f}."
        )
        return Findings(
            problems=(problem(Code.CAPITAL_AT_RISK, text, observed=observed, limit=limit),),
            observed=observed,
            limit=limit,
        )

    @cached_property
    def _limit(self) -> str:
        return f"{self.most:f} of the equity"
