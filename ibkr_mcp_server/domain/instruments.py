"""What can be traded, as IBKR identifies it: by contract, never by ticker text alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

EQUITY_SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9 .\-]{0,15}")
"""Decision C-10. `EUR.USD`, `EURUSD` and `SYMBOL.EXCHANGE.CURRENCY` match it as well."""


class SecType(StrEnum):
    """IBKR security types."""

    STK = "STK"
    CASH = "CASH"
    OPT = "OPT"
    FUT = "FUT"
    FOP = "FOP"
    IND = "IND"
    CRYPTO = "CRYPTO"
    CFD = "CFD"
    BOND = "BOND"
    FUND = "FUND"
    CMDTY = "CMDTY"
    WAR = "WAR"
    BAG = "BAG"
    OTHER = "OTHER"
    """Held or ordered by someone else, of a type that this product does not know."""


OPTION_TYPES = frozenset({SecType.OPT, SecType.FOP})
DATED_TYPES = frozenset({SecType.FUT, SecType.WAR}) | OPTION_TYPES

VALUED_BY_PRICE = frozenset(
    {SecType.STK, SecType.CASH, SecType.OPT, SecType.FUT, SecType.FOP, SecType.CRYPTO, SecType.CFD, SecType.WAR}
)
"""Types that are worth price × quantity × multiplier; bonds, for one, are quoted in percent of their face."""

SATURDAY = 5
"""As `datetime.weekday` counts."""


class HoursUnknown(ValueError):
    """Trading hours that cannot be read: treated as closed (TM-04)."""


@dataclass(frozen=True, kw_only=True)
class TradingSession:
    """One stretch of trading, aware UTC, `start` inclusive and `end` exclusive."""

    start: datetime
    end: datetime

    def contains(self, moment: datetime) -> bool:
        return self.start <= moment < self.end


def parse_hours(text: str, time_zone_id: str) -> tuple[TradingSession, ...]:
    """Read IBKR's `tradingHours`/`liquidHours` text: `20261120:0930-20261120:1600;20261121:CLOSED`.

    Raises:
        HoursUnknown: the text or the zone cannot be read.
    """
    try:
        zone = ZoneInfo(time_zone_id)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise HoursUnknown(f"unknown time zone {time_zone_id!r}") from error
    sessions = []
    for part in filter(None, text.split(";")):
        if part.endswith(":CLOSED"):
            continue
        opening, dash, closing = part.partition("-")
        if not dash:
            raise HoursUnknown(f"unreadable trading hours {part!r}")
        sessions.append(TradingSession(start=_moment(opening, zone), end=_moment(closing, zone)))
    return tuple(sessions)


def _moment(text: str, zone: ZoneInfo) -> datetime:
    day, _, time_of_day = text.partition(":")
    try:
        local = datetime.strptime(day, "%Y%m%d").replace(tzinfo=zone)
        hours, minutes = int(time_of_day[:2]), int(time_of_day[2:])
    except ValueError as error:
        raise HoursUnknown(f"unreadable trading hours {text!r}") from error
    if len(time_of_day) != 4 or not (0 <= minutes < 60 and 0 <= hours * 60 + minutes <= 24 * 60):
        raise HoursUnknown(f"unreadable trading hours {text!r}")
    # 2400 is the end of the day. Wall-clock addition, because sessions are stated in local time across DST changes.
    return (local + timedelta(hours=hours, minutes=minutes)).astimezone(UTC)


@dataclass(frozen=True, kw_only=True)
class Instrument:
    """One contract, resolved to its contract id, with the rules that orders in it must follow."""

    con_id: int
    symbol: str
    sec_type: SecType
    exchange: str
    """Where orders are routed, usually SMART or IDEALPRO."""
    primary_exchange: str
    currency: str
    local_symbol: str = ""
    trading_class: str = ""
    long_name: str = ""
    """From the broker: untrusted text."""
    multiplier: Decimal | None = Decimal(1)
    """Units of the underlying per contract; None when the broker did not say and the type needs it."""
    min_tick: Decimal | None = None
    """Smallest price step; market rules may ask for a coarser one at higher prices."""
    price_increments: tuple[tuple[Decimal, Decimal], ...] = ()
    """Market rule: (lowest price, increment), ascending. Empty when not known; `min_tick` holds then."""
    price_magnifier: int = 1
    """Prices are quoted in currency / magnifier: 100 for London's pence."""
    size_increment: Decimal | None = None
    min_size: Decimal | None = None
    last_trade_date: str = ""
    """`YYYYMMDD` of a derivative; empty for everything else."""
    strike: Decimal | None = None
    right: str = ""
    """`C` or `P` of an option; empty for everything else."""
    time_zone_id: str = ""
    trading_hours: tuple[TradingSession, ...] | None = None
    """All sessions in which orders may work; None when unknown."""
    liquid_hours: tuple[TradingSession, ...] | None = None
    """Regular hours; None when unknown."""
    hours_known_until: datetime | None = None
    industry: str | None = None
    """IBKR's word for the sector, untrusted text; empty when it has none, None before it described the contract."""

    @cached_property
    def is_forex(self) -> bool:
        return self.sec_type is SecType.CASH

    @cached_property
    def is_international(self) -> bool:
        """Not a US-dollar instrument (CFG-03); foreign exchange has its own gate (CFG-02)."""
        # Derivatives have no primary exchange: they are listed where they trade.
        listed_at = self.primary_exchange or self.exchange
        return not self.is_forex and (self.currency != "USD" or listed_at in NON_US_EXCHANGES)

    @cached_property
    def is_option(self) -> bool:
        return self.sec_type in OPTION_TYPES

    @cached_property
    def label(self) -> str:
        """How a person names it: `AAPL`, `EUR.USD`, `VOD.LSE.GBP`, `AAPL 20261218 270 C`."""
        if self.is_forex:
            return f"{self.symbol}.{self.currency}"
        if self.is_option:
            return option_label(self.trading_class or self.symbol, self.last_trade_date, self.strike, self.right)
        if self.is_international:
            return f"{self.symbol}.{self.primary_exchange or self.exchange}.{self.currency}"
        return self.local_symbol or self.symbol

    def price_increment(self, price: Decimal) -> Decimal | None:
        """The price step that holds at `price`, or None when the broker told none."""
        step = self.min_tick
        for lowest, increment in self.price_increments:
            if price >= lowest:
                step = increment
        return step

    def in_regular_hours(self, moment: datetime) -> bool:
        """Whether the instrument's own exchange trades regularly at `moment`; unknown hours are closed (TM-04)."""
        return self.regular_session(moment) is not None

    def knows_hours(self, moment: datetime) -> bool:
        """Whether the broker told what the exchange does at `moment`, open or closed."""
        known_until = self.hours_known_until
        return self.liquid_hours is not None and (known_until is None or moment < known_until)

    def regular_session(self, moment: datetime) -> TradingSession | None:
        """The regular session at `moment`; sessions that follow one another without a pause are one."""
        for session in self._regular_sessions:
            if session.start <= moment < session.end:
                return session
        return None

    @cached_property
    def _regular_sessions(self) -> tuple[TradingSession, ...]:
        """Those of `liquid_hours` in their order, without seams."""
        joined: list[TradingSession] = []
        for session in sorted(self.liquid_hours or (), key=lambda one: one.start):
            if joined and session.start <= joined[-1].end:
                before = joined.pop()
                session = TradingSession(start=before.start, end=max(before.end, session.end))
            joined.append(session)
        return tuple(joined)

    def next_regular_start(self, moment: datetime) -> datetime | None:
        """When the next regular session after `moment` begins; None when the broker tells of none."""
        return min((session.start for session in self.liquid_hours or () if session.start > moment), default=None)

    def is_weekend(self, moment: datetime) -> bool:
        """Whether it is Saturday or Sunday at the exchange (TM-02).

        A session that begins on Sunday and bears Monday's name belongs to Monday: the week of currencies and futures.

        Raises:
            ZoneInfoNotFoundError: the broker named a time zone that nobody knows.
        """
        zone = self._zone
        local = moment.astimezone(zone)
        if local.weekday() < SATURDAY:
            return False
        for session in (*(self.liquid_hours or ()), *(self.trading_hours or ())):
            if session.contains(moment) and session.start.astimezone(zone).date() == local.date():
                return (session.end - timedelta.resolution).astimezone(zone).weekday() >= SATURDAY
        return True

    @cached_property
    def _zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone_id)


NON_US_EXCHANGES = frozenset(
    {"LSE", "LSEETF", "IBIS", "IBIS2", "FWB", "AEB", "SBF", "EBS", "BVME", "BM", "KFX", "SFB", "TSE", "VENTURE", "TSEJ"}
    | {"SEHK", "KSE", "ASX", "SGX", "NSE", "SEHKNTL", "SEHKSZSE", "TWSE", "WSE", "VSE", "ENEXT.BE", "OSE"}
    | {"EUREX", "DTB", "ICEEU", "ICEEUSOFT", "MONEP", "FTA", "BELFOX", "IDEM", "MEFFRV", "OMS", "HKFE", "SNFE", "CDE"}
)


def option_label(name: str, last_trade_date: str, strike: Decimal | None, right: str) -> str:
    """`AAPL 20261218 270 C`; `name` is the trading class, which tells SPXW from SPX."""
    return " ".join(filter(None, (name, last_trade_date, "" if strike is None else f"{strike:f}", right)))


@dataclass(frozen=True, kw_only=True)
class InstrumentQuery:
    """What a caller says about an instrument; resolving it must give exactly one contract (ORD-04)."""

    symbol: str
    """Of a derivative: the symbol of its underlying."""
    sec_type: SecType | None = None
    exchange: str | None = None
    currency: str | None = None
    primary_exchange: str | None = None
    con_id: int | None = None
    last_trade_date: str | None = None
    """`YYYYMMDD`, or `YYYYMM` for the month of a future."""
    strike: Decimal | None = None
    right: str | None = None
    """`C` or `P`."""
    multiplier: Decimal | None = None
    trading_class: str | None = None

    @property
    def effective_type(self) -> SecType | None:
        """The stated type, or an option where a strike or a right is stated."""
        says_option = self.sec_type is None and (self.strike is not None or self.right is not None)
        return SecType.OPT if says_option else self.sec_type

    @property
    def names_derivative(self) -> bool:
        """Whether a search by symbol would find the underlying instead."""
        return self.effective_type in DATED_TYPES or self.last_trade_date is not None


@dataclass(frozen=True, kw_only=True)
class ContractDetails:
    """What the broker tells about a contract beyond what orders need; its texts are untrusted."""

    instrument: Instrument
    received_at: datetime
    order_types: tuple[str, ...]
    """IBKR's words for the orders and attributes that the contract takes."""
    market_rules: tuple[tuple[str, int], ...]
    """Each exchange that it can be routed to, with the number of the rule for its prices."""
    sec_ids: tuple[tuple[str, str], ...] = ()
    """ISIN, CUSIP and the like."""
    stock_type: str = ""
    industry: str = ""
    category: str = ""
    subcategory: str = ""
    contract_month: str = ""
    underlying_symbol: str = ""
    underlying_con_id: int | None = None


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One of several contracts that a query could mean."""

    con_id: int
    symbol: str
    sec_type: str
    primary_exchange: str
    currency: str
    description: str
    """From the broker: untrusted text."""
    last_trade_date: str = ""
    strike: Decimal | None = None
    right: str = ""
    multiplier: Decimal | None = None
    trading_class: str = ""
