"""The portfolio that would result if everything that may open a position did: positions, working orders of all
clients, orders decided on that the broker has not told of, and the order in question.

All values are US dollars, at the worst price, multiplier and exchange rate included. What cannot be valued makes the
sums unknown, and is named; it never counts as zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from ibkr_mcp_server.domain.accounts import AccountSummary, Position
from ibkr_mcp_server.domain.instruments import VALUED_BY_PRICE, Instrument
from ibkr_mcp_server.domain.orders import BrokerOrder, Order, Side
from ibkr_mcp_server.safety.exposure import ZERO, Holdings, may_fill, reserved_openings, shared_with
from ibkr_mcp_server.safety.valuation import collar
from ibkr_mcp_server.store.intents import Intent, Opening


@dataclass(frozen=True, kw_only=True)
class Portfolio:
    """One account, with the order in question; None is unknown."""

    equity_usd: Decimal | None
    """Net liquidation value."""
    equity_age_seconds: float | None
    symbol_usd: Decimal | None
    """The order's own instrument at its worst: what is held and all that may be added, or the opposite position."""
    gross_usd: Decimal | None
    """The same of all instruments, long and short alike."""
    instruments: int
    """How many have a position or may get one."""
    is_new: bool
    """Nothing is held of the order's instrument, and nothing else is about to open it."""
    shorted: Decimal
    """Units that would be sold short if all sells of the instrument filled."""
    unknown: tuple[str, ...] = ()
    """Instruments that cannot be valued."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One account as it is, with all that may open besides; None is unknown."""

    equity_usd: Decimal | None
    largest_usd: Decimal | None
    """The instrument that comes to most."""
    gross_usd: Decimal | None
    instruments: int


@dataclass(frozen=True, kw_only=True)
class Line:
    """Units that may still trade, and what one is worth at its worst; None is unknown."""

    quantity: Decimal
    unit_usd: Decimal | None


@dataclass(kw_only=True)
class Holding:
    """What is known of one instrument."""

    label: str
    position: Decimal = ZERO
    unit_usd: Decimal | None = None
    lines: dict[Side, dict[object, Line]] = field(default_factory=lambda: {Side.BUY: {}, Side.SELL: {}})

    def add(self, side: Side, share: object, line: Line) -> None:
        """Orders with an equal `share` cannot all fill: the worst of them counts."""
        known = self.lines[side].get(share)
        if known is not None:
            units = known.unit_usd, line.unit_usd
            dearest = None if None in units else max(unit for unit in units if unit is not None)
            line = Line(quantity=max(known.quantity, line.quantity), unit_usd=dearest)
        self.lines[side][share] = line

    def total(self, side: Side) -> Decimal:
        return sum((line.quantity for line in self.lines[side].values()), ZERO)

    def counts(self, unsettled: Decimal) -> bool:
        """Whether it has a position, or orders that may open one."""
        return bool(self.position or unsettled or self.total(Side.BUY) or self.total(Side.SELL))

    def worst_usd(self, unsettled: Decimal) -> Decimal | None:
        """The largest value that it may come to; fills that are not booked yet may be in the position, or not."""
        worst = ZERO
        for start in {self.position, self.position + unsettled}:
            more, back = (Side.BUY, Side.SELL) if start >= 0 else (Side.SELL, Side.BUY)
            held = self._value([Line(quantity=abs(start), unit_usd=self.unit_usd)], abs(start))
            added = self._value(self.lines[more].values(), self.total(more))
            crossed = self._value(self.lines[back].values(), max(ZERO, self.total(back) - abs(start)))
            if held is None or added is None or crossed is None:
                return None
            worst = max(worst, held + added, crossed)
        return worst

    @staticmethod
    def _value(lines: Iterable[Line], quantity: Decimal) -> Decimal | None:
        """Of `quantity` units of `lines`, the dearest first."""
        value = ZERO
        if not quantity:
            return value
        priced = [(line.unit_usd, line.quantity) for line in lines if line.unit_usd is not None]
        if sum((units for _, units in priced), ZERO) < quantity:
            return None
        for unit_usd, units in sorted(priced, reverse=True):
            taken = min(units, quantity)
            value, quantity = value + taken * unit_usd, quantity - taken
        return value


def project(
    order: Order,
    *,
    value_usd: Decimal | None,
    usd_per_unit: Decimal | None,
    replaced: BrokerOrder | None,
    balances: AccountSummary | None,
    holdings: Holdings,
    unresolved: Sequence[Intent],
    openings: Sequence[Opening],
    collar_pct: Decimal,
    now: datetime,
) -> Portfolio:
    """The portfolio of the order's account, with the order.

    `value_usd` is what the whole order is worth at its worst; `replaced` the working order that it changes.
    """
    con_id, rates = order.instrument.con_id, _rates(balances)
    if usd_per_unit is not None:
        rates[order.instrument.currency] = usd_per_unit
    known = _before(order.account, replaced, holdings, unresolved, openings, rates, collar_pct)
    own = known.setdefault(con_id, Holding(label=order.instrument.label))
    is_new = not (own.position or holdings.unsettled.get(con_id) or own.total(Side.BUY) or own.total(Side.SELL))
    unit_usd = None if value_usd is None or not order.quantity else value_usd / order.quantity
    own.unit_usd = unit_usd if own.unit_usd is None else own.unit_usd
    remaining = order.quantity - (ZERO if replaced is None else replaced.filled)
    own.add(order.side, "this order", Line(quantity=max(ZERO, remaining), unit_usd=unit_usd))

    worst = {which: entry.worst_usd(holdings.unsettled.get(which, ZERO)) for which, entry in known.items()}
    unknown = tuple(known[which].label for which, value in worst.items() if value is None)
    values = [value for value in worst.values() if value is not None]
    if holdings.positions is None:
        unknown = ("the positions",)
    lowest = own.position + min(ZERO, holdings.unsettled.get(con_id, ZERO)) - own.total(Side.SELL)
    return Portfolio(
        equity_usd=_equity_usd(balances, rates),
        equity_age_seconds=None if balances is None else max(0.0, (now - balances.received_at).total_seconds()),
        symbol_usd=None if holdings.positions is None else worst[con_id],
        gross_usd=None if unknown else sum(values, ZERO),
        instruments=len(worst),
        is_new=is_new,
        shorted=max(ZERO, -lowest) if order.side is Side.SELL else ZERO,
        unknown=unknown,
    )


def standing(
    account: str,
    *,
    balances: AccountSummary | None,
    holdings: Holdings,
    unresolved: Sequence[Intent],
    openings: Sequence[Opening],
    collar_pct: Decimal,
) -> Standing:
    """How much of the limits is used before the next order."""
    rates = _rates(balances)
    known = _before(account, None, holdings, unresolved, openings, rates, collar_pct)
    worst = [entry.worst_usd(holdings.unsettled.get(which, ZERO)) for which, entry in known.items()]
    values = [value for value in worst if value is not None]
    is_known = holdings.positions is not None and len(values) == len(worst)
    return Standing(
        equity_usd=_equity_usd(balances, rates),
        largest_usd=max(values, default=ZERO) if is_known else None,
        gross_usd=sum(values, ZERO) if is_known else None,
        instruments=len(worst),
    )


def _before(
    account: str,
    replaced: BrokerOrder | None,
    holdings: Holdings,
    unresolved: Sequence[Intent],
    openings: Sequence[Opening],
    rates: Mapping[str, Decimal],
    collar_pct: Decimal,
) -> dict[int, Holding]:
    """The portfolio without the order in question, by contract id."""
    approved, opened = _approved_units(openings)
    known: dict[int, Holding] = {}

    def entry_of(con_id: int, label: str) -> Holding:
        return known.setdefault(con_id, Holding(label=label, unit_usd=opened.get(con_id)))

    for held in holdings.positions or ():
        if held.account == account and held.quantity:
            entry = entry_of(held.instrument.con_id, held.instrument.label)
            mark = _mark_usd(held, rates)
            entry.position, entry.unit_usd = held.quantity, entry.unit_usd if mark is None else mark
    for con_id in holdings.unsettled:
        entry_of(con_id, f"contract {con_id}")
    left_out = None if replaced is None else shared_with(replaced)
    for working in holdings.orders:
        told, share = working.order, shared_with(working)
        if not working.is_working or told.account != account or share == left_out:
            continue
        entry = entry_of(told.instrument.con_id, told.instrument.label)
        unit_usd = approved.get(told.order_ref)
        if unit_usd is None:
            unit_usd = _unit_usd(told, entry.unit_usd, rates, collar_pct)
        entry.add(told.side, share, Line(quantity=may_fill(working, holdings.orders), unit_usd=unit_usd))
    for intent in reserved_openings(unresolved, holdings.orders, account):
        worth = intent.worst_case_value_usd
        unit_usd = None if worth is None or not intent.quantity else worth / intent.quantity
        line = Line(quantity=intent.quantity, unit_usd=unit_usd)
        entry_of(intent.con_id, intent.symbol).add(Side(intent.side), ("intent", intent.intent_id), line)
    return {which: entry for which, entry in known.items() if entry.counts(holdings.unsettled.get(which, ZERO))}


def _approved_units(openings: Sequence[Opening]) -> tuple[dict[str, Decimal], dict[int, Decimal]]:
    """What a unit of each own order, and of each instrument, was worth at most when it was approved."""
    orders: dict[str, Decimal] = {}
    instruments: dict[int, Decimal] = {}
    for opening in openings:
        if opening.quantity:
            unit_usd = opening.value_usd / opening.quantity
            orders[opening.order_ref] = max(orders.get(opening.order_ref, ZERO), unit_usd)
            instruments[opening.con_id] = max(instruments.get(opening.con_id, ZERO), unit_usd)
    return orders, instruments


def _equity_usd(balances: AccountSummary | None, rates: Mapping[str, Decimal]) -> Decimal | None:
    equity = None if balances is None else balances.net_liquidation
    rate = None if equity is None else rates.get(equity.currency)
    return None if equity is None or rate is None else equity.amount * rate


def _rates(balances: AccountSummary | None) -> dict[str, Decimal]:
    """US dollars for one unit of each currency, by the broker's own rates of the account."""
    rates = {"USD": Decimal(1)}
    if balances is None or balances.base_currency is None:
        return rates
    base_per_usd = Decimal(1) if balances.base_currency == "USD" else balances.exchange_rates.get("USD")
    if not base_per_usd:
        return rates
    told: Mapping[str, Decimal] = {**balances.exchange_rates, balances.base_currency: Decimal(1)}
    return {currency: rate / base_per_usd for currency, rate in told.items()} | rates


def _mark_usd(held: Position, rates: Mapping[str, Decimal]) -> Decimal | None:
    """What a unit of a holding is worth by the broker's valuation; a written option with its obligation."""
    rate, instrument = rates.get(held.instrument.currency), held.instrument
    if rate is None:
        return None
    if held.market_value is not None:
        unit_usd = abs(held.market_value / held.quantity) * rate
    elif held.market_price is not None:
        per_unit = _per_unit(instrument)
        if per_unit is None:
            return None
        unit_usd = held.market_price * per_unit * rate
    else:
        return None
    return _with_obligation(instrument, unit_usd, rate, written=held.quantity < 0)


def _unit_usd(
    order: Order, mark_usd: Decimal | None, rates: Mapping[str, Decimal], collar_pct: Decimal
) -> Decimal | None:
    """What a unit of a working order may come to; a buy with a limit fills no higher, everything else at the market."""
    instrument = order.instrument
    rate, per_unit = rates.get(instrument.currency), _per_unit(instrument)
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


def _per_unit(instrument: Instrument) -> Decimal | None:
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
