"""The ticks that a client gets only by asking: the "generic tick list" of a market data request.

What TWS takes is `LEGAL`; what this market knows is told, and for the rest nothing comes, as when TWS has no data.
`mdoff` leaves the ordinary ticks out; `292:BRFG+DJ-N` narrows the news to providers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from ibkr_mcp_server.simulator import replies
from ibkr_mcp_server.simulator.instruments import Listing
from ibkr_mcp_server.simulator.market import Market, MarketQuote
from ibkr_mcp_server.simulator.replies import Message
from ibkr_mcp_server.simulator.sessions import local_date

OPEN_INTEREST, YEAR_OF_PRICES, MARK_PRICE, TRADES = 101, 165, 221, 233
SHORTABLE, NEWS, LAST_REGULAR = 236, 292, 318
LEGAL = {
    100: "Option Volume",
    OPEN_INTEREST: "Option Open Interest",
    104: "Historical Volatility",
    105: "Average Option Volume",
    106: "Option Implied Volatility",
    YEAR_OF_PRICES: "Miscellaneous Stats",
    MARK_PRICE: "Creditman mark price",
    225: "Auction",
    232: "PL Price",
    TRADES: "RTVolume",
    SHORTABLE: "inventory",
    258: "Fundamentals",
    NEWS: "Wide_news",
    293: "TradeCount",
    294: "TradeRate",
    295: "VolumeRate",
    LAST_REGULAR: "LastRTHTrade",
    375: "RTTrdVolume",
    411: "rthistvol",
    456: "IBDividends",
    460: "Bond Multiplier",
    586: "IPOHLDPRC",
    588: "Futures Open Interest",
    595: "Short-Term Volume X Mins",
    614: "EMM",
}
PRICE_TICKS = {13: (15, 16), 26: (17, 18), 52: (19, 20)}
"""Weeks, and the tick types of their low and high."""
_CALL_OPEN_INTEREST, _PUT_OPEN_INTEREST = 27, 28
_WEEKS_OF_VOLUME = 13
_AVERAGE_VOLUME, _RT_VOLUME, _SHORTABLE, _SHARES, _MARK, _LAST_REGULAR = 21, 48, 46, 89, 37, 57
_EASY_TO_BORROW = 3
"""Above 2.5 means that at least a thousand shares can be borrowed."""
_SHARES_TO_BORROW = Decimal(5_000_000)


@dataclass(frozen=True, kw_only=True)
class GenericTicks:
    wanted: frozenset[int] = frozenset()
    ordinary: bool = True
    news_providers: tuple[str, ...] = ()

    @staticmethod
    def of(text: str, sec_type: str) -> GenericTicks:
        """Read the list.

        Raises:
            ValueError: it names a tick that there is not; the text is TWS's.
        """
        wanted: set[int] = set()
        ordinary, providers = True, tuple[str, ...]()
        for item in filter(None, (part.strip() for part in text.split(","))):
            number, _, detail = item.partition(":")
            if number == "mdoff":
                ordinary = False
            elif number.isdecimal() and int(number) in LEGAL:
                wanted.add(int(number))
                providers = tuple(detail.split("+")) if int(number) == NEWS and detail else providers
            else:
                legal = ",".join(f"{legal_number}({name})" for legal_number, name in LEGAL.items())
                raise ValueError(f"Incorrect generic tick list of {text}. Legal ones for ({sec_type}) are: {legal}")
        return GenericTicks(wanted=frozenset(wanted), ordinary=ordinary, news_providers=providers)

    def at_first(self, req_id: int, listing: Listing, market: Market, now: datetime) -> Iterator[Message]:
        """What is told once, when the subscription begins."""
        con_id = listing.con_id
        if OPEN_INTEREST in self.wanted and listing.sec_type == "OPT":
            tick = _CALL_OPEN_INTEREST if listing.right == "C" else _PUT_OPEN_INTEREST
            yield replies.tick_size(req_id, tick, Decimal(market.open_interest(con_id)))
        if YEAR_OF_PRICES in self.wanted:
            yield from _year_of_prices(req_id, listing, market, now)
        if SHORTABLE in self.wanted and market.quote(con_id).volume is not None:
            yield replies.tick_generic(req_id, _SHORTABLE, _EASY_TO_BORROW)
            yield replies.tick_size(req_id, _SHARES, _SHARES_TO_BORROW)

    def following(self, req_id: int, quote: MarketQuote, told: MarketQuote | None) -> Iterator[Message]:
        """What comes with a quote that differs from the one `told` last."""
        middle = None if quote.bid is None or quote.ask is None else (quote.bid + quote.ask) / 2
        mark = quote.last if quote.last is not None else middle
        if MARK_PRICE in self.wanted and mark is not None:
            yield replies.tick_price(req_id, _MARK, mark, None)
        trade = (quote.last, quote.last_size, quote.volume)
        if quote.last is None or (told is not None and trade == (told.last, told.last_size, told.volume)):
            return
        if LAST_REGULAR in self.wanted:
            yield replies.tick_price(req_id, _LAST_REGULAR, quote.last, None)
        if TRADES in self.wanted and quote.volume is not None:
            yield replies.tick_string(req_id, _RT_VOLUME, _rt_volume(quote, quote.last, quote.volume))


def _rt_volume(quote: MarketQuote, last: Decimal, volume: Decimal) -> str:
    """`price;size;time in ms;volume so far;average price;single`: here each trade is a single one.

    The average is that of the day's open, high, low and last price, as the market keeps no sum of its trades.
    """
    known = [price for price in (quote.open, quote.high, quote.low, last) if price is not None]
    average = sum(known, Decimal(0)) / len(known)
    milliseconds = int(quote.at.timestamp() * 1000)
    return f"{last:f};{quote.last_size or 0:f};{milliseconds};{volume:f};{average:.8f};true"


def _year_of_prices(req_id: int, listing: Listing, market: Market, now: datetime) -> Iterator[Message]:
    con_id = listing.con_id
    what = "TRADES" if market.quote(con_id).volume is not None else "MIDPOINT"
    year = market.bars(con_id, end=now, duration="52 W", bar_size="1 day", what=what, use_rth=True, now=now)
    for weeks, (low, high) in PRICE_TICKS.items():
        since = local_date(listing, now) - timedelta(weeks=weeks)
        bars = [bar for bar in year if bar.start > since]
        if not bars:
            continue
        yield replies.tick_price(req_id, low, min(bar.low for bar in bars), None)
        yield replies.tick_price(req_id, high, max(bar.high for bar in bars), None)
        if what == "TRADES" and weeks == _WEEKS_OF_VOLUME:
            average = sum((bar.volume for bar in bars), Decimal(0)) / len(bars)
            yield replies.tick_size(req_id, _AVERAGE_VOLUME, average.to_integral_value())
