"""What all tools that quote have in common: the figures of a quote, and why a symbol has none."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TypeVar

from ibkr_mcp_server.broker.base import Refusal
from ibkr_mcp_server.domain.quotes import Quote
from ibkr_mcp_server.operations.market_data import QuoteEntry
from ibkr_mcp_server.tools.results import Failure, Part, Unknown
from ibkr_mcp_server.tools.text import cleaned
from ibkr_mcp_server.tools.views import age

View = TypeVar("View", bound=Part)


class QuoteRefusal(Part):
    """Why one symbol has no quote."""

    code: str
    error: str
    next_step: str
    broker_code: int | Unknown = None


def with_quote(view: View, entry: QuoteEntry, now: datetime) -> View:
    """`view` with those figures of the entry's quote that it has fields for, or with the reason why there is none."""
    told = {} if entry.quote is None else _figures(entry.quote, now)
    told["refused"] = None if entry.refusal is None else _refused(entry.refusal)
    return view.model_copy(update={name: value for name, value in told.items() if name in type(view).model_fields})


def _figures(quote: Quote, now: datetime) -> dict[str, object]:
    return {
        "bid": quote.bid,
        "ask": quote.ask,
        "last": quote.last,
        "bid_size": quote.bid_size,
        "ask_size": quote.ask_size,
        "last_size": quote.last_size,
        "volume": quote.volume,
        "open_interest": quote.open_interest,
        "open": quote.open,
        "high": quote.high,
        "low": quote.low,
        "previous_close": quote.close,
        "halted": quote.halted,
        "data_type": str(quote.data_type),
        "received_at": quote.received_at,
        "age_seconds": age(quote.received_at, now),
        "unchanged_seconds": None if quote.changed_at is None else age(quote.changed_at, now),
        "last_traded_at": quote.last_at,
    }


def _refused(refusal: Refusal) -> QuoteRefusal:
    """Why there is no quote, as results show it."""
    return QuoteRefusal(
        code=refusal.code,
        error=cleaned(refusal.message, 600),
        next_step=cleaned(refusal.next_step),
        broker_code=refusal.broker_code,
    )


def without_a_quote(entries: Sequence[QuoteEntry]) -> Failure | None:
    """The failure of a call that got no quote at all: the first reason, and all of them as details."""
    refusals = [entry.refusal for entry in entries if entry.refusal is not None]
    if not refusals or len(refusals) < len(entries):
        return None
    first = refusals[0]
    return Failure(
        code=first.code,
        error=first.message,
        next_step=first.next_step,
        details=[f"{refusal.code}: {refusal.message}" for refusal in refusals],
        broker_code=first.broker_code,
    )
