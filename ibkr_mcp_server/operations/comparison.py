"""Compares what the broker says now with what it said before and what was filled in between; pure.

An *anchor* is a set of figures that were understood once, with the fills that they include. Figures now must be the
anchor's plus what the fills since then explain. The broker lists the fills of the current day only; over midnight in
New York differences are therefore taken over and told, not held against it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from ibkr_mcp_server.clock import NEW_YORK
from ibkr_mcp_server.domain.accounts import AccountSummary, Position, masked
from ibkr_mcp_server.domain.orders import BrokerOrder, Execution, fill_of

ZERO = Decimal()
CENT = Decimal("0.01")
SETTLING_SECONDS = 180.0
"""IBKR renews balances at most this often: younger fills may not be in the cash yet."""
BOOKING_SECONDS = 5.0
"""A position follows its fill within this time, usually within milliseconds."""
_WITHOUT_POSITION = frozenset({"CASH", "BAG"})
"""Currency pairs are cash, and a combination's legs are told one by one."""
_PAID_IN_FULL = frozenset({"STK", "OPT", "BOND", "FUND", "WAR", "CRYPTO", "FOP"})
"""Of others (futures) the price is not paid, so their effect on the cash is not known from the fill."""


class Kind(StrEnum):
    """What a comparison found."""

    POSITION_UNEXPLAINED = "POSITION_UNEXPLAINED"
    ORDER_CONFLICT = "ORDER_CONFLICT"
    ORDER_WITHOUT_INTENT = "ORDER_WITHOUT_INTENT"
    CASH_UNEXPLAINED = "CASH_UNEXPLAINED"
    POSITION_IMPORTED = "POSITION_IMPORTED"
    EXTERNAL_ORDER = "EXTERNAL_ORDER"
    ORDER_PUT_RIGHT = "ORDER_PUT_RIGHT"
    ORDER_GONE = "ORDER_GONE"


BLOCKING = frozenset({Kind.POSITION_UNEXPLAINED, Kind.ORDER_CONFLICT, Kind.ORDER_WITHOUT_INTENT})
"""Trading is held back while one of these is found: something happened that neither our records nor the fills tell."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One thing in which the records did not agree."""

    kind: Kind
    text: str

    @property
    def blocks(self) -> bool:
        return self.kind in BLOCKING


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The broker's records, read at one time."""

    begun_at: datetime
    taken_at: datetime
    accounts: tuple[str, ...]
    positions: Sequence[Position]
    summaries: Sequence[AccountSummary]
    open_orders: Sequence[BrokerOrder]
    completed_orders: Sequence[BrokerOrder]
    executions: Sequence[Execution]
    marked: Sequence[Position] = ()
    """The positions with the broker's prices, where they were asked for."""

    def held(self) -> dict[str, dict[str, Decimal]]:
        """Quantity by account and contract id."""
        held: dict[str, dict[str, Decimal]] = {account: {} for account in self.accounts}
        for position in self.positions:
            if position.instrument.sec_type not in _WITHOUT_POSITION:
                held.setdefault(position.account, {})[str(position.instrument.con_id)] = position.quantity
        return held

    def cash(self) -> dict[str, dict[str, Decimal]]:
        """Cash by account and currency."""
        return {summary.account: dict(summary.cash_balances) for summary in self.summaries}

    def is_settling(self) -> bool:
        """Whether a fill is so young that the positions may not include it yet."""
        return any((self.taken_at - fill.executed_at).total_seconds() < BOOKING_SECONDS for fill in self.executions)

    def label(self, con_id: str) -> str:
        instruments = [position.instrument for position in self.positions] + [
            fill.instrument for fill in self.executions
        ]
        return next((one.label for one in instruments if str(one.con_id) == con_id), f"contract {con_id}")


@dataclass(frozen=True, kw_only=True)
class Counted:
    """What one fill did to the figures of its account."""

    account: str
    effect: Mapping[str, Decimal]


@dataclass(frozen=True, kw_only=True)
class Anchor:
    """Figures that were understood, and the fills that they include."""

    taken_at: datetime
    values: Mapping[str, Mapping[str, Decimal]]
    """By account and key: a contract id, or a currency."""
    fills: Mapping[str, Counted] = field(default_factory=dict)
    """By the fill's number, without its revision: a correction replaces (ID-13)."""

    def as_json(self) -> dict[str, Any]:
        return {
            "taken_at": self.taken_at.isoformat(),
            "values": {account: _texts(values) for account, values in self.values.items()},
            "fills": {number: [one.account, _texts(one.effect)] for number, one in self.fills.items()},
        }

    @classmethod
    def of_json(cls, written: Mapping[str, Any]) -> Anchor:
        return cls(
            taken_at=datetime.fromisoformat(written["taken_at"]),
            values={account: _decimals(values) for account, values in written["values"].items()},
            fills={
                number: Counted(account=account, effect=_decimals(effect))
                for number, (account, effect) in written["fills"].items()
            },
        )

    def covers(self, moment: datetime) -> bool:
        """Whether the fills that the broker lists at `moment` include all since this anchor."""
        return self.taken_at.astimezone(NEW_YORK).date() == moment.astimezone(NEW_YORK).date()

    def remembering(self, before: Anchor | None) -> Anchor:
        """With the fills of this day that `before` includes: one that a list lost must not count again later."""
        if before is None or not before.covers(self.taken_at):
            return self
        return replace(self, fills={**before.fills, **self.fills})

    def expected(self, fills: Mapping[str, Counted]) -> dict[str, dict[str, Decimal]]:
        """The figures that these fills lead to from here."""
        figures = {account: dict(values) for account, values in self.values.items()}
        for number, counted in fills.items():
            known = self.fills.get(number)
            if known is not None:
                _add(figures, known, -1)
            _add(figures, counted, 1)
        return figures


def position_anchor(truth: Truth) -> Anchor:
    fills = {
        fill_of(fill.execution_id)[0]: Counted(
            account=fill.account, effect={str(fill.instrument.con_id): fill.quantity * fill.side.sign}
        )
        for fill in _oldest_revision_first(truth.executions)
        if fill.instrument.sec_type not in _WITHOUT_POSITION
    }
    return Anchor(taken_at=truth.taken_at, values=truth.held(), fills=fills)


def cash_anchor(truth: Truth) -> Anchor | None:
    """None while the cash cannot be judged: a fill is too young, its commission not told, or its price not paid."""
    fills: dict[str, Counted] = {}
    for fill in _oldest_revision_first(truth.executions):
        effect = _cash_effect(fill)
        if effect is None or (truth.taken_at - fill.executed_at).total_seconds() < SETTLING_SECONDS:
            return None
        fills[fill_of(fill.execution_id)[0]] = Counted(account=fill.account, effect=effect)
    return Anchor(taken_at=truth.taken_at, values=truth.cash(), fills=fills)


def compare_positions(before: Anchor | None, truth: Truth) -> list[Difference]:
    """Holdings that the fills do not explain; all are taken over where there is nothing to compare with (ID-14)."""
    now = position_anchor(truth)
    expected = {} if before is None else before.expected(now.fills)
    explained = before is not None and before.covers(truth.taken_at)
    found = []
    for account, key, was, told in _unequal(expected, now.values, ZERO):
        new = before is None or account not in before.values
        kind = Kind.POSITION_UNEXPLAINED if explained and not new else Kind.POSITION_IMPORTED
        label = truth.label(key)
        text = f"{label} in {masked(account)}: the fills lead to {was:f}, the broker says {told:f}."
        if kind is Kind.POSITION_IMPORTED:
            text = f"{label} in {masked(account)}: {told:f} held, not all of it from fills seen here; taken over."
        found.append(Difference(kind=kind, text=text))
    return found


def compare_cash(before: Anchor | None, now: Anchor | None, moment: datetime) -> list[Difference]:
    """Cash that no fill explains: interest, dividends, fees, transfers. Told, and then taken over."""
    if before is None or now is None or not before.covers(moment):
        return []
    tolerance = CENT * (1 + len(set(now.fills) - set(before.fills)))
    return [
        Difference(
            kind=Kind.CASH_UNEXPLAINED,
            text=f"{key} cash in {masked(account)}: the fills lead to {was:.2f}, the broker says {told:.2f}.",
        )
        for account, key, was, told in _unequal(before.expected(now.fills), now.values, tolerance)
        if account in before.values
    ]


def external_orders(truth: Truth) -> list[Difference]:
    """Working orders that were not placed here; they count in every exposure (ID-14)."""
    return [
        Difference(
            kind=Kind.EXTERNAL_ORDER,
            text=f"{order.order.label} in {masked(order.order.account)}, perm_id {order.perm_id}, client "
            f"{order.client_id}: not placed here.",
        )
        for order in truth.open_orders
        if order.is_working and not order.placed_here
    ]


def broken_invariants(truth: Truth, *, cash_account: bool) -> list[str]:
    """SU-02: what must be true of an account before anything is opened in it; one sentence for each that is not."""
    broken = []
    for summary in truth.summaries:
        account, equity = masked(summary.account), summary.net_liquidation
        held = [position for position in truth.marked if position.account == summary.account]
        is_empty = not held and not any(summary.cash_balances.values()) and summary.account != truth.accounts[0]
        if (equity is None or equity.amount <= 0) and not is_empty:
            told = "is not told" if equity is None else f"is {equity}"
            broken.append(f"EQUITY_NOT_POSITIVE: the equity of {account} {told}.")
        if cash_account:
            broken += [
                f"NEGATIVE_CASH: {amount:.2f} {currency} in {account}, which is a cash account (IBKR_CASH_ACCOUNT)."
                for currency, amount in sorted(summary.cash_balances.items())
                if amount < 0
            ]
    for position in truth.marked:
        label = f"{position.instrument.label} in {masked(position.account)}"
        if position.market_price is None and position.instrument.sec_type != "CASH":
            broken.append(f"MARK_MISSING: the broker gives no price for {label}.")
        if cash_account and position.quantity < 0 and position.instrument.sec_type == "STK":
            broken.append(f"NEGATIVE_QUANTITY: {position.quantity:f} {label}, which is a cash account.")
    return broken


def _cash_effect(fill: Execution) -> dict[str, Decimal] | None:
    instrument, paid = fill.instrument, -fill.quantity * fill.side.sign * fill.price
    if fill.commission is None or fill.commission_currency is None:
        return None
    effect: dict[str, Decimal] = {}
    if instrument.sec_type == "CASH":
        effect[instrument.symbol] = fill.quantity * fill.side.sign
    elif instrument.sec_type in _PAID_IN_FULL and instrument.multiplier is not None:
        paid *= instrument.multiplier
    else:
        return None
    effect[instrument.currency] = effect.get(instrument.currency, ZERO) + paid
    effect[fill.commission_currency] = effect.get(fill.commission_currency, ZERO) - fill.commission
    return effect


def _oldest_revision_first(fills: Iterable[Execution]) -> list[Execution]:
    return sorted(fills, key=lambda fill: fill_of(fill.execution_id)[1])


def _unequal(
    expected: Mapping[str, Mapping[str, Decimal]], told: Mapping[str, Mapping[str, Decimal]], tolerance: Decimal
) -> list[tuple[str, str, Decimal, Decimal]]:
    """Account, key, expected and told figure, where they differ; only accounts that the broker tells of now."""
    return [
        (account, key, was, now)
        for account, values in sorted(told.items())
        for key in sorted({*values, *expected.get(account, {})})
        if abs((was := expected.get(account, {}).get(key, ZERO)) - (now := values.get(key, ZERO))) > tolerance
    ]


def _add(figures: dict[str, dict[str, Decimal]], counted: Counted, sign: int) -> None:
    values = figures.setdefault(counted.account, {})
    for key, amount in counted.effect.items():
        values[key] = values.get(key, ZERO) + sign * amount


def _texts(values: Mapping[str, Decimal]) -> dict[str, str]:
    return {key: str(value) for key, value in values.items()}


def _decimals(values: Mapping[str, str]) -> dict[str, Decimal]:
    return {key: Decimal(value) for key, value in values.items()}
