"""Small worlds for the pure checks: each function gives a sound default, and a test changes what it is about."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from ibkr_mcp_server.broker.base import LinkState, LinkStatus
from ibkr_mcp_server.domain.accounts import MarginPreview
from ibkr_mcp_server.domain.instruments import Instrument, SecType, TradingSession
from ibkr_mcp_server.domain.operations import Actor, ActorType, Operation, OperationClass
from ibkr_mcp_server.domain.orders import BrokerOrder, Order, OrderStatus, OrderType, Side
from ibkr_mcp_server.domain.quotes import MarketDataType, Quote
from ibkr_mcp_server.safety.exposure import Exposure
from ibkr_mcp_server.safety.policy import Policy
from ibkr_mcp_server.safety.portfolio import Portfolio
from ibkr_mcp_server.safety.snapshot import Observed, Recorded, Snapshot
from ibkr_mcp_server.safety.state import Action, EffectiveState
from ibkr_mcp_server.settings.loading import load_settings
from ibkr_mcp_server.settings.model import Settings

NOON = datetime(2026, 11, 20, 17, 0, tzinfo=UTC)
"""12:00 in New York on a Friday."""
AGENT = Actor(type=ActorType.AGENT, id="a-client", auth="in-process")
ZERO = Decimal(0)


def settings(**changes: Any) -> Settings:
    return load_settings(environ={}, **{"enable_trading": True, **changes})


def instrument(**changes: Any) -> Instrument:
    regular = TradingSession(start=NOON - timedelta(hours=2), end=NOON + timedelta(hours=4))
    values: dict[str, Any] = {
        "con_id": 265598,
        "symbol": "AAPL",
        "sec_type": SecType.STK,
        "exchange": "SMART",
        "primary_exchange": "NASDAQ",
        "currency": "USD",
        "local_symbol": "AAPL",
        "min_tick": Decimal("0.01"),
        "size_increment": Decimal(1),
        "min_size": Decimal(1),
        "time_zone_id": "US/Eastern",
        "liquid_hours": (regular,),
        "trading_hours": (regular,),
    }
    return Instrument(**(values | changes))


def order(**changes: Any) -> Order:
    values: dict[str, Any] = {
        "instrument": instrument(),
        "account": "DU9000001",
        "side": Side.BUY,
        "quantity": Decimal(10),
        "order_type": OrderType.LMT,
        "limit_price": Decimal("100.00"),
    }
    return Order(**(values | changes))


def quote(**changes: Any) -> Quote:
    values: dict[str, Any] = {
        "con_id": 265598,
        "received_at": NOON,
        "data_type": MarketDataType.LIVE,
        "bid": Decimal("99.98"),
        "ask": Decimal("100.00"),
        "last": Decimal("99.99"),
        "average_volume": Decimal(40_000_000),
        "shortable": Decimal(3),
    }
    return Quote(**(values | changes))


def link(**changes: Any) -> LinkStatus:
    values: dict[str, Any] = {
        "state": LinkState.UP,
        "venue": "simulator",
        "address": "127.0.0.1:4002",
        "client_id": 17,
        "since": NOON,
        "accounts": ("DU9000001",),
        "accounts_verified_at": NOON,
    }
    return LinkStatus(**(values | changes))


def broker_order(placed: Order, **changes: Any) -> BrokerOrder:
    values: dict[str, Any] = {
        "order": placed,
        "perm_id": 7,
        "order_id": 3,
        "client_id": 17,
        "status": OrderStatus.SUBMITTED,
        "filled": ZERO,
        "remaining": placed.quantity,
        "average_fill_price": None,
    }
    return BrokerOrder(**(values | changes))


def snapshot(placed: Order | None = None, *, recorded: Recorded | None = None, **observed: Any) -> Snapshot:
    placed = order() if placed is None else placed
    values: dict[str, Any] = {
        "taken_at": NOON,
        "link": link(),
        "order": placed,
        "quote": quote(),
        "usd_per_unit": Decimal(1),
        "exposure": Exposure(position=ZERO, working_buys=ZERO, working_sells=ZERO),
        "action": Action.OPEN,
        "reference_price": Decimal("100.00"),
        "value_usd": placed.quantity * (placed.limit_price or Decimal(100)),
        "portfolio": portfolio(),
        "margin": MarginPreview(maintenance_after=ZERO, initial_after=ZERO, equity_after=Decimal(1_000_000)),
    }
    return Snapshot(observed=Observed(**(values | observed)), recorded=recorded or Recorded(state=EffectiveState()))


def portfolio(**changes: Any) -> Portfolio:
    """An account that is worth 1,000,000 USD and would hold 1,000 USD of one instrument."""
    values: dict[str, Any] = {
        "equity_usd": Decimal(1_000_000),
        "equity_age_seconds": 1.0,
        "symbol_usd": Decimal(1_000),
        "gross_usd": Decimal(1_000),
        "instruments": 1,
        "is_new": True,
        "shorted": ZERO,
        "strategy_usd": ZERO,
        "sector": "Technology",
        "sector_usd": ZERO,
        "cash_usd": Decimal(1_000_000),
        "outlay_usd": ZERO,
        "at_risk_usd": ZERO,
    }
    return Portfolio(**(values | changes))


def placement(**changes: Any) -> Operation:
    operation = Operation(
        tool="place_limit_order", operation_class=OperationClass.ORDER_PLACEMENT, actor=AGENT, arguments={}
    )
    return replace(operation, **changes)


def codes(seen: Snapshot, operation: Operation | None = None, **changes: Any) -> list[str]:
    """The refusal codes of the whole policy, the primary reason first."""
    validation = Policy(settings(**changes)).review(operation or placement(), seen)
    return [found.code for _, found in validation.failures]
