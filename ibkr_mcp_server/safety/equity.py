"""What an account is worth from second to second, and the marks that its losses are measured against; pure.

The broker tells the balances rarely and the profit every second. So the equity is the last balance told, plus what the
profit has changed since. What was paid in or out moves the marks along and is neither profit nor loss (T-43): it is
told from the cash and the holdings that no fill explains.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from ibkr_mcp_server.clock import trading_day
from ibkr_mcp_server.domain.accounts import AccountPnl, AccountSummary, Position
from ibkr_mcp_server.domain.orders import Execution

ZERO = Decimal()
VELOCITY_SECONDS = 300.0
"""CB-16."""
SETTLING_SECONDS = 180.0
"""IBKR renews cash at most this often; with younger fills nothing is concluded from it."""
PRICING_SECONDS = 60.0
"""How long a balance waits for the price of a holding that came without a fill."""
LONG_WEEKEND = timedelta(days=4)
NOTICEABLE = Decimal("0.001")
"""Of the equity: a smaller gap between balance and profit is rounding, interest or a commission on its way."""
RESET = Decimal("0.2")
"""A daily profit that falls to less than this share at once, while the open profits stand, was reset by TWS."""


@dataclass(frozen=True, kw_only=True)
class Marks:
    """The equities that losses are measured against."""

    day: date
    week: tuple[int, int]
    """Year and number of the ISO week that the trading day belongs to."""
    day_start: Decimal
    day_peak: Decimal
    week_peak: Decimal
    high_water: Decimal

    def moved(self, equity: Decimal, day: date, *, before: Decimal) -> Marks:
        """The marks after the account was worth `equity` on trading day `day`, and `before` when it was seen last.

        A new day and a new week begin with what was known at the end of the old one, so that a jump over the boundary
        counts; after more than a long weekend nobody knows what it was.
        """
        year, week, _ = day.isocalendar()
        new_day, new_week = day != self.day, (year, week) != self.week
        start = before if day - self.day <= LONG_WEEKEND else equity
        return Marks(
            day=day,
            week=(year, week),
            day_start=start if new_day else self.day_start,
            day_peak=max(start if new_day else self.day_peak, equity),
            week_peak=max(start if new_week else self.week_peak, equity),
            high_water=max(self.high_water, equity),
        )

    def scaled(self, factor: Decimal) -> Marks:
        """After a payment: each loss in percent stays what it was."""
        return replace(
            self,
            day_start=self.day_start * factor,
            day_peak=self.day_peak * factor,
            week_peak=self.week_peak * factor,
            high_water=self.high_water * factor,
        )

    def as_json(self) -> dict[str, Any]:
        figures = ("day_start", "day_peak", "week_peak", "high_water")
        return {"day": self.day.isoformat(), "week": list(self.week)} | {
            name: str(getattr(self, name)) for name in figures
        }

    @classmethod
    def of_json(cls, told: Mapping[str, Any]) -> Marks:
        figures = {name: Decimal(told[name]) for name in ("day_start", "day_peak", "week_peak", "high_water")}
        return cls(day=date.fromisoformat(told["day"]), week=(told["week"][0], told["week"][1]), **figures)


@dataclass(frozen=True, kw_only=True)
class Known:
    """What the broker last said about the balances, and what the profit was then."""

    at: datetime
    net_liquidation: Decimal
    cash: Mapping[str, Decimal]
    """By currency."""
    rates: Mapping[str, Decimal]
    held: Mapping[int, tuple[Decimal, Decimal]]
    """Quantity, and value of one unit in the base currency, by contract; 0 for what has no price."""


@dataclass(frozen=True, kw_only=True)
class Payment:
    """What came to an account, or left it, without a trade; in the base currency, negative for what left."""

    at: datetime
    """When it was noticed."""
    amount: Decimal
    """As it moved the marks: what prices changed in the same moment is no part of it."""
    cash: Decimal
    """The cash that no fill explains."""
    holdings: Decimal
    """The holdings that no fill explains, at their price."""
    equity: Decimal
    """After it."""

    @property
    def is_of_holdings(self) -> bool:
        """Securities were moved rather than money."""
        return abs(self.holdings) > abs(self.cash)


@dataclass(kw_only=True)
class EquityMeter:
    """One account. `observe` is told everything that is known, as often as one likes."""

    account: str
    known: Known | None = None
    equity: Decimal | None = None
    marks: Marks | None = None
    paid: Decimal = ZERO
    """What was paid in, less what was paid out, as found so far."""
    payments: list[Payment] = field(default_factory=list)
    """Those that nobody has recorded yet."""
    _pnl: AccountPnl | None = None
    _told_at: datetime | None = None
    _unpriced_since: datetime | None = None
    _fills: list[Execution] = field(default_factory=list)
    _curve: deque[tuple[float, Decimal]] = field(default_factory=deque)
    """The last five minutes by monotonic seconds, falling: what something higher followed has been left out."""

    def filled(self, fill: Execution) -> None:
        """A fill that the last balance does not include yet."""
        if fill.account == self.account and self.known is not None and fill.executed_at > self.known.at:
            self._fills.append(fill)

    def observe(
        self,
        *,
        now: datetime,
        monotonic: float,
        balances: AccountSummary | None,
        pnl: AccountPnl | None,
        positions: tuple[Position, ...],
    ) -> None:
        """Take in what the broker says now."""
        before = self.equity
        paid_before = self.paid
        change = _change(self._pnl, pnl)
        self._pnl = pnl or self._pnl
        if self.equity is not None:
            self.equity += change
        is_told = balances is not None and balances.net_liquidation is not None
        if balances is not None and is_told and balances.received_at != self._told_at:
            is_taken = self._balance(balances, positions, now)
            self._told_at = balances.received_at if is_taken else self._told_at
        if self.equity is None:
            return
        day = trading_day(now)
        if self.marks is None:
            year, week, _ = day.isocalendar()
            self.marks = Marks(
                day=day,
                week=(year, week),
                day_start=self.equity,
                day_peak=self.equity,
                week_peak=self.equity,
                high_water=self.equity,
            )
        before = self.equity if before is None else before + (self.paid - paid_before)
        self.marks = self.marks.moved(self.equity, day, before=before)
        if not self.is_told:
            return
        while self._curve and self._curve[-1][1] <= self.equity:
            self._curve.pop()  # it can never be the highest again
        self._curve.append((monotonic, self.equity))
        while monotonic - self._curve[0][0] > VELOCITY_SECONDS:
            self._curve.popleft()

    @property
    def is_told(self) -> bool:
        """The broker told a balance in this run; what an earlier run knew is not what the account is worth now."""
        return self._told_at is not None

    @property
    def peak_of_five_minutes(self) -> Decimal | None:
        return self._curve[0][1] if self._curve else None

    def _balance(self, balances: AccountSummary, positions: tuple[Position, ...], now: datetime) -> bool:
        """A balance that differs from the last one told is the truth; the same figure again is cached, and no news.

        False when it must be looked at again.
        """
        assert balances.net_liquidation is not None
        told = balances.net_liquidation.amount
        before = self.known
        if before is not None and self.equity is not None and told == before.net_liquidation:
            return True
        after = Known(
            at=balances.received_at,
            net_liquidation=told,
            cash=dict(balances.cash_balances),
            rates=dict(balances.exchange_rates),
            held=_held(self.account, positions, balances.exchange_rates),
        )
        if before is not None and self.equity is not None:
            if self._waits_for_a_price(before, after, now):
                return False
            self._payment(told - self.equity, *_unexplained(before, after, self._fills), now)
        self._fills = [fill for fill in self._fills if (now - fill.executed_at).total_seconds() < SETTLING_SECONDS]
        self.known, self.equity = after, told
        return True

    def _waits_for_a_price(self, before: Known, after: Known, now: datetime) -> bool:
        """What was moved in is worth nothing to us until it has a price, and would be taken for profit until then."""
        moved = _moved(before, after, self._fills)
        if not any(quantity and not unit for quantity, unit in moved.values()):
            self._unpriced_since = None
            return False
        self._unpriced_since = self._unpriced_since or now
        return (now - self._unpriced_since).total_seconds() < PRICING_SECONDS

    def _payment(self, gap: Decimal, cash: Decimal, holdings: Decimal, now: datetime) -> None:
        """What of `gap` was paid in or out, by the cash and the holdings that no fill explains; the rest is profit."""
        equity, unexplained = self.equity or ZERO, cash + holdings
        young = any((now - fill.executed_at).total_seconds() < SETTLING_SECONDS for fill in self._fills)
        if young or equity <= 0 or abs(gap) <= NOTICEABLE * equity or gap * unexplained <= 0:
            return
        paid = min(gap, unexplained) if gap > 0 else max(gap, unexplained)
        if abs(paid) <= NOTICEABLE * equity or equity + paid <= 0:
            return
        factor = (equity + paid) / equity
        self.paid += paid
        self.payments.append(Payment(at=now, amount=paid, cash=cash, holdings=holdings, equity=equity + gap))
        self.marks = self.marks.scaled(factor) if self.marks is not None else None
        self._curve = deque((at, value * factor) for at, value in self._curve)

    # ---- across restarts

    def as_json(self) -> dict[str, Any]:
        assert self.marks is not None
        assert self.known is not None
        return {
            "marks": self.marks.as_json(),
            "equity": str(self.equity),
            "at": self.known.at.isoformat(),
            "net_liquidation": str(self.known.net_liquidation),
            "cash": {currency: str(amount) for currency, amount in self.known.cash.items()},
            "rates": {currency: str(rate) for currency, rate in self.known.rates.items()},
            "held": {str(con_id): [str(each) for each in row] for con_id, row in self.known.held.items()},
            "curve": [[monotonic, str(equity)] for monotonic, equity in self._curve],
        }

    @classmethod
    def of_json(cls, account: str, told: Mapping[str, Any], *, shift_seconds: float = 0.0) -> EquityMeter:
        """As it was left; what changed meanwhile is found at the first observation.

        `shift_seconds` turns the monotonic seconds of then into those of now.
        """
        known = Known(
            at=datetime.fromisoformat(told["at"]),
            net_liquidation=Decimal(told["net_liquidation"]),
            cash={currency: Decimal(amount) for currency, amount in told["cash"].items()},
            rates={currency: Decimal(rate) for currency, rate in told["rates"].items()},
            held={int(con_id): (Decimal(row[0]), Decimal(row[1])) for con_id, row in told["held"].items()},
        )
        curve = deque((at + shift_seconds, Decimal(equity)) for at, equity in told.get("curve", ()))
        marks = Marks.of_json(told["marks"])
        return cls(account=account, known=known, equity=Decimal(told["equity"]), marks=marks, _curve=curve)


def _change(before: AccountPnl | None, now: AccountPnl | None) -> Decimal:
    """What the profit changed between two words of the broker; 0 where one is not known."""
    if before is None or now is None or before.daily is None or now.daily is None:
        return ZERO
    change = now.daily - before.daily
    if before.unrealized is None or now.unrealized is None:
        return change
    opened = now.unrealized - before.unrealized
    was_reset = (
        before.daily
        and abs(now.daily) <= RESET * abs(before.daily)
        and abs(opened - change) > abs(change) / 2
        and not _closed(before, now)
    )
    return opened if was_reset else change


def _closed(before: AccountPnl, now: AccountPnl) -> bool:
    """Profits were realised: what was open has become real, so that the open profit alone says nothing."""
    if before.realized is None or now.realized is None or now.realized == before.realized:
        return False
    return abs(now.realized) > abs(before.realized)


def _held(
    account: str, positions: tuple[Position, ...], rates: Mapping[str, Decimal]
) -> dict[int, tuple[Decimal, Decimal]]:
    held = {}
    for position in positions:
        rate = rates.get(position.instrument.currency)
        if position.account != account or position.instrument.sec_type == "CASH" or not position.quantity:
            continue
        value = position.market_value
        unit = value / position.quantity * rate if value is not None and rate is not None else ZERO
        held[position.instrument.con_id] = position.quantity, unit
    return held


def _unexplained(before: Known, after: Known, fills: list[Execution]) -> tuple[Decimal, Decimal]:
    """The values, in the base currency, of the cash and of the holdings that came or went without a fill."""
    cash: dict[str, Decimal] = {}
    for fill in fills:
        signed, instrument = fill.quantity * fill.side.sign, fill.instrument
        paid = -signed * fill.price * (instrument.multiplier or 1)
        if instrument.sec_type == "CASH":
            cash[instrument.symbol] = cash.get(instrument.symbol, ZERO) + signed
        elif instrument.sec_type == "FUT":
            paid = ZERO
        cash[instrument.currency] = cash.get(instrument.currency, ZERO) + paid
    money = ZERO
    for currency in {*before.cash, *after.cash}:
        moved = after.cash.get(currency, ZERO) - before.cash.get(currency, ZERO) - cash.get(currency, ZERO)
        money += moved * after.rates.get(currency, before.rates.get(currency, ZERO))
    holdings = (quantity * unit for quantity, unit in _moved(before, after, fills).values())
    return money, sum(holdings, ZERO)


def _moved(before: Known, after: Known, fills: list[Execution]) -> dict[int, tuple[Decimal, Decimal]]:
    """By contract: the units that came or went without a fill, and what one is worth; 0 is not known."""
    filled: dict[int, Decimal] = {}
    for fill in fills:
        con_id = fill.instrument.con_id
        filled[con_id] = filled.get(con_id, ZERO) + fill.quantity * fill.side.sign
    moved = {}
    for con_id in {*before.held, *after.held}:
        was, unit_before = before.held.get(con_id, (ZERO, ZERO))
        now, unit_after = after.held.get(con_id, (ZERO, ZERO))
        moved[con_id] = now - was - filled.get(con_id, ZERO), unit_after or unit_before
    return moved
