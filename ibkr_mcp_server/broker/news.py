"""News: who writes it, the headlines of an instrument, and the text of one article."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from ibkr_mcp_server.broker.research_rows import unescaped
from ibkr_mcp_server.broker.session import Session
from ibkr_mcp_server.domain.instruments import Instrument
from ibkr_mcp_server.domain.research import Article, ArticleForm, Headline, Headlines, NewsProvider

MOST_HEADLINES = 300
"""IBKR's own bound for one request."""


class News:
    """The news of one connection."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def providers(self) -> list[NewsProvider]:
        """See `BrokerReads.news_providers`."""
        rows = await self._session.unnumbered("news providers", self._session.client.reqNewsProviders)
        return [NewsProvider(code=row.code, name=row.name) for row in rows]

    async def headlines(
        self,
        instrument: Instrument,
        providers: Sequence[str],
        *,
        start: datetime | None,
        end: datetime | None,
        limit: int,
    ) -> Headlines:
        """See `BrokerReads.headlines`."""
        client = self._session.client
        *rows, has_more = await self._session.numbered(
            f"the news about {instrument.label}",
            lambda req_id: client.reqHistoricalNews(
                req_id,
                instrument.con_id,
                "+".join(providers),
                _asked(start),
                _asked(end),
                min(limit, MOST_HEADLINES),
                [],
            ),
        )
        items: list[Headline] = sorted(rows, key=lambda one: one.published_at, reverse=True)
        return Headlines(items=tuple(items[:limit]), has_more=has_more or len(items) > limit)

    async def article(self, provider: str, article_id: str) -> Article:
        """See `BrokerReads.article`."""
        client = self._session.client
        ((form, body),) = await self._session.numbered(
            f"the article {article_id!r} of {provider!r}",
            lambda req_id: client.reqNewsArticle(req_id, provider, article_id, []),
        )
        return Article(form=ArticleForm.TEXT if form == 0 else ArticleForm.PDF, body=unescaped(body))


def _asked(moment: datetime | None) -> str:
    """`yyyy-MM-dd HH:mm:ss.0`, in UTC; empty for an open end."""
    return "" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}.0"
