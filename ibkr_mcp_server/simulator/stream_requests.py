"""Requests for live streams and the tape behind them, and for option arithmetic (tws-wire guide, sections 5 to 7)."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from ibkr_mcp_server.simulator.request_base import (
    ContractQuery,
    Decoder,
    Request,
    id_after_version,
    read_contract,
)
from ibkr_mcp_server.simulator.wire import FieldReader

__all__ = ["STREAM_DECODERS"]


@dataclass(frozen=True, kw_only=True)
class ReqRealTimeBars(Request):
    req_id: int
    contract: ContractQuery
    what: str
    use_rth: bool


@dataclass(frozen=True, kw_only=True)
class CancelRealTimeBars(Request):
    req_id: int


@dataclass(frozen=True, kw_only=True)
class ReqMarketDepth(Request):
    req_id: int
    contract: ContractQuery
    rows: int
    smart: bool


@dataclass(frozen=True, kw_only=True)
class CancelMarketDepth(Request):
    req_id: int


@dataclass(frozen=True, kw_only=True)
class ReqTickByTick(Request):
    """`kind` is Last, AllLast, BidAsk or MidPoint; `count` asks for that many ticks of the past first."""

    req_id: int
    contract: ContractQuery
    kind: str
    count: int


@dataclass(frozen=True, kw_only=True)
class CancelTickByTick(Request):
    req_id: int


@dataclass(frozen=True, kw_only=True)
class ReqHistoricalTicks(Request):
    """One of `start` and `end` is empty: up to `count` ticks from the one on or up to the other."""

    req_id: int
    contract: ContractQuery
    start: str
    end: str
    count: int
    what: str
    use_rth: bool


@dataclass(frozen=True, kw_only=True)
class ReqHistogram(Request):
    req_id: int
    contract: ContractQuery
    period: str


@dataclass(frozen=True, kw_only=True)
class CalculateImpliedVolatility(Request):
    req_id: int
    contract: ContractQuery
    option_price: Decimal | None
    under_price: Decimal | None


@dataclass(frozen=True, kw_only=True)
class CalculateOptionPrice(Request):
    req_id: int
    contract: ContractQuery
    volatility: Decimal | None
    under_price: Decimal | None


@dataclass(frozen=True, kw_only=True)
class CancelCalculation(Request):
    """Of either kind; the answer has gone out long since."""

    req_id: int


@dataclass(frozen=True, kw_only=True)
class ReqSmartComponents(Request):
    req_id: int
    bbo_exchange: str


@dataclass(frozen=True, kw_only=True)
class ReqMarketDepthExchanges(Request):
    pass


def _real_time_bars(reader: FieldReader, version: int) -> Request:
    reader.skip()
    req_id, contract = reader.integer(), read_contract(reader)
    reader.skip()  # barSize, of which TWS serves five seconds only
    return ReqRealTimeBars(req_id=req_id, contract=contract, what=reader.text(), use_rth=reader.boolean())


def _market_depth(reader: FieldReader, version: int) -> Request:
    reader.skip()
    req_id, contract = reader.integer(), read_contract(reader)
    return ReqMarketDepth(req_id=req_id, contract=contract, rows=reader.integer(), smart=reader.boolean())


def _tick_by_tick(reader: FieldReader, version: int) -> Request:
    req_id, contract = reader.integer(), read_contract(reader)
    return ReqTickByTick(req_id=req_id, contract=contract, kind=reader.text(), count=reader.integer())


def _historical_ticks(reader: FieldReader, version: int) -> Request:
    req_id, contract = reader.integer(), read_contract(reader)
    reader.skip()  # includeExpired
    start, end = reader.texts(2)
    return ReqHistoricalTicks(
        req_id=req_id,
        contract=contract,
        start=start,
        end=end,
        count=reader.integer(),
        what=reader.text(),
        use_rth=reader.boolean(),
    )


def _histogram(reader: FieldReader, version: int) -> Request:
    req_id, contract = reader.integer(), read_contract(reader)
    reader.skip(2)  # includeExpired, useRTH: nothing trades outside regular hours here
    return ReqHistogram(req_id=req_id, contract=contract, period=reader.text())


def _implied_volatility(reader: FieldReader, version: int) -> Request:
    reader.skip()
    req_id, contract = reader.integer(), read_contract(reader)
    return CalculateImpliedVolatility(
        req_id=req_id, contract=contract, option_price=reader.decimal(), under_price=reader.decimal()
    )


def _option_price(reader: FieldReader, version: int) -> Request:
    reader.skip()
    req_id, contract = reader.integer(), read_contract(reader)
    return CalculateOptionPrice(
        req_id=req_id, contract=contract, volatility=reader.decimal(), under_price=reader.decimal()
    )


STREAM_DECODERS: dict[int, Decoder] = {
    10: _market_depth,
    11: lambda reader, version: CancelMarketDepth(req_id=id_after_version(reader)),
    50: _real_time_bars,
    51: lambda reader, version: CancelRealTimeBars(req_id=id_after_version(reader)),
    54: _implied_volatility,
    55: _option_price,
    56: lambda reader, version: CancelCalculation(req_id=id_after_version(reader)),
    57: lambda reader, version: CancelCalculation(req_id=id_after_version(reader)),
    82: lambda reader, version: ReqMarketDepthExchanges(),
    83: lambda reader, version: ReqSmartComponents(req_id=reader.integer(), bbo_exchange=reader.text()),
    88: _histogram,
    96: _historical_ticks,
    97: _tick_by_tick,
    98: lambda reader, version: CancelTickByTick(req_id=reader.integer()),
}
