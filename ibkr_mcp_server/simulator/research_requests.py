"""Requests for scanners, news, fundamentals and the small print of an account (tws-wire guide, sections 5 and 8)."""

from __future__ import annotations

from collections.abc import Callable
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
    by_market_capitalisation: bool
    """Whether its limits ask for what a market of prices cannot know."""
    stock_type: str
    """ALL, STOCK or ETF; empty is ALL."""
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
class Declined(Request):
    """A request that this login, like most, may not make; error `code` says so. `about` is -1 where there is no id."""

    message_id: int
    about: int
    code: int
    text: str


@dataclass(frozen=True, kw_only=True)
class ReqDisplayGroups(Request):
    req_id: int


@dataclass(frozen=True, kw_only=True)
class SubscribeToGroupEvents(Request):
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
    capitalisations = reader.decimal(), reader.decimal()
    reader.skip(11)  # ratings, maturities, coupons, convertibles, option volume, setting pairs: for bonds and options
    return ReqScanner(
        req_id=req_id,
        rows=rows,
        instrument=instrument,
        location=location,
        scan_code=scan_code,
        above_price=above_price,
        below_price=below_price,
        above_volume=above_volume,
        by_market_capitalisation=any(capitalisations),
        stock_type=reader.text(),
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


NO_FUNDAMENTALS = "Fundamentals data is not allowed."
NO_ADVISOR = "Error validating request.-'bH' : cause - FA data operations ignored for non FA customers."
NO_EXERCISE = "Error validating request.-'bI' : cause - Exercise and lapse are not supported in paper trading."
NO_EVENTS = "News feed is not allowed."


def _declined(message_id: int, code: int, text: str, read_id: Callable[[FieldReader], int]) -> Decoder:
    return lambda reader, version: Declined(message_id=message_id, about=read_id(reader), code=code, text=text)


def _no_id(reader: FieldReader) -> int:
    return -1


def _plain_id(reader: FieldReader) -> int:
    return reader.integer()


RESEARCH_DECODERS: dict[int, Decoder] = {
    12: lambda reader, version: ReqNewsBulletins(all_of_today=bool(id_after_version(reader))),
    13: lambda reader, version: CancelNewsBulletins(),
    22: _scanner,
    23: lambda reader, version: CancelScanner(req_id=id_after_version(reader)),
    24: lambda reader, version: ReqScannerParameters(),
    18: _declined(18, 321, NO_ADVISOR, _no_id),
    19: _declined(19, 321, NO_ADVISOR, _no_id),
    21: _declined(21, 321, NO_EXERCISE, id_after_version),
    52: _declined(52, 10358, NO_FUNDAMENTALS, id_after_version),  # dead upstream since 2026 (section 8)
    67: lambda reader, version: ReqDisplayGroups(req_id=id_after_version(reader)),
    68: lambda reader, version: SubscribeToGroupEvents(req_id=id_after_version(reader)),
    100: _declined(100, 10276, NO_EVENTS, _plain_id),  # Wall Street Horizon: its metadata and its events
    102: _declined(102, 10276, NO_EVENTS, _plain_id),
    79: lambda reader, version: ReqSoftDollarTiers(req_id=reader.integer()),
    80: lambda reader, version: ReqFamilyCodes(),
    84: lambda reader, version: ReqNewsArticle(
        req_id=reader.integer(), provider=reader.text(), article_id=reader.text()
    ),
    85: lambda reader, version: ReqNewsProviders(),
    86: _historical_news,
}
