"""Accounts and what they hold, as the broker reports it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from ibkr_mcp_server.domain.instruments import Instrument
from ibkr_mcp_server.domain.money import Money


@dataclass(frozen=True, kw_only=True)
class AccountSummary:
    """The balances of one account; a figure the broker did not send is None."""

    account: str
    received_at: datetime
    base_currency: str | None
    net_liquidation: Money | None
    total_cash: Money | None
    settled_cash: Money | None
    buying_power: Money | None
    available_funds: Money | None
    excess_liquidity: Money | None
    gross_position_value: Money | None
    initial_margin: Money | None
    maintenance_margin: Money | None
    unrealized_pnl: Money | None
    realized_pnl: Money | None
    cash_balances: Mapping[str, Decimal] = field(default_factory=dict)
    """Cash by currency."""
    exchange_rates: Mapping[str, Decimal] = field(default_factory=dict)
    """Units of the base currency for one unit of the key's currency."""


@dataclass(frozen=True, kw_only=True)
class Position:
    """A holding; `quantity` is negative when short."""

    account: str
    instrument: Instrument
    quantity: Decimal
    average_cost: Decimal | None
    """Per unit of the instrument, in its currency, multiplier and commissions included, as IBKR reports it."""
    market_price: Decimal | None = None
    market_value: Decimal | None = None
    unrealized_pnl: Decimal | None = None
    realized_pnl: Decimal | None = None


@dataclass(frozen=True, kw_only=True)
class MarginPreview:
    """An account as the broker says it would be after an order, in its base currency; None is not told."""

    maintenance_before: Decimal | None = None
    maintenance_after: Decimal | None
    initial_after: Decimal | None
    equity_after: Decimal | None
    """Equity with loan value."""


@dataclass(frozen=True, kw_only=True)
class AccountPnl:
    """What an account gained or lost, in its base currency, by the reset schedule that is set in TWS."""

    account: str
    received_at: datetime
    daily: Decimal | None
    unrealized: Decimal | None
    realized: Decimal | None


@dataclass(frozen=True, kw_only=True)
class PositionPnl:
    """What one holding gained or lost. IBKR does not say in which currency, where it is not the account's."""

    con_id: int
    received_at: datetime
    quantity: Decimal | None
    daily: Decimal | None
    unrealized: Decimal | None
    realized: Decimal | None
    market_value: Decimal | None


def has_accepted_prefix(account: str, prefixes: tuple[str, ...]) -> bool:
    """Whether `account` is one of `prefixes` and then a digit (ACC-02): `DU1234567` is, `DUMMY` and `du1` are not."""
    return any(re.fullmatch(re.escape(prefix) + r"\d[A-Z0-9]*", account) for prefix in prefixes)


def masked(account: str) -> str:
    """An account id with all but its last three characters hidden (SEC-05)."""
    return "*" * max(0, len(account) - 3) + account[-3:]


def meant(name: str, accounts: Sequence[str]) -> str:
    """The account that `name` stands for: itself, or the only one of `accounts` that is shown masked like that."""
    shown_so = [account for account in accounts if masked(account) == name]
    return shown_so[0] if len(shown_so) == 1 else name
