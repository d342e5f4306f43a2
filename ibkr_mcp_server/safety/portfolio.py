"""The portfolio that would result if everything that may open a position did: positions, working orders of all
clients, orders decided on that the broker has not told of, and the order in question.

All values are US dollars, at the worst price, multiplier and exchange rate included. What cannot be valued makes the
sums unknown, and is named; it never counts as zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from ibkr_mcp_server.domain.accounts import AccountSummary
from ibkr_mcp_server.domain.agents import DEFAULT_AGENT, agent_tag
from ibkr_mcp_server.domain.orders import ORDER_REF_PREFIX, STOP_TYPES, BrokerOrder, Order, Side
from ibkr_mcp_server.safety.exposure import ZERO, Holdings, may_fill, reserved_openings, reserved_sales, shared_with
from ibkr_mcp_server.safety.holding import Holding, Line, Outcome
from ibkr_mcp_server.safety.unit_values import held_unit_usd, in_usd, usd_rates, value_factor, working_unit_usd
from ibkr_mcp_server.store.agent_positions import AgentPosition
from ibkr_mcp_server.store.intents import Intent, Opening


@dataclass(frozen=True, kw_only=True)
class Sums:
    """What an account comes to, with all that may open; None is unknown."""

    equity_usd: Decimal | None
    """Net liquidation value."""
    gross_usd: Decimal | None
    """All instruments at their worst: what is held and all that may be added, long and short alike."""
    instruments: int
    """How many have a position or may get one."""
    strategy_usd: Decimal | None = None
    """The gross value of what the agent in question brought about."""
    sector: str = ""
    """Empty is unknown, and all of unknown sectors are one."""
    sector_usd: Decimal | None = None
    """The gross value of all instruments of that sector."""
    cash_usd: Decimal | None = None
    """Settled cash."""
    outlay_usd: Decimal | None = None
    """What all purchases that may still come will cost."""
    at_risk_usd: Decimal | None = None
    """What is lost if every stop is hit; positions without a stop count in full."""


@dataclass(frozen=True, kw_only=True)
class Portfolio(Sums):
    """One account with the order in question, whose sector it is."""

    equity_age_seconds: float | None
    symbol_usd: Decimal | None
    """The order's own instrument at its worst, or the opposite position."""
    is_new: bool
    """Nothing is held of the order's instrument, and nothing else is about to open it."""
    shorted: Decimal
    """Units that would be sold short if all sells of the instrument filled."""
    unknown: tuple[str, ...] = ()
    """Instruments that cannot be valued."""


@dataclass(frozen=True, kw_only=True)
class LimitUse(Sums):
    """One account before the next order; the sector is the one that comes to most."""

    largest_usd: Decimal | None
    """The instrument that comes to most."""


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
    agent: str = DEFAULT_AGENT,
    shares: Sequence[AgentPosition] = (),
    stop_loss: Order | None = None,
) -> Portfolio:
    """The portfolio of the order's account, with the order.

    `value_usd` is what the whole order is worth at its worst; `replaced` the working order that it changes; `stop_loss`
    the one that is placed with it.
    """
    con_id, rates = order.instrument.con_id, usd_rates(balances)
    if usd_per_unit is not None:
        rates[order.instrument.currency] = usd_per_unit
    before = _before(order.account, replaced, holdings, unresolved, openings, rates, collar_pct, agent, shares)
    known, mine = before.known, before.mine
    own = known.setdefault(con_id, Holding(label=order.instrument.label))
    is_new = not (own.position or holdings.unsettled.get(con_id) or own.total(Side.BUY) or own.total(Side.SELL))
    unit_usd = None if value_usd is None or not order.quantity else value_usd / order.quantity
    own.unit_usd = unit_usd if own.unit_usd is None else own.unit_usd
    remaining = order.quantity - (ZERO if replaced is None else replaced.filled)
    line = Line(quantity=max(ZERO, remaining), unit_usd=unit_usd)
    own.add(order.side, "this order", line)
    part = mine.setdefault(con_id, Holding(label=own.label))
    part.unit_usd = own.unit_usd
    part.add(order.side, "this order", line)
    if stop_loss is not None:
        _protect(own, stop_loss, "this order", stop_loss.quantity, rates)

    totals = _Totals(known, holdings)
    sold = own.total(Side.SELL) + reserved_sales(unresolved, holdings.orders, con_id, order.account)
    lowest = own.position + min(ZERO, holdings.unsettled.get(con_id, ZERO)) - sold
    sector = holdings.industries.get(con_id) or order.instrument.industry or ""
    return Portfolio(
        equity_usd=_equity_usd(balances, rates),
        equity_age_seconds=None if balances is None else max(0.0, (now - balances.received_at).total_seconds()),
        symbol_usd=None if holdings.positions is None else totals.worst[con_id],
        gross_usd=totals.gross_usd,
        instruments=len(known),
        is_new=is_new,
        shorted=max(ZERO, -lowest) if order.side is Side.SELL else ZERO,
        unknown=totals.unknown,
        strategy_usd=_Totals(mine, holdings).gross_usd,
        sector=sector,
        sector_usd=totals.sector_usd(sector, holdings.industries, con_id),
        cash_usd=in_usd(None if balances is None else balances.settled_cash, rates),
        outlay_usd=totals.outlay_usd(),
        at_risk_usd=totals.at_risk_usd(),
    )


def limit_use(
    account: str,
    *,
    balances: AccountSummary | None,
    holdings: Holdings,
    unresolved: Sequence[Intent],
    openings: Sequence[Opening],
    collar_pct: Decimal,
    agent: str = DEFAULT_AGENT,
    shares: Sequence[AgentPosition] = (),
) -> LimitUse:
    """How much of the limits is used before the next order."""
    rates = usd_rates(balances)
    before = _before(account, None, holdings, unresolved, openings, rates, collar_pct, agent, shares)
    totals = _Totals(before.known, holdings)
    is_known = not totals.unknown
    sectors = totals.sectors(holdings.industries)
    largest = max(sectors.items(), key=lambda one: one[1] or ZERO, default=("", ZERO))
    return LimitUse(
        equity_usd=_equity_usd(balances, rates),
        largest_usd=max((value for value in totals.worst.values() if value), default=ZERO) if is_known else None,
        gross_usd=totals.gross_usd,
        instruments=len(before.known),
        strategy_usd=_Totals(before.mine, holdings).gross_usd,
        sector=largest[0],
        sector_usd=largest[1] if is_known else None,
        cash_usd=in_usd(None if balances is None else balances.settled_cash, rates),
        outlay_usd=totals.outlay_usd(),
        at_risk_usd=totals.at_risk_usd(),
    )


class _Totals:
    """Sums over instruments; None where one of them is unknown."""

    def __init__(self, known: Mapping[int, Holding], holdings: Holdings) -> None:
        self._known = known
        self._unsettled = holdings.unsettled
        self._outcomes = {which: entry.outcomes(self._unsettled.get(which, ZERO)) for which, entry in known.items()}
        self.worst = {which: _worst(outcomes) for which, outcomes in self._outcomes.items()}
        unknown = tuple(known[which].label for which, value in self.worst.items() if value is None)
        self.unknown = ("the positions",) if holdings.positions is None else unknown

    @property
    def gross_usd(self) -> Decimal | None:
        return None if self.unknown else _sum(self.worst.values())

    def sector_usd(self, sector: str, industries: Mapping[int, str], con_id: int) -> Decimal | None:
        """Of one sector, to which `con_id` belongs."""
        if self.unknown:
            return None
        return _sum(
            value for which, value in self.worst.items() if which == con_id or industries.get(which, "") == sector
        )

    def sectors(self, industries: Mapping[int, str]) -> dict[str, Decimal | None]:
        by_sector: dict[str, list[Decimal | None]] = {}
        for con_id, value in self.worst.items():
            by_sector.setdefault(industries.get(con_id, ""), []).append(value)
        return {sector: None if self.unknown else _sum(values) for sector, values in by_sector.items()}

    def outlay_usd(self) -> Decimal | None:
        costs = (entry.outlay_usd(self._unsettled.get(which, ZERO)) for which, entry in self._known.items())
        return None if self.unknown else _sum(costs)

    def at_risk_usd(self) -> Decimal | None:
        if self.unknown:
            return None
        return _sum(self._known[which].at_risk_usd(outcomes or ()) for which, outcomes in self._outcomes.items())


def _worst(outcomes: Iterable[Outcome] | None) -> Decimal | None:
    """The largest value that an instrument may come to."""
    return None if outcomes is None else max(ZERO, *(max(kept, crossed) for _, kept, crossed in outcomes))


def _sum(values: Iterable[Decimal | None]) -> Decimal | None:
    total = ZERO
    for value in values:
        if value is None:
            return None
        total += value
    return total


@dataclass(frozen=True, kw_only=True)
class _Before:
    """The portfolio without the order in question, by contract id: all of it, and the agent's share."""

    known: dict[int, Holding]
    mine: dict[int, Holding]


def _before(
    account: str,
    replaced: BrokerOrder | None,
    holdings: Holdings,
    unresolved: Sequence[Intent],
    openings: Sequence[Opening],
    rates: Mapping[str, Decimal],
    collar_pct: Decimal,
    agent: str,
    shares: Sequence[AgentPosition],
) -> _Before:
    approved, opened = _approved_units(openings, {working.order.order_ref for working in holdings.working})
    known: dict[int, Holding] = {}
    mine: dict[int, Holding] = {}

    def entry_of(con_id: int, label: str) -> Holding:
        found = known.get(con_id)
        return found or known.setdefault(con_id, Holding(label=label, unit_usd=opened.get(con_id)))

    def add(entry: Holding, con_id: int, side: Side, share: object, line: Line, *, is_mine: bool) -> None:
        entry.add(side, share, line)
        if is_mine:
            mine.setdefault(con_id, Holding(label=entry.label)).add(side, share, line)

    for held in holdings.positions or ():
        if held.account == account and held.quantity:
            entry = entry_of(held.instrument.con_id, held.instrument.label)
            mark = held_unit_usd(held, rates)
            entry.position, entry.unit_usd = held.quantity, entry.unit_usd if mark is None else mark
    for con_id in holdings.unsettled:
        entry_of(con_id, f"contract {con_id}")
    left_out = None if replaced is None else shared_with(replaced)
    tag = agent_tag(agent)
    for working in holdings.working:
        told = working.order
        if told.account != account:
            continue
        share = shared_with(working)
        if share == left_out:
            continue
        con_id = told.instrument.con_id
        entry = entry_of(con_id, told.instrument.label)
        unit_usd = approved.get(told.order_ref)
        if unit_usd is None:
            unit_usd = working_unit_usd(told, entry.unit_usd, rates, collar_pct)
        line = Line(quantity=may_fill(working, holdings.working), unit_usd=unit_usd)
        add(entry, con_id, told.side, share, line, is_mine=_placed_by(told.order_ref) == tag)
        if told.order_type in STOP_TYPES:
            _protect(entry, told, share, working.remaining, rates)
    for intent in reserved_openings(unresolved, holdings.orders, account):
        worth = intent.worst_case_value_usd
        unit_usd = None if worth is None or not intent.quantity else worth / intent.quantity
        line = Line(quantity=intent.quantity, unit_usd=unit_usd)
        share, is_mine = ("intent", intent.intent_id), agent_tag(intent.actor_id) == tag
        add(entry_of(intent.con_id, intent.symbol), intent.con_id, Side(intent.side), share, line, is_mine=is_mine)
    known = {which: entry for which, entry in known.items() if entry.counts(holdings.unsettled.get(which, ZERO))}
    for which, entry in known.items():
        quantity = _share(
            entry.position, agent, [one for one in shares if (one.con_id, one.account) == (which, account)]
        )
        if quantity:
            mine.setdefault(which, Holding(label=entry.label)).position = quantity
        if which in mine:
            mine[which].unit_usd = entry.unit_usd
    return _Before(known=known, mine=mine)


def _placed_by(order_ref: str) -> str:
    """The tag of the agent whose order it is; what was not placed here is the default agent's."""
    tag, _, _ = order_ref.removeprefix(ORDER_REF_PREFIX).rpartition("-")
    return tag if tag and order_ref.startswith(ORDER_REF_PREFIX) else DEFAULT_AGENT


def _share(position: Decimal, agent: str, shares: Sequence[AgentPosition]) -> Decimal:
    """How much of a position an agent brought about; what nobody did is the default agent's."""
    if agent == DEFAULT_AGENT:
        return position - sum((_within(one.quantity, position) for one in shares if one.agent != agent), ZERO)
    return sum((_within(one.quantity, position) for one in shares if one.agent == agent), ZERO)


def _within(quantity: Decimal, position: Decimal) -> Decimal:
    """At most what is there, and nothing where the position is on the other side."""
    if quantity * position <= 0:
        return ZERO
    return min(quantity, position) if position > 0 else max(quantity, position)


def _protect(entry: Holding, stop: Order, share: object, quantity: Decimal, rates: Mapping[str, Decimal]) -> None:
    """Count a stop whose price is known; a stop with a limit trades no better than its limit says."""
    rate, per_unit = rates.get(stop.instrument.currency), value_factor(stop.instrument)
    if stop.stop_price is None or rate is None or per_unit is None:
        return
    price = stop.stop_price
    if stop.limit_price is not None:
        price = min(price, stop.limit_price) if stop.side is Side.SELL else max(price, stop.limit_price)
    entry.protect(stop.side, share, quantity, price * per_unit * rate)


def _approved_units(openings: Sequence[Opening], working: Set[str]) -> tuple[dict[str, Decimal], dict[int, Decimal]]:
    """What a unit of each own order that works, and of each instrument, was worth at most when it was approved."""
    orders: dict[str, Decimal] = {}
    instruments: dict[int, Decimal] = {}
    for opening in openings:
        if opening.quantity:
            unit_usd = opening.value_usd / opening.quantity
            if opening.order_ref in working:
                orders[opening.order_ref] = max(orders.get(opening.order_ref, ZERO), unit_usd)
            instruments[opening.con_id] = max(instruments.get(opening.con_id, ZERO), unit_usd)
    return orders, instruments


def _equity_usd(balances: AccountSummary | None, rates: Mapping[str, Decimal]) -> Decimal | None:
    return in_usd(None if balances is None else balances.net_liquidation, rates)
