"""Exchange rates, and what an amount is worth in another currency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from ibkr_mcp_server.domain.forex import KNOWN_PAIRS, Leg
from ibkr_mcp_server.domain.instruments import InstrumentQuery, SecType
from ibkr_mcp_server.domain.money import CENT, Money
from ibkr_mcp_server.domain.operations import Operation
from ibkr_mcp_server.domain.quotes import Quote
from ibkr_mcp_server.errors import Refused, Unavailable
from ibkr_mcp_server.operations.desk import Desk
from ibkr_mcp_server.operations.market_data import QuoteEntry, quoted
from ibkr_mcp_server.operations.safe_operation import Access, Answer, safe_trading_operation
from ibkr_mcp_server.safety.codes import CODES, Code


async def rates(operation: Operation, desk: Desk) -> Answer[Sequence[QuoteEntry]]:
    """The newest quote of each pair of the operation; one that cannot be had does not spoil the others."""

    async def act(access: Access) -> Sequence[QuoteEntry]:
        return await quoted(access, operation.symbols, _pairs(operation.symbols))

    return await safe_trading_operation(operation, act, desk=desk)


def _pairs(symbols: Sequence[str]) -> Sequence[InstrumentQuery]:
    return [InstrumentQuery(symbol=symbol, sec_type=SecType.CASH) for symbol in symbols]


@dataclass(frozen=True, kw_only=True)
class UsedRate:
    """One step of a conversion with the quote that it was made at."""

    leg: Leg
    quote: Quote
    rate: Decimal


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """An amount, and what it is worth; nothing was bought or sold."""

    amount: Money
    worth: Money
    """At the middle of each quote."""
    at_market: Money
    """What converting would bring at the bids and asks, before commissions."""
    rate: Decimal
    """Units of the target currency for one of the source."""
    used: Sequence[UsedRate]


async def convert(
    operation: Operation, amount: Decimal, source: str, target: str, legs: Sequence[Leg] | None, desk: Desk
) -> Answer[Conversion]:
    """What `amount` of `source` is worth in `target` by `legs`, whose pairs are the operation's symbols."""

    async def act(access: Access) -> Conversion:
        if legs is None:
            raise _no_way(source, target)
        entries = await quoted(access, operation.symbols, _pairs(operation.symbols))
        worth = at_market = amount
        rate, used = Decimal(1), []
        for leg, entry in zip(legs, entries, strict=True):
            quote = entry.quote
            if quote is None or quote.bid is None or quote.ask is None:
                raise _no_rate(entry)
            step = leg.rate(quote.bid, quote.ask)
            worth, rate = worth * step, rate * step
            at_market *= leg.worst_rate(quote.bid, quote.ask)
            used.append(UsedRate(leg=leg, quote=quote, rate=step))
        return Conversion(
            amount=Money(amount=amount, currency=source),
            worth=Money(amount=worth.quantize(CENT), currency=target),
            at_market=Money(amount=at_market.quantize(CENT), currency=target),
            rate=rate,
            used=used,
        )

    return await safe_trading_operation(operation, act, desk=desk)


def _no_way(source: str, target: str) -> Refused:
    known = sorted({currency for pair in KNOWN_PAIRS for currency in pair.split(".")})
    strange = [currency for currency in (source, target) if currency not in known]
    return Refused(
        Code.INVALID_ARGUMENTS,
        f"No currency pair leads from {source} to {target}; unknown here: {', '.join(strange) or 'neither'}.",
        next_step=f"Use two of these currencies: {', '.join(known)}.",
    )


def _no_rate(entry: QuoteEntry) -> Unavailable | Refused:
    told = entry.refusal
    if told is not None:
        return Refused(
            told.code,
            f"There is no rate for {entry.symbol}: {told.message}",
            next_step=told.next_step,
            broker_code=told.broker_code,
        )
    return Unavailable(
        Code.NO_MARKET_DATA,
        f"The quote of {entry.symbol} has no bid and ask; its market may be closed (Friday to Sunday, 17:00 New York).",
        next_step=CODES[Code.NO_MARKET_DATA].remedy,
    )
