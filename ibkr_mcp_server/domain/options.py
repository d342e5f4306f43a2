"""Options: which there are on an underlying, and what one is computed to be worth."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum


@dataclass(frozen=True, kw_only=True)
class OptionChain:
    """The options of one trading class at one exchange (reqSecDefOptParams).

    Every expiration with every strike is more than there is: the broker lists both, not which pairs exist.
    """

    exchange: str
    trading_class: str
    multiplier: Decimal | None
    """Units of the underlying per contract; None when the broker did not say."""
    expirations: tuple[str, ...]
    """`YYYYMMDD`, ascending."""
    strikes: tuple[Decimal, ...]
    """Ascending."""


class GreeksBasis(StrEnum):
    """The option price from which the broker computed; the model's is its own."""

    MODEL = "model"
    LAST = "last"
    BID = "bid"
    ASK = "ask"


@dataclass(frozen=True, kw_only=True)
class Greeks:
    """One computation of the broker (tickOptionComputation); None where it was not computed.

    Sensitivities are per unit of the underlying, theta per calendar day, vega per percent point of volatility.
    """

    basis: GreeksBasis
    received_at: datetime
    implied_volatility: Decimal | None = None
    """A year's, as a fraction: 0.25 for 25 %."""
    delta: Decimal | None = None
    gamma: Decimal | None = None
    vega: Decimal | None = None
    theta: Decimal | None = None
    option_price: Decimal | None = None
    dividends: Decimal | None = None
    """Present value of the underlying's dividends until expiry."""
    underlying_price: Decimal | None = None
