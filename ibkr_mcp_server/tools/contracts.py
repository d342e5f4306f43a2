"""The tool about everything that the broker tells about a contract."""

from __future__ import annotations

from datetime import datetime

from ibkr_mcp_server.domain.instruments import ContractDetails, Instrument, TradingSession
from ibkr_mcp_server.domain.operations import OperationClass
from ibkr_mcp_server.operations import market_data as operations
from ibkr_mcp_server.tools.arguments import InstrumentArguments
from ibkr_mcp_server.tools.registry import Call, Reply, Tool, Toolset
from ibkr_mcp_server.tools.results import Exact, Facts, Part, Quoted, Unknown, quoted
from ibkr_mcp_server.tools.views import InstrumentView, age, instrument_view, magnifier

SESSIONS_SHOWN = 8
"""The broker tells about a week of them."""


class GridStep(Part):
    """From this price on, prices are whole multiples of the increment."""

    from_price: Exact
    increment: Exact


class OpenHours(Part):
    """One stretch in which the exchange is open, UTC."""

    start: datetime
    end: datetime


class ExchangeRule(Part):
    """An exchange that the contract can be routed to, and the number of its price rule."""

    exchange: str
    market_rule: int


class ContractFacts(Facts):
    instrument: InstrumentView
    price_magnifier: int | Unknown = None
    price_grid: tuple[GridStep, ...]
    last_trade_date: str | Unknown = None
    contract_month: str | Unknown = None
    underlying: str | Unknown = None
    underlying_con_id: int | Unknown = None
    stock_type: Quoted | Unknown = None
    industry: Quoted | Unknown = None
    identifiers: tuple[str, ...]
    order_types: tuple[str, ...]
    exchanges: tuple[ExchangeRule, ...]
    time_zone: str | Unknown = None
    regular_hours: tuple[OpenHours, ...] | Unknown = None
    trading_hours: tuple[OpenHours, ...] | Unknown = None
    hours_known_until: datetime | Unknown = None
    received_at: datetime
    age_seconds: float


async def get_contract_details(call: Call, arguments: InstrumentArguments) -> Reply:
    answer = await operations.contract_details(call.operation(), arguments.query(), call.desk)
    assert answer.result is not None
    return Reply(decision=answer.decision, facts=_facts(answer.result, call.desk.clock.now()))


def _facts(details: ContractDetails, now: datetime) -> ContractFacts:
    instrument = details.instrument
    branch = " / ".join(filter(None, (details.industry, details.category, details.subcategory)))
    return ContractFacts(
        instrument=instrument_view(instrument, now),
        price_magnifier=magnifier(instrument),
        price_grid=_grid(instrument),
        last_trade_date=instrument.last_trade_date or None,
        contract_month=details.contract_month or None,
        underlying=details.underlying_symbol or None,
        underlying_con_id=details.underlying_con_id,
        stock_type=quoted(details.stock_type, 40),
        industry=quoted(branch, 120),
        identifiers=tuple(f"{kind} {value}" for kind, value in details.sec_ids),
        order_types=details.order_types,
        exchanges=tuple(ExchangeRule(exchange=name, market_rule=rule) for name, rule in details.market_rules),
        time_zone=instrument.time_zone_id or None,
        regular_hours=_hours(instrument.liquid_hours, now),
        trading_hours=_hours(instrument.trading_hours, now),
        hours_known_until=instrument.hours_known_until,
        received_at=details.received_at,
        age_seconds=age(details.received_at, now),
    )


def _grid(instrument: Instrument) -> tuple[GridStep, ...]:
    """The market rule, or the smallest tick where the broker told no rule."""
    steps = [GridStep(from_price=lowest, increment=step) for lowest, step in instrument.price_increments]
    if not steps and instrument.min_tick is not None:
        steps.append(GridStep(from_price=instrument.min_tick, increment=instrument.min_tick))
    return tuple(steps)


def _hours(sessions: tuple[TradingSession, ...] | None, now: datetime) -> tuple[OpenHours, ...] | None:
    if sessions is None:
        return None
    coming = [OpenHours(start=one.start, end=one.end) for one in sessions if one.end > now]
    return tuple(coming[:SESSIONS_SHOWN])


TOOLS = (
    Tool(
        name="get_contract_details",
        title="Contract details",
        description="All that the broker tells about one contract: price grid, quantity steps, multiplier, exchanges "
        "with their market rules, order types, coming trading hours in UTC, expiry, underlying, identifiers. Hours "
        "that are missing are unknown. For finding the right contract use resolve_symbol, which is shorter.",
        toolset=Toolset.MARKET_DATA,
        operation_class=OperationClass.MARKET_DATA,
        arguments=InstrumentArguments,
        facts=ContractFacts,
        handler=get_contract_details,
    ),
)
