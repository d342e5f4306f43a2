"""Money, and decimals that can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_UP, Decimal, InvalidOperation

CENT = Decimal("0.01")


@dataclass(frozen=True, kw_only=True)
class Money:
    """An amount with its currency (ISO 4217); negative amounts are owed."""

    amount: Decimal
    currency: str

    def __post_init__(self) -> None:
        if not self.amount.is_finite():
            raise ValueError(f"an amount of money must be finite, not {self.amount}")

    def __str__(self) -> str:
        return f"{self.amount:,.2f} {self.currency}"


def finite_decimal(value: object) -> Decimal | None:
    """`value` as a Decimal, or None when it is missing, not a number or not finite.

    Broker libraries fill unknown prices with NaN, infinities, -1 or the largest double; the caller that knows the
    field decides about -1. A float is read through its shortest text, so 0.1 becomes Decimal("0.1").
    """
    if value is None or isinstance(value, bool):
        return None
    try:
        number = value if isinstance(value, Decimal) else Decimal(str(value))
    except InvalidOperation:
        return None
    if not number.is_finite() or abs(number) >= Decimal("1e100"):  # 1.797e308 is TWS's "unset"
        return None
    return number


def on_grid(price: Decimal, increment: Decimal) -> bool:
    """Whether `price` is a whole multiple of `increment`."""
    return not price % increment


def round_to_grid(price: Decimal, increment: Decimal, *, up: bool) -> Decimal:
    """The nearest multiple of `increment` that is not below (`up`) or not above `price`."""
    steps = (price / increment).to_integral_value(rounding=ROUND_UP if up else ROUND_DOWN)
    return steps * increment
