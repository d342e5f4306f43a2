"""What a scanner can look for, and what it finds: instruments, locations, scan codes and filters as tables.

The codes are IBKR's; `parameters_xml` describes them to clients in the shape of TWS's own document.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from xml.etree import ElementTree

from ibkr_mcp_server.simulator.instruments import Catalogue, Listing
from ibkr_mcp_server.simulator.market import Market, MarketQuote
from ibkr_mcp_server.simulator.research_requests import ReqScanner
from ibkr_mcp_server.simulator.wire import parse_decimal

MOST_ROWS = 50
US_EXCHANGES = frozenset({"NASDAQ", "NYSE", "ARCA", "AMEX", "BATS", "IEX"})
HUNDRED = Decimal(100)


@dataclass(frozen=True, kw_only=True)
class Instrument:
    """A kind of instrument, and the beginning of the location codes that go with it."""

    name: str
    code: str
    fits: Callable[[Listing], bool]


def _is_us(listing: Listing) -> bool:
    return listing.primary_exchange in US_EXCHANGES


INSTRUMENTS = (
    Instrument(name="US Stocks", code="STK", fits=lambda row: row.sec_type == "STK" and _is_us(row)),
    Instrument(
        name="US Equity ETFs",
        code="ETF.EQ.US",
        fits=lambda row: row.sec_type == "STK" and row.stock_type == "ETF" and _is_us(row),
    ),
    Instrument(
        name="Europe Stocks", code="STOCK.EU", fits=lambda row: _is_stock_in(row, {"EUR", "GBP", "CHF", "DKK", "SEK"})
    ),
    Instrument(name="Asia Stocks", code="STOCK.HK", fits=lambda row: _is_stock_in(row, {"HKD", "JPY", "KRW", "AUD"})),
)
EVERYWHERE = {
    "STK": ("STK.US", "STK.US.MAJOR"),
    "ETF.EQ.US": ("ETF.EQ.US", "ETF.EQ.US.MAJOR"),
    "STOCK.EU": ("STK.EU",),
    "STOCK.HK": ("STK.HK", "STK.HK.ASIA"),
}
"""The locations of an instrument that are no single exchange."""


def _is_stock_in(listing: Listing, currencies: set[str]) -> bool:
    return listing.sec_type == "STK" and not _is_us(listing) and listing.currency in currencies


# --- what ranks ---


def _change(quote: MarketQuote) -> Decimal | None:
    """The move since yesterday's close, in per cent."""
    if quote.last is None or not quote.close:
        return None
    return (quote.last - quote.close) / quote.close * HUNDRED


def _change_since_open(quote: MarketQuote) -> Decimal | None:
    if quote.last is None or not quote.open:
        return None
    return (quote.last - quote.open) / quote.open * HUNDRED


def _gap(quote: MarketQuote) -> Decimal | None:
    if quote.open is None or not quote.close:
        return None
    return (quote.open - quote.close) / quote.close * HUNDRED


def _turnover(quote: MarketQuote) -> Decimal | None:
    return None if quote.last is None or quote.volume is None else quote.last * quote.volume


def _range(quote: MarketQuote) -> Decimal | None:
    if quote.high is None or quote.low is None or not quote.close:
        return None
    return (quote.high - quote.low) / quote.close * HUNDRED


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """How a scan code orders its finds; `least_first` for losers. Whoever has no figure is not found."""

    name: str
    figure: Callable[[MarketQuote], Decimal | None]
    least_first: bool = False
    keeps: Callable[[Decimal], bool] = lambda figure: True


def _is_gain(figure: Decimal) -> bool:
    return figure > 0


def _is_loss(figure: Decimal) -> bool:
    return figure < 0


SCAN_CODES = {
    "TOP_PERC_GAIN": Ranking(name="Top % Gainers", figure=_change, keeps=_is_gain),
    "TOP_PERC_LOSE": Ranking(name="Top % Losers", figure=_change, least_first=True, keeps=_is_loss),
    "TOP_OPEN_PERC_GAIN": Ranking(name="Top % Gainers Since Open", figure=_change_since_open, keeps=_is_gain),
    "TOP_OPEN_PERC_LOSE": Ranking(
        name="Top % Losers Since Open", figure=_change_since_open, least_first=True, keeps=_is_loss
    ),
    "HIGH_OPEN_GAP": Ranking(name="Top Close-to-Open % Gainers", figure=_gap, keeps=_is_gain),
    "LOW_OPEN_GAP": Ranking(name="Top Close-to-Open % Losers", figure=_gap, least_first=True, keeps=_is_loss),
    "MOST_ACTIVE": Ranking(name="Most Active", figure=lambda quote: quote.volume),
    "MOST_ACTIVE_USD": Ranking(name="Most Active ($)", figure=_turnover),
    "HOT_BY_VOLUME": Ranking(name="Hot Contracts by Volume", figure=_turnover),
    "HOT_BY_PRICE": Ranking(name="Hot Contracts by Price", figure=lambda quote: _magnitude(_change(quote))),
    "HOT_BY_PRICE_RANGE": Ranking(name="Hot Contracts by Price Range", figure=_range),
    "HALTED": Ranking(name="Halted", figure=lambda quote: quote.volume if quote.halted else None),
}


def _magnitude(figure: Decimal | None) -> Decimal | None:
    return None if figure is None else abs(figure)


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Keeps what is at or beyond a limit."""

    name: str
    figure: Callable[[MarketQuote], Decimal | None]
    above: bool


FILTERS = {
    "priceAbove": Filter(name="Price Above", figure=lambda quote: quote.last, above=True),
    "priceBelow": Filter(name="Price Below", figure=lambda quote: quote.last, above=False),
    "usdPriceAbove": Filter(name="Price Above ($)", figure=lambda quote: quote.last, above=True),
    "usdPriceBelow": Filter(name="Price Below ($)", figure=lambda quote: quote.last, above=False),
    "volumeAbove": Filter(name="Volume Above", figure=lambda quote: quote.volume, above=True),
    "usdVolumeAbove": Filter(name="$ Volume Above", figure=_turnover, above=True),
    "usdVolumeBelow": Filter(name="$ Volume Below", figure=_turnover, above=False),
    "changePercAbove": Filter(name="Change (%) Above", figure=_change, above=True),
    "changePercBelow": Filter(name="Change (%) Below", figure=_change, above=False),
    "openGapPercAbove": Filter(name="Open Gap (%) Above", figure=_gap, above=True),
    "openGapPercBelow": Filter(name="Open Gap (%) Below", figure=_gap, above=False),
}


@dataclass(frozen=True, kw_only=True)
class Scan:
    """One scanner, understood."""

    instrument: Instrument
    exchange: str
    """Empty for everywhere."""
    stock_type: str
    """ETF, STOCK for what is none, or empty for both."""
    ranking: Ranking
    limits: tuple[tuple[Filter, Decimal], ...]

    @staticmethod
    def of(request: ReqScanner, catalogue: Catalogue) -> Scan:
        """Read a request.

        Raises:
            ValueError: it names what there is not, or a limit is no number; the text says what.
        """
        instrument = next((row for row in INSTRUMENTS if row.code == request.instrument), None)
        if instrument is None:
            raise ValueError(f"Scanner instrument '{request.instrument}' is not supported")
        if request.location not in locations(instrument, catalogue):
            raise ValueError(f"Scanner location '{request.location}' is not supported for {instrument.code}")
        ranking = SCAN_CODES.get(request.scan_code)
        if ranking is None:
            raise ValueError(f"Scanner type '{request.scan_code}' is not supported")
        if request.stock_type not in ("", "ALL", "STOCK", "ETF"):
            raise ValueError(f"Stock type filter '{request.stock_type}' is not supported")
        if request.by_market_capitalisation:
            raise ValueError("Limits of market capitalization are not supported")
        wide = request.location in EVERYWHERE[instrument.code]
        return Scan(
            instrument=instrument,
            exchange="" if wide else request.location.rpartition(".")[2],
            stock_type="" if request.stock_type == "ALL" else request.stock_type,
            ranking=ranking,
            limits=tuple(_limits(request)),
        )

    def rows(self, catalogue: Catalogue, market: Market) -> list[Listing]:
        """What fits now, the best first."""
        found: list[tuple[Decimal, Listing]] = []
        for listing in catalogue:
            if not self.instrument.fits(listing) or self.exchange not in ("", listing.primary_exchange):
                continue
            if self.stock_type and (self.stock_type == "ETF") != (listing.stock_type == "ETF"):
                continue
            quote = market.quote(listing.con_id)
            figure = self.ranking.figure(quote)
            if (
                figure is not None
                and self.ranking.keeps(figure)
                and all(_within(quote, limit) for limit in self.limits)
            ):
                found.append((figure if self.ranking.least_first else -figure, listing))
        return [listing for _, listing in sorted(found, key=lambda row: (row[0], row[1].symbol))]


def _within(quote: MarketQuote, limit: tuple[Filter, Decimal]) -> bool:
    rule, edge = limit
    figure = rule.figure(quote)
    return figure is not None and (figure >= edge if rule.above else figure <= edge)


def _limits(request: ReqScanner) -> Iterable[tuple[Filter, Decimal]]:
    """The limits of either spelling: fields of the request, and `tag=value;` pairs."""
    if request.above_price is not None:
        yield FILTERS["priceAbove"], request.above_price
    if request.below_price is not None:
        yield FILTERS["priceBelow"], request.below_price
    if request.above_volume > 0:
        yield FILTERS["volumeAbove"], Decimal(request.above_volume)
    for pair in filter(None, request.filters.split(";")):
        tag, _, value = pair.partition("=")
        edge = parse_decimal(value)
        if tag not in FILTERS or edge is None:
            raise ValueError(f"Scanner filter '{pair}' is not supported")
        yield FILTERS[tag], edge


def locations(instrument: Instrument, catalogue: Catalogue) -> list[str]:
    """The location codes of an instrument: everywhere, and each exchange that lists some of it."""
    wide = EVERYWHERE[instrument.code]
    exchanges = sorted({listing.primary_exchange for listing in catalogue if instrument.fits(listing)})
    stem = "STK" if instrument.code == "STK" else wide[0]
    return [*wide, *(f"{stem}.{exchange}" for exchange in exchanges)]


def parameters_xml(catalogue: Catalogue) -> str:
    """The document that reqScannerParameters brings."""
    root = ElementTree.Element("ScanParameterResponse")
    listed = ElementTree.SubElement(root, "InstrumentList", varName="instrumentList")
    tree = ElementTree.SubElement(ElementTree.SubElement(root, "LocationTree", varName="locationTree"), "LocationList")
    for instrument in INSTRUMENTS:
        codes = [*FILTERS]
        _element(listed, "Instrument", name=instrument.name, type=instrument.code, filters=",".join(codes))
        for location in locations(instrument, catalogue):
            _element(tree, "Location", displayName=location, locationCode=location, instruments=instrument.code)
    scans = ElementTree.SubElement(root, "ScanTypeList", varName="scanTypeList")
    for code, ranking in SCAN_CODES.items():
        instruments = ",".join(instrument.code for instrument in INSTRUMENTS)
        _element(scans, "ScanType", displayName=ranking.name, scanCode=code, instruments=instruments)
    filters = ElementTree.SubElement(root, "FilterList", varName="filterList")
    for code, rule in FILTERS.items():
        _element(ElementTree.SubElement(filters, "RangeFilter"), "AbstractField", code=code, displayName=rule.name)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=False)


def _element(parent: ElementTree.Element, kind: str, /, **children: str) -> None:
    element = ElementTree.SubElement(parent, kind)
    for tag, text in children.items():
        ElementTree.SubElement(element, tag).text = text
