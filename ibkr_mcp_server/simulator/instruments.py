"""What can be traded at the paper gateway, and the ways in which TWS lets one look it up.

The rows themselves are data: `listings.py` has those that are always there; `option_chains.py` and `futures.py` make
theirs from the date. A catalogue looks through all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal, Protocol

from ibkr_mcp_server.simulator.market_rules import MARKET_RULES, Steps


@dataclass(frozen=True, kw_only=True, slots=True)
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
    under_symbol: str = ""
    under_sec_type: str = ""
    contract_month: str = ""
    derivatives: tuple[str, ...] = ()
    """The security types of what is derived from it, as symbol search tells."""
    data: Literal["live", "delayed", "none"] = "live"
    """What the gateway's users are subscribed to."""

    @property
    def expiry(self) -> date:
        """The last trade date of an option or a future."""
        text = self.last_trade_date
        return date(int(text[:4]), int(text[4:6]), int(text[6:]))

    @property
    def market_rule_id(self) -> int:
        """The market rule of its first venue."""
        return int(self.market_rule_ids.partition(",")[0])


class Family(Protocol):
    """Listings that are made when asked for, because there are many and they come and go with the date."""

    sec_types: frozenset[str]

    def by_con_id(self, con_id: int) -> Listing | None:
        """The listing of an id that this family gave out, also when its time is over."""
        ...

    def candidates(self, wanted: Wanted) -> Iterable[Listing]:
        """Everything listed now that may fit `wanted`; the catalogue looks closer."""
        ...

    def is_expired(self, listing: Listing) -> bool: ...


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A contract as a client describes it; what is empty or None matches anything. Texts are upper case."""

    symbol: str = ""
    sec_type: str = ""
    exchange: str = ""
    primary_exchange: str = ""
    currency: str = ""
    local_symbol: str = ""
    last_trade_date: str = ""
    """A day (YYYYMMDD) or a month (YYYYMM)."""
    strike: Decimal | None = None
    right: str = ""
    multiplier: str = ""
    trading_class: str = ""

    def fits(self, listing: Listing) -> bool:
        return (
            self.symbol in ("", listing.symbol)
            and self.sec_type in ("", listing.sec_type)
            and self.currency in ("", listing.currency)
            and self.primary_exchange in ("", listing.primary_exchange)
            and self.local_symbol in ("", listing.local_symbol)
            and self.multiplier in ("", listing.multiplier)
            and self.trading_class in ("", listing.trading_class)
            and (not self.exchange or self.exchange in listing.valid_exchanges.split(","))
            and self._expiry_fits(listing)
            and (not self.strike or listing.strike == self.strike)
            and self.right in ("", listing.right)
        )

    def _expiry_fits(self, listing: Listing) -> bool:
        """A month is the contract's: crude oil for January ends its trading in December."""
        wanted = self.last_trade_date
        return listing.contract_month == wanted if len(wanted) == 6 else listing.last_trade_date.startswith(wanted)


class Catalogue:
    """All listings of one gateway. Iterating goes through those that are always there."""

    def __init__(self, listings: Iterable[Listing], market_rules: Mapping[int, Steps] = MARKET_RULES) -> None:
        rows = list(listings)
        self._by_con_id = {listing.con_id: listing for listing in rows}
        if len(self._by_con_id) != len(rows):
            raise ValueError("Two listings share a contract id.")
        self._pairs = {(row.symbol, row.currency): row for row in rows if row.sec_type == "CASH"}
        self._families: list[Family] = []
        self._market_rules = market_rules

    def add(self, family: Family) -> None:
        self._families.append(family)

    def __iter__(self) -> Iterator[Listing]:
        return iter(self._by_con_id.values())

    def __len__(self) -> int:
        return len(self._by_con_id)

    def by_con_id(self, con_id: int) -> Listing | None:
        """The listing with this id, also of a contract that has expired: somebody may still hold it."""
        listing = self._by_con_id.get(con_id)
        if listing is not None:
            return listing
        made = (family.by_con_id(con_id) for family in self._families)
        return next((listing for listing in made if listing is not None), None)

    def known(self, con_id: int) -> Listing:
        """The same of an id that this catalogue gave out; KeyError for any other."""
        listing = self.by_con_id(con_id)
        if listing is None:
            raise KeyError(con_id)
        return listing

    def is_expired(self, listing: Listing) -> bool:
        return any(family.is_expired(listing) for family in self._families if listing.sec_type in family.sec_types)

    def pair(self, base: str, quoted: str) -> Listing | None:
        """The currency pair that gives the price of one `base` in `quoted`."""
        return self._pairs.get((base, quoted))

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
        be any venue the listing trades on, and `last_trade_date` may be a month (YYYYMM). Options and futures are
        found by their security type or their local symbol.
        """
        wanted = Wanted(
            symbol=symbol.upper(),
            sec_type=sec_type.upper(),
            exchange=exchange.upper(),
            primary_exchange=primary_exchange.upper(),
            currency=currency.upper(),
            local_symbol=local_symbol.upper(),
            last_trade_date=last_trade_date.replace("-", ""),
            strike=strike,
            right=right[:1].upper(),  # TWS takes C, CALL, P and PUT
            multiplier=multiplier,
            trading_class=trading_class.upper(),
        )
        found = [listing for listing in self if wanted.fits(listing)]
        for family in self._families:
            if wanted.sec_type in family.sec_types or (wanted.local_symbol and not wanted.sec_type):
                found += [listing for listing in family.candidates(wanted) if wanted.fits(listing)]
        return found

    def search(self, pattern: str) -> list[Listing]:
        """What reqMatchingSymbols finds: the symbol starts with `pattern`, or the name contains it.

        The exact symbol comes first, then other symbols, then names; an empty pattern finds nothing, and no more than
        `MOST_FOUND` come.
        """
        text = pattern.strip().upper()
        if not text:
            return []
        found = [listing for listing in self if listing.symbol.startswith(text) or text in listing.long_name.upper()]
        found.sort(key=lambda listing: (listing.symbol != text, not listing.symbol.startswith(text)))
        return found[:MOST_FOUND]

    def market_rule(self, rule_id: int) -> Steps | None:
        """The price increments of a rule as (low edge, increment), lowest first; None if there is no such rule."""
        return self._market_rules.get(rule_id)


MOST_FOUND = 16
"""TWS sends about that many rows."""
