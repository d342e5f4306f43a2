"""What one client has subscribed to, and the ticks that a moving quote becomes (tws-wire guide, section 6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from ibkr_mcp_server.simulator import replies
from ibkr_mcp_server.simulator.generic_ticks import GenericTicks
from ibkr_mcp_server.simulator.instruments import Listing
from ibkr_mcp_server.simulator.market import MarketQuote
from ibkr_mcp_server.simulator.replies import Message
from ibkr_mcp_server.simulator.requests import ReqHistoricalData
from ibkr_mcp_server.simulator.stream_feeds import DepthFeed, NewsFeed, RealTimeBarFeed, ScannerFeed, TickByTickFeed


@dataclass(frozen=True, kw_only=True)
class TickTypes:
    """TWS's numbers for one kind of data."""

    bid: int
    bid_size: int
    ask: int
    ask_size: int
    last: int
    last_size: int
    high: int
    low: int
    volume: int
    close: int
    open: int
    last_timestamp: int
    halted: int


LIVE = TickTypes(
    bid=1,
    bid_size=0,
    ask=2,
    ask_size=3,
    last=4,
    last_size=5,
    high=6,
    low=7,
    volume=8,
    close=9,
    open=14,
    last_timestamp=45,
    halted=49,
)
DELAYED = TickTypes(
    bid=66,
    bid_size=69,
    ask=67,
    ask_size=70,
    last=68,
    last_size=71,
    high=72,
    low=73,
    volume=74,
    close=75,
    open=76,
    last_timestamp=88,
    halted=90,
)
_NO_PRICE = Decimal(-1)


@dataclass(kw_only=True)
class MarketFeed:
    """One market data subscription and what it was told last."""

    req_id: int
    listing: Listing
    delayed: bool
    generics: GenericTicks = GenericTicks()  # noqa: RUF009 - frozen
    told: MarketQuote | None = None

    def ticks(self, quote: MarketQuote) -> list[Message]:
        """The messages that bring the subscriber from what it knows to `quote`."""
        told = self.told
        ordinary = self._ordinary_ticks(quote) if self.generics.ordinary else []
        self.told = quote
        return [*ordinary, *self.generics.following(self.req_id, quote, told)]

    def _ordinary_ticks(self, quote: MarketQuote) -> list[Message]:
        types = DELAYED if self.delayed else LIVE
        told = self.told
        messages: list[Message] = []
        for price_name, size_name in (("bid", "bid_size"), ("ask", "ask_size"), ("last", "last_size")):
            price, size = getattr(quote, price_name), getattr(quote, size_name)
            if told is not None and (price, size) == (getattr(told, price_name), getattr(told, size_name)):
                continue
            if price is None:
                # Only a quote that a side could have is worth a "none"; pairs never have a last price.
                if price_name != "last" or (told is not None and told.last is not None):
                    messages.append(replies.tick_price(self.req_id, getattr(types, price_name), _NO_PRICE, Decimal(0)))
                continue
            messages.append(replies.tick_price(self.req_id, getattr(types, price_name), price, size))
            if size is not None:
                messages.append(replies.tick_size(self.req_id, getattr(types, size_name), size))
            if price_name == "last":
                seconds = str(int(quote.at.timestamp()))
                messages.append(replies.tick_string(self.req_id, types.last_timestamp, seconds))
        for name in ("open", "high", "low", "close"):
            price = getattr(quote, name)
            if price is not None and (told is None or price != getattr(told, name)):
                messages.append(replies.tick_price(self.req_id, getattr(types, name), price, None))
        if quote.volume is not None and (told is None or quote.volume != told.volume):
            messages.append(replies.tick_size(self.req_id, types.volume, quote.volume))
        if told is None or quote.halted != told.halted:
            messages.append(replies.tick_generic(self.req_id, types.halted, int(quote.halted)))
        return messages


@dataclass(kw_only=True)
class BarFeed:
    """A historical request with keepUpToDate."""

    request: ReqHistoricalData
    listing: Listing


@dataclass(kw_only=True)
class SummaryFeed:
    accounts: tuple[str, ...]
    tags: tuple[str, ...]
    told: dict[tuple[str, str, str], str] = field(default_factory=dict)
    """Value by account, tag and currency."""


@dataclass(kw_only=True)
class ValuesFeed:
    """One account's values or positions, for reqAccountUpdates and the "multi" requests."""

    account: str
    model_code: str = ""
    told: dict[tuple[str, str], str] = field(default_factory=dict)


@dataclass(kw_only=True)
class Client:
    """A connected client that has started the API. `send` queues a message for its socket."""

    client_id: int
    version: int
    send: Callable[[Message], None]
    market_data_type: int = 1
    binds_manual_orders: bool = False
    market_feeds: dict[int, MarketFeed] = field(default_factory=dict)
    bar_feeds: dict[int, BarFeed] = field(default_factory=dict)
    depth_feeds: dict[int, DepthFeed] = field(default_factory=dict)
    tick_by_tick: dict[int, TickByTickFeed] = field(default_factory=dict)
    real_time_bars: dict[int, RealTimeBarFeed] = field(default_factory=dict)
    scanners: dict[int, ScannerFeed] = field(default_factory=dict)
    news: dict[int, NewsFeed] = field(default_factory=dict)
    """Live headlines, by the market data request that asked for them."""
    bulletins_until: datetime | None = None
    """Up to when bulletins were told; None without a subscription."""
    account_updates: ValuesFeed | None = None
    summaries: dict[int, SummaryFeed] = field(default_factory=dict)
    multi_updates: dict[tuple[int, str], ValuesFeed] = field(default_factory=dict)
    """By request id and account: an empty account asks for all of them."""
    positions: bool = False
    multi_positions: dict[tuple[int, str], ValuesFeed] = field(default_factory=dict)
    pnl: dict[int, str] = field(default_factory=dict)
    """Account by request id."""
    pnl_single: dict[int, tuple[str, int]] = field(default_factory=dict)
    """Account and contract id by request id."""

    def drop_data_subscriptions(self) -> None:
        """Forget all streams of market data; accounts, orders and scanners are none."""
        self.market_feeds.clear()
        self.bar_feeds.clear()
        self.depth_feeds.clear()
        self.tick_by_tick.clear()
        self.real_time_bars.clear()
        self.news.clear()
