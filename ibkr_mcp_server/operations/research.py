"""Scanners and news."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ibkr_mcp_server.domain.instruments import Instrument, InstrumentQuery
from ibkr_mcp_server.domain.operations import Operation
from ibkr_mcp_server.domain.research import (
    Article,
    Headlines,
    NewsProvider,
    ScannerVocabulary,
    ScanQuery,
    ScanRow,
)
from ibkr_mcp_server.operations.desk import Desk
from ibkr_mcp_server.operations.safe_operation import Access, Answer, safe_trading_operation


async def scanner_vocabulary(operation: Operation, desk: Desk) -> Answer[ScannerVocabulary]:
    """The words in which a scan may be asked for."""

    async def act(access: Access) -> ScannerVocabulary:
        return await access.broker.scanner_vocabulary()

    return await safe_trading_operation(operation, act, desk=desk)


async def scan(operation: Operation, query: ScanQuery, desk: Desk) -> Answer[Sequence[ScanRow]]:
    """What a scan finds now."""

    async def act(access: Access) -> Sequence[ScanRow]:
        return await access.broker.scan(query)

    return await safe_trading_operation(operation, act, desk=desk)


@dataclass(frozen=True, kw_only=True)
class NewsAnswer:
    """Headlines, and the providers that the login may read."""

    instrument: Instrument
    providers: Sequence[NewsProvider]
    headlines: Headlines


@dataclass(frozen=True, kw_only=True)
class NewsWanted:
    """Which headlines."""

    providers: tuple[str, ...]
    """Empty for all that the login may read."""
    start: datetime | None
    end: datetime | None
    limit: int


async def news(operation: Operation, query: InstrumentQuery, wanted: NewsWanted, desk: Desk) -> Answer[NewsAnswer]:
    """The newest headlines about an instrument; none when the login may read no provider."""

    async def act(access: Access) -> NewsAnswer:
        instrument = await access.broker.resolve(query)
        providers = await access.broker.news_providers()
        codes = wanted.providers or tuple(provider.code for provider in providers)
        headlines = Headlines(items=(), has_more=False)
        if codes:
            headlines = await access.broker.headlines(
                instrument, codes, start=wanted.start, end=wanted.end, limit=wanted.limit
            )
        return NewsAnswer(instrument=instrument, providers=providers, headlines=headlines)

    return await safe_trading_operation(operation, act, desk=desk)


async def article(operation: Operation, provider: str, article_id: str, desk: Desk) -> Answer[Article]:
    """The text of one news item."""

    async def act(access: Access) -> Article:
        return await access.broker.article(provider, article_id)

    return await safe_trading_operation(operation, act, desk=desk)
