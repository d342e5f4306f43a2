"""What a unit of a holding or of a working order may come to, in US dollars by the broker's own exchange rates."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from ibkr_mcp_server.domain.accounts import AccountSummary, Position
from ibkr_mcp_server.domain.instruments import VALUED_BY_PRICE, Instrument
from ibkr_mcp_server.domain.money import Money
from ibkr_mcp_server.domain.orders import Order, Side
from ibkr_mcp_server.safety.valuation import collar


def in_usd(money: Money | None, rates: Mapping[str, Decimal]) -> Decimal | None:
    rate = None if money is None else rates.get(money.currency)
    return None if money is None or rate is None else money.amount * rate


def usd_rates(balances: AccountSummary | None) -> dict[str, Decimal]:
    """US dollars for one unit of each currency, by the broker's own rates of the account."""
    rates = {"USD": Decimal(1)}
    if balances is None or balances.base_currency is None:
        return rates
    base_per_usd = Decimal(1) if balances.base_currency == "USD" else balances.exchange_rates.get("USD")
    if not base_per_usd:
        return rates
    told: Mapping[str, Decimal] = {**balances.exchange_rates, balances.base_currency: Decimal(1)}
    return {currency: rate / base_per_usd for currency, rate in told.items()} | rates


def held_unit_usd(held: Position, rates: Mapping[str, Decimal]) -> Decimal | None:
    """What a unit of a holding is worth by the broker's valuation; a written option with its obligation."""
    rate, instrument = rates.get(held.instrument.currency), held.instrument
    if rate is None:
        return None
    if held.market_value is not None:
        unit_usd = abs(held.market_value / held.quantity) * rate
    elif held.market_price is not None:
        per_unit = value_factor(instrument)
        if per_unit is None:
            return None
        unit_usd = held.market_price * per_unit * rate
    else:
        return None
    return _with_obligation(instrument, unit_usd, rate, written=held.quantity < 0)


def working_unit_usd(
    order: Order, mark_usd: Decimal | None, rates: Mapping[str, Decimal], collar_pct: Decimal
) -> Decimal | None:
    """What a unit of a working order may come to; a buy with a limit fills no higher, everything else at the market."""
    instrument = order.instrument
    rate, per_unit = rates.get(instrument.currency), value_factor(instrument)
    if rate is None or per_unit is None:
        return None
    limit = order.limit_price if order.limit_price is not None else order.cap_price
    if order.side is Side.BUY and limit is not None:
        return limit * per_unit * rate
    told = [price * per_unit * rate for price in (limit, order.stop_price) if price is not None]
    if mark_usd is not None:
        told.append(mark_usd)
    if not told or (limit is None and order.stop_price is None and mark_usd is None):
        return None
    worst = collar(Side.BUY, max(told), collar_pct) if limit is None else max(told)
    return _with_obligation(instrument, worst, rate, written=order.side is Side.SELL)


def value_factor(instrument: Instrument) -> Decimal | None:
    """What a price is multiplied with to give the value of one unit in the instrument's currency."""
    if instrument.multiplier is None or instrument.sec_type not in VALUED_BY_PRICE:
        return None
    return instrument.multiplier / instrument.price_magnifier


def _with_obligation(instrument: Instrument, unit_usd: Decimal, rate: Decimal, *, written: bool) -> Decimal | None:
    if not (instrument.is_option and written):
        return unit_usd
    if instrument.strike is None or instrument.multiplier is None:
        return None
    return unit_usd + instrument.strike * instrument.multiplier * rate
