"""What the paper gateway charges for an order, after IBKR's fixed schedules.

The US rates and the ones of currency pairs are IBKR's published ones; those abroad are its usual percentage and minimum
and were not compared with a statement. Exchange fees are in a futures contract's rate and left out elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from ibkr_mcp_server.simulator.instruments import Listing

_NOTHING = Decimal(0)
_PLACES = Decimal("0.0001")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """`per_unit` a share or contract and `share_of_value` of what is traded, and at least `minimum` an order."""

    minimum: Decimal
    per_unit: Decimal = _NOTHING
    share_of_value: Decimal = _NOTHING


US_STOCKS = Schedule(per_unit=Decimal("0.005"), minimum=Decimal("1.00"))
BY_SEC_TYPE = {
    "CASH": Schedule(share_of_value=Decimal("0.00002"), minimum=Decimal("2.00")),
    "CRYPTO": Schedule(share_of_value=Decimal("0.0018"), minimum=Decimal("1.75")),
    "FUT": Schedule(per_unit=Decimal("2.25"), minimum=Decimal("2.25")),
    "OPT": Schedule(per_unit=Decimal("0.65"), minimum=Decimal("1.00")),
}
STOCKS_ABROAD = {
    "AUD": Schedule(share_of_value=Decimal("0.0008"), minimum=Decimal(6)),
    "CAD": Schedule(per_unit=Decimal("0.01"), minimum=Decimal("1.00")),
    "CHF": Schedule(share_of_value=Decimal("0.0005"), minimum=Decimal(5)),
    "DKK": Schedule(share_of_value=Decimal("0.0005"), minimum=Decimal(49)),
    "EUR": Schedule(share_of_value=Decimal("0.0005"), minimum=Decimal(3)),
    "GBP": Schedule(share_of_value=Decimal("0.0005"), minimum=Decimal(3)),
    "HKD": Schedule(share_of_value=Decimal("0.0008"), minimum=Decimal(18)),
    "JPY": Schedule(share_of_value=Decimal("0.0008"), minimum=Decimal(80)),
    "KRW": Schedule(share_of_value=Decimal("0.0008"), minimum=Decimal(4000)),
}
"""By the currency of the listing."""


def commission_for(listing: Listing, *, quantity: Decimal, value: Decimal) -> Decimal:
    """The commission of a whole order, so far: `quantity` is traded, for `value` in the commission's currency."""
    schedule = BY_SEC_TYPE.get(listing.sec_type) or STOCKS_ABROAD.get(listing.currency, US_STOCKS)
    charge = quantity * schedule.per_unit + abs(value) * schedule.share_of_value
    return max(charge.quantize(_PLACES, rounding=ROUND_HALF_EVEN), schedule.minimum)


def commission_currency_of(listing: Listing) -> str:
    """Pairs are charged in dollars, everything else in its own currency."""
    return "USD" if listing.sec_type == "CASH" else listing.currency
