"""The book behind a quote: its best prices are the quote's, the others lie one increment apart below and above.

A function of quote and instrument alone, so that whoever looks at one moment sees the same book.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from decimal import Decimal

from ibkr_mcp_server.simulator.instruments import Listing
from ibkr_mcp_server.simulator.market import MarketQuote

DEPTH_TYPES = frozenset({"STK", "CASH", "FUT", "CRYPTO"})
"""What shows its book here."""


@dataclass(frozen=True, kw_only=True)
class Level:
    price: Decimal
    size: Decimal
    venue: str


def levels(listing: Listing, quote: MarketQuote, *, bids: bool, rows: int) -> list[Level]:
    """One side of the book, the best price first; empty where nobody quotes."""
    best, size = (quote.bid, quote.bid_size) if bids else (quote.ask, quote.ask_size)
    if best is None or size is None:
        return []
    step = -listing.min_tick if bids else listing.min_tick
    prices = [best + step * row for row in range(rows)]
    return [
        Level(price=price, size=size * _factor(listing, price, row), venue=_venue(listing, price, bids=bids))
        for row, price in enumerate(prices)
        if price > 0
    ]


def venues_of(listing: Listing) -> list[str]:
    """The exchanges behind SMART; an instrument that has only one exchange is traded there."""
    return [venue for venue in listing.valid_exchanges.split(",") if venue != "SMART"] or [listing.exchange]


def venue_at(listing: Listing, price: Decimal) -> str:
    """Where a trade at `price` took place."""
    return _venue(listing, price, bids=False)


def _venue(listing: Listing, price: Decimal, *, bids: bool) -> str:
    venues = venues_of(listing)
    return venues[_die(listing, price, "bid" if bids else "ask") % len(venues)]


def _factor(listing: Listing, price: Decimal, row: int) -> int:
    """The best price shows the quote's own size; more waits behind it."""
    return 1 + _die(listing, price, "size") % 5 if row else 1


def _die(listing: Listing, price: Decimal, what: str) -> int:
    return zlib.crc32(f"{listing.con_id}:{price.normalize()}:{what}".encode())
