"""The tool about prices and trading sessions of the past."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError

from ibkr_mcp_server.domain.history import Bar, ScheduledSession
from ibkr_mcp_server.domain.moments import parse_moment
from ibkr_mcp_server.domain.operations import OperationClass
from ibkr_mcp_server.operations import history as operations
from ibkr_mcp_server.operations.history import BAR_SIZES, HistoryQuery, Past
from ibkr_mcp_server.tools.arguments import InstrumentArguments
from ibkr_mcp_server.tools.registry import Call, Reply, Tool, Toolset
from ibkr_mcp_server.tools.results import Exact, Facts, Part, Unknown
from ibkr_mcp_server.tools.views import age, magnifier

MOST_BARS = 1_000
"""As many as an answer holds; about 100,000 characters."""
_DURATION = re.compile(r"[1-9][0-9]{0,5} [SDWMY]")


def _bar_size(text: str) -> str:
    if text in BAR_SIZES:
        return text
    raise PydanticCustomError("form", "must be one of {sizes}", {"sizes": ", ".join(BAR_SIZES)})


def _duration(text: str) -> str:
    if _DURATION.fullmatch(text):
        return text
    raise PydanticCustomError("form", "must be a number, a blank and S, D, W, M or Y, such as 10 D")


def _moment(value: object) -> object:
    """ISO 8601 with its offset; which zone a time without one means nobody can know."""
    if not isinstance(value, str):
        raise PydanticCustomError("form", "must be text")
    moment = parse_moment(value)
    if moment is None:
        raise PydanticCustomError("form", "must be a time with its UTC offset, such as 2026-04-13T20:00:00Z")
    return moment


Kind = Literal[
    "TRADES",
    "MIDPOINT",
    "BID",
    "ASK",
    "BID_ASK",
    "ADJUSTED_LAST",
    "HISTORICAL_VOLATILITY",
    "OPTION_IMPLIED_VOLATILITY",
    "SCHEDULE",
]
Moment = Annotated[datetime, BeforeValidator(_moment), WithJsonSchema({"type": "string", "format": "date-time"})]


class HistoryArguments(InstrumentArguments):
    bar_size: Annotated[str, AfterValidator(_bar_size), WithJsonSchema({"type": "string", "enum": list(BAR_SIZES)})] = (
        Field(default="1 day", description="Size of a bar")
    )
    duration: Annotated[
        str, AfterValidator(_duration), WithJsonSchema({"type": "string", "pattern": f"^{_DURATION.pattern}$"})
    ] = Field(default="1 M", description="How far back: number and S, D, W, M or Y")
    what_to_show: Kind = Field(
        default="TRADES", description="Kind of price (currency pairs: MIDPOINT); SCHEDULE: trading sessions instead"
    )
    use_rth: bool = Field(default=True, description="Regular hours only")
    end: Moment | SkipJsonSchema[None] = Field(default=None, description="Last moment, with UTC offset; default: now")
    head_timestamp: bool = Field(default=False, description="Also tell when the history begins")
    max_bars: Annotated[int, Field(ge=1, le=MOST_BARS)] = Field(default=250, description="Newest bars to return")

    def history_query(self) -> HistoryQuery:
        return HistoryQuery(
            query=self.query(),
            bar_size=self.bar_size,
            duration=self.duration,
            what_to_show=self.what_to_show,
            regular_hours_only=self.use_rth,
            end=self.end,
            with_beginning=self.head_timestamp,
        )

    def canonical(self) -> dict[str, object]:
        known: dict[str, Any] = super().canonical()
        return known | ({} if self.end is None else {"end": self.end.isoformat()})


class BarView(Part):
    """One bar; `time` is its beginning in UTC, or its day."""

    time: str
    open: Exact
    high: Exact
    low: Exact
    close: Exact
    volume: Exact | Unknown = None
    average: Exact | Unknown = None
    trades: int | Unknown = None


class SessionView(Part):
    """One session of a schedule."""

    day: str
    start: datetime
    end: datetime


class HistoryFacts(Facts):
    symbol: str
    con_id: int
    currency: str
    price_magnifier: int | Unknown = None
    bar_size: str
    what_to_show: str
    use_rth: bool
    bars: tuple[BarView, ...] | Unknown = None
    newest_may_change: bool | Unknown = None
    sessions: tuple[SessionView, ...] | Unknown = None
    time_zone: str | Unknown = None
    history_begins_at: datetime | Unknown = None
    received_at: datetime
    age_seconds: float


async def get_historical_bars(call: Call, arguments: HistoryArguments) -> Reply:
    operation = call.operation(symbols=(arguments.symbol,))
    answer = await operations.history(operation, arguments.history_query(), call.desk, call.progress)
    assert answer.result is not None
    facts = _facts(answer.result, arguments, call.desk.clock.now())
    found = len(answer.result.bars.bars) if answer.result.bars is not None else 0
    left_out = found - arguments.max_bars
    cut = (f"The {left_out} oldest of {found} bars are left out; ask with an earlier end, or for larger bars.",)
    return Reply(decision=answer.decision, facts=facts, warnings=cut if left_out > 0 else ())


def _facts(past: Past, arguments: HistoryArguments, now: datetime) -> HistoryFacts:
    instrument, told = past.instrument, past.bars or past.schedule
    assert told is not None
    return HistoryFacts(
        symbol=instrument.label,
        con_id=instrument.con_id,
        currency=instrument.currency,
        price_magnifier=magnifier(instrument),
        bar_size=arguments.bar_size,
        what_to_show=arguments.what_to_show,
        use_rth=arguments.use_rth,
        bars=None if past.bars is None else tuple(_bar(bar) for bar in past.bars.bars[-arguments.max_bars :]),
        newest_may_change=past.newest_may_change,
        sessions=None if past.schedule is None else tuple(_session(one) for one in past.schedule.sessions),
        time_zone=None if past.schedule is None else past.schedule.time_zone_id,
        history_begins_at=past.begins_at,
        received_at=told.received_at,
        age_seconds=age(told.received_at, now),
    )


def _bar(bar: Bar) -> BarView:
    time = f"{bar.start:%Y-%m-%dT%H:%M:%SZ}" if isinstance(bar.start, datetime) else bar.start.isoformat()
    return BarView(
        time=time,
        open=bar.open,
        high=bar.high,
        low=bar.low,
        close=bar.close,
        volume=bar.volume,
        average=bar.average,
        trades=bar.trades,
    )


def _session(session: ScheduledSession) -> SessionView:
    return SessionView(day=session.day.isoformat(), start=session.hours.start, end=session.hours.end)


TOOLS = (
    Tool(
        name="get_historical_bars",
        title="Historical bars",
        description="Bars of the past, oldest first, with volume and trade count where bars are made of trades; or, "
        "with what_to_show=SCHEDULE, the exchange's trading sessions. Prices are decimal text as the instrument is "
        "quoted. newest_may_change marks a last bar whose time has not passed. Takes up to half a minute; IBKR allows "
        "about 60 requests in ten minutes. Not for the price now: that is get_market_data.",
        toolset=Toolset.MARKET_DATA,
        operation_class=OperationClass.MARKET_DATA,
        arguments=HistoryArguments,
        facts=HistoryFacts,
        handler=get_historical_bars,
    ),
)
