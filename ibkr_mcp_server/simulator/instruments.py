"""What can be traded at the paper gateway: one table of listings, and the ways in which TWS lets one look them up.

To add an instrument, add a row to `LISTINGS` (and, if the defaults do not suit it, one to `price_paths.WALKS`).

The contract ids of AAPL, MSFT, SPY and EUR.USD, and market rule 26, are IBKR's own. The other ids are meant to be, but
were not compared with a live gateway, and BARC's is made up; so let a program resolve them, as it should anyway. Market
rules above 90000 are ours: the real ones have more steps than a simulator needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal


@dataclass(frozen=True, kw_only=True)
class Listing:
    """One instrument as TWS's contractData message describes it; an empty text means "does not apply"."""

    con_id: int
    symbol: str
    sec_type: str
    last_trade_date: str = ""
    strike: Decimal | None = None
    right: str = ""
    multiplier: str = ""
    exchange: str
    primary_exchange: str
    currency: str
    local_symbol: str
    trading_class: str
    market_name: str
    long_name: str
    min_tick: Decimal
    price_magnifier: int = 1
    """Quoted prices divided by this are in `currency`: 100 where the exchange quotes pence."""
    order_types: str
    valid_exchanges: str
    market_rule_ids: str
    """One id per entry of `valid_exchanges`, in the same order."""
    industry: str = ""
    category: str = ""
    subcategory: str = ""
    time_zone_id: str
    isin: str = ""
    stock_type: str = ""
    min_size: Decimal
    size_increment: Decimal
    suggested_size_increment: Decimal
    under_con_id: int = 0
    contract_month: str = ""


class Catalogue:
    """All listings of one gateway."""

    def __init__(self, listings: list[Listing], market_rules: dict[int, list[tuple[Decimal, Decimal]]]) -> None:
        self._by_con_id = {listing.con_id: listing for listing in listings}
        if len(self._by_con_id) != len(listings):
            raise ValueError("Two listings share a contract id.")
        self._market_rules = market_rules

    def __iter__(self) -> Iterator[Listing]:
        return iter(self._by_con_id.values())

    def __len__(self) -> int:
        return len(self._by_con_id)

    def by_con_id(self, con_id: int) -> Listing | None:
        return self._by_con_id.get(con_id)

    def matching(
        self,
        *,
        symbol: str = "",
        sec_type: str = "",
        exchange: str = "",
        primary_exchange: str = "",
        currency: str = "",
        local_symbol: str = "",
        last_trade_date: str = "",
        strike: Decimal | None = None,
        right: str = "",
        multiplier: str = "",
        trading_class: str = "",
    ) -> list[Listing]:
        """Every listing that fits; empty matches anything, letter case does not matter.

        More than one is normal and the caller's to sort out: a symbol may be listed in two countries. `exchange` may
        be any venue the listing trades on, and `last_trade_date` may be a month (YYYYMM).
        """
        exact = {
            "symbol": symbol,
            "sec_type": sec_type,
            "primary_exchange": primary_exchange,
            "currency": currency,
            "local_symbol": local_symbol,
            "multiplier": multiplier,
            "trading_class": trading_class,
        }
        wanted = [(name, value.upper()) for name, value in exact.items() if value]
        return [
            listing
            for listing in self
            if all(getattr(listing, name).upper() == value for name, value in wanted)
            and (not exchange or exchange.upper() in listing.valid_exchanges.split(","))
            and listing.last_trade_date.startswith(last_trade_date)
            and (not strike or listing.strike == strike)
            and (not right or listing.right == right[:1].upper())  # TWS takes C, CALL, P and PUT
        ]

    def search(self, pattern: str) -> list[Listing]:
        """What reqMatchingSymbols finds: the symbol starts with `pattern`, or the name contains it.

        The exact symbol comes first, then other symbols, then names; an empty pattern finds nothing.
        """
        text = pattern.strip().upper()
        if not text:
            return []
        found = [listing for listing in self if listing.symbol.startswith(text) or text in listing.long_name.upper()]
        return sorted(found, key=lambda listing: (listing.symbol != text, not listing.symbol.startswith(text)))

    def market_rule(self, rule_id: int) -> list[tuple[Decimal, Decimal]] | None:
        """The price increments of a rule as (low edge, increment), lowest first; None if there is no such rule."""
        return self._market_rules.get(rule_id)


def default_catalogue() -> Catalogue:
    return Catalogue(LISTINGS, MARKET_RULES)


CENT = Decimal("0.01")

MARKET_RULES: dict[int, list[tuple[Decimal, Decimal]]] = {
    26: [(Decimal(0), CENT)],
    239: [(Decimal(0), Decimal("0.00005"))],
    90001: [(Decimal(0), Decimal("0.005"))],  # yen pairs
    90002: [(Decimal(0), Decimal("0.02"))],  # Amsterdam and Frankfurt
    90003: [(Decimal(0), Decimal("0.05"))],  # London, in pence
}

# The abbreviations of contractData's orderTypes field, for what this gateway is to understand.
STOCK_ORDER_TYPES = (
    "COND,DAY,FOK,GAT,GTC,GTD,IOC,LIT,LMT,LOC,MIDPX,MIT,MKT,MOC,OCA,REL,STP,STPLMT,TRAIL,TRAILLMT,WHATIF"
)
FOREX_ORDER_TYPES = "COND,DAY,FOK,GAT,GTC,GTD,IOC,LIT,LMT,MIT,MKT,OCA,STP,STPLMT,TRAIL,TRAILLMT,WHATIF"


def _us_stock(con_id: int, symbol: str, long_name: str, *, primary: str, isin: str, sector: str) -> Listing:
    venues = "SMART,AMEX,NYSE,CBOE,ISE,ARCA,NASDAQ,BATS,IEX"
    industry, category, subcategory = sector.split("/")
    return Listing(
        con_id=con_id,
        symbol=symbol,
        sec_type="STK",
        exchange="SMART",
        primary_exchange=primary,
        currency="USD",
        local_symbol=symbol,
        trading_class="NMS" if primary == "NASDAQ" else symbol,
        market_name="NMS" if primary == "NASDAQ" else symbol,
        long_name=long_name,
        min_tick=CENT,
        order_types=STOCK_ORDER_TYPES,
        valid_exchanges=venues,
        market_rule_ids=_one_rule(26, venues),
        industry=industry,
        category=category,
        subcategory=subcategory,
        time_zone_id="US/Eastern",
        isin=isin,
        stock_type="COMMON",
        min_size=Decimal("0.0001"),
        size_increment=Decimal("0.0001"),
        suggested_size_increment=Decimal(100),
    )


def _us_fund(con_id: int, symbol: str, long_name: str, *, primary: str, isin: str) -> Listing:
    stock = _us_stock(con_id, symbol, long_name, primary=primary, isin=isin, sector="//")
    return replace(stock, stock_type="ETF")


def _forex(con_id: int, base: str, quote: str, *, min_tick: str, rule: int) -> Listing:
    pair = f"{base}.{quote}"
    return Listing(
        con_id=con_id,
        symbol=base,
        sec_type="CASH",
        exchange="IDEALPRO",
        primary_exchange="",
        currency=quote,
        local_symbol=pair,
        trading_class=pair,
        market_name=pair,
        long_name=f"{CURRENCY_NAMES[base]} against {CURRENCY_NAMES[quote]}",
        min_tick=Decimal(min_tick),
        order_types=FOREX_ORDER_TYPES,
        valid_exchanges="IDEALPRO",
        market_rule_ids=str(rule),
        time_zone_id="US/Eastern",
        min_size=CENT,
        size_increment=CENT,
        suggested_size_increment=CENT,
    )


def _stock_abroad(con_id: int, symbol: str, long_name: str, *, exchange: str, isin: str, sector: str) -> Listing:
    venue = VENUES_ABROAD[exchange]
    venues = f"SMART,{exchange}"
    industry, category, subcategory = sector.split("/")
    return Listing(
        con_id=con_id,
        symbol=symbol,
        sec_type="STK",
        exchange="SMART",
        primary_exchange=exchange,
        currency=venue.currency,
        local_symbol=symbol,
        trading_class=symbol,
        market_name=symbol,
        long_name=long_name,
        min_tick=venue.min_tick,
        price_magnifier=venue.price_magnifier,
        order_types=STOCK_ORDER_TYPES,
        valid_exchanges=venues,
        market_rule_ids=_one_rule(venue.market_rule, venues),
        industry=industry,
        category=category,
        subcategory=subcategory,
        time_zone_id=venue.time_zone_id,
        isin=isin,
        stock_type="COMMON",
        min_size=Decimal(1),
        size_increment=Decimal(1),
        suggested_size_increment=Decimal(1),
    )


def _one_rule(rule: int, venues: str) -> str:
    return ",".join([str(rule)] * len(venues.split(",")))


@dataclass(frozen=True, kw_only=True)
class VenueAbroad:
    """What all stocks of an exchange outside the US have in common here."""

    currency: str
    time_zone_id: str
    """As TWS names it: it must be one that clients find in their own time zone database."""
    min_tick: Decimal
    market_rule: int
    price_magnifier: int = 1


VENUES_ABROAD = {
    "AEB": VenueAbroad(currency="EUR", time_zone_id="MET", min_tick=Decimal("0.02"), market_rule=90002),
    "IBIS": VenueAbroad(currency="EUR", time_zone_id="MET", min_tick=Decimal("0.02"), market_rule=90002),
    # London quotes pence, though the currency of its listings is GBP.
    "LSE": VenueAbroad(
        currency="GBP", time_zone_id="GB-Eire", min_tick=Decimal("0.05"), market_rule=90003, price_magnifier=100
    ),
}

CURRENCY_NAMES = {"EUR": "Euro", "GBP": "British Pound", "JPY": "Japanese Yen", "USD": "US Dollar"}

CARS = "Consumer, Cyclical/Auto Manufacturers/Auto-Cars-Light Trucks"
BANKS = "Financial/Banks/Diversified Banking Inst"
CHIPS = "Technology/Semiconductors/Electronic Compo-Semicon"
CHIP_TOOLS = "Technology/Semiconductors/Semiconductor Equipment"
COMPUTERS = "Technology/Computers/Computers"
COMPUTER_SERVICES = "Technology/Computers/Computer Services"
INTERNET = "Communications/Internet/Web Portals-ISP"
SOFTWARE = "Technology/Software/Applications Software"

LISTINGS = [
    _us_stock(265598, "AAPL", "APPLE INC", primary="NASDAQ", isin="US0378331005", sector=COMPUTERS),
    _us_stock(208813720, "GOOG", "ALPHABET INC-CL C", primary="NASDAQ", isin="US02079K1079", sector=INTERNET),
    _us_stock(
        8314, "IBM", "INTL BUSINESS MACHINES CORP", primary="NYSE", isin="US4592001014", sector=COMPUTER_SERVICES
    ),
    _us_stock(272093, "MSFT", "MICROSOFT CORP", primary="NASDAQ", isin="US5949181045", sector=SOFTWARE),
    _us_stock(4815747, "NVDA", "NVIDIA CORP", primary="NASDAQ", isin="US67066G1040", sector=CHIPS),
    _us_stock(76792991, "TSLA", "TESLA INC", primary="NASDAQ", isin="US88160R1014", sector=CARS),
    _us_fund(756733, "SPY", "SPDR S&P 500 ETF TRUST", primary="ARCA", isin="US78462F1030"),
    _us_fund(320227571, "QQQ", "INVESCO QQQ TRUST SERIES 1", primary="NASDAQ", isin="US46090E1038"),
    # ASML is listed on both sides of the ocean: symbol and type alone are ambiguous, the currency decides.
    _us_stock(
        117589399, "ASML", "ASML HOLDING NV-NY REG SHS", primary="NASDAQ", isin="USN070592100", sector=CHIP_TOOLS
    ),
    _stock_abroad(117902840, "ASML", "ASML HOLDING NV", exchange="AEB", isin="NL0010273215", sector=CHIP_TOOLS),
    _stock_abroad(14204, "SAP", "SAP SE", exchange="IBIS", isin="DE0007164600", sector=SOFTWARE),
    _stock_abroad(29612142, "BARC", "BARCLAYS PLC", exchange="LSE", isin="GB0031348658", sector=BANKS),
    _forex(12087792, "EUR", "USD", min_tick="0.00005", rule=239),
    _forex(12087797, "GBP", "USD", min_tick="0.00005", rule=239),
    _forex(15016059, "USD", "JPY", min_tick="0.005", rule=90001),
]
