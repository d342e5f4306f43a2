"""The figures of the watch that come from the store: losses and wins, failures, fees, lost orders, single agents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection

from ibkr_mcp_server.clock import Clock, trading_day
from ibkr_mcp_server.domain import scopes
from ibkr_mcp_server.domain.accounts import Position
from ibkr_mcp_server.safety.round_trips import Book, Rate, RoundTrip, book_of, losses_in_a_row, win_rate_pct
from ibkr_mcp_server.safety.triggers.base import StrategyFigures
from ibkr_mcp_server.store import intents, latches, order_outcomes, reconciliations, risk_records, trades
from ibkr_mcp_server.store.breaker import BreakerState
from ibkr_mcp_server.store.database import Database
from ibkr_mcp_server.store.intents import IntentState
from ibkr_mcp_server.store.order_outcomes import OrderFailures
from ibkr_mcp_server.store.trades import EXTERNAL, Trade

RATED_FROM = 20
"""CB-15: fewer round trips say nothing about how many are won."""
HOUR = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What the store says that the triggers need."""

    fills: Sequence[Trade]
    book: Book
    """Of each agent apart."""
    losses_in_a_row: int
    """Of everything that was traded, by whomever it was opened (CB-14)."""
    win_rate_pct: Decimal | None
    """Of the same round trips (CB-15); None while there are too few."""
    fees_today: Mapping[str, Decimal]
    """By account, in the base currency."""
    trades_in_the_hour: int
    failures: OrderFailures
    unknown: tuple[str, ...]
    """Intents whose outcome was lost, by id."""
    resumed_at: Mapping[str, datetime]
    """When a person let an agent go on; its streaks begin anew there."""
    halted: frozenset[str]
    disagreeing_since: datetime | None
    """Since when every comparison with the broker has found something that holds trading back, in earlier runs, too."""
    reported: Mapping[str, Mapping[str, Any]]  # Any: plain JSON
    """What somebody outside reported of an agent (ST-06)."""


def read(connection: Connection, clock: Clock, state: BreakerState, rate: Rate, *, venue: str) -> Recorded:
    """Everything in one transaction, and computed on its thread."""
    now = clock.now()
    fills = trades.newest(connection)
    names = {fill.strategy for fill in fills} - {EXTERNAL}
    stops = {name: latches.current(connection, scopes.of_strategy(name)) for name in sorted(names)}
    reports = {name: risk_records.read(connection, report_name(name)) for name in names}
    of_all = _after(book_of(fills, rate, by_strategy=False).trips, state.counting_since)
    return Recorded(
        fills=fills,
        book=book_of(fills, rate, by_strategy=True),
        losses_in_a_row=losses_in_a_row(of_all),
        win_rate_pct=win_rate_pct(of_all, at_least=RATED_FROM),
        fees_today=_fees_of_the_day(fills, rate, now),
        trades_in_the_hour=_trades_in_the_hour(fills, now),
        failures=order_outcomes.failures(connection, clock, state.counting_since),
        unknown=tuple(
            intent.intent_id for intent in intents.unresolved(connection) if intent.state is IntentState.UNKNOWN
        ),
        resumed_at={
            name: stop.changed_at for name, stop in stops.items() if not stop.active and stop.changed_at is not None
        },
        halted=frozenset(name for name, stop in stops.items() if stop.active),
        disagreeing_since=reconciliations.disagreeing_since(connection, venue),
        reported={name: report.record for name, report in reports.items() if report is not None},
    )


def report_name(strategy: str) -> str:
    """Name of the record that holds what was reported of an agent."""
    return f"reported:{strategy}"


def _trades_in_the_hour(fills: Iterable[Trade], now: datetime) -> int:
    """Orders of ours whose first fill came in the last hour (T-55)."""
    first: dict[str, datetime] = {}
    for fill in fills:
        if fill.strategy != EXTERNAL:
            first.setdefault(fill.order_key, fill.executed_at)
    return sum(at > now - HOUR for at in first.values())


def _fees_of_the_day(fills: Iterable[Trade], rate: Rate, now: datetime) -> dict[str, Decimal]:
    today, fees = trading_day(now), dict[str, Decimal]()
    for fill in fills:
        if fill.commission is not None and trading_day(fill.executed_at) == today:
            charged = fill.commission * rate(fill.commission_currency or fill.currency)
            fees[fill.account] = fees.get(fill.account, Decimal()) + charged
    return fees


def strategies(
    recorded: Recorded,
    rate: Rate,
    *,
    positions: Sequence[Position],
    prices: Mapping[int, float],
    equities: Mapping[str, Decimal],
    peaks: dict[str, Decimal],
    now: datetime,
    since: datetime | None,
) -> tuple[StrategyFigures, ...]:
    """Each agent that has traded.

    `prices` are newer than those of the `positions`, which TWS values every three minutes. What an agent lost is
    measured against the `equities` of the accounts that it traded in. `peaks` keeps the highest profit of each agent
    since it was last resumed.
    """
    book = recorded.book
    today = trading_day(now)
    found = []
    for name in sorted({fill.strategy for fill in recorded.fills} - {EXTERNAL}):
        resumed = max(filter(None, (since, recorded.resumed_at.get(name))), default=None)
        trips = _after([trip for trip in book.trips if trip.strategy == name], resumed)
        profit = _profit(book, name, rate, positions, prices)
        drawdown = None
        traded_in = {fill.account for fill in recorded.fills if fill.strategy == name}
        equity = sum((equities[account] for account in traded_in & equities.keys()), Decimal())
        if profit is not None and equity > 0:
            peaks[name] = max(peaks.get(name, profit), profit)
            drawdown = (peaks[name] - profit) / equity * 100
        told = recorded.reported.get(name, {})
        win_rate = win_rate_pct(trips, at_least=RATED_FROM)
        found.append(
            StrategyFigures(
                name=name,
                drawdown_pct=_larger(drawdown, told.get("drawdown_pct")),
                losses_in_a_row=max(losses_in_a_row(trips), int(told.get("losses_in_a_row") or 0)),
                win_rate_pct=_smaller(win_rate, told.get("win_rate_pct")),
                repeats=_repeats(recorded.fills, name, today, resumed),
            )
        )
    return tuple(found)


def _after(trips: Sequence[RoundTrip], since: datetime | None) -> list[RoundTrip]:
    return [trip for trip in trips if since is None or trip.closed_at > since]


def _profit(
    book: Book, name: str, rate: Rate, positions: Sequence[Position], prices: Mapping[int, float]
) -> Decimal | None:
    """Realised and open profit of an agent; None while something that it holds has no price."""
    marks = {(held.account, held.instrument.con_id): held for held in positions}
    total = sum((trip.profit for trip in book.trips if trip.strategy == name), Decimal())
    for (account, strategy, con_id), lots in book.open_lots.items():
        if strategy != name:
            continue
        held = marks.get((account, con_id))
        if held is None:
            continue  # closed by somebody else
        price = Decimal(str(prices[con_id])) if con_id in prices else held.market_price
        if price is None:
            return None
        point = (held.instrument.multiplier or Decimal(1)) * rate(held.instrument.currency)
        total += sum(
            (lot.signed * (price - lot.price) * point - abs(lot.signed) * lot.fee for lot in lots),
            Decimal(),
        )
    return total


def _repeats(fills: Sequence[Trade], name: str, today: object, since: datetime | None) -> int:
    """CB-33: the newest orders of the agent today that traded the same instrument in the same direction."""
    orders: dict[str, tuple[int, str]] = {}
    for fill in fills:
        is_new = since is None or fill.executed_at > since
        if fill.strategy == name and is_new and trading_day(fill.executed_at) == today:
            orders.setdefault(fill.order_key, (fill.con_id, fill.side))
    newest = list(orders.values())[::-1]
    return next((count for count, one in enumerate(newest) if one != newest[0]), len(newest))


def _larger(computed: Decimal | None, reported: Any) -> Decimal | None:
    """ST-06: what is reported can only make it stricter."""
    told = None if reported is None else Decimal(str(reported))
    return max((one for one in (computed, told) if one is not None), default=None)


def _smaller(computed: Decimal | None, reported: Any) -> Decimal | None:
    told = None if reported is None else Decimal(str(reported))
    return min((one for one in (computed, told) if one is not None), default=None)


async def report_strategy(
    database: Database,
    clock: Clock,
    strategy: str,
    *,
    drawdown_pct: Decimal | None = None,
    losses_in_a_row: int | None = None,
    win_rate_pct: Decimal | None = None,
) -> None:
    """Take figures of an agent from outside; they count only where they are worse than its fills say (ST-06)."""
    figures = {"drawdown_pct": drawdown_pct, "losses_in_a_row": losses_in_a_row, "win_rate_pct": win_rate_pct}
    told = {name: str(value) for name, value in figures.items() if value is not None}
    await database.run(lambda connection: risk_records.write(connection, report_name(strategy), told, clock.now()))
