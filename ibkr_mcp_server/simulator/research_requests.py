"""Requests for scanners, news, fundamentals and the small print of an account (tws-wire guide, sections 5 and 8)."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from ibkr_mcp_server.simulator.request_base import Decoder, Request, id_after_version
from ibkr_mcp_server.simulator.wire import FieldReader

__all__ = ["RESEARCH_DECODERS"]


@dataclass(frozen=True, kw_only=True)
class ReqScannerParameters(Request):
    pass


@dataclass(frozen=True, kw_only=True)
class ReqScanner(Request):
    """`rows` is -1 for as many as there may be; a limit that is `None` does not limit."""

    req_id: int
    rows: int
    instrument: str
    location: str
    scan_code: str
    above_price: Decimal | None
    below_price: Decimal | None
    above_volume: int
    filters: str
    """`tag=value;` pairs, the newer spelling of the limits."""


@dataclass(frozen=True, kw_only=True)
class CancelScanner(Request):
    req_id: int


@dataclass(frozen=True, kw_only=True)
class ReqNewsProviders(Request):
    pass


@dataclass(frozen=True, kw_only=True)
class ReqHistoricalNews(Request):
    req_id: int
    con_id: int
    providers: tuple[str, ...]
    start: str
    end: str
    count: int


@dataclass(frozen=True, kw_only=True)
class ReqNewsArticle(Request):
    req_id: int
    provider: str
    article_id: str


@dataclass(frozen=True, kw_only=True)
class ReqNewsBulletins(Request):
    """`all_of_today` asks for those that went out before, too."""

    all_of_today: bool


@dataclass(frozen=True, kw_only=True)
class CancelNewsBulletins(Request):
    pass


@dataclass(frozen=True, kw_only=True)
class ReqFundamentalData(Request):
    req_id: int


@dataclass(frozen=True, kw_only=True)
class ReqSoftDollarTiers(Request):
    req_id: int


@dataclass(frozen=True, kw_only=True)
class ReqFamilyCodes(Request):
    pass


def _scanner(reader: FieldReader, version: int) -> Request:
    req_id, rows = reader.integer(), reader.integer(-1)
    instrument, location, scan_code = reader.texts(3)
    above_price, below_price = reader.decimal(), reader.decimal()
    above_volume = reader.integer()
    reader.skip(13)  # market values, ratings, maturities, coupons, convertibles, option volume, pairs, stock types
    return ReqScanner(
        req_id=req_id,
        rows=rows,
        instrument=instrument,
        location=location,
        scan_code=scan_code,
        above_price=above_price,
        below_price=below_price,
        above_volume=above_volume,
        filters=reader.text(),
    )


def _historical_news(reader: FieldReader, version: int) -> Request:
    req_id, con_id = reader.integer(), reader.integer()
    providers, start, end = reader.texts(3)
    return ReqHistoricalNews(
        req_id=req_id,
        con_id=con_id,
        providers=tuple(code for code in providers.split("+") if code),
        start=start,
        end=end,
        count=reader.integer(),
    )


RESEARCH_DECODERS: dict[int, Decoder] = {
    12: lambda reader, version: ReqNewsBulletins(all_of_today=bool(id_after_version(reader))),
    13: lambda reader, version: CancelNewsBulletins(),
    22: _scanner,
    23: lambda reader, version: CancelScanner(req_id=id_after_version(reader)),
    24: lambda reader, version: ReqScannerParameters(),
    52: lambda reader, version: ReqFundamentalData(req_id=id_after_version(reader)),
    79: lambda reader, version: ReqSoftDollarTiers(req_id=reader.integer()),
    80: lambda reader, version: ReqFamilyCodes(),
    84: lambda reader, version: ReqNewsArticle(
        req_id=reader.integer(), provider=reader.text(), article_id=reader.text()
    ),
    85: lambda reader, version: ReqNewsProviders(),
    86: _historical_news,
}
