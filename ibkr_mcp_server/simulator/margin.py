"""The margin that a holding ties up: a plain model of a Reg-T account, good for telling what fits from what does not.

It knows no offsets between holdings, so a spread costs as much as its legs.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from ibkr_mcp_server.simulator.instruments import Listing


@dataclass(frozen=True, kw_only=True)
class MarginRates:
    """Shares of a position's absolute value."""

    initial_long: Decimal
    initial_short: Decimal
    maintenance_long: Decimal
    maintenance_short: Decimal


class Margin(NamedTuple):
    """In the currency of the listing."""

    initial: Decimal
    maintenance: Decimal


def _both_ways(initial: str, maintenance: str) -> MarginRates:
    return MarginRates(
        initial_long=Decimal(initial),
        initial_short=Decimal(initial),
        maintenance_long=Decimal(maintenance),
        maintenance_short=Decimal(maintenance),
    )


MARGIN_RATES = {
    "STK": MarginRates(
        initial_long=Decimal("0.25"),
        initial_short=Decimal("0.30"),
        maintenance_long=Decimal("0.20"),
        maintenance_short=Decimal("0.25"),
    ),
    "CASH": _both_ways("0.025", "0.02"),
    "FUT": _both_ways("0.10", "0.09"),
}
_FULL_VALUE = _both_ways("1", "1")

WRITTEN_SHARE = {"IND": Decimal("0.15")}
_WRITTEN_STOCK_SHARE = Decimal("0.20")
_WRITTEN_LEAST = Decimal("0.10")


def margin_of(
    listing: Listing, quantity: Decimal, value: Decimal, *, under: tuple[str, Decimal] | None, multiplier: Decimal
) -> Margin:
    """What holding `quantity`, worth `value`, ties up; `under` is an option's underlying: its type and its price.

    A bought option ties up its premium. A written one ties up what it could cost if the underlying moved (CBOE's
    margin manual); its premium is no part of that, since the account's equity already counts it as a debt.
    """
    if listing.sec_type == "OPT" and quantity < 0 and under is not None and listing.strike is not None:
        under_type, price = under
        out_of_the_money = max(price - listing.strike if listing.right == "P" else listing.strike - price, Decimal(0))
        share = WRITTEN_SHARE.get(under_type, _WRITTEN_STOCK_SHARE)
        least = _WRITTEN_LEAST * (listing.strike if listing.right == "P" else price)
        tied_up = max(share * price - out_of_the_money, least) * multiplier * abs(quantity)
        return Margin(tied_up, tied_up)
    rates = MARGIN_RATES.get(listing.sec_type, _FULL_VALUE)
    if quantity > 0:
        return Margin(abs(value) * rates.initial_long, abs(value) * rates.maintenance_long)
    return Margin(abs(value) * rates.initial_short, abs(value) * rates.maintenance_short)
