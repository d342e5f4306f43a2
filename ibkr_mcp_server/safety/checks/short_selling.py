"""Selling more than is held (PL-14)."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from ibkr_mcp_server.domain.instruments import Instrument, SecType
from ibkr_mcp_server.domain.operations import Operation
from ibkr_mcp_server.domain.orders import Side
from ibkr_mcp_server.domain.quotes import Quote
from ibkr_mcp_server.safety.codes import Code, problem
from ibkr_mcp_server.safety.decision import PASSED, Findings, beyond, passes, refuses
from ibkr_mcp_server.safety.snapshot import Snapshot

EASY_TO_BORROW = Decimal("2.5")
"""IBKR's grade above which at least 1,000 shares can be borrowed at once."""


@dataclass(frozen=True, kw_only=True)
class ShortSelling:
    """Unless `allowed`, refuses a sell after which the position could be short, other working sells counted.

    Where it is allowed, the broker must have said that the shares can be borrowed. Currency pairs are an exchange of
    two balances, not a sale of what was borrowed; the exposure limits hold for them.
    """

    allowed: bool

    def review(self, operation: Operation, seen: Snapshot) -> Findings:
        order, portfolio = seen.order, seen.observed.portfolio
        if order is None or portfolio is None or not seen.opens or order.side is not Side.SELL:
            return PASSED
        observed, limit = f"{portfolio.shorted:f} short", "allowed" if self.allowed else "0 short"
        if order.instrument.is_forex or not portfolio.shorted:
            return passes(observed, limit)
        if self.allowed:
            return _borrowed(order.instrument, portfolio.shorted, seen.observed.quote)
        text = (
            f"If all sells of {order.instrument.label} filled, the account would be {portfolio.shorted:f} short, and "
            "selling short is off (IBKR_ALLOW_SHORT)."
        )
        return beyond(problem(Code.SHORT_NOT_ALLOWED, text, observed=observed, limit=limit))


def _borrowed(instrument: Instrument, shorted: Decimal, quote: Quote | None) -> Findings:
    """What is sold short must be there to borrow; derivatives are written, not borrowed."""
    if instrument.sec_type is not SecType.STK:
        return passes(f"{shorted:f} short", "allowed")
    grade = None if quote is None else quote.shortable
    if grade is None:
        text = f"The broker has not told whether {instrument.label} can be borrowed."
        return refuses(problem(Code.BORROW_UNKNOWN, text))
    shares = None if quote is None else quote.shortable_shares
    if grade > EASY_TO_BORROW and (shares is None or shares >= shorted):
        return passes(f"{shorted:f} short", "allowed")
    found = "none for sure" if grade <= EASY_TO_BORROW else f"{shares:f}"
    text = f"{shorted:f} {instrument.label} would have to be borrowed; the broker has {found} to lend."
    return refuses(problem(Code.BORROW_UNAVAILABLE, text, observed=f"{shorted:f}", limit=found))
