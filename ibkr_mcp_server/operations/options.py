"""Option chains, cut down to what was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from ibkr_mcp_server.broker.base import BrokerReads
from ibkr_mcp_server.domain.instruments import Instrument, InstrumentQuery
from ibkr_mcp_server.domain.operations import Operation
from ibkr_mcp_server.domain.options import OptionChain
from ibkr_mcp_server.domain.quotes import Quote
from ibkr_mcp_server.operations.desk import Desk
from ibkr_mcp_server.operations.safe_operation import Access, Answer, safe_trading_operation

BEST_EXCHANGE = "SMART"
"""Where IBKR routes options best; its chain holds the classes of all exchanges."""


@dataclass(frozen=True, kw_only=True)
class ChainFilter:
    """Which part of the chains is wanted; None does not restrict."""

    exchange: str | None = None
    trading_class: str | None = None
    first_expiry: str | None = None
    """`YYYYMMDD`, inclusive."""
    last_expiry: str | None = None
    """`YYYYMMDD`, inclusive."""
    lowest_strike: Decimal | None = None
    highest_strike: Decimal | None = None
    most_strikes: int


@dataclass(frozen=True, kw_only=True)
class ChainPart:
    """What is wanted of one chain, and how much there is."""

    chain: OptionChain
    expirations: tuple[str, ...]
    strikes: tuple[Decimal, ...]
    """Of those within the wanted range, the nearest to the centre."""
    strikes_in_range: int


@dataclass(frozen=True, kw_only=True)
class ChainAnswer:
    """The options on one underlying."""

    underlying: Instrument
    quote: Quote | None
    """Of the underlying; None when it has none, which leaves the chains as they are."""
    parts: tuple[ChainPart, ...]
    chains: tuple[OptionChain, ...]
    """All that there are, uncut."""


async def option_chain(
    operation: Operation, query: InstrumentQuery, wanted: ChainFilter, desk: Desk
) -> Answer[ChainAnswer]:
    """The expirations and strikes of the options on an underlying."""

    async def act(access: Access) -> ChainAnswer:
        underlying = await access.broker.resolve(query)
        chains = await access.broker.option_chains(underlying)
        quote = await _quote(access.broker, underlying) if chains else None
        price = None if quote is None else price_of(quote)
        return ChainAnswer(
            underlying=underlying,
            quote=quote,
            parts=tuple(cut(chain, wanted, price) for chain in chosen(chains, wanted)),
            chains=tuple(chains),
        )

    return await safe_trading_operation(operation, act, desk=desk)


async def _quote(broker: BrokerReads, underlying: Instrument) -> Quote | None:
    (answer,) = await broker.quotes([underlying])
    return answer if isinstance(answer, Quote) else None


def price_of(quote: Quote) -> Decimal | None:
    """Where the underlying stands, for choosing strikes: its last trade, else the middle, else the previous close."""
    if quote.last is not None:
        return quote.last
    if quote.bid is not None and quote.ask is not None:
        return (quote.bid + quote.ask) / 2
    return quote.close


def chosen(chains: Sequence[OptionChain], wanted: ChainFilter) -> list[OptionChain]:
    """The chains of the wanted exchange and class; without an exchange SMART's, if there are any."""
    exchange = wanted.exchange
    if exchange is None and any(chain.exchange == BEST_EXCHANGE for chain in chains):
        exchange = BEST_EXCHANGE
    return [
        chain
        for chain in chains
        if exchange in (None, chain.exchange) and wanted.trading_class in (None, chain.trading_class)
    ]


def cut(chain: OptionChain, wanted: ChainFilter, price: Decimal | None) -> ChainPart:
    """The wanted part of one chain. Without a price the strikes around the middle of the list are taken."""
    strikes = [
        strike
        for strike in chain.strikes
        if (wanted.lowest_strike is None or strike >= wanted.lowest_strike)
        and (wanted.highest_strike is None or strike <= wanted.highest_strike)
    ]
    centre = price if price is not None else strikes[len(strikes) // 2] if strikes else Decimal()
    nearest = sorted(strikes, key=lambda strike: (abs(strike - centre), strike))[: wanted.most_strikes]
    return ChainPart(
        chain=chain,
        expirations=tuple(
            expiry
            for expiry in chain.expirations
            if (wanted.first_expiry or "") <= expiry <= (wanted.last_expiry or "99999999")
        ),
        strikes=tuple(sorted(nearest)),
        strikes_in_range=len(strikes),
    )
