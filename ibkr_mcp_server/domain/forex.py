"""Currency pairs as IBKR lists them, and how to get from one currency to another by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

MAJOR_PAIRS = ("EUR.USD", "GBP.USD", "USD.JPY", "USD.CHF", "AUD.USD", "USD.CAD", "NZD.USD")
CROSSES = (
    *("EUR.GBP", "EUR.JPY", "GBP.JPY", "CHF.JPY", "EUR.CHF", "AUD.JPY", "CAD.JPY"),
    *("NZD.JPY", "EUR.AUD", "EUR.NZD", "GBP.AUD", "GBP.NZD", "AUD.CAD", "AUD.NZD"),
)
RATE_PAIRS = (*MAJOR_PAIRS, *CROSSES)
"""The 21 pairs that are quoted when none is named."""

_OTHERS = (
    *("GBP.CHF", "EUR.CAD", "GBP.CAD", "AUD.CHF", "NZD.CAD", "NZD.CHF", "CAD.CHF", "EUR.DKK", "EUR.NOK", "EUR.SEK"),
    *("USD.CNH", "USD.CZK", "USD.DKK", "USD.HKD", "USD.HUF", "USD.ILS", "USD.KRW", "USD.MXN", "USD.NOK", "USD.PLN"),
    *("USD.SEK", "USD.SGD", "USD.TRY", "USD.ZAR"),
)
KNOWN_PAIRS = frozenset((*RATE_PAIRS, *_OTHERS))
"""Pairs of IDEALPRO, base currency first; the other way round IBKR lists none of them."""

BRIDGES = ("USD", "EUR")
"""Through which a conversion goes when there is no pair of its two currencies, in this order."""


@dataclass(frozen=True, kw_only=True)
class Leg:
    """One step of a conversion."""

    pair: str
    inverse: bool
    """From the pair's second currency to its first."""

    @property
    def source(self) -> str:
        return self.pair[4:] if self.inverse else self.pair[:3]

    @property
    def target(self) -> str:
        return self.pair[:3] if self.inverse else self.pair[4:]

    def rate(self, bid: Decimal, ask: Decimal) -> Decimal:
        """Units of the target for one of the source, at the middle of the quote."""
        middle = (bid + ask) / 2
        return 1 / middle if self.inverse else middle

    def worst_rate(self, bid: Decimal, ask: Decimal) -> Decimal:
        """The same for someone who converts at the market: selling the base brings the bid, buying it costs the ask."""
        return 1 / ask if self.inverse else bid


def legs_between(source: str, target: str) -> Sequence[Leg] | None:
    """The steps from one currency to the other: none, one, or two through a bridge; None when no way is known."""
    if source == target:
        return ()
    direct = _leg(source, target)
    if direct is not None:
        return (direct,)
    for bridge in BRIDGES:
        first, second = _leg(source, bridge), _leg(bridge, target)
        if first is not None and second is not None:
            return first, second
    return None


def _leg(source: str, target: str) -> Leg | None:
    for pair, inverse in ((f"{source}.{target}", False), (f"{target}.{source}", True)):
        if pair in KNOWN_PAIRS:
            return Leg(pair=pair, inverse=inverse)
    return None
