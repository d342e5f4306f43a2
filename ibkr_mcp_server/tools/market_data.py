"""Tools about instruments and their prices."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from ibkr_mcp_server.domain.operations import OperationClass
from ibkr_mcp_server.domain.quotes import MarketDataType
from ibkr_mcp_server.operations import market_data as operations
from ibkr_mcp_server.operations.market_data import QuoteEntry
from ibkr_mcp_server.tools.arguments import Arguments, InstrumentArguments, SymbolList
from ibkr_mcp_server.tools.quotes import QuoteRefusal, with_quote, without_a_quote
from ibkr_mcp_server.tools.registry import Call, Reply, Tool, Toolset
from ibkr_mcp_server.tools.results import Exact, Facts, Part, Unknown
from ibkr_mcp_server.tools.views import CandidateView, InstrumentView, candidate_view, instrument_view, magnifier


class MarketDataArguments(Arguments):
    also_called: ClassVar = {"symbol": "symbols"}

    symbols: SymbolList = Field(description='1 to 50, e.g. ["AAPL", "EUR.USD"]; each counts against the rate limit')
    market_data_type: Literal["live", "frozen", "delayed", "delayed-frozen"] | SkipJsonSchema[None] = Field(
        default=None, description="Else live, or delayed where not subscribed; frozen: also a closed market's last"
    )


class QuoteView(Part):
    """The newest prices of one symbol; prices in its currency."""

    asked: str
    symbol: str | Unknown = None
    con_id: int | Unknown = None
    currency: str | Unknown = None
    bid: Exact | Unknown = None
    ask: Exact | Unknown = None
    last: Exact | Unknown = None
    bid_size: Exact | Unknown = None
    ask_size: Exact | Unknown = None
    last_size: Exact | Unknown = None
    volume: Exact | Unknown = None
    open: Exact | Unknown = None
    high: Exact | Unknown = None
    low: Exact | Unknown = None
    previous_close: Exact | Unknown = None
    halted: bool | Unknown = None
    data_type: str | Unknown = None
    received_at: datetime | Unknown = None
    age_seconds: float | Unknown = None
    unchanged_seconds: float | Unknown = None
    last_traded_at: datetime | Unknown = None
    price_magnifier: int | Unknown = None
    refused: QuoteRefusal | Unknown = None


class MarketDataFacts(Facts):
    quotes: tuple[QuoteView, ...]


async def get_market_data(call: Call, arguments: MarketDataArguments) -> Reply:
    kind = arguments.market_data_type
    answer = await operations.market_data(
        call.operation(symbols=tuple(arguments.symbols)),
        call.desk,
        wanted=None if kind is None else MarketDataType(kind),
        progress=call.progress,
    )
    now = call.desk.clock.now()
    entries = answer.result or ()
    facts = MarketDataFacts(quotes=tuple(_quote(entry, now) for entry in entries))
    return Reply(decision=answer.decision, facts=facts, failure=without_a_quote(entries))


def _quote(entry: QuoteEntry, now: datetime) -> QuoteView:
    instrument = entry.instrument
    view = QuoteView(
        asked=entry.symbol,
        symbol=instrument.label if instrument is not None else None,
        con_id=instrument.con_id if instrument is not None else None,
        currency=instrument.currency if instrument is not None else None,
        price_magnifier=None if instrument is None or entry.quote is None else magnifier(instrument),
    )
    return with_quote(view, entry, now)


class ResolutionFacts(Facts):
    instrument: InstrumentView | Unknown = None
    candidates: tuple[CandidateView, ...]


async def resolve_symbol(call: Call, arguments: InstrumentArguments) -> Reply:
    answer = await operations.resolve_symbol(call.operation(), arguments.query(), call.desk)
    found = answer.result
    assert found is not None
    facts = ResolutionFacts(
        instrument=None if found.instrument is None else instrument_view(found.instrument, call.desk.clock.now()),
        candidates=tuple(candidate_view(candidate) for candidate in found.candidates),
    )
    choose = "Several contracts fit: choose one by its con_id, or as SYMBOL.EXCHANGE.CURRENCY."
    return Reply(decision=answer.decision, facts=facts, next_step=None if found.instrument is not None else choose)


TOOLS = (
    Tool(
        name="get_market_data",
        title="Quotes",
        description="The newest bid, ask, last, sizes and the day's range of up to 50 symbols. Each has its age (since "
        "the broker last stated it; quiet lines are asked anew), for how long it has not changed, and whether it is "
        "live, delayed or frozen. Prices are decimal text; a missing one is unknown. A symbol without a quote carries "
        "its own `refused` reason. Not for judging an order: check_order does that at a fresh quote.",
        toolset=Toolset.MARKET_DATA,
        operation_class=OperationClass.MARKET_DATA,
        arguments=MarketDataArguments,
        facts=MarketDataFacts,
        handler=get_market_data,
    ),
    Tool(
        name="resolve_symbol",
        title="Resolve a symbol",
        description="The one contract that a symbol means, with price and quantity steps; or, if several fit, the "
        "candidates to choose from (nothing is ever guessed). Use it after CONTRACT_AMBIGUOUS or "
        "CONTRACT_NOT_FOUND, and for listings outside the US.",
        toolset=Toolset.MARKET_DATA,
        operation_class=OperationClass.MARKET_DATA,
        arguments=InstrumentArguments,
        facts=ResolutionFacts,
        handler=resolve_symbol,
    ),
)
