"""What a client has subscribed to beside quotes: depth, single ticks, five-second bars, scanners, news.

Each feed remembers what its subscriber was told and turns what is new into messages (tws-wire guide, sections 6 to 8).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from ibkr_mcp_server.simulator import stream_replies
from ibkr_mcp_server.simulator.instruments import Listing
from ibkr_mcp_server.simulator.market import MarketQuote
from ibkr_mcp_server.simulator.market_depth import Level, levels, venue_at
from ibkr_mcp_server.simulator.replies import Message
from ibkr_mcp_server.simulator.scanners import Scan


@dataclass(kw_only=True)
class DepthFeed:
    """A book as its subscriber has it; `smart` names each row's venue."""

    req_id: int
    listing: Listing
    rows: int
    smart: bool
    told: dict[int, list[Level]] = field(default_factory=lambda: {stream_replies.ASK: [], stream_replies.BID: []})

    def messages(self, quote: MarketQuote) -> Iterator[Message]:
        """The insertions, updates and deletions that lead to the book of `quote`."""
        for side, told in self.told.items():
            book = levels(self.listing, quote, bids=side == stream_replies.BID, rows=self.rows)
            for row, level in enumerate(book):
                if row >= len(told):
                    yield self._row(row, stream_replies.INSERT, side, level)
                elif level != told[row]:
                    yield self._row(row, stream_replies.UPDATE, side, level)
            for row in range(len(told) - 1, len(book) - 1, -1):
                yield self._row(row, stream_replies.DELETE, side, told[row])
            self.told[side] = book

    def _row(self, row: int, operation: int, side: int, level: Level) -> Message:
        if self.smart:
            return stream_replies.smart_depth_row(
                self.req_id, row, level.venue, operation, side, level.price, level.size
            )
        return stream_replies.depth_row(self.req_id, row, operation, side, level.price, level.size)


@dataclass(kw_only=True)
class TickByTickFeed:
    """Every change of one kind: Last, AllLast, BidAsk or MidPoint."""

    req_id: int
    listing: Listing
    kind: str
    told: MarketQuote

    def messages(self, quote: MarketQuote) -> Iterator[Message]:
        told, self.told = self.told, quote
        if self.kind == "BidAsk":
            sides = ("bid", "ask", "bid_size", "ask_size")
            if quote.bid is not None and quote.ask is not None and _differ(told, quote, sides):
                yield stream_replies.tick_by_tick_quote(self.req_id, quote)
        elif self.kind == "MidPoint":
            now = middle(quote)
            if now is not None and now != middle(told):
                yield stream_replies.tick_by_tick_middle(self.req_id, quote.at, now)
        elif quote.last is not None and quote.last_size and _differ(told, quote, ("last", "last_size", "volume")):
            venue = venue_at(self.listing, quote.last)
            yield stream_replies.tick_by_tick_trade(
                self.req_id, self.kind, quote.at, quote.last, quote.last_size, venue
            )


def middle(quote: MarketQuote) -> Decimal | None:
    return None if quote.bid is None or quote.ask is None else (quote.bid + quote.ask) / 2


def _differ(told: MarketQuote, quote: MarketQuote, names: tuple[str, ...]) -> bool:
    return any(getattr(told, name) != getattr(quote, name) for name in names)


@dataclass(kw_only=True)
class RealTimeBarFeed:
    """Bars of five seconds; those that end after `told_until` are still to be sent."""

    req_id: int
    listing: Listing
    what: str
    told_until: datetime


@dataclass(kw_only=True)
class ScannerFeed:
    req_id: int
    scan: Scan
    rows: int
    """As asked for; -1 for as many as there may be."""


@dataclass(kw_only=True)
class NewsFeed:
    """Headlines about one instrument as they appear; no `providers` means all of them."""

    req_id: int
    listing: Listing
    providers: tuple[str, ...]
    told_until: datetime
