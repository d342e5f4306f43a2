"""Scanners and news: what the broker suggests to look at. All text in it was written by others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum


@dataclass(frozen=True, kw_only=True)
class ScanQuery:
    """A market scan, in the words of IBKR's scanner parameters."""

    instrument: str
    """Kind of instrument: `STK`, `ETF.EQ.US`, `FUT.US`, …"""
    location_code: str
    scan_code: str
    rows: int
    above_price: Decimal | None = None
    below_price: Decimal | None = None
    above_volume: int | None = None
    market_cap_above: Decimal | None = None
    market_cap_below: Decimal | None = None
    filters: Mapping[str, str] = field(default_factory=dict)
    """More filters, by the codes of the scanner parameters."""


@dataclass(frozen=True, kw_only=True)
class ScanRow:
    """One contract that a scan found; the last three are the broker's text and mostly empty."""

    rank: int
    con_id: int
    symbol: str
    sec_type: str
    exchange: str
    currency: str
    local_symbol: str
    distance: str = ""
    benchmark: str = ""
    projection: str = ""


@dataclass(frozen=True, kw_only=True)
class ScannerWord:
    """One word of the scanner's vocabulary; `instruments` is empty where the broker ties it to none."""

    code: str
    name: str
    instruments: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ScannerVocabulary:
    """What a scan may be asked for at this broker (reqScannerParameters)."""

    instruments: tuple[ScannerWord, ...]
    locations: tuple[ScannerWord, ...]
    scan_codes: tuple[ScannerWord, ...]
    filters: tuple[ScannerWord, ...]


@dataclass(frozen=True, kw_only=True)
class NewsProvider:
    """A source that the login may read."""

    code: str
    name: str


@dataclass(frozen=True, kw_only=True)
class Headline:
    """One news item of an instrument."""

    provider: str
    article_id: str
    published_at: datetime
    text: str


@dataclass(frozen=True, kw_only=True)
class Headlines:
    """The newest first."""

    items: tuple[Headline, ...]
    has_more: bool
    """The broker has more in the asked range."""


class ArticleForm(StrEnum):
    TEXT = "text"
    """Plain text or HTML."""
    PDF = "pdf"
    """A PDF as Base64."""


@dataclass(frozen=True, kw_only=True)
class Article:
    """The body of a news item, as sent."""

    form: ArticleForm
    body: str
