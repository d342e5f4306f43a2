"""From the broker's rows about options, scans and news to words of `domain/`; pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal

from ibkr_mcp_server.broker import translate
from ibkr_mcp_server.broker.library import ib_async
from ibkr_mcp_server.domain.options import Greeks, GreeksBasis, OptionChain
from ibkr_mcp_server.domain.research import Headline, ScanRow

OPTION_TICKS: Mapping[int, GreeksBasis] = {
    10: GreeksBasis.BID,
    11: GreeksBasis.ASK,
    12: GreeksBasis.LAST,
    13: GreeksBasis.MODEL,
} | {80: GreeksBasis.BID, 81: GreeksBasis.ASK, 82: GreeksBasis.LAST, 83: GreeksBasis.MODEL}
"""Tick types of option computations, live and delayed."""

DELAYED_OPTION_TICKS = range(80, 84)

_NOT_COMPUTED = {
    "implied_volatility": -1,
    "option_price": -1,
    "dividends": -1,
    "underlying_price": -1,
    "delta": -2,
    "gamma": -2,
    "vega": -2,
    "theta": -2,
}
"""What stands for "not computed" in each field of tickOptionComputation."""


def greeks_of(basis: GreeksBasis, numbers: Mapping[str, float], now: datetime) -> Greeks:
    """One computation, its numbers under the names of `Greeks`."""
    told = {name: None if value == _NOT_COMPUTED[name] else translate.number(value) for name, value in numbers.items()}
    return Greeks(basis=basis, received_at=now, **told)


def chain_of(
    exchange: str, trading_class: str, multiplier: str, expirations: Iterable[str], strikes: Iterable[float]
) -> OptionChain:
    """One row of an option chain."""
    known = {strike for strike in map(translate.price, strikes) if strike is not None}
    return OptionChain(
        exchange=exchange,
        trading_class=trading_class,
        multiplier=translate.price(multiplier or None),
        expirations=tuple(sorted(set(expirations))),
        strikes=tuple(sorted(known)),
    )


def merged_chains(rows: Iterable[OptionChain]) -> list[OptionChain]:
    """One chain per exchange, class and multiplier: gateways split long lists over several rows."""
    parts: dict[tuple[str, str, Decimal | None], tuple[set[str], set[Decimal]]] = {}
    for row in rows:
        expirations, strikes = parts.setdefault((row.exchange, row.trading_class, row.multiplier), (set(), set()))
        expirations.update(row.expirations)
        strikes.update(row.strikes)
    return [
        OptionChain(
            exchange=exchange,
            trading_class=trading_class,
            multiplier=multiplier,
            expirations=tuple(sorted(expirations)),
            strikes=tuple(sorted(strikes)),
        )
        for (exchange, trading_class, multiplier), (expirations, strikes) in parts.items()
    ]


def scan_row(
    rank: int, details: ib_async.ContractDetails, distance: str, benchmark: str, projection: str, _legs: str
) -> ScanRow:
    """One row of a scan."""
    contract = details.contract
    assert contract is not None  # the decoder always sets it
    return ScanRow(
        rank=rank,
        con_id=contract.conId,
        symbol=contract.symbol,
        sec_type=contract.secType,
        exchange=contract.exchange,
        currency=contract.currency,
        local_symbol=contract.localSymbol,
        distance=distance,
        benchmark=benchmark,
        projection=projection,
    )


_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})|\\x([0-9a-fA-F]{2})")


def unescaped(text: str) -> str:
    """News as it was written: gateways send what is not ASCII as `\\u20ac` or `\\xe9`, and clients have to read it."""
    raw = _ESCAPE.sub(lambda found: chr(int(found[1] or found[2], 16)), text)
    return raw.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # two escapes can be one character


def headline_of(time: str, provider: str, article_id: str, text: str) -> Headline | None:
    """A headline, its time read as the UTC that it is; None when that cannot be read: it would look like news."""
    try:
        published = datetime.fromisoformat(time.strip()).replace(tzinfo=UTC)
    except ValueError:
        return None
    return Headline(provider=provider, article_id=article_id, published_at=published, text=unescaped(text))
