"""The account's equity and the value of its positions must be known before anything is opened (T-06)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from ibkr_mcp_server.domain.operations import Operation
from ibkr_mcp_server.safety.codes import Code, problem
from ibkr_mcp_server.safety.decision import PASSED, Findings, beyond, judged
from ibkr_mcp_server.safety.snapshot import Snapshot


@dataclass(frozen=True, kw_only=True)
class PortfolioKnown:
    """Refuses an opening order while a share of the equity cannot be told; the layers after it rely on this."""

    max_age_seconds: float

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        if seen.order is None or not seen.opens or seen.observed.value_usd is None:
            return PASSED  # an order without a value is refused for that
        portfolio = seen.observed.portfolio
        limit = self._limit
        if portfolio is None or portfolio.equity_usd is None or portfolio.equity_age_seconds is None:
            text = "The broker has not told what the account is worth in US dollars."
            return beyond(problem(Code.EQUITY_UNKNOWN, text, limit=limit))
        observed = f"{portfolio.equity_usd:,.2f} USD, told {portfolio.equity_age_seconds:.0f} s ago"
        found = []
        if portfolio.equity_age_seconds > self.max_age_seconds:
            text = (
                f"The equity of the account was told {portfolio.equity_age_seconds:.0f} s ago; it may be "
                f"{self.max_age_seconds:g} s old."
            )
            found.append(problem(Code.EQUITY_UNKNOWN, text, observed=observed, limit=limit))
        elif portfolio.equity_usd <= 0:
            text = f"The equity of the account is {portfolio.equity_usd:,.2f} USD."
            found.append(problem(Code.NO_EQUITY, text, observed=observed, limit=limit))
        if portfolio.gross_usd is None or portfolio.symbol_usd is None:
            names = ", ".join(portfolio.unknown) or seen.order.instrument.label
            text = f"The value of {names} is unknown, and with it what the account would hold."
            found.append(problem(Code.EXPOSURE_UNKNOWN, text, observed=names))
        return judged(found, observed, limit)

    @cached_property
    def _limit(self) -> str:
        return f"told within {self.max_age_seconds:g} s, above 0"
