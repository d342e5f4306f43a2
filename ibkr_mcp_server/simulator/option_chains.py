"""The option chains: which expirations and strikes are listed on a day, and each contract as TWS describes it.

Nothing here is stored. A contract id spells out class, expiry, strike and right, so any id that was ever given out is
understood for good, and listings are made when somebody asks. What has expired is no longer found by describing it.

Simplified: all expirations of a class have the same strikes, monthly SPX options settle at the close like the weekly
ones, and all options stop trading with the stock session at 16:00.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from functools import lru_cache

from ibkr_mcp_server.simulator import market_rules
from ibkr_mcp_server.simulator.instruments import Catalogue, Listing, Wanted
from ibkr_mcp_server.simulator.trading_calendars import is_us_session, third_friday, us_session_by

MULTIPLIER = 100
OPTION_ORDER_TYPES = "COND,DAY,FOK,GAT,GTC,GTD,IOC,LIT,LMT,MIT,MKT,OCA,REL,STP,STPLMT,TRAIL,TRAILLMT,WHATIF"
EQUITY_VENUES = ("SMART", "AMEX", "BATS", "BOX", "CBOE", "ISE", "NASDAQOM", "PHLX", "PSE")
INDEX_VENUES = ("SMART", "CBOE")


@dataclass(frozen=True, kw_only=True)
class OptionClass:
    """The options of one trading class."""

    number: int
    """Its part of the contract ids."""
    trading_class: str
    symbol: str
    under_sec_type: str
    venues: tuple[str, ...]
    rule: int
    daily: int = 0
    """For how many coming sessions there is an expiry every session."""
    weekly: int = 0
    """How many coming Fridays."""
    monthly: int = 0
    """How many coming third Fridays."""
    volatility: float
    """At the money, a year's."""
    reach: float
    """Strikes lie between the price divided and multiplied by this."""
    least_step: Decimal
    volume: int
    """Contracts traded a day at the money."""


CLASSES = (
    OptionClass(
        number=0,
        trading_class="AAPL",
        symbol="AAPL",
        under_sec_type="STK",
        venues=EQUITY_VENUES,
        rule=market_rules.OPTIONS,
        weekly=6,
        monthly=12,
        volatility=0.38,
        reach=1.6,
        least_step=Decimal("0.5"),
        volume=9_000,
    ),
    OptionClass(
        number=1,
        trading_class="SPY",
        symbol="SPY",
        under_sec_type="STK",
        venues=EQUITY_VENUES,
        rule=market_rules.PENNY_OPTIONS,
        daily=10,
        weekly=8,
        monthly=12,
        volatility=0.21,
        reach=1.4,
        least_step=Decimal("1"),
        volume=40_000,
    ),
    OptionClass(
        number=2,
        trading_class="SPX",
        symbol="SPX",
        under_sec_type="IND",
        venues=INDEX_VENUES,
        rule=market_rules.INDEX_OPTIONS,
        monthly=12,
        volatility=0.21,
        reach=1.4,
        least_step=Decimal("5"),
        volume=6_000,
    ),
    OptionClass(
        number=3,
        trading_class="SPXW",
        symbol="SPX",
        under_sec_type="IND",
        venues=INDEX_VENUES,
        rule=market_rules.INDEX_OPTIONS,
        daily=10,
        weekly=8,
        volatility=0.21,
        reach=1.4,
        least_step=Decimal("5"),
        volume=12_000,
    ),
)
LEFT_BEHIND = Decimal("1.5")
"""How far beyond the listed strikes the price may have been when a contract was listed."""
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
FIRST_CON_ID = 1_000_000_000
_DAYS, _STRIKES = 1 << 14, 1 << 13
_FIRST_DAY = date(2000, 1, 1)
"""The expiries of some forty-four years from here fit into the ids."""


@dataclass(frozen=True, kw_only=True)
class OptionParameters:
    """One row of the answer to reqSecDefOptParams."""

    exchange: str
    underlying_con_id: int
    trading_class: str
    multiplier: str
    expirations: tuple[str, ...]
    """YYYYMMDD, the nearest first."""
    strikes: tuple[Decimal, ...]


class OptionChains:
    """The chains as of today. `price` gives what the strikes are centred on; it is asked for anew each time."""

    sec_types = frozenset({"OPT"})

    def __init__(self, catalogue: Catalogue, *, today: Callable[[], date], price: Callable[[Listing], Decimal]) -> None:
        self._today = today
        self._price = price
        # A few hundred are streamed or held at a time; whole chains pass through.
        self.by_con_id = lru_cache(maxsize=512)(self._made)
        self._underlyings = {
            option_class.number: listing
            for option_class in CLASSES
            for listing in catalogue
            if (listing.symbol, listing.sec_type) == (option_class.symbol, option_class.under_sec_type)
            and listing.currency == "USD"
        }

    def parameters(self, underlying_con_id: int) -> list[OptionParameters]:
        """What is listed on an underlying, by exchange and trading class; empty if nothing is."""
        return [
            OptionParameters(
                exchange=venue,
                underlying_con_id=underlying_con_id,
                trading_class=option_class.trading_class,
                multiplier=str(MULTIPLIER),
                expirations=tuple(f"{day:%Y%m%d}" for day in self._expirations(option_class)),
                strikes=self._strikes(option_class),
            )
            for option_class in self._classes(underlying_con_id)
            for venue in option_class.venues
        ]

    def _made(self, con_id: int) -> Listing | None:
        parts = _parts(con_id)
        if parts is None or parts[0].number not in self._underlyings:
            return None
        return _listing(con_id, *parts, self._underlyings[parts[0].number])

    def is_expired(self, listing: Listing) -> bool:
        return listing.last_trade_date < f"{self._today():%Y%m%d}"

    def candidates(self, wanted: Wanted) -> Iterator[Listing]:
        for option_class in CLASSES:
            if (
                option_class.number in self._underlyings
                and wanted.symbol in ("", option_class.symbol)
                and wanted.trading_class in ("", option_class.trading_class)
                and (not wanted.local_symbol or wanted.local_symbol.split(" ")[0] == option_class.trading_class)
            ):
                yield from self._contracts(option_class, wanted)

    def _contracts(self, option_class: OptionClass, wanted: Wanted) -> Iterator[Listing]:
        price = self._price(self._underlyings[option_class.number])
        chosen: Iterable[Decimal] = strikes(option_class, price)
        if wanted.strike:
            # Strikes that left the list as the price moved on are contracts still.
            chosen = [strike for strike in strikes(option_class, price, wider=LEFT_BEHIND) if strike == wanted.strike]
        for day in self._expirations(option_class):
            if not f"{day:%Y%m%d}".startswith(wanted.last_trade_date):
                continue
            for strike in chosen:
                for right in wanted.right or "CP":
                    listing = self.by_con_id(_con_id(option_class, day, strike, right))
                    if listing is not None:
                        yield listing

    def _classes(self, underlying_con_id: int) -> list[OptionClass]:
        return [
            option_class
            for option_class in CLASSES
            if (listing := self._underlyings.get(option_class.number)) and listing.con_id == underlying_con_id
        ]

    def _expirations(self, option_class: OptionClass) -> tuple[date, ...]:
        return expirations(option_class, self._today())

    def _strikes(self, option_class: OptionClass) -> tuple[Decimal, ...]:
        return strikes(option_class, self._price(self._underlyings[option_class.number]))


@lru_cache(maxsize=64)
def expirations(option_class: OptionClass, today: date) -> tuple[date, ...]:
    """The expiries listed on `today`, which may itself be one; each is a session of the US stock exchanges."""
    found: set[date] = set()
    day, sessions = today, 0
    while sessions < option_class.daily:
        if is_us_session(day):
            found.add(day)
            sessions += 1
        day += timedelta(days=1)
    friday = today + timedelta(days=(4 - today.weekday()) % 7)
    found |= {us_session_by(friday + timedelta(weeks=week)) for week in range(option_class.weekly)}
    month, thirds = today.replace(day=1), 0
    while thirds < option_class.monthly:
        expiry = us_session_by(third_friday(month))
        if expiry >= today:
            # The monthly SPX options are their own class, so the weekly one leaves the third Friday's mornings to it.
            found.add(expiry)
            thirds += 1
        month = (month + timedelta(days=32)).replace(day=1)
    return tuple(sorted(day for day in found if day >= today))


@lru_cache(maxsize=64)
def strikes(option_class: OptionClass, price: Decimal, *, wider: Decimal = Decimal(1)) -> tuple[Decimal, ...]:
    """The strikes listed while the underlying stands at about `price`.

    They are centred on a rounded price, so that they stay as they are while the underlying moves a little.
    """
    reach = Decimal(str(option_class.reach)) * wider
    centre = _rounded(price)
    step = max(option_class.least_step, _strike_step(centre))
    low = int(centre / reach / step) + 1
    high = int(centre * reach / step)
    # A strike must fit into the ids, which number them by the class's least step.
    high = min(high, int((_STRIKES - 1) * option_class.least_step / step))
    return tuple(_plain(step * number) for number in range(max(low, 1), high + 1))


def _rounded(price: Decimal) -> Decimal:
    """Two leading digits, in steps of five from twenty-five on: 166 becomes 170, 1283 becomes 1300, 31 becomes 30."""
    unit = Decimal(1).scaleb(price.adjusted() - 1)
    leading = int((price / unit).to_integral_value())
    return unit * (leading if leading < 25 else round(leading / 5) * 5)


def _strike_step(price: Decimal) -> Decimal:
    for edge, step in ((25, "0.5"), (100, "1"), (200, "2.5")):
        if price < edge:
            return Decimal(step)
    return Decimal(5)


def _con_id(option_class: OptionClass, expiry: date, strike: Decimal, right: str) -> int:
    number = int(strike / option_class.least_step)
    serial = ((expiry - _FIRST_DAY).days * _STRIKES + number) * 2 + (right == "P")
    return FIRST_CON_ID + option_class.number * _DAYS * _STRIKES * 2 + serial


def volatility_at_the_money(underlying: Listing) -> float | None:
    """What the options on a listing imply, a year's; None if none are listed on it."""
    found = (one for one in CLASSES if (one.symbol, one.under_sec_type) == (underlying.symbol, underlying.sec_type))
    option_class = next(found, None) if underlying.currency == "USD" else None
    return None if option_class is None else option_class.volatility


def class_of(listing: Listing) -> OptionClass:
    """The class of a listing that `OptionChains` made."""
    return CLASSES[(listing.con_id - FIRST_CON_ID) // (_DAYS * _STRIKES * 2)]


def _parts(con_id: int) -> tuple[OptionClass, date, Decimal, str] | None:
    """Class, expiry, strike and right of an option's contract id; None if it is not one."""
    serial = con_id - FIRST_CON_ID
    if not 0 <= serial < len(CLASSES) * _DAYS * _STRIKES * 2:
        return None
    rest, put = divmod(serial, 2)
    rest, number = divmod(rest, _STRIKES)
    class_number, days = divmod(rest, _DAYS)
    option_class = CLASSES[class_number]
    if not number:
        return None
    return option_class, _FIRST_DAY + timedelta(days=days), number * option_class.least_step, "CP"[put]


def _listing(
    con_id: int, option_class: OptionClass, expiry: date, strike: Decimal, right: str, underlying: Listing
) -> Listing:
    thousandths = int(strike * 1000)
    venues = ",".join(option_class.venues)
    name = f"{MONTHS[expiry.month - 1]} {expiry:%d '%y}"
    return Listing(
        con_id=con_id,
        symbol=option_class.symbol,
        sec_type="OPT",
        last_trade_date=f"{expiry:%Y%m%d}",
        strike=_plain(strike),
        right=right,
        multiplier=str(MULTIPLIER),
        exchange="SMART",
        primary_exchange="",
        currency="USD",
        local_symbol=f"{option_class.trading_class:<6}{expiry:%y%m%d}{right}{thousandths:08d}",
        trading_class=option_class.trading_class,
        market_name=option_class.trading_class,
        long_name=f"{underlying.long_name} {name} {_plain(strike)} {right}",
        min_tick=market_rules.grid_of(option_class.rule).increment,
        order_types=OPTION_ORDER_TYPES,
        valid_exchanges=venues,
        market_rule_ids=",".join([str(option_class.rule)] * len(option_class.venues)),
        industry=underlying.industry,
        category=underlying.category,
        subcategory=underlying.subcategory,
        time_zone_id="US/Eastern",
        min_size=Decimal(1),
        size_increment=Decimal(1),
        suggested_size_increment=Decimal(1),
        under_con_id=underlying.con_id,
        under_symbol=underlying.symbol,
        under_sec_type=underlying.sec_type,
        contract_month=f"{expiry:%Y%m}",
    )


def _plain(strike: Decimal) -> Decimal:
    return strike.quantize(Decimal(1)) if strike == strike.to_integral_value() else strike.normalize()
