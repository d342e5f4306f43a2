"""Quotes from a bounded set of streaming lines.

The first request for an instrument opens a line and waits a moment for its first prices; later ones read what the line
has heard. A line that has been quiet for some seconds is asked for anew, since silence alone does not tell a quiet
instrument from a dead line: the broker restates its prices, and they are as old as that, or it does not, and they keep
their age. The line that nobody asked for the longest makes room for a new one. Unless the caller names a type of data,
live data is requested, and where the account may not see it, delayed data. The quote says which of them it is.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from ibkr_mcp_server.broker import translate
from ibkr_mcp_server.broker.base import Refusal
from ibkr_mcp_server.broker.error_codes import Kind, explain
from ibkr_mcp_server.broker.hearing import Remark
from ibkr_mcp_server.broker.pacing import Lane, Pacer
from ibkr_mcp_server.broker.quote_line import TYPES, Line
from ibkr_mcp_server.broker.session import Session
from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.domain.instruments import Instrument, SecType
from ibkr_mcp_server.domain.quotes import MarketDataType, Quote
from ibkr_mcp_server.errors import Unavailable

LINES = 40
"""IBKR gives 100 lines to an account; TWS itself uses some."""

SETTLE_SECONDS = 0.2
"""How long to wait, once both sides are known, for the last price and the previous close."""

LIVE, FROZEN, DELAYED, DELAYED_FROZEN = 1, 2, 3, 4
"""reqMarketDataType: applies to the subscriptions that follow."""
WANTED = {kind: number for number, kind in TYPES.items()}
WITHOUT_SUBSCRIPTION = {LIVE: DELAYED, FROZEN: DELAYED_FROZEN}
"""What may still be had where the account may not see live data."""

STOCK_GENERIC_TICKS = "165,236"
"""Miscellaneous statistics, of which the average daily volume (tick 21) is read, and what can be borrowed (46, 89)."""
OPTION_GENERIC_TICKS = "101"
"""Open interest, which is not sent unless it is asked for."""

NOT_SUBSCRIBED = frozenset({354, 10089, 10186})
"""The answers to a request for live data after which delayed data may still be had."""

RENEWED_AFTER_SECONDS = 5.0
"""A line that has said nothing for so long is asked for anew: its instrument may be quiet, or the line may be dead, and
only the broker's own restatement tells which."""


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
        self._lines: OrderedDict[tuple[int, int], Line] = OrderedDict()
        """By contract and the type of data that was asked for."""
        self._by_request: dict[int, Line] = {}
        self._opening = asyncio.Lock()
        self._requested_type = LIVE
        self._delayed_only: set[int] = set()

    async def quotes(
        self, instruments: Sequence[Instrument], wanted: MarketDataType | None = None
    ) -> list[Quote | Refusal]:
        """The newest quote of each instrument, in the order asked; see `BrokerReads.quotes`.

        Raises:
            Unavailable: no link, or no room among the messages.
        """
        results: list[Quote | Refusal] = []
        # As many at a time as there are lines: one request never evicts what it still waits for.
        for start in range(0, len(instruments), self._most_lines):
            part = instruments[start : start + self._most_lines]
            results += await asyncio.gather(*(self._quote(instrument, wanted) for instrument in part))
        return results

    async def _quote(self, instrument: Instrument, wanted: MarketDataType | None) -> Quote | Refusal:
        asked = LIVE if wanted is None else WANTED[wanted]
        instead = None if wanted is MarketDataType.LIVE else WITHOUT_SUBSCRIPTION.get(asked)
        if instead is not None and instrument.con_id in self._delayed_only:
            asked, instead = instead, None
        line = await self._line_with_prices(instrument, asked)
        if instead is not None and line.refusal is not None and line.refusal.broker_code in NOT_SUBSCRIBED:
            self._delayed_only.add(instrument.con_id)
            line = await self._line_with_prices(instrument, instead)
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

    async def _line_with_prices(self, instrument: Instrument, asked: int) -> Line:
        line = await self._line(instrument, asked)
        line.users += 1
        try:
            if not line.is_settled:
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
        if not line.is_settled:
            line.settle()

    async def _news(self, line: Line) -> None:
        line.news.clear()
        await line.news.wait()

    async def _line(self, instrument: Instrument, asked: int) -> Line:
        key = (instrument.con_id, asked)
        line = self._lines.get(key)
        if line is None or self._is_quiet(line):
            async with self._session.bounded("a quote"), self._opening:
                line = self._lines.get(key)
                if line is None:
                    line = await self._open(instrument, asked)
                elif self._is_quiet(line):  # nobody else has asked for it anew meanwhile
                    await self._ask_again(line, instrument)
        self._lines.move_to_end(key)
        return line

    def _is_quiet(self, line: Line) -> bool:
        return line.is_quiet(self._clock.now(), RENEWED_AFTER_SECONDS)

    async def _open(self, instrument: Instrument, asked: int) -> Line:
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
        await self._choose(asked)
        async with self._pacer.permit(Lane.READ):
            self._session.check_alive()
            line = Line(con_id=instrument.con_id, asked=asked, req_id=self._session.next_id(), right=instrument.right)
            self._lines[line.key] = self._by_request[line.req_id] = line
            self._request(line, instrument)
        return line

    async def _ask_again(self, line: Line, instrument: Instrument) -> None:
        """Let the broker restate the prices of a quiet line, under a new id; the old subscription is ended."""
        await self._choose(line.asked)
        async with self._pacer.permit(Lane.READ):
            self._session.check_alive()
            old = line.req_id
            self._by_request.pop(old, None)
            line.ask_again(self._session.next_id())
            self._by_request[line.req_id] = line
            self._request(line, instrument)
        self._session.end_subscription(self._session.client.cancelMktData, old)

    async def _choose(self, asked: int) -> None:
        """Let the subscriptions that follow be of this type."""
        if asked == self._requested_type:
            return
        async with self._pacer.permit(Lane.READ):
            self._session.check_alive()
            self._session.client.reqMarketDataType(asked)
        self._requested_type = asked

    def _request(self, line: Line, instrument: Instrument) -> None:
        stock = STOCK_GENERIC_TICKS if instrument.sec_type is SecType.STK else ""
        more = OPTION_GENERIC_TICKS if line.right else stock
        self._session.client.reqMktData(line.req_id, translate.contract_for(instrument), more, False, False, [])

    async def _close(self, line: Line) -> None:
        self._drop(line)
        async with self._pacer.permit(Lane.READ):
            self._session.check_alive()
            self._session.client.cancelMktData(line.req_id)

    def _drop(self, line: Line) -> None:
        if self._lines.get(line.key) is line:
            del self._lines[line.key]
        self._by_request.pop(line.req_id, None)

    def forget_all(self) -> None:
        """The gateway lost the subscriptions (1101): lines are opened anew when they are asked for."""
        for line in list(self._lines.values()):
            self._drop(line)

    # --------------------------------------------------------------------------------------- told by the session

    def price(self, req_id: int, tick_type: int, price: float, size: float) -> None:
        if (line := self._by_request.get(req_id)) is not None:
            line.price(tick_type, price, size, self._clock.now())

    def size(self, req_id: int, tick_type: int, size: float) -> None:
        if (line := self._by_request.get(req_id)) is not None:
            line.size(tick_type, size)

    def computation(self, req_id: int, tick_type: int, numbers: Mapping[str, float]) -> None:
        if (line := self._by_request.get(req_id)) is not None:
            line.computation(tick_type, numbers, self._clock.now())

    def generic(self, req_id: int, tick_type: int, value: float) -> None:
        if (line := self._by_request.get(req_id)) is not None:
            line.generic(tick_type, value)

    def text(self, req_id: int, tick_type: int, text: str) -> None:
        if (line := self._by_request.get(req_id)) is not None:
            line.text(tick_type, text)

    def data_type(self, req_id: int, data_type: int) -> None:
        if (line := self._by_request.get(req_id)) is not None:
            line.data_type = TYPES.get(data_type, MarketDataType.DELAYED_FROZEN)

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
