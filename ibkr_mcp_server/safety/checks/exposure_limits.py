"""How much one instrument, and all together, may come to (PL-02 to PL-09).

Every sum is of the projected portfolio at its worst (`safety/portfolio.py`); equal to a limit passes. What is unknown
passes here, because `portfolio_known` refuses it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

from ibkr_mcp_server.domain.operations import Operation
from ibkr_mcp_server.safety.codes import Code, problem
from ibkr_mcp_server.safety.decision import PASSED, Findings, beyond, passes
from ibkr_mcp_server.safety.portfolio import Portfolio
from ibkr_mcp_server.safety.snapshot import Snapshot

ZERO = Decimal(0)


def of_symbol(portfolio: Portfolio) -> Decimal | None:
    return portfolio.symbol_usd


def of_all(portfolio: Portfolio) -> Decimal | None:
    return portfolio.gross_usd


def of_strategy(portfolio: Portfolio) -> Decimal | None:
    return portfolio.strategy_usd


def of_sector(portfolio: Portfolio) -> Decimal | None:
    return portfolio.sector_usd


@dataclass(frozen=True, kw_only=True)
class ShareOfEquity:
    """Caps a sum at `most_pct` percent of the equity."""

    sum_of: Callable[[Portfolio], Decimal | None]
    most_pct: Decimal
    code: Code
    what: str

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        portfolio = seen.projected
        if portfolio is None:
            return PASSED
        total, equity = self.sum_of(portfolio), portfolio.equity_usd
        if total is None or equity is None or equity <= ZERO:
            return PASSED
        share = total / equity * 100
        limit = self._limit
        if total * 100 <= self.most_pct * equity:
            return passes(f"{share:.4f} %", limit)
        observed = f"{share:.4f} % ({total:,.2f} of {equity:,.2f} USD)"
        text = f"{self.what} would come to {share:.2f} % of the equity; the limit is {self.most_pct:f} %."
        return beyond(problem(self.code, text, observed=observed, limit=limit))

    @cached_property
    def _limit(self) -> str:
        return f"{self.most_pct:f} % of the equity"


@dataclass(frozen=True, kw_only=True)
class SumInDollars:
    """Caps a sum at `most_usd`."""

    sum_of: Callable[[Portfolio], Decimal | None]
    most_usd: Decimal
    code: Code
    what: str

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        portfolio = seen.projected
        total = None if portfolio is None else self.sum_of(portfolio)
        if total is None:
            return PASSED
        observed, limit = f"{total:,.2f} USD", self._limit
        if total <= self.most_usd:
            return passes(observed, limit)
        text = f"{self.what} would come to {observed}; the limit is {limit}."
        return beyond(problem(self.code, text, observed=observed, limit=limit))

    @cached_property
    def _limit(self) -> str:
        return f"{self.most_usd:,.2f} USD"


@dataclass(frozen=True, kw_only=True)
class Leverage:
    """Caps all positions together at `most` times the equity (PL-09)."""

    most: Decimal

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        portfolio = seen.projected
        if portfolio is None:
            return PASSED
        gross, equity = portfolio.gross_usd, portfolio.equity_usd
        if gross is None or equity is None or equity <= ZERO:
            return PASSED
        observed, limit = f"{gross / equity:.4f}", self._limit
        if gross <= self.most * equity:
            return passes(observed, limit)
        text = f"All positions together would be {observed} times the equity; the limit is {limit}."
        return beyond(problem(Code.LEVERAGE_LIMIT, text, observed=observed, limit=limit))

    @cached_property
    def _limit(self) -> str:
        return f"{self.most:f}"


@dataclass(frozen=True, kw_only=True)
class ConcurrentPositions:
    """Caps the instruments that are held or about to be; adding to one of them is no new one (PL-07, T-05)."""

    most: int

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        portfolio = seen.projected
        if portfolio is None:
            return PASSED
        observed, limit = f"{portfolio.instruments} with this order", f"{self.most}"
        if not portfolio.is_new or portfolio.instruments <= self.most:
            return passes(observed, limit)
        text = f"This would be instrument {portfolio.instruments} of the portfolio; the limit is {self.most}."
        return beyond(problem(Code.POSITIONS_LIMIT, text, observed=observed, limit=limit))
