"""Instruments and their prices."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from ibkr_mcp_server.broker.base import Refusal
from ibkr_mcp_server.domain.instruments import Candidate, ContractDetails, Instrument, InstrumentQuery
from ibkr_mcp_server.domain.operations import Operation
from ibkr_mcp_server.domain.quotes import MarketDataType, Quote
from ibkr_mcp_server.errors import Refused, Unavailable
from ibkr_mcp_server.operations.desk import Desk
from ibkr_mcp_server.operations.progress import Progress, silent, told_meanwhile
from ibkr_mcp_server.operations.safe_operation import Access, Answer, safe_trading_operation
from ibkr_mcp_server.safety.codes import CODES, Code


@dataclass(frozen=True, kw_only=True)
class QuoteEntry:
    """What was found for one of the symbols asked for: a quote or the reason for none."""

    symbol: str
    instrument: Instrument | None = None
    quote: Quote | None = None
    refusal: Refusal | None = None


async def market_data(
    operation: Operation, desk: Desk, *, wanted: MarketDataType | None = None, progress: Progress = silent
) -> Answer[Sequence[QuoteEntry]]:
    """The newest quote for each symbol of the operation; one unknown symbol does not spoil the others."""
    queries = [InstrumentQuery(symbol=symbol) for symbol in operation.symbols]

    async def act(access: Access) -> Sequence[QuoteEntry]:
        reading = quoted(access, operation.symbols, queries, wanted)
        text = f"Waiting for {len(queries)} quotes."
        return await told_meanwhile(reading, progress=progress, clock=desk.clock, text=text)

    return await safe_trading_operation(operation, act, desk=desk)


async def quotes_of(
    operation: Operation, queries: Sequence[InstrumentQuery], desk: Desk
) -> Answer[Sequence[QuoteEntry]]:
    """The newest quote of each query; `operation.symbols` names them in the same order."""

    async def act(access: Access) -> Sequence[QuoteEntry]:
        return await quoted(access, operation.symbols, queries)

    return await safe_trading_operation(operation, act, desk=desk)


async def quoted(
    access: Access,
    symbols: Sequence[str],
    queries: Sequence[InstrumentQuery],
    wanted: MarketDataType | None = None,
) -> Sequence[QuoteEntry]:
    """The newest quote of each query, or the reason for none; `symbols` names them in the same order."""
    asked = zip(symbols, queries, strict=True)
    entries = await asyncio.gather(*(_resolved(access, symbol, query) for symbol, query in asked))
    known = [entry.instrument for entry in entries if entry.instrument is not None]
    answers = iter(await access.broker.quotes(known, wanted) if known else ())
    return [entry if entry.instrument is None else _with(entry, next(answers)) for entry in entries]


async def _resolved(access: Access, symbol: str, query: InstrumentQuery) -> QuoteEntry:
    try:
        return QuoteEntry(symbol=symbol, instrument=await access.broker.resolve(query))
    except Refused as error:
        candidates = f" Candidates: {'; '.join(error.details)}." if error.details else ""
        next_step = error.next_step or _remedy(error.code)
        return QuoteEntry(
            symbol=symbol,
            refusal=Refusal(
                code=error.code, message=error.message + candidates, next_step=next_step, broker_code=error.broker_code
            ),
        )


def _remedy(code: str) -> str:
    return CODES[Code(code)].remedy if code in tuple(Code) else ""


def _with(entry: QuoteEntry, answer: Quote | Refusal) -> QuoteEntry:
    quote, refusal = (answer, None) if isinstance(answer, Quote) else (None, answer)
    return QuoteEntry(symbol=entry.symbol, instrument=entry.instrument, quote=quote, refusal=refusal)


async def contract_details(operation: Operation, query: InstrumentQuery, desk: Desk) -> Answer[ContractDetails]:
    """Everything that the broker tells about the contract that `query` means."""

    async def act(access: Access) -> ContractDetails:
        return await access.broker.contract_details(query)

    return await safe_trading_operation(operation, act, desk=desk)


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """The one contract that a query means, or the candidates among which the caller must choose."""

    instrument: Instrument | None
    candidates: Sequence[Candidate]


async def resolve_symbol(operation: Operation, query: InstrumentQuery, desk: Desk) -> Answer[Resolution]:
    """Find out which contract a symbol means, without guessing."""

    async def act(access: Access) -> Resolution:
        try:
            return Resolution(instrument=await access.broker.resolve(query), candidates=())
        except Refused as error:
            if query.names_derivative or error.code not in (Code.CONTRACT_AMBIGUOUS, Code.CONTRACT_NOT_FOUND):
                raise  # of derivatives the error itself names the candidates
            try:
                found = await access.broker.search(query.symbol.split(".")[0])
            except Unavailable:  # the broker takes one search a second; what is known already is the answer
                raise error from None
            candidates = [one for one in found if query.currency in (None, one.currency)]
            if not candidates:
                raise
            return Resolution(instrument=None, candidates=candidates)

    return await safe_trading_operation(operation, act, desk=desk)
