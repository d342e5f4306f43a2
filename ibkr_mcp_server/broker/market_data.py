"""Quotes from a bounded set of streaming lines.

The first request for an instrument opens a line and waits a moment for its first prices; later ones read what the line
has heard. The line that nobody asked for the longest makes room for a new one. Live data is requested first; where the
account may not see it, delayed data instead. The quote says which of them it is.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from ibkr_mcp_server.broker import translate
from ibkr_mcp_server.broker.base import Refusal
from ibkr_mcp_server.broker.error_codes import Kind, explain
from ibkr_mcp_server.broker.hearing import Remark
from ibkr_mcp_server.broker.pacing import Lane, Pacer
from ibkr_mcp_server.broker.research_rows import DELAYED_OPTION_TICKS, OPTION_TICKS, greeks_of
from ibkr_mcp_server.broker.session import Session
from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.domain.instruments import Instrument
from ibkr_mcp_server.domain.options import Greeks, GreeksBasis
from ibkr_mcp_server.domain.quotes import MarketDataType, Quote
from ibkr_mcp_server.errors import Unavailable

LINES = 40
"""IBKR gives 100 lines to an account; TWS itself uses some."""

SETTLE_SECONDS = 0.2
"""How long to wait, once both sides are known, for the last price and the previous close."""

LIVE, DELAYED = 1, 3
"""reqMarketDataType: applies to the subscriptions that follow."""

NOT_SUBSCRIBED = frozenset({354, 10089, 10186})
"""The answers to a request for live data after which delayed data may still be had."""

_TYPES = {
    1: MarketDataType.LIVE,
    2: MarketDataType.FROZEN,
    3: MarketDataType.DELAYED,
    4: MarketDataType.DELAYED_FROZEN,
}
_PRICES = {1: "bid", 2: "ask", 4: "last", 6: "high", 7: "low", 9: "close", 14: "open"} | {
    66: "bid", 67: "ask", 68: "last", 72: "high", 73: "low", 75: "close", 76: "open"
}  # fmt: skip
_SIZES = {
    0: "bid_size",
    3: "ask_size",
    5: "last_size",
    8: "volume",
    69: "bid_size",
    70: "ask_size",
    71: "last_size",
} | {74: "volume"}
_OPEN_INTEREST = {"C": 27, "P": 28}
"""By right; the other one of an option says nothing about it."""
OPTION_GENERIC_TICKS = "101"
"""Open interest, which is not sent unless it is asked for."""
_BEST_BASIS = (GreeksBasis.MODEL, GreeksBasis.LAST, GreeksBasis.BID, GreeksBasis.ASK)
_HALTED = (49, 90)
_DELAYED_TICKS = range(66, 77)
_DATED = frozenset({"bid", "ask", "last"})
"""The prices whose arrival makes a quote fresh; a high or a close says nothing about now."""


@dataclass(kw_only=True)
class Line:
    """One subscription and what it has heard."""

    con_id: int
    req_id: int
    right: str = ""
    """`C` or `P` of an option."""
    greeks: dict[GreeksBasis, Greeks] = field(default_factory=dict)
    values: dict[str, Decimal | None] = field(default_factory=dict)
    halted: bool | None = None
    data_type: MarketDataType = MarketDataType.LIVE
    received_at: datetime | None = None
    refusal: Refusal | None = None
    users: int = 0
    is_settled: bool = False
    """Somebody has waited for its first prices: nobody waits again for what it never sends."""
    lost: bool = False
    news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def has_both_sides(self) -> bool:
        return self.values.get("bid") is not None and self.values.get("ask") is not None

    @property
    def is_complete(self) -> bool:
        if self.right and GreeksBasis.MODEL not in self.greeks:
            return False
        return self.has_both_sides and self.values.get("last") is not None and self.values.get("close") is not None

    @property
    def is_over(self) -> bool:
        return self.refusal is not None or self.lost

    def quote(self) -> Quote | None:
        if self.received_at is None:
            return None
        return Quote(
            con_id=self.con_id,
            received_at=self.received_at,
            data_type=self.data_type,
            halted=self.halted,
            open_interest=self.values.get("open_interest"),
            greeks=next((self.greeks[basis] for basis in _BEST_BASIS if basis in self.greeks), None),
            **{name: self.values.get(name) for name in (*_PRICES.values(), *_SIZES.values())},
        )


class QuoteBoard:
    """The lines of one connection; the session tells it every tick."""

    def __init__(
        self, session: Session, *, clock: Clock, pacer: Pacer, wait_seconds: float, lines: int = LINES
    ) -> None:
        self._session = session
        self._clock = clock
        self._pacer = pacer
        self._wait_seconds = wait_seconds
        self._most_lines = lines
        self._lines: OrderedDict[int, Line] = OrderedDict()
        self._by_request: dict[int, Line] = {}
        self._opening = asyncio.Lock()
        self._requested_type = LIVE
        self._delayed_only: set[int] = set()

    async def quotes(self, instruments: Sequence[Instrument]) -> list[Quote | Refusal]:
        """The newest quote of each instrument, in the order asked.

        Raises:
            Unavailable: no link, or no room among the messages.
        """
        results: list[Quote | Refusal] = []
        # As many at a time as there are lines: one request never evicts what it still waits for.
        for start in range(0, len(instruments), self._most_lines):
            part = instruments[start : start + self._most_lines]
            results += await asyncio.gather(*(self._quote(instrument) for instrument in part))
        return results

    async def _quote(self, instrument: Instrument) -> Quote | Refusal:
        line = await self._line_with_prices(instrument)
        if line.refusal is not None and line.refusal.broker_code in NOT_SUBSCRIBED:
            self._delayed_only.add(instrument.con_id)
            line = await self._line_with_prices(instrument)
        if line.lost:
            raise Unavailable(
                "LINK_DOWN",
                "The connection to the gateway was lost while a quote was awaited.",
                next_step="Wait for the connection to come back, then ask again.",
            )
        if line.refusal is not None:
            return line.refusal
        quote = line.quote()
        if quote is None:
            self._session.suspect()
            return Refusal(
                code="NO_QUOTE",
                message=f"No price of {instrument.label} arrived within {self._wait_seconds:g} s.",
                next_step="Ask again later; its market may be closed, or it may not trade.",
            )
        return quote

    async def _line_with_prices(self, instrument: Instrument) -> Line:
        line = await self._line(instrument)
        line.users += 1
        try:
            await self._first_prices(line)
        finally:
            line.users -= 1
        return line

    async def _first_prices(self, line: Line) -> None:
        """Return when all prices are there, or soon after both sides are, or when the time is over."""
        loop = asyncio.get_running_loop()
        end, settling = loop.time() + self._wait_seconds, False
        try:
            async with asyncio.timeout_at(end) as limit:
                while not (line.is_settled or line.is_complete or line.is_over):
                    if line.has_both_sides and not settling:
                        settling = True
                        limit.reschedule(min(end, loop.time() + SETTLE_SECONDS))
                    await self._news(line)
        except TimeoutError:
            pass  # what has come by now is the answer
        line.is_settled = line.received_at is not None

    async def _news(self, line: Line) -> None:
        line.news.clear()
        await line.news.wait()

    async def _line(self, instrument: Instrument) -> Line:
        line = self._lines.get(instrument.con_id)
        if line is None:
            async with self._session.bounded("a quote"), self._opening:
                line = self._lines.get(instrument.con_id) or await self._open(instrument)
        self._lines.move_to_end(instrument.con_id)
        return line

    async def _open(self, instrument: Instrument) -> Line:
        while len(self._lines) >= self._most_lines:
            idle = next((line for line in self._lines.values() if not line.users), None)
            if idle is None:
                raise Unavailable(
                    "BROKER_PACING",
                    f"All {self._most_lines} market-data lines are in use.",
                    next_step="Ask again in a moment, for fewer instruments.",
                    retry_after_seconds=1.0,
                )
            await self._close(idle)
        wanted_type = DELAYED if instrument.con_id in self._delayed_only else LIVE
        if wanted_type != self._requested_type:
            async with self._pacer.permit(Lane.READ):
                self._session.check_alive()
                self._session.client.reqMarketDataType(wanted_type)
            self._requested_type = wanted_type
        async with self._pacer.permit(Lane.READ):
            self._session.check_alive()
            line = Line(con_id=instrument.con_id, req_id=self._session.next_id(), right=instrument.right)
            self._lines[line.con_id] = self._by_request[line.req_id] = line
            more = OPTION_GENERIC_TICKS if line.right else ""
            self._session.client.reqMktData(line.req_id, translate.contract_for(instrument), more, False, False, [])
        return line

    async def _close(self, line: Line) -> None:
        self._drop(line)
        async with self._pacer.permit(Lane.READ):
            self._session.check_alive()
            self._session.client.cancelMktData(line.req_id)

    def _drop(self, line: Line) -> None:
        if self._lines.get(line.con_id) is line:
            del self._lines[line.con_id]
        self._by_request.pop(line.req_id, None)

    def forget_all(self) -> None:
        """The gateway lost the subscriptions (1101): lines are opened anew when they are asked for."""
        for line in list(self._lines.values()):
            self._drop(line)

    # --------------------------------------------------------------------------------------- told by the session

    def price(self, req_id: int, tick_type: int, price: float, size: float) -> None:
        line, name = self._by_request.get(req_id), _PRICES.get(tick_type)
        if line is None or name is None:
            return
        value = translate.price(price)
        if name in ("bid", "ask") and not size:
            value = None  # a side without a size is a side without a quote
        line.values[name] = value
        if name in _DATED:
            line.values[f"{name}_size"] = translate.price(size)
        if tick_type in _DELAYED_TICKS and line.data_type is MarketDataType.LIVE:
            line.data_type = MarketDataType.DELAYED
        if value is not None and (name in _DATED or line.received_at is None):
            line.received_at = self._clock.now()
        line.news.set()

    def size(self, req_id: int, tick_type: int, size: float) -> None:
        line, name = self._by_request.get(req_id), _SIZES.get(tick_type)
        if line is not None and tick_type == _OPEN_INTEREST.get(line.right):
            line.values["open_interest"] = translate.number(size)
            line.news.set()
        if line is None or name is None:
            return
        line.values[name] = translate.price(size)
        if name in ("bid_size", "ask_size") and not size:
            line.values[name.removesuffix("_size")] = None
        line.news.set()

    def computation(self, req_id: int, tick_type: int, numbers: Mapping[str, float]) -> None:
        line, basis = self._by_request.get(req_id), OPTION_TICKS.get(tick_type)
        if line is None or basis is None:
            return
        greeks = greeks_of(basis, numbers, self._clock.now())
        if greeks.delta is not None or greeks.implied_volatility is not None:
            line.greeks[basis] = greeks
        if tick_type in DELAYED_OPTION_TICKS and line.data_type is MarketDataType.LIVE:
            line.data_type = MarketDataType.DELAYED
        line.news.set()

    def generic(self, req_id: int, tick_type: int, value: float) -> None:
        line = self._by_request.get(req_id)
        if line is not None and tick_type in _HALTED:
            line.halted = None if value < 0 else value > 0  # -1 is "not told"

    def data_type(self, req_id: int, data_type: int) -> None:
        line = self._by_request.get(req_id)
        if line is not None:
            line.data_type = _TYPES.get(data_type, MarketDataType.DELAYED_FROZEN)

    def remark(self, req_id: int, remark: Remark) -> bool:
        line = self._by_request.get(req_id)
        if line is None:
            return False
        if remark.code == 10167:
            line.data_type = MarketDataType.DELAYED
        elif remark.kind not in (Kind.WARNING, Kind.INFO):
            known = explain(remark.code)
            line.refusal = Refusal(
                code="NO_MARKET_DATA",
                message=known.meaning,
                next_step=known.next_step,
                broker_code=remark.code,
            )
            self._drop(line)
        line.news.set()
        return True

    def lost(self) -> None:
        for line in list(self._lines.values()):
            line.lost = True
            line.news.set()
            self._drop(line)
