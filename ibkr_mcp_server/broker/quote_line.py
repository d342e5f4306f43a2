"""One market-data line, and what it has heard."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

from ibkr_mcp_server.broker import translate
from ibkr_mcp_server.broker.base import Refusal
from ibkr_mcp_server.broker.research_rows import DELAYED_OPTION_TICKS, OPTION_TICKS, greeks_of
from ibkr_mcp_server.domain.options import Greeks, GreeksBasis
from ibkr_mcp_server.domain.quotes import MarketDataType, Quote

TYPES = {
    1: MarketDataType.LIVE,
    2: MarketDataType.FROZEN,
    3: MarketDataType.DELAYED,
    4: MarketDataType.DELAYED_FROZEN,
}
"""By reqMarketDataType's numbers."""
_PRICES = {1: "bid", 2: "ask", 4: "last", 6: "high", 7: "low", 9: "close", 14: "open"} | {
    66: "bid", 67: "ask", 68: "last", 72: "high", 73: "low", 75: "close", 76: "open"
}  # fmt: skip
_SIZES = {
    0: "bid_size",
    3: "ask_size",
    5: "last_size",
    8: "volume",
    21: "average_volume",
    89: "shortable_shares",
    69: "bid_size",
    70: "ask_size",
    71: "last_size",
} | {74: "volume"}
_LAST_TIMES = frozenset({45, 88})
"""The time of the last trade, in seconds since 1970; live and delayed."""
_OPEN_INTEREST = {"C": 27, "P": 28}
"""By right; the other one of an option says nothing about it."""
_BEST_BASIS = (GreeksBasis.MODEL, GreeksBasis.LAST, GreeksBasis.BID, GreeksBasis.ASK)
_HALTED = (49, 90)
_SHORTABLE = 46
"""How hard shares are to borrow; see `Quote.shortable`."""
_DELAYED_TICKS = range(66, 77)
_DATED = frozenset({"bid", "ask", "last"})
"""The prices whose arrival makes a quote fresh; a high or a close says nothing about now."""


@dataclass(kw_only=True)
class Line:
    """One subscription and what it has heard."""

    con_id: int
    asked: int
    """The type of data that was asked for, by reqMarketDataType's numbers."""
    req_id: int
    right: str = ""
    """`C` or `P` of an option."""
    greeks: dict[GreeksBasis, Greeks] = field(default_factory=dict)
    values: dict[str, Decimal | None] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)
    """What was heard since the line was last asked for."""
    halted: bool | None = None
    data_type: MarketDataType = MarketDataType.LIVE
    received_at: datetime | None = None
    changed_at: datetime | None = None
    last_at: datetime | None = None
    refusal: Refusal | None = None
    users: int = 0
    is_settled: bool = False
    """Somebody has waited for its first prices: nobody waits again for what it never sends."""
    lost: bool = False
    news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def key(self) -> tuple[int, int]:
        return self.con_id, self.asked

    @property
    def has_both_sides(self) -> bool:
        return self._knows("bid", "ask")

    @property
    def is_complete(self) -> bool:
        if self.right and GreeksBasis.MODEL not in self.greeks:
            return False
        return self._knows("bid", "ask", "last", "close")

    def _knows(self, *names: str) -> bool:
        return all(name in self.told and self.values.get(name) is not None for name in names)

    @property
    def is_over(self) -> bool:
        return self.refusal is not None or self.lost

    def quote(self) -> Quote | None:
        if self.received_at is None:
            return None
        return Quote(
            con_id=self.con_id,
            received_at=self.received_at,
            changed_at=self.changed_at,
            last_at=self.last_at,
            data_type=self.data_type,
            halted=self.halted,
            shortable=self.values.get("shortable"),
            open_interest=self.values.get("open_interest"),
            greeks=next((self.greeks[basis] for basis in _BEST_BASIS if basis in self.greeks), None),
            **{name: self.values.get(name) for name in (*_PRICES.values(), *_SIZES.values())},
        )

    # ------------------------------------------------------------------------------------------------ asking again

    def is_quiet(self, now: datetime, seconds: float) -> bool:
        """Its prices are there, and the newest of them came that long ago."""
        return self.is_settled and self.received_at is not None and (now - self.received_at).total_seconds() >= seconds

    def ask_again(self, req_id: int) -> None:
        """The same subscription under a new id; what was heard stays until the broker restates it."""
        self.req_id = req_id
        self.told.clear()
        self.is_settled = False

    def settle(self) -> None:
        """Its first prices have been waited for. What a broker that does restate prices leaves out is not known now."""
        if self.told & {"bid", "ask"}:
            for side in {"bid", "ask"} - self.told:
                self.values[side] = self.values[f"{side}_size"] = None
        self.is_settled = self.received_at is not None

    # -------------------------------------------------------------------------------------------------- its ticks

    def price(self, tick_type: int, price: float, size: float, now: datetime) -> None:
        name = _PRICES.get(tick_type)
        if name is None:
            return
        value = translate.price(price)
        if name in ("bid", "ask") and not size:
            value = None  # a side without a size is a side without a quote
        if name in _DATED:
            if value != self.values.get(name):
                self.changed_at = now
            self.values[f"{name}_size"] = translate.price(size)
        self.values[name] = value
        self.told.add(name)
        if tick_type in _DELAYED_TICKS and self.data_type is MarketDataType.LIVE:
            self.data_type = MarketDataType.DELAYED
        if value is not None and (name in _DATED or self.received_at is None):
            self.received_at = now
        self.news.set()

    def size(self, tick_type: int, size: float) -> None:
        name = _SIZES.get(tick_type)
        if tick_type == _OPEN_INTEREST.get(self.right):
            self.values["open_interest"] = translate.number(size)
        elif name is None:
            return
        else:
            self.values[name] = translate.price(size)
            if name in ("bid_size", "ask_size") and not size:
                self.values[name.removesuffix("_size")] = None
        self.news.set()

    def computation(self, tick_type: int, numbers: Mapping[str, float], now: datetime) -> None:
        basis = OPTION_TICKS.get(tick_type)
        if basis is None:
            return
        greeks = greeks_of(basis, numbers, now)
        if greeks.delta is not None or greeks.implied_volatility is not None:
            self.greeks[basis] = greeks
        if tick_type in DELAYED_OPTION_TICKS and self.data_type is MarketDataType.LIVE:
            self.data_type = MarketDataType.DELAYED
        self.news.set()

    def generic(self, tick_type: int, value: float) -> None:
        if tick_type == _SHORTABLE:
            self.values["shortable"] = translate.number(value)
        if tick_type in _HALTED:
            self.halted = None if value < 0 else value > 0  # -1 is "not told"

    def text(self, tick_type: int, text: str) -> None:
        if tick_type in _LAST_TIMES and text.isdigit() and len(text) <= 11:
            self.last_at = datetime.fromtimestamp(int(text), UTC)
