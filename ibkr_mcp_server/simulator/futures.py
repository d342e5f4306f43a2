"""The futures: which months of ES, NQ, CL and GC are listed on a day, and each contract as TWS describes it.

As with options nothing is stored: a contract id spells out root and delivery month. A month is listed until its last
trade date, and the nearest one is the front month. The last trade dates follow the exchanges' rules, on the holidays
of the US stock exchanges.

Each root also has a continuous contract (CONTFUT), whose prices the months follow at a distance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from functools import lru_cache
from itertools import islice

from ibkr_mcp_server.simulator import market_rules
from ibkr_mcp_server.simulator.instruments import Listing, Wanted
from ibkr_mcp_server.simulator.trading_calendars import third_friday, us_session_by

MONTH_CODES = "FGHJKMNQUVXZ"
FUTURES_ORDER_TYPES = "COND,DAY,FOK,GAT,GTC,GTD,IOC,LIT,LMT,MIT,MKT,OCA,STP,STPLMT,TRAIL,TRAILLMT,WHATIF"
FIRST_CON_ID = 800_000_000
_IDS_A_ROOT = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Root:
    symbol: str
    long_name: str
    exchange: str
    multiplier: int
    rule: int
    months: str
    """The delivery months that are listed, by their codes."""
    listed: int
    """How many of them at a time."""
    last_trade: Callable[[date], date]
    """The last trade date, by the first day of the delivery month."""
    carry: float = 0.0
    """How much dearer a month is for each year that it lies ahead, 0.03 for 3 %."""
    under: tuple[int, str, str]
    """Contract id, symbol and security type of what it is on, or nought and empty texts."""
    time_zone_id: str


def _third_friday(month: date) -> date:
    """Equity index futures: the third Friday (CME Rulebook, chapters 358 and 359)."""
    return us_session_by(third_friday(month))


def _before_the_25th_before(month: date) -> date:
    """Crude oil: three business days before the 25th of the month before delivery (NYMEX Rulebook, chapter 200)."""
    the_25th = us_session_by((month - timedelta(days=1)).replace(day=25))
    return _sessions_before(the_25th, 3)


def _third_last_session(month: date) -> date:
    """Gold: the third last business day of the delivery month (COMEX Rulebook, chapter 113)."""
    last = us_session_by((month + timedelta(days=32)).replace(day=1) - timedelta(days=1))
    return _sessions_before(last, 2)


def _sessions_before(day: date, count: int) -> date:
    for _ in range(count):
        day = us_session_by(day - timedelta(days=1))
    return day


ROOTS = (
    Root(
        symbol="ES",
        long_name="E-mini S&P 500",
        exchange="CME",
        multiplier=50,
        rule=market_rules.QUARTERS,
        months="HMUZ",
        listed=6,
        last_trade=_third_friday,
        under=(416904, "SPX", "IND"),
        time_zone_id="US/Central",
    ),
    Root(
        symbol="NQ",
        long_name="E-mini NASDAQ 100",
        exchange="CME",
        multiplier=20,
        rule=market_rules.QUARTERS,
        months="HMUZ",
        listed=6,
        last_trade=_third_friday,
        under=(416843, "NDX", "IND"),
        time_zone_id="US/Central",
    ),
    Root(
        symbol="CL",
        long_name="Light Sweet Crude Oil",
        exchange="NYMEX",
        multiplier=1000,
        rule=market_rules.US_STOCKS,
        months=MONTH_CODES,
        listed=12,
        last_trade=_before_the_25th_before,
        carry=0.03,
        under=(0, "", ""),
        time_zone_id="US/Eastern",
    ),
    Root(
        symbol="GC",
        long_name="Gold",
        exchange="COMEX",
        multiplier=100,
        rule=market_rules.DIMES,
        months="GJMQVZ",
        listed=8,
        last_trade=_third_last_session,
        carry=0.02,
        under=(0, "", ""),
        time_zone_id="US/Eastern",
    ),
)


class Futures:
    """The contracts as of today."""

    sec_types = frozenset({"FUT", "CONTFUT"})

    def __init__(self, *, today: Callable[[], date]) -> None:
        self._today = today

    def by_con_id(self, con_id: int) -> Listing | None:
        return _listing(con_id)

    def is_expired(self, listing: Listing) -> bool:
        return listing.sec_type == "FUT" and listing.last_trade_date < f"{self._today():%Y%m%d}"

    def candidates(self, wanted: Wanted) -> Iterator[Listing]:
        for number, root in enumerate(ROOTS):
            if wanted.symbol not in ("", root.symbol):
                continue
            if wanted.sec_type == "CONTFUT":
                yield _continuous(number)
            else:
                for month in islice(months_from(root, self._today()), root.listed):
                    yield _contract(number, month)


def months_from(root: Root, today: date) -> Iterator[date]:
    """The delivery months (their first days) that still trade on `today`, the front month first, without end."""
    month = today.replace(day=1)
    while True:
        if MONTH_CODES[month.month - 1] in root.months and root.last_trade(month) >= today:
            yield month
        month = (month + timedelta(days=32)).replace(day=1)


def root_of(listing: Listing) -> Root:
    """The root of a listing that `Futures` made."""
    return ROOTS[(listing.con_id - FIRST_CON_ID) // _IDS_A_ROOT]


def continuous_con_id(listing: Listing) -> int:
    """The contract whose prices this month follows."""
    return FIRST_CON_ID + (listing.con_id - FIRST_CON_ID) // _IDS_A_ROOT * _IDS_A_ROOT


@lru_cache(maxsize=128)
def _listing(con_id: int) -> Listing | None:
    number, serial = divmod(con_id - FIRST_CON_ID, _IDS_A_ROOT)
    if not 0 <= number < len(ROOTS):
        return None
    if not serial:
        return _continuous(number)
    year, month = divmod(serial - 1, 12)
    if not 1970 <= year < 2100 or MONTH_CODES[month] not in ROOTS[number].months:
        return None
    return _contract(number, date(year, month + 1, 1))


@lru_cache(maxsize=128)
def _contract(number: int, month: date) -> Listing:
    root = ROOTS[number]
    code = f"{root.symbol}{MONTH_CODES[month.month - 1]}{month.year % 10}"
    under_con_id, under_symbol, under_sec_type = root.under
    return replace(
        _continuous(number),
        con_id=FIRST_CON_ID + number * _IDS_A_ROOT + month.year * 12 + month.month,
        sec_type="FUT",
        last_trade_date=f"{root.last_trade(month):%Y%m%d}",
        local_symbol=code,
        order_types=FUTURES_ORDER_TYPES,
        under_con_id=under_con_id,
        under_symbol=under_symbol,
        under_sec_type=under_sec_type,
        contract_month=f"{month:%Y%m}",
    )


@lru_cache(maxsize=8)
def _continuous(number: int) -> Listing:
    root = ROOTS[number]
    return Listing(
        con_id=FIRST_CON_ID + number * _IDS_A_ROOT,
        symbol=root.symbol,
        sec_type="CONTFUT",
        multiplier=str(root.multiplier),
        exchange=root.exchange,
        primary_exchange="",
        currency="USD",
        local_symbol=root.symbol,
        trading_class=root.symbol,
        market_name=root.symbol,
        long_name=root.long_name,
        min_tick=market_rules.grid_of(root.rule).increment,
        order_types="",
        valid_exchanges=root.exchange,
        market_rule_ids=str(root.rule),
        time_zone_id=root.time_zone_id,
        min_size=Decimal(1),
        size_increment=Decimal(1),
        suggested_size_increment=Decimal(1),
    )
