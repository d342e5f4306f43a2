"""Tools about options: which there are, and what they are quoted and computed at."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from ibkr_mcp_server.domain.instruments import InstrumentQuery, SecType, option_label
from ibkr_mcp_server.domain.operations import OperationClass, Problem
from ibkr_mcp_server.domain.options import Greeks
from ibkr_mcp_server.domain.toolsets import Toolset
from ibkr_mcp_server.operations import market_data as quotes
from ibkr_mcp_server.operations import options as operations
from ibkr_mcp_server.operations.market_data import QuoteEntry
from ibkr_mcp_server.operations.options import ChainAnswer, ChainFilter, ChainPart
from ibkr_mcp_server.safety.codes import Code, problem
from ibkr_mcp_server.tools.arguments import (
    Arguments,
    ContractId,
    Currency,
    Exchange,
    LastTradeDate,
    ListingArguments,
    Number,
    Right,
    Symbol,
    TradingClass,
    as_list,
)
from ibkr_mcp_server.tools.quotes import QuoteRefusal, with_quote, without_a_quote
from ibkr_mcp_server.tools.registry import Call, Reply, Tool
from ibkr_mcp_server.tools.results import Exact, Facts, Part, Unknown
from ibkr_mcp_server.tools.views import age

MOST_CHAINS = 12
MOST_EXPIRATIONS = 120


class ChainArguments(ListingArguments):
    # Here an expiry is one of the options', and a range of them is asked for.
    also_called: ClassVar = {"expiry": "", "expiration": ""}

    last_trade_date: LastTradeDate | SkipJsonSchema[None] = Field(
        default=None, description="Of the underlying, if it is a future"
    )
    option_exchange: Exchange | SkipJsonSchema[None] = Field(default=None, description="Default SMART")
    trading_class: TradingClass | SkipJsonSchema[None] = Field(default=None, description="Only this class")
    expiry_from: LastTradeDate | SkipJsonSchema[None] = Field(default=None, description="First YYYYMMDD")
    expiry_to: LastTradeDate | SkipJsonSchema[None] = Field(default=None, description="Last YYYYMMDD")
    strike_min: Number | SkipJsonSchema[None] = Field(default=None, description="Lowest strike")
    strike_max: Number | SkipJsonSchema[None] = Field(default=None, description="Highest strike")
    max_strikes: int = Field(default=30, ge=1, le=300, description="Those nearest to the underlying's price")

    def underlying(self) -> InstrumentQuery:
        query = self.query()
        return InstrumentQuery(
            symbol=query.symbol,
            sec_type=query.sec_type,
            exchange=query.exchange,
            currency=query.currency,
            con_id=query.con_id,
            last_trade_date=self.last_trade_date,
        )

    def wanted(self) -> ChainFilter:
        return ChainFilter(
            exchange=self.option_exchange,
            trading_class=self.trading_class,
            first_expiry=_day(self.expiry_from, "00"),
            last_expiry=_day(self.expiry_to, "99"),
            lowest_strike=self.strike_min,
            highest_strike=self.strike_max,
            most_strikes=self.max_strikes,
        )


def _day(date: str | None, end_of_month: str) -> str | None:
    """A month stands for its first or last day; only the order of the digits matters."""
    return date if date is None or len(date) == 8 else date + end_of_month


class ChainView(Part):
    """One trading class at one exchange. Not every strike exists at every expiration."""

    exchange: str
    trading_class: str
    multiplier: Exact | Unknown = None
    expirations: tuple[str, ...]
    strikes: tuple[Exact, ...]
    strikes_in_range: int
    lowest_strike: Exact | Unknown = None
    highest_strike: Exact | Unknown = None


class ChainFacts(Facts):
    underlying: str
    underlying_con_id: int
    currency: str
    underlying_price: Exact | Unknown = None
    underlying_data_type: str | Unknown = None
    underlying_received_at: datetime | Unknown = None
    underlying_age_seconds: float | Unknown = None
    chains: tuple[ChainView, ...]
    more_chains: tuple[str, ...] | Unknown = None


async def get_option_chain(call: Call, arguments: ChainArguments) -> Reply:
    operation = call.operation(symbols=(arguments.symbol,))
    answer = await operations.option_chain(operation, arguments.underlying(), arguments.wanted(), call.desk)
    found = answer.result
    assert found is not None
    quote, shown = found.quote, found.parts[:MOST_CHAINS]
    facts = ChainFacts(
        underlying=found.underlying.label,
        underlying_con_id=found.underlying.con_id,
        currency=found.underlying.currency,
        underlying_price=None if quote is None else operations.price_of(quote),
        underlying_data_type=None if quote is None else str(quote.data_type),
        underlying_received_at=None if quote is None else quote.received_at,
        underlying_age_seconds=None if quote is None else age(quote.received_at, call.desk.clock.now()),
        chains=tuple(_chain(part) for part in shown),
        more_chains=_others(found, shown) or None,
    )
    return Reply(decision=answer.decision, facts=facts, next_step=_advice(found))


def _chain(part: ChainPart) -> ChainView:
    strikes = part.chain.strikes
    return ChainView(
        exchange=part.chain.exchange,
        trading_class=part.chain.trading_class,
        multiplier=part.chain.multiplier,
        expirations=part.expirations[:MOST_EXPIRATIONS],
        strikes=part.strikes,
        strikes_in_range=part.strikes_in_range,
        lowest_strike=strikes[0] if strikes else None,
        highest_strike=strikes[-1] if strikes else None,
    )


def _others(found: ChainAnswer, shown: tuple[ChainPart, ...]) -> tuple[str, ...]:
    """What else there is, as `EXCHANGE TRADING_CLASS`."""
    seen = {(part.chain.exchange, part.chain.trading_class) for part in shown}
    others = ((chain.exchange, chain.trading_class) for chain in found.chains)
    return tuple(f"{exchange} {name}" for exchange, name in others if (exchange, name) not in seen)[:60]


def _advice(found: ChainAnswer) -> str | None:
    if not found.chains:
        return f"The broker lists no options on {found.underlying.label}."
    if not found.parts:
        return "No chain fits option_exchange and trading_class; more_chains names those that there are."
    if not any(part.expirations and part.strikes for part in found.parts):
        return "The ranges of expiry and strike leave nothing; widen them."
    return None


class OptionQuoteArguments(Arguments):
    also_called: ClassVar = ListingArguments.also_called
    one_of: ClassVar = ("con_ids", "strikes")

    con_ids: Annotated[
        list[ContractId],
        BeforeValidator(as_list),
        WithJsonSchema({"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 50}),
    ] = Field(default=[], min_length=1, max_length=1_000, description="Contract ids of options; or else:")
    symbol: Symbol | SkipJsonSchema[None] = Field(default=None, description="Of the underlying")
    last_trade_date: LastTradeDate | SkipJsonSchema[None] = Field(default=None, description="Expiry YYYYMMDD")
    strikes: Annotated[
        list[Number],
        BeforeValidator(as_list),
        WithJsonSchema({"type": "array", "items": {"type": "number"}, "minItems": 1, "maxItems": 50}),
    ] = Field(default=[], min_length=1, max_length=1_000, description="One or more")
    right: Right | SkipJsonSchema[None] = Field(default=None, description="C or P; default: both")
    sec_type: Literal["OPT", "FOP"] = Field(default="OPT", description="FOP: on a future")
    trading_class: TradingClass | SkipJsonSchema[None] = Field(default=None, description="e.g. SPXW")
    multiplier: Number | SkipJsonSchema[None] = Field(default=None, description="e.g. 100")
    exchange: Exchange | SkipJsonSchema[None] = Field(default=None, description="Default SMART")
    currency: Currency | SkipJsonSchema[None] = Field(default=None, description="ISO code")

    def problems(self) -> tuple[Problem, ...]:
        """Whatever is missing to name the options by their strikes."""
        needed = {"symbol": self.symbol, "last_trade_date": self.last_trade_date} if self.strikes else {}
        return tuple(
            problem(Code.INVALID_ARGUMENTS, f"{name} is missing; options are named with it.", next_step=f"Give {name}.")
            for name, value in needed.items()
            if not value
        )

    def queries(self) -> dict[str, InstrumentQuery]:
        """Each option that is asked for, under the name by which the answer calls it."""
        by_id = {str(con_id): InstrumentQuery(symbol="", con_id=con_id) for con_id in self.con_ids}
        return by_id | {
            option_label(self.trading_class or self.symbol or "", self.last_trade_date or "", strike, right): (
                self._query(strike, right)
            )
            for strike in self.strikes
            for right in ((self.right,) if self.right else ("C", "P"))
        }

    def _query(self, strike: Decimal, right: str) -> InstrumentQuery:
        return InstrumentQuery(
            symbol=self.symbol or "",
            sec_type=SecType(self.sec_type),
            exchange=self.exchange,
            currency=self.currency,
            last_trade_date=self.last_trade_date,
            strike=strike,
            right=right,
            multiplier=self.multiplier,
            trading_class=self.trading_class,
        )


class GreeksView(Part):
    """The broker's computation, from its own model or from one of the option's prices."""

    computed_from: str
    implied_volatility: Exact | Unknown = None
    delta: Exact | Unknown = None
    gamma: Exact | Unknown = None
    vega: Exact | Unknown = None
    theta: Exact | Unknown = None
    option_price: Exact | Unknown = None
    underlying_price: Exact | Unknown = None
    dividends: Exact | Unknown = None
    age_seconds: float


class OptionQuoteView(Part):
    """One option; prices per unit of the underlying, in `currency`."""

    asked: str
    option: str | Unknown = None
    con_id: int | Unknown = None
    currency: str | Unknown = None
    multiplier: Exact | Unknown = None
    bid: Exact | Unknown = None
    ask: Exact | Unknown = None
    last: Exact | Unknown = None
    bid_size: Exact | Unknown = None
    ask_size: Exact | Unknown = None
    volume: Exact | Unknown = None
    open_interest: Exact | Unknown = None
    previous_close: Exact | Unknown = None
    data_type: str | Unknown = None
    received_at: datetime | Unknown = None
    age_seconds: float | Unknown = None
    greeks: GreeksView | Unknown = None
    refused: QuoteRefusal | Unknown = None


class OptionQuotesFacts(Facts):
    quotes: tuple[OptionQuoteView, ...]


async def get_option_quotes(call: Call, arguments: OptionQuoteArguments) -> Reply:
    queries = arguments.queries()
    operation = call.operation(symbols=tuple(queries), problems=arguments.problems())
    answer = await quotes.quotes_of(operation, list(queries.values()), call.desk)
    entries = answer.result or ()
    now = call.desk.clock.now()
    facts = OptionQuotesFacts(quotes=tuple(_quote(entry, now) for entry in entries))
    return Reply(decision=answer.decision, facts=facts, failure=without_a_quote(entries))


def _quote(entry: QuoteEntry, now: datetime) -> OptionQuoteView:
    instrument, greeks = entry.instrument, None if entry.quote is None else entry.quote.greeks
    view = OptionQuoteView(
        asked=entry.symbol,
        option=None if instrument is None else instrument.label,
        con_id=None if instrument is None else instrument.con_id,
        currency=None if instrument is None else instrument.currency,
        multiplier=None if instrument is None else instrument.multiplier,
        greeks=None if greeks is None else _greeks(greeks, now),
    )
    return with_quote(view, entry, now)


def _greeks(greeks: Greeks, now: datetime) -> GreeksView:
    return GreeksView(
        computed_from=str(greeks.basis),
        implied_volatility=_short(greeks.implied_volatility),
        delta=_short(greeks.delta),
        gamma=_short(greeks.gamma),
        vega=_short(greeks.vega),
        theta=_short(greeks.theta),
        option_price=_short(greeks.option_price),
        underlying_price=_short(greeks.underlying_price),
        dividends=_short(greeks.dividends),
        age_seconds=age(greeks.received_at, now),
    )


def _short(value: Decimal | None) -> Decimal | None:
    """Six decimals are more than a model knows; gateways send seventeen."""
    return None if value is None else round(value, 6).normalize()


TOOLS = (
    Tool(
        name="get_option_chain",
        title="Option chain",
        description="Expirations, strikes, multiplier and trading classes of the options on an underlying (for an "
        "index say sec_type IND). Narrow it by expiry and strike; without, it shows the strikes nearest to the "
        "underlying's price. Not every strike exists at every expiration: get_option_quotes tells.",
        toolset=Toolset.OPTIONS,
        operation_class=OperationClass.MARKET_DATA,
        arguments=ChainArguments,
        facts=ChainFacts,
        handler=get_option_chain,
    ),
    Tool(
        name="get_option_quotes",
        title="Option quotes",
        description="Bid, ask, last, open interest, implied volatility and greeks of up to 50 options, each with its "
        "age. Name them by con_ids, or by symbol, last_trade_date and strikes. Each option (a strike without `right` "
        "is two) counts against the rate limit. Prices are per unit: times multiplier for a contract.",
        toolset=Toolset.OPTIONS,
        operation_class=OperationClass.MARKET_DATA,
        arguments=OptionQuoteArguments,
        facts=OptionQuotesFacts,
        handler=get_option_quotes,
    ),
)
