"""The market of what is held, sampled every ten seconds: how much it moves, moves together, and can be traded.

Quotes come from the lines that the adapter keeps anyway. What five minutes usually come to is read once a day for each
instrument. A failure to read any of it is no figure, never a calm one.
"""

from __future__ import annotations

import asyncio
from datetime import date
from decimal import Decimal

from ibkr_mcp_server.broker.base import FarmState, Refusal
from ibkr_mcp_server.clock import trading_day
from ibkr_mcp_server.domain.accounts import Position
from ibkr_mcp_server.domain.history import BarRequest
from ibkr_mcp_server.domain.instruments import Instrument, InstrumentQuery, SecType
from ibkr_mcp_server.domain.quotes import Quote
from ibkr_mcp_server.errors import ProductError
from ibkr_mcp_server.log import get_logger
from ibkr_mcp_server.operations.desk import Desk
from ibkr_mcp_server.safety.market_figures import Samples, log_range, usual_range

SAMPLE_SECONDS = 10.0
FRESH_SECONDS = 60.0
"""An older quote tells nothing of how liquid a market is."""
_NOT_MARKET_DATA = ("hmds", "secdef", "fundfarm")
"""Parts of the names of farms that serve history and definitions."""

_log = get_logger(__name__)


class MarketWatch:
    """Samples, in the background of the risk monitor."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._samples = Samples()
        self._usual: dict[int, tuple[date, float | None]] = {}
        self._labels: dict[int, str] = {}
        self._sampled_at: float | None = None
        self._task: asyncio.Task[None] | None = None
        self._lost_since: float | None = None
        self.illiquid = 0
        self.taken = 0
        """How many samples were taken."""
        self.prices: dict[int, float] = {}
        """Of the newest sample, by contract."""

    def look(self, held: list[Position]) -> None:
        """Take a sample if one is due; returns at once."""
        now = self._desk.clock.monotonic()
        is_due = self._sampled_at is None or now - self._sampled_at >= SAMPLE_SECONDS
        if is_due and not self.is_sampling:
            self._sampled_at = now
            self._task = asyncio.ensure_future(self._sample(held, now))

    @property
    def is_sampling(self) -> bool:
        return self._task is not None and not self._task.done()

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    # ---- figures

    def volatility(self) -> tuple[tuple[str, Decimal], ...]:
        now, found = self._desk.clock.monotonic(), []
        for con_id, (_, usual) in self._usual.items():
            moved = self._samples.range_of(con_id, now)
            if moved is not None and usual:
                found.append((self._labels[con_id], Decimal(str(round(moved / usual, 4)))))
        return tuple(found)

    def correlation_pct(self) -> Decimal | None:
        return self._samples.correlation_pct()

    def feed_lost_seconds(self, *, is_invested: bool) -> float | None:
        """Since when market data of positions is lost: a farm is broken, or the gateway does not answer."""
        link, now = self._desk.broker.link, self._desk.clock.monotonic()
        broken = any(
            farm.state is FarmState.BROKEN and not any(word in farm.name for word in _NOT_MARKET_DATA)
            for farm in link.farms
        )
        silent = 0.0 if link.heard is None else now - link.heard
        unanswered = silent - float(self._desk.settings.heartbeat_seconds)
        if not is_invested or not (broken or unanswered > 0):
            self._lost_since = None
            return None
        # From this look on: what a machine that was asleep did not hear says nothing of the gateway.
        self._lost_since = now if self._lost_since is None else self._lost_since
        return now - self._lost_since

    # ---- sampling

    async def _sample(self, held: list[Position], now: float) -> None:
        try:
            await self._take(held, now)
        except (ProductError, OSError) as error:
            _log.warning("the market of the positions could not be sampled", error=str(error))

    async def _take(self, held: list[Position], now: float) -> None:
        broker = self._desk.broker
        con_ids = sorted({one.instrument.con_id for one in held if one.instrument.sec_type is not SecType.CASH})
        instruments = [await broker.resolve(InstrumentQuery(symbol="", con_id=con_id)) for con_id in con_ids]
        quotes = await broker.quotes(instruments)
        prices = {one.con_id: _price(quote) for one, quote in zip(instruments, quotes, strict=True)}
        self._samples.add(now, prices)
        self.prices = {con_id: price for con_id, price in prices.items() if price is not None}
        self._labels = {one.con_id: one.label for one in instruments}
        self.illiquid = sum(map(self._is_illiquid, instruments, quotes))
        self._usual = {con_id: known for con_id, known in self._usual.items() if con_id in self._labels}
        today = trading_day(self._desk.clock.now())
        for instrument in instruments:
            if self._usual.get(instrument.con_id, (None, None))[0] != today:
                self._usual[instrument.con_id] = today, await self._usual_range(instrument)
        self.taken += 1

    def _is_illiquid(self, instrument: Instrument, quote: Quote | Refusal) -> bool:
        now = self._desk.clock.now()
        if isinstance(quote, Refusal) or not instrument.in_regular_hours(now) or quote.age_seconds(now) > FRESH_SECONDS:
            return False
        if quote.bid is None or quote.ask is None:
            return True
        middle = (quote.bid + quote.ask) / 2
        return middle <= 0 or (quote.ask - quote.bid) / middle * 100 > self._desk.settings.max_spread_pct

    async def _usual_range(self, instrument: Instrument) -> float | None:
        """What five minutes of the last twenty days came to."""
        request = BarRequest(
            instrument=instrument, bar_size="5 mins", duration="20 D", what_to_show="TRADES", regular_hours_only=True
        )
        try:
            history = await self._desk.broker.bars(request)
        except ProductError as error:
            _log.warning("no history to compare with", instrument=instrument.label, error=str(error))
            return None
        ranges = (log_range(float(bar.high), float(bar.low)) for bar in history.bars)
        return usual_range([one for one in ranges if one is not None])


def _price(quote: Quote | Refusal) -> float | None:
    if isinstance(quote, Refusal):
        return None
    if quote.bid is not None and quote.ask is not None and quote.bid > 0:
        return float((quote.bid + quote.ask) / 2)
    return None if quote.last is None else float(quote.last)
