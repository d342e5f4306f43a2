"""Tools about exchange rates. They only read: nothing is bought or sold."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import ClassVar

from pydantic import Field

from ibkr_mcp_server.domain.forex import RATE_PAIRS, legs_between
from ibkr_mcp_server.domain.operations import OperationClass
from ibkr_mcp_server.operations import forex as operations
from ibkr_mcp_server.operations.forex import UsedRate
from ibkr_mcp_server.operations.market_data import QuoteEntry
from ibkr_mcp_server.tools.arguments import Arguments, Currency, Number, SymbolList
from ibkr_mcp_server.tools.quotes import QuoteRefusal, with_quote, without_a_quote
from ibkr_mcp_server.tools.registry import Call, Reply, Tool, Toolset
from ibkr_mcp_server.tools.results import Amount, Exact, Facts, Part, Unknown
from ibkr_mcp_server.tools.results import amount as amount_view
from ibkr_mcp_server.tools.views import age

DIGITS = 8
"""Significant digits of a rate that was computed; quotes have five or six."""


class RatesArguments(Arguments):
    also_called: ClassVar = {"pairs": "symbols"}

    symbols: SymbolList = Field(
        default=list(RATE_PAIRS), description='e.g. ["EUR.USD"]; default: 21 pairs, each counts against the rate limit'
    )


class RateView(Part):
    """One pair: units of `currency` for one of `base`."""

    pair: str
    base: str | Unknown = None
    currency: str | Unknown = None
    bid: Exact | Unknown = None
    ask: Exact | Unknown = None
    mid: Exact | Unknown = None
    data_type: str | Unknown = None
    received_at: datetime | Unknown = None
    age_seconds: float | Unknown = None
    refused: QuoteRefusal | Unknown = None


class RatesFacts(Facts):
    rates: tuple[RateView, ...]


async def get_forex_rates(call: Call, arguments: RatesArguments) -> Reply:
    answer = await operations.rates(call.operation(symbols=tuple(arguments.symbols)), call.desk)
    now, entries = call.desk.clock.now(), answer.result or ()
    facts = RatesFacts(rates=tuple(_rate(entry, now) for entry in entries))
    return Reply(decision=answer.decision, facts=facts, failure=without_a_quote(entries))


def _rate(entry: QuoteEntry, now: datetime) -> RateView:
    instrument = entry.instrument
    bid, ask = (None, None) if entry.quote is None else (entry.quote.bid, entry.quote.ask)
    view = RateView(
        pair=entry.symbol if instrument is None else instrument.label,
        base=None if instrument is None else instrument.symbol,
        currency=None if instrument is None else instrument.currency,
        mid=None if bid is None or ask is None else (bid + ask) / 2,
    )
    return with_quote(view, entry, now)


class ConvertArguments(Arguments):
    also_called: ClassVar = {"from": "from_currency", "to": "to_currency"}

    amount: Number = Field(description="How much to convert, above zero")
    from_currency: Currency = Field(description="ISO code")
    to_currency: Currency = Field(description="ISO code")


class StepView(Part):
    """One step: units of `to_currency` for one of `from_currency`, at the middle of the pair's quote."""

    pair: str
    from_currency: str
    to_currency: str
    inverse: bool
    rate: Exact
    bid: Exact
    ask: Exact
    data_type: str
    received_at: datetime
    age_seconds: float


class ConversionFacts(Facts):
    amount: Amount
    worth: Amount
    at_market: Amount
    rate: Exact
    path: tuple[StepView, ...]
    oldest_rate_age_seconds: float | Unknown = None


async def convert_currency(call: Call, arguments: ConvertArguments) -> Reply:
    source, target = arguments.from_currency, arguments.to_currency
    legs = legs_between(source, target)
    operation = call.operation(symbols=tuple(leg.pair for leg in legs or ()))
    answer = await operations.convert(operation, arguments.amount, source, target, legs, call.desk)
    found = answer.result
    assert found is not None
    now = call.desk.clock.now()
    path = tuple(_step(used, now) for used in found.used)
    amount, worth, at_market = (amount_view(money) for money in (found.amount, found.worth, found.at_market))
    assert amount is not None
    assert worth is not None
    assert at_market is not None
    facts = ConversionFacts(
        amount=amount,
        worth=worth,
        at_market=at_market,
        rate=_short(found.rate),
        path=path,
        oldest_rate_age_seconds=max((step.age_seconds for step in path), default=None),
    )
    return Reply(decision=answer.decision, facts=facts)


def _step(used: UsedRate, now: datetime) -> StepView:
    quote = used.quote
    assert quote.bid is not None
    assert quote.ask is not None
    return StepView(
        pair=used.leg.pair,
        from_currency=used.leg.source,
        to_currency=used.leg.target,
        inverse=used.leg.inverse,
        rate=_short(used.rate),
        bid=quote.bid,
        ask=quote.ask,
        data_type=quote.data_type,
        received_at=quote.received_at,
        age_seconds=age(quote.received_at, now),
    )


def _short(rate: Decimal) -> Decimal:
    return Decimal(f"{rate:.{DIGITS}g}")


TOOLS = (
    Tool(
        name="get_forex_rates",
        title="Exchange rates",
        description="Bid, ask and middle of currency pairs, each with its time, age and kind of data; without "
        "`symbols`, of 21 pairs. A rate is units of `currency` for one of `base`. For what an amount is worth use "
        "convert_currency.",
        toolset=Toolset.FOREX,
        operation_class=OperationClass.FOREX,
        arguments=RatesArguments,
        facts=RatesFacts,
        handler=get_forex_rates,
    ),
    Tool(
        name="convert_currency",
        title="Convert a currency",
        description="What an amount is worth in another currency now: `worth` at the middle of the quotes, `at_market` "
        "at bids and asks, before commissions. By the pair itself, its inverse, or through USD or EUR; `path` has each "
        "step with its quote and age. Buys and sells nothing.",
        toolset=Toolset.FOREX,
        operation_class=OperationClass.FOREX,
        arguments=ConvertArguments,
        facts=ConversionFacts,
        handler=convert_currency,
    ),
)
