"""News: providers, headlines, articles, live headlines and the house's bulletins (tws-wire guide, sections 6 and 8)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.simulator import replies, research_replies
from ibkr_mcp_server.simulator.feeds import Client
from ibkr_mcp_server.simulator.instruments import Catalogue, Listing
from ibkr_mcp_server.simulator.lookup import refuse
from ibkr_mcp_server.simulator.newsroom import PROVIDERS, NewsItem, Newsroom
from ibkr_mcp_server.simulator.requests import Request
from ibkr_mcp_server.simulator.research_requests import (
    CancelNewsBulletins,
    ReqHistoricalNews,
    ReqNewsArticle,
    ReqNewsBulletins,
    ReqNewsProviders,
)
from ibkr_mcp_server.simulator.stream_feeds import NewsFeed
from ibkr_mcp_server.simulator.tws_time import parse_news_moment

MOST_HEADLINES = 300
NEWS_REACH = timedelta(days=60)
"""How far back headlines go when no beginning is asked for."""


class NewsDesk:
    def __init__(self, *, clock: Clock, catalogue: Catalogue, newsroom: Newsroom) -> None:
        self._clock = clock
        self._catalogue = catalogue
        self._newsroom = newsroom
        # The handlers' second parameter is the request type that is their key, which `Any` stands for.
        self.handlers: dict[type[Request], Callable[[Client, Any], None]] = {
            ReqNewsProviders: self._providers,
            ReqHistoricalNews: self._headlines,
            ReqNewsArticle: self._article,
            ReqNewsBulletins: self._bulletins,
            CancelNewsBulletins: self._cancel_bulletins,
        }

    def subscribe(self, client: Client, req_id: int, listing: Listing, providers: tuple[str, ...]) -> None:
        """Live headlines for a market data request that asked for generic tick 292."""
        client.news[req_id] = NewsFeed(
            req_id=req_id, listing=listing, providers=providers, told_until=self._clock.now()
        )

    def push(self, client: Client) -> None:
        """Headlines and bulletins that came out since the client was last told."""
        now = self._clock.now()
        for feed in client.news.values():
            for item in reversed(self._newsroom.items(feed.listing, after=feed.told_until, until=now)):
                if not feed.providers or item.provider in feed.providers:
                    client.send(
                        research_replies.tick_news(feed.req_id, item.at, item.provider, item.article_id, item.headline)
                    )
            feed.told_until = max(feed.told_until, now)
        if client.bulletins_until is not None:
            self._push_bulletins(client, client.bulletins_until)

    # --- what is asked once ---

    def _providers(self, client: Client, request: ReqNewsProviders) -> None:
        client.send(research_replies.news_providers([*PROVIDERS.items()]))

    def _headlines(self, client: Client, request: ReqHistoricalNews) -> None:
        listing = self._catalogue.by_con_id(request.con_id)
        if listing is None:
            refuse(client, request.req_id, f"Invalid contract id {request.con_id}")
            return
        unknown = [code for code in request.providers if code not in PROVIDERS]
        if unknown or not request.providers:
            refuse(client, request.req_id, f"Invalid news provider code '{'+'.join(unknown)}'")
            return
        if not 0 < request.count <= MOST_HEADLINES:
            refuse(client, request.req_id, f"Number of headlines must be between 1 and {MOST_HEADLINES}")
            return
        now = self._clock.now()
        try:
            until = min(parse_news_moment(request.end), now) if request.end else now
            after = parse_news_moment(request.start) if request.start else until - NEWS_REACH
        except ValueError as error:
            refuse(client, request.req_id, str(error))
            return
        wanted = _of(self._newsroom.items(listing, after=max(after, until - NEWS_REACH), until=until), request)
        for item in wanted[: request.count]:
            client.send(
                research_replies.historical_news(request.req_id, item.at, item.provider, item.article_id, item.headline)
            )
        client.send(research_replies.historical_news_end(request.req_id, has_more=len(wanted) > request.count))

    def _article(self, client: Client, request: ReqNewsArticle) -> None:
        item = self._newsroom.article(request.provider, request.article_id)
        if item is None or item.at > self._clock.now():
            client.send(replies.error(request.req_id, 10172, "Failed to request news article:No data available"))
        else:
            client.send(research_replies.news_article(request.req_id, item.text))

    # --- bulletins ---

    def _bulletins(self, client: Client, request: ReqNewsBulletins) -> None:
        now = self._clock.now()
        start_of_day = datetime.combine(now.astimezone(UTC).date(), datetime.min.time(), tzinfo=UTC)
        self._push_bulletins(client, start_of_day if request.all_of_today else now)

    def _push_bulletins(self, client: Client, after: datetime) -> None:
        now = self._clock.now()
        for bulletin in self._newsroom.bulletins(after=after, until=now):
            client.send(
                research_replies.news_bulletin(bulletin.number, bulletin.kind, bulletin.text, bulletin.exchange)
            )
        client.bulletins_until = max(after, now)

    def _cancel_bulletins(self, client: Client, request: CancelNewsBulletins) -> None:
        client.bulletins_until = None


def _of(items: Sequence[NewsItem], request: ReqHistoricalNews) -> list[NewsItem]:
    return [item for item in items if item.provider in request.providers]
