"""Answers from the tape: historical ticks, and how much was traded at which price (tws-wire guide, section 7)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.simulator import replies, stream_replies
from ibkr_mcp_server.simulator.feeds import Client
from ibkr_mcp_server.simulator.history_desk import HistoryDesk
from ibkr_mcp_server.simulator.instruments import Catalogue, Listing
from ibkr_mcp_server.simulator.lookup import find_or_tell, refuse
from ibkr_mcp_server.simulator.market import Market, MarketQuote
from ibkr_mcp_server.simulator.market_depth import venue_at
from ibkr_mcp_server.simulator.requests import Request
from ibkr_mcp_server.simulator.sessions import Sessions
from ibkr_mcp_server.simulator.stream_feeds import middle
from ibkr_mcp_server.simulator.stream_requests import ReqHistogram, ReqHistoricalTicks
from ibkr_mcp_server.simulator.tape import Tape
from ibkr_mcp_server.simulator.tws_time import parse_moment

MOST_TICKS = 1_000
KINDS_OF_TICKS = {"TRADES": "Last", "BID_ASK": "BidAsk", "MIDPOINT": "MidPoint"}
"""whatToShow, and the tick-by-tick stream that continues it."""
HISTOGRAM_PERIODS = {
    "day": ("D", "1 min"),
    "week": ("W", "5 mins"),
    "month": ("M", "30 mins"),
    "year": ("Y", "1 day"),
}
"""The unit of a period: how a duration spells it, and the bars that are fine enough for it."""


class TapeDesk:
    def __init__(
        self, *, clock: Clock, catalogue: Catalogue, sessions: Sessions, market: Market, history: HistoryDesk
    ) -> None:
        self._clock = clock
        self._catalogue = catalogue
        self._market = market
        self._history = history
        self._tape = Tape(market, sessions)
        # The handlers' second parameter is the request type that is their key, which `Any` stands for.
        self.handlers: dict[type[Request], Callable[[Client, Any], None]] = {
            ReqHistoricalTicks: self._historical_ticks,
            ReqHistogram: self._histogram,
        }

    def send_latest(self, client: Client, req_id: int, listing: Listing, *, kind: str, count: int) -> None:
        """The ticks with which a tick-by-tick stream begins when its client asked for some of the past."""
        ticks = self._tape.up_to_moment(listing, self._clock.now(), count=min(count, MOST_TICKS))
        client.send(_message(req_id, listing, "Last" if kind == "AllLast" else kind, ticks))

    def _historical_ticks(self, client: Client, request: ReqHistoricalTicks) -> None:
        listing = find_or_tell(self._catalogue, client, request.req_id, request.contract)
        if listing is None or self._history.fails(client, request.req_id, listing):
            return
        if request.what not in KINDS_OF_TICKS:
            refuse(client, request.req_id, f"Unknown whatToShow '{request.what}'")
            return
        if bool(request.start) == bool(request.end):
            refuse(client, request.req_id, "Please specify exactly one of start and end time")
            return
        if not 0 < request.count <= MOST_TICKS:
            refuse(client, request.req_id, f"Number of ticks must be between 1 and {MOST_TICKS}")
            return
        if request.what == "TRADES" and self._market.quote(listing.con_id).volume is None:
            text = f"No data of type Trades is available for the exchange '{listing.exchange}'"
            client.send(replies.error(request.req_id, 10187, f"Failed to request historical ticks:{text}"))
            return
        now = self._clock.now()
        try:
            if request.start:
                ticks = self._tape.from_moment(listing, parse_moment(request.start), count=request.count, now=now)
            else:
                end = min(parse_moment(request.end), now)
                ticks = self._tape.up_to_moment(listing, end, count=request.count)
        except ValueError as error:
            refuse(client, request.req_id, str(error))
            return
        client.send(_message(request.req_id, listing, KINDS_OF_TICKS[request.what], ticks))

    def _histogram(self, client: Client, request: ReqHistogram) -> None:
        listing = find_or_tell(self._catalogue, client, request.req_id, request.contract)
        if listing is None or self._history.fails(client, request.req_id, listing):
            return
        number, _, unit = request.period.partition(" ")
        if not number.isdecimal() or unit.removesuffix("s") not in HISTOGRAM_PERIODS:
            refuse(client, request.req_id, f"Invalid time period '{request.period}'")
            return
        duration, bar_size = HISTOGRAM_PERIODS[unit.removesuffix("s")]
        now = self._clock.now()
        try:
            bars = self._market.bars(
                listing.con_id,
                end=now,
                duration=f"{number} {duration}",
                bar_size=bar_size,
                what="TRADES",
                use_rth=True,
                now=now,
            )
        except ValueError as error:
            refuse(client, request.req_id, str(error))
            return
        traded: Counter[Decimal] = Counter()
        for bar in bars:
            traded[bar.close] += int(bar.volume)
        client.send(stream_replies.histogram(request.req_id, sorted(traded.items())))


def _message(req_id: int, listing: Listing, kind: str, ticks: list[MarketQuote]) -> replies.Message:
    if kind == "MidPoint":
        middles = [(tick.at, price) for tick in ticks if (price := middle(tick)) is not None]
        return stream_replies.historical_middles(req_id, middles)
    if kind == "BidAsk":
        quoted = [tick for tick in ticks if tick.bid is not None and tick.ask is not None]
        return stream_replies.historical_quotes(req_id, quoted)
    traded = [
        (tick.at, tick.last, tick.last_size, venue_at(listing, tick.last))
        for tick in ticks
        if tick.last is not None and tick.last_size
    ]
    return stream_replies.historical_trades(req_id, traded)
