"""Messages about scanners, news and the small print of an account (tws-wire guide, sections 4, 5 and 8)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from ibkr_mcp_server.simulator.instruments import Listing
from ibkr_mcp_server.simulator.replies import Message
from ibkr_mcp_server.simulator.wire import Field

# --- scanners ---


def scanner_parameters(xml: str) -> Message:
    return (19, 1, xml)


def scanner_data(req_id: int, found: Sequence[Listing]) -> Message:
    """All rows in one message, the best first; it is its own end marker."""
    fields: list[Field] = []
    for rank, listing in enumerate(found):
        fields += [rank, listing.con_id, listing.symbol, listing.sec_type, listing.last_trade_date]
        fields += [listing.strike or 0, listing.right, listing.exchange, listing.currency, listing.local_symbol]
        fields += [listing.market_name, listing.trading_class, "", "", "", ""]
    return (20, 3, req_id, len(found), *fields)


# --- news ---


def news_providers(providers: Sequence[tuple[str, str]]) -> Message:
    return (85, len(providers), *[field for provider in providers for field in provider])


def historical_news(req_id: int, at: datetime, provider: str, article_id: str, headline: str) -> Message:
    return (86, req_id, f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}.0", provider, article_id, headline)


def historical_news_end(req_id: int, *, has_more: bool) -> Message:
    return (87, req_id, has_more)


def tick_news(req_id: int, at: datetime, provider: str, article_id: str, headline: str) -> Message:
    return (84, req_id, int(at.timestamp() * 1000), provider, article_id, headline, "")


def news_article(req_id: int, text: str) -> Message:
    """An article of plain text or HTML; this gateway has no PDF."""
    return (83, req_id, 0, text)


def news_bulletin(number: int, kind: int, text: str, exchange: str) -> Message:
    return (14, 1, number, kind, text, exchange)


# --- small print ---


def soft_dollar_tiers(req_id: int) -> Message:
    """None: they are a matter of institutional accounts."""
    return (77, req_id, 0)


def family_codes(accounts: Sequence[str]) -> Message:
    """Each account with an empty code: none of them is managed by another."""
    return (78, len(accounts), *[field for account in accounts for field in (account, "")])


def display_groups(req_id: int) -> Message:
    """None: a gateway has no windows."""
    return (67, 1, req_id, "")


def display_group_updated(req_id: int) -> Message:
    return (68, 1, req_id, "none")
