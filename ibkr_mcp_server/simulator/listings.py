"""The instruments that are always there: stocks and funds, indices, currency pairs, bitcoin. One table.

To add an instrument, add a row to `LISTINGS` and, if the defaults do not suit it, one to `walks.WALKS`.

Contract ids below 900,000,000 are meant to be IBKR's own; those of AAPL, MSFT, SPY and EUR.USD certainly are. The
others were not compared with a live gateway, so let a program resolve them, as it should anyway. From there on up to
999,999,999 they are made up.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from zlib import crc32

from ibkr_mcp_server.simulator import market_rules
from ibkr_mcp_server.simulator.instruments import Catalogue, Listing

CENT = Decimal("0.01")

# The abbreviations of contractData's orderTypes field, for what this gateway is to understand.
STOCK_ORDER_TYPES = (
    "COND,DAY,FOK,GAT,GTC,GTD,IOC,LIT,LMT,LOC,MIDPX,MIT,MKT,MOC,OCA,REL,STP,STPLMT,TRAIL,TRAILLMT,WHATIF"
)
ORDER_TYPES_ABROAD = "COND,DAY,FOK,GAT,GTC,GTD,IOC,LIT,LMT,LOC,MIT,MKT,MOC,OCA,STP,STPLMT,TRAIL,TRAILLMT,WHATIF"
PLAIN_ORDER_TYPES = "COND,DAY,FOK,GAT,GTC,GTD,IOC,LIT,LMT,MIT,MKT,OCA,STP,STPLMT,TRAIL,TRAILLMT,WHATIF"
CRYPTO_ORDER_TYPES = "DAY,GTC,IOC,LMT,MKT,WHATIF"
US_VENUES = "SMART,AMEX,NYSE,CBOE,ISE,ARCA,NASDAQ,BATS,IEX"


def default_catalogue(also: Iterable[str] = ()) -> Catalogue:
    """All listings, and a US stock for each symbol of `also` that is none yet: a replayed file may bring its own."""
    known = {row.symbol for row in LISTINGS if row.sec_type == "STK" and row.currency == "USD"}
    replayed = [
        us_stock(_replayed_id(symbol), symbol, f"{symbol} (REPLAYED)", primary="NASDAQ")
        for symbol in sorted(set(also) - known)
    ]
    return Catalogue([*LISTINGS, *replayed])


def _replayed_id(symbol: str) -> int:
    """The same for a symbol whatever else a file has in it."""
    return 910_000_000 + crc32(symbol.encode()) % 80_000_000


def us_stock(con_id: int, symbol: str, long_name: str, *, primary: str, isin: str = "", sector: str = "//") -> Listing:
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
        valid_exchanges=US_VENUES,
        market_rule_ids=_one_rule(market_rules.US_STOCKS, US_VENUES),
        industry=industry,
        category=category,
        subcategory=subcategory,
        time_zone_id="US/Eastern",
        isin=isin,
        stock_type="COMMON",
        min_size=Decimal("0.0001"),
        size_increment=Decimal("0.0001"),
        suggested_size_increment=Decimal(100),
        derivatives=("OPT",) if symbol in WITH_OPTIONS else (),
    )


def _us_fund(con_id: int, symbol: str, long_name: str, *, primary: str, isin: str) -> Listing:
    return replace(us_stock(con_id, symbol, long_name, primary=primary, isin=isin), stock_type="ETF")


WITH_OPTIONS = frozenset({"AAPL", "SPY", "SPX"})


@dataclass(frozen=True, kw_only=True)
class VenueAbroad:
    """What all stocks of an exchange outside the US have in common here."""

    currency: str
    time_zone_id: str
    """As TWS names it: it must be one that clients find in their own time zone database."""
    rule: int
    price_magnifier: int = 1
    lot: int = 1
    order_types: str = ORDER_TYPES_ABROAD
    smart: bool = True
    """Whether SMART routes there."""


VENUES_ABROAD = {
    "AEB": VenueAbroad(currency="EUR", time_zone_id="MET", rule=market_rules.EUROPE),
    "SBF": VenueAbroad(currency="EUR", time_zone_id="MET", rule=market_rules.EUROPE),
    "IBIS": VenueAbroad(currency="EUR", time_zone_id="MET", rule=market_rules.EUROPE),
    "EBS": VenueAbroad(currency="CHF", time_zone_id="MET", rule=market_rules.EUROPE),
    "KFX": VenueAbroad(currency="DKK", time_zone_id="MET", rule=market_rules.EUROPE),
    # London quotes pence, though the currency of its listings is GBP.
    "LSE": VenueAbroad(currency="GBP", time_zone_id="GB-Eire", rule=market_rules.EUROPE, price_magnifier=100),
    "ASX": VenueAbroad(currency="AUD", time_zone_id="Australia/NSW", rule=market_rules.AUSTRALIA),
    "TSEJ": VenueAbroad(currency="JPY", time_zone_id="Japan", rule=market_rules.TOKYO, lot=100),
    "SEHK": VenueAbroad(currency="HKD", time_zone_id="Hongkong", rule=market_rules.HONG_KONG, lot=100),
    "KSE": VenueAbroad(currency="KRW", time_zone_id="Asia/Seoul", rule=market_rules.KOREA, smart=False),
    "TSE": VenueAbroad(currency="CAD", time_zone_id="US/Eastern", rule=market_rules.TORONTO),
}


def _stock_abroad(
    con_id: int, symbol: str, long_name: str, *, exchange: str, isin: str, sector: str, local_symbol: str = ""
) -> Listing:
    venue = VENUES_ABROAD[exchange]
    venues = f"SMART,{exchange}" if venue.smart else exchange
    industry, category, subcategory = sector.split("/")
    return Listing(
        con_id=con_id,
        symbol=symbol,
        sec_type="STK",
        exchange="SMART" if venue.smart else exchange,
        primary_exchange=exchange,
        currency=venue.currency,
        local_symbol=local_symbol or symbol,
        trading_class=local_symbol or symbol,
        market_name=local_symbol or symbol,
        long_name=long_name,
        min_tick=market_rules.grid_of(venue.rule).increment,
        price_magnifier=venue.price_magnifier,
        order_types=venue.order_types,
        valid_exchanges=venues,
        market_rule_ids=_one_rule(venue.rule, venues),
        industry=industry,
        category=category,
        subcategory=subcategory,
        time_zone_id=venue.time_zone_id,
        isin=isin,
        stock_type="COMMON",
        min_size=Decimal(venue.lot),
        size_increment=Decimal(venue.lot),
        suggested_size_increment=Decimal(venue.lot),
    )


def _forex(con_id: int, base: str, quote: str) -> Listing:
    pair = f"{base}.{quote}"
    rule = PAIR_RULES.get(quote, market_rules.HALF_PIPS)
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
        min_tick=market_rules.grid_of(rule).increment,
        order_types=PLAIN_ORDER_TYPES,
        valid_exchanges="IDEALPRO",
        market_rule_ids=str(rule),
        time_zone_id="US/Eastern",
        min_size=CENT,
        size_increment=CENT,
        suggested_size_increment=CENT,
    )


PAIR_RULES = {"JPY": market_rules.YEN_HALF_PIPS, "KRW": market_rules.CENTS_OF_A_WON}


def _index(con_id: int, symbol: str, long_name: str, *, exchange: str) -> Listing:
    """An index is quoted and not traded: it has a last price, no bid and no ask, and takes no order type."""
    return Listing(
        con_id=con_id,
        symbol=symbol,
        sec_type="IND",
        exchange=exchange,
        primary_exchange="",
        currency="USD",
        local_symbol=symbol,
        trading_class=symbol,
        market_name=symbol,
        long_name=long_name,
        min_tick=CENT,
        order_types="",
        valid_exchanges=exchange,
        market_rule_ids=str(market_rules.US_STOCKS),
        industry="Indices",
        category="Broad Range Equity Index",
        subcategory="*",
        time_zone_id="US/Eastern",
        min_size=Decimal(1),
        size_increment=Decimal(1),
        suggested_size_increment=Decimal(1),
        derivatives=("OPT", "FUT") if symbol in WITH_OPTIONS else ("FUT",),
    )


def _crypto(con_id: int, symbol: str, long_name: str) -> Listing:
    return Listing(
        con_id=con_id,
        symbol=symbol,
        sec_type="CRYPTO",
        exchange="PAXOS",
        primary_exchange="",
        currency="USD",
        local_symbol=f"{symbol}.USD",
        trading_class=symbol,
        market_name=symbol,
        long_name=long_name,
        min_tick=Decimal("0.25"),
        order_types=CRYPTO_ORDER_TYPES,
        valid_exchanges="PAXOS",
        market_rule_ids=str(market_rules.QUARTERS),
        time_zone_id="UTC",
        min_size=Decimal("0.00000001"),
        size_increment=Decimal("0.00000001"),
        suggested_size_increment=Decimal("0.00000001"),
    )


def _one_rule(rule: int, venues: str) -> str:
    return ",".join([str(rule)] * len(venues.split(",")))


CURRENCY_NAMES = {
    "EUR": "Euro",
    "GBP": "British Pound",
    "AUD": "Australian Dollar",
    "NZD": "New Zealand Dollar",
    "USD": "US Dollar",
    "CAD": "Canadian Dollar",
    "CHF": "Swiss Franc",
    "JPY": "Japanese Yen",
    "DKK": "Danish Krone",
    "HKD": "Hong Kong Dollar",
    "KRW": "South Korean Won",
}

AEROSPACE = "Industrial/Aerospace & Defense/Aerospace & Defense"
BANKS = "Financial/Banks/Diversified Banking Inst"
BEVERAGES = "Consumer, Non-cyclical/Beverages/Beverages-Non-alcoholic"
CARS = "Consumer, Cyclical/Auto Manufacturers/Auto-Cars-Light Trucks"
CARDS = "Financial/Diversified Finan Serv/Finance-Credit Card"
CHIPS = "Technology/Semiconductors/Electronic Compo-Semicon"
CHIP_TOOLS = "Technology/Semiconductors/Semiconductor Equipment"
COMPUTERS = "Technology/Computers/Computers"
COMPUTER_SERVICES = "Technology/Computers/Computer Services"
CONGLOMERATES = "Financial/Insurance/Reinsurance"
DATABASES = "Technology/Software/Enterprise Software-Serv"
DIVERSIFIED = "Industrial/Miscellaneous Manufactur/Diversified Manufact Op"
ENTERTAINMENT = "Communications/Media/Multimedia"
FOOD = "Consumer, Non-cyclical/Food/Food-Misc-Diversified"
HOUSEHOLD = "Consumer, Non-cyclical/Cosmetics&Personal Care/Cosmetics&Toiletries"
HEALTH_PLANS = "Consumer, Non-cyclical/Healthcare-Services/Medical-HMO"
INTERNET = "Communications/Internet/Web Portals-ISP"
LUXURY = "Consumer, Cyclical/Apparel/Apparel Manufacturers"
MACHINES = "Industrial/Machinery-Constr&Mining/Machinery-Constr&Mining"
REAL_ESTATE = "Financial/REITS/REITS-Shopping Centers"
METALS = "Basic Materials/Mining/Diversified Minerals"
NETWORKS = "Communications/Telecommunications/Networking Products"
OIL = "Energy/Oil&Gas/Oil Comp-Integrated"
PHARMA = "Consumer, Non-cyclical/Pharmaceuticals/Medical-Drugs"
RETAIL = "Consumer, Cyclical/Retail/Retail-Discount"
SHOPS_ONLINE = "Communications/Internet/E-Commerce-Products"
SOFTWARE = "Technology/Software/Applications Software"
STREAMING = "Communications/Internet/Internet Content-Entmnt"
TELEPHONES = "Communications/Telecommunications/Telephone-Integrated"

US_STOCKS = [
    us_stock(265598, "AAPL", "APPLE INC", primary="NASDAQ", isin="US0378331005", sector=COMPUTERS),
    us_stock(208813720, "GOOG", "ALPHABET INC-CL C", primary="NASDAQ", isin="US02079K1079", sector=INTERNET),
    us_stock(8314, "IBM", "INTL BUSINESS MACHINES CORP", primary="NYSE", isin="US4592001014", sector=COMPUTER_SERVICES),
    us_stock(272093, "MSFT", "MICROSOFT CORP", primary="NASDAQ", isin="US5949181045", sector=SOFTWARE),
    us_stock(4815747, "NVDA", "NVIDIA CORP", primary="NASDAQ", isin="US67066G1040", sector=CHIPS),
    us_stock(76792991, "TSLA", "TESLA INC", primary="NASDAQ", isin="US88160R1014", sector=CARS),
    us_stock(208813719, "GOOGL", "ALPHABET INC-CL A", primary="NASDAQ", isin="US02079K3059", sector=INTERNET),
    us_stock(3691937, "AMZN", "AMAZON.COM INC", primary="NASDAQ", isin="US0231351067", sector=SHOPS_ONLINE),
    us_stock(107113386, "META", "META PLATFORMS INC-CLASS A", primary="NASDAQ", isin="US30303M1027", sector=INTERNET),
    us_stock(15124833, "NFLX", "NETFLIX INC", primary="NASDAQ", isin="US64110L1061", sector=STREAMING),
    us_stock(4391, "AMD", "ADVANCED MICRO DEVICES", primary="NASDAQ", isin="US0079031078", sector=CHIPS),
    us_stock(270639, "INTC", "INTEL CORP", primary="NASDAQ", isin="US4581401001", sector=CHIPS),
    us_stock(268084, "CSCO", "CISCO SYSTEMS INC", primary="NASDAQ", isin="US17275R1023", sector=NETWORKS),
    us_stock(272800, "ORCL", "ORACLE CORP", primary="NYSE", isin="US68389X1054", sector=DATABASES),
    us_stock(1520593977, "JPM", "JPMORGAN CHASE & CO", primary="NYSE", isin="US46625H1005", sector=BANKS),
    us_stock(10098, "BAC", "BANK OF AMERICA CORP", primary="NYSE", isin="US0605051046", sector=BANKS),
    us_stock(49462172, "V", "VISA INC-CLASS A SHARES", primary="NYSE", isin="US92826C8394", sector=CARDS),
    us_stock(72063691, "BRK B", "BERKSHIRE HATHAWAY-CL B", primary="NYSE", isin="US0846707026", sector=CONGLOMERATES),
    us_stock(13977, "XOM", "EXXON MOBIL CORP", primary="NYSE", isin="US30231G1022", sector=OIL),
    us_stock(8719, "JNJ", "JOHNSON & JOHNSON", primary="NYSE", isin="US4781601046", sector=PHARMA),
    us_stock(11031, "PFE", "PFIZER INC", primary="NYSE", isin="US7170811035", sector=PHARMA),
    us_stock(13272, "UNH", "UNITEDHEALTH GROUP INC", primary="NYSE", isin="US91324P1021", sector=HEALTH_PLANS),
    us_stock(8894, "KO", "COCA-COLA CO/THE", primary="NYSE", isin="US1912161007", sector=BEVERAGES),
    us_stock(11017, "PG", "PROCTER & GAMBLE CO/THE", primary="NYSE", isin="US7427181091", sector=HOUSEHOLD),
    us_stock(13824, "WMT", "WALMART INC", primary="NYSE", isin="US9311421039", sector=RETAIL),
    us_stock(6459, "DIS", "WALT DISNEY CO/THE", primary="NYSE", isin="US2546871060", sector=ENTERTAINMENT),
    us_stock(4762, "BA", "BOEING CO/THE", primary="NYSE", isin="US0970231058", sector=AEROSPACE),
    us_stock(5437, "CAT", "CATERPILLAR INC", primary="NYSE", isin="US1491231015", sector=MACHINES),
    us_stock(7516, "GE", "GENERAL ELECTRIC", primary="NYSE", isin="US3696043013", sector=DIVERSIFIED),
    us_stock(37018770, "T", "AT&T INC", primary="NYSE", isin="US00206R1024", sector=TELEPHONES),
    _us_fund(756733, "SPY", "SPDR S&P 500 ETF TRUST", primary="ARCA", isin="US78462F1030"),
    _us_fund(320227571, "QQQ", "INVESCO QQQ TRUST SERIES 1", primary="NASDAQ", isin="US46090E1038"),
    _us_fund(73128548, "DIA", "SPDR DJIA TRUST", primary="ARCA", isin="US78467X1090"),
    _us_fund(9579970, "IWM", "ISHARES RUSSELL 2000 ETF", primary="ARCA", isin="US4642876555"),
    _us_fund(51529211, "GLD", "SPDR GOLD SHARES", primary="ARCA", isin="US78463V1070"),
    _us_fund(15547841, "TLT", "ISHARES 20+ YEAR TREASURY BOND ETF", primary="NASDAQ", isin="US4642874329"),
]

# Symbols that mean several things on purpose. ASML: the currency decides. AIR: another company in New York, and the
# same one in the same currency in Paris and Frankfurt. BHP: one company, three currencies. URW: two listings abroad and
# none in the US, so that no rule of thumb can choose.
AMBIGUOUS = [
    us_stock(117589399, "ASML", "ASML HOLDING NV-NY REG SHS", primary="NASDAQ", isin="USN070592100", sector=CHIP_TOOLS),
    _stock_abroad(117902840, "ASML", "ASML HOLDING NV", exchange="AEB", isin="NL0010273215", sector=CHIP_TOOLS),
    us_stock(4198, "AIR", "AAR CORP", primary="NYSE", isin="US0003611052", sector=AEROSPACE),
    _stock_abroad(29612193, "AIR", "AIRBUS SE", exchange="SBF", isin="NL0000235190", sector=AEROSPACE),
    _stock_abroad(900000001, "AIR", "AIRBUS SE", exchange="IBIS", isin="NL0000235190", sector=AEROSPACE),
    us_stock(4853, "BHP", "BHP GROUP LTD-SPON ADR", primary="NYSE", isin="US0886061086", sector=METALS),
    _stock_abroad(4036812, "BHP", "BHP GROUP LTD", exchange="ASX", isin="AU000000BHP4", sector=METALS),
    _stock_abroad(900000002, "BHP", "BHP GROUP LTD-DI", exchange="LSE", isin="AU000000BHP4", sector=METALS),
    _stock_abroad(
        900000008, "URW", "UNIBAIL-RODAMCO-WESTFIELD", exchange="SBF", isin="FR0013326246", sector=REAL_ESTATE
    ),
    _stock_abroad(
        900000009, "URW", "UNIBAIL-RODAMCO-WESTFI/CDI", exchange="ASX", isin="AU0000009789", sector=REAL_ESTATE
    ),
    us_stock(195014116, "SHOP", "SHOPIFY INC - CLASS A", primary="NASDAQ", isin="CA82509L1076", sector=SOFTWARE),
    _stock_abroad(900000003, "SHOP", "SHOPIFY INC - CLASS A", exchange="TSE", isin="CA82509L1076", sector=SOFTWARE),
]

STOCKS_ABROAD = [
    _stock_abroad(14204, "SAP", "SAP SE", exchange="IBIS", isin="DE0007164600", sector=SOFTWARE),
    _stock_abroad(29612142, "BARC", "BARCLAYS PLC", exchange="LSE", isin="GB0031348658", sector=BANKS),
    _stock_abroad(29612249, "MC", "LVMH MOET HENNESSY LOUIS VUI", exchange="SBF", isin="FR0000121014", sector=LUXURY),
    _stock_abroad(50495430, "NESN", "NESTLE SA-REG", exchange="EBS", isin="CH0038863350", sector=FOOD),
    _stock_abroad(
        *(900000004, "NOVO.B", "NOVO NORDISK A/S-B"),
        exchange="KFX",
        isin="DK0062498333",
        sector=PHARMA,
        local_symbol="NOVO B",
    ),
    _stock_abroad(
        *(14016545, "7203", "TOYOTA MOTOR CORP"),
        exchange="TSEJ",
        isin="JP3633400001",
        sector=CARS,
        local_symbol="7203.T",
    ),
    _stock_abroad(152791428, "700", "TENCENT HOLDINGS LTD", exchange="SEHK", isin="KYG875721634", sector=INTERNET),
    _stock_abroad(900000005, "005930", "SAMSUNG ELECTRONICS CO LTD", exchange="KSE", isin="KR7005930003", sector=CHIPS),
]

# What the gateway's users have no real-time data for: only delayed prices, or none at all.
NOT_SUBSCRIBED = [
    replace(
        _stock_abroad(900000006, "GLEN", "GLENCORE PLC", exchange="LSE", isin="JE00B4T3BW64", sector=METALS),
        data="delayed",
    ),
    replace(
        _stock_abroad(900000007, "VOW3", "VOLKSWAGEN AG-PREF", exchange="IBIS", isin="DE0007664039", sector=CARS),
        data="none",
    ),
]

INDICES = [
    _index(416904, "SPX", "S&P 500 Stock Index", exchange="CBOE"),
    _index(416843, "NDX", "NASDAQ 100 Stock Index", exchange="NASDAQ"),
]

# Every cross of the eight large currencies, and the pairs that value the other currencies of stocks above.
PAIRS = [
    _forex(12087792, "EUR", "USD"),
    _forex(12087797, "GBP", "USD"),
    _forex(15016059, "USD", "JPY"),
    _forex(14433401, "AUD", "USD"),
    _forex(39453441, "NZD", "USD"),
    _forex(15016062, "USD", "CAD"),
    _forex(12087820, "USD", "CHF"),
    _forex(12087807, "EUR", "GBP"),
    _forex(14321016, "EUR", "JPY"),
    _forex(12087817, "EUR", "CHF"),
    _forex(14321010, "GBP", "JPY"),
    _forex(12087826, "GBP", "CHF"),
    _forex(900000101, "EUR", "AUD"),
    _forex(900000102, "EUR", "CAD"),
    _forex(900000103, "EUR", "NZD"),
    _forex(900000104, "GBP", "AUD"),
    _forex(900000105, "GBP", "CAD"),
    _forex(900000106, "GBP", "NZD"),
    _forex(900000107, "AUD", "JPY"),
    _forex(900000108, "AUD", "CAD"),
    _forex(900000109, "AUD", "CHF"),
    _forex(900000110, "AUD", "NZD"),
    _forex(900000111, "NZD", "JPY"),
    _forex(900000112, "NZD", "CAD"),
    _forex(900000113, "NZD", "CHF"),
    _forex(900000114, "CAD", "JPY"),
    _forex(900000115, "CAD", "CHF"),
    _forex(900000116, "CHF", "JPY"),
    _forex(900000117, "USD", "HKD"),
    _forex(900000118, "USD", "KRW"),
    _forex(900000119, "USD", "DKK"),
    _forex(900000120, "EUR", "DKK"),
]

CRYPTO = [_crypto(479624278, "BTC", "Bitcoin cryptocurrency")]

LISTINGS = [*US_STOCKS, *AMBIGUOUS, *STOCKS_ABROAD, *NOT_SUBSCRIBED, *INDICES, *PAIRS, *CRYPTO]
