"""From what a caller says about an instrument to the one contract that it means (ORD-04).

Ambiguity is an answer with candidates, never the first hit.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ibkr_mcp_server.broker import translate
from ibkr_mcp_server.broker.book import Book
from ibkr_mcp_server.broker.error_codes import quoted
from ibkr_mcp_server.broker.library import ib_async
from ibkr_mcp_server.broker.pacing import Lane, Pacer
from ibkr_mcp_server.broker.session import Session
from ibkr_mcp_server.clock import Clock
from ibkr_mcp_server.domain.instruments import (
    NON_US_EXCHANGES,
    OPTION_TYPES,
    Candidate,
    ContractDetails,
    Instrument,
    InstrumentQuery,
    SecType,
    option_label,
)
from ibkr_mcp_server.errors import Refused, Unavailable

CURRENCIES = frozenset(
    {"USD", "EUR", "GBP", "JPY", "CHF", "CAD", "AUD", "NZD", "HKD", "SGD", "SEK", "NOK", "DKK", "CNH", "CZK", "HUF"}
    | {"ILS", "INR", "KRW", "MXN", "PLN", "TRY", "ZAR", "TWD", "AED", "SAR", "RUB"}
)
"""The currencies that IDEALPRO and IBKR's exchanges quote in."""

KEPT_FOR = timedelta(hours=6)
"""How long a resolved contract is used again; its trading hours cover about a week."""

CONTRACTS_KEPT = 2_000
CANDIDATES_SHOWN = 10
MARKET_RULE_SECONDS = 1.0
_DOTTED_EXCHANGES = tuple(sorted(name for name in NON_US_EXCHANGES if "." in name))
_CLASS_SHARE = re.compile(r"([A-Z0-9]+)\.([A-Z])")


def contract_from(query: InstrumentQuery) -> ib_async.Contract:
    """The description that is sent to the broker for `query`, with all forms of symbols read.

    Raises:
        Refused: it names a derivative incompletely; the broker would send thousands of contracts.
    """
    if query.con_id is not None:
        return ib_async.Contract(conId=query.con_id, exchange=query.exchange or "")
    _require_enough(query)
    return _described(query)


def _described(query: InstrumentQuery) -> ib_async.Contract:
    symbol = query.symbol.strip().upper()
    sec_type = query.effective_type
    pair = _currency_pair(symbol) if sec_type in (None, SecType.CASH) and not query.last_trade_date else None
    if pair is not None or sec_type is SecType.CASH:
        base, quote = pair or (symbol, query.currency or "")
        return ib_async.Contract(secType="CASH", symbol=base, currency=quote, exchange=query.exchange or "IDEALPRO")
    sec_type = sec_type or SecType.STK
    exchange, currency = query.exchange, query.currency
    listing = _listing(symbol)
    if listing is not None:
        symbol, listed_at, listed_in = listing
        exchange, currency = exchange or listed_at, currency or listed_in
    if sec_type is SecType.STK:
        symbol = _CLASS_SHARE.sub(r"\1 \2", symbol) if _CLASS_SHARE.fullmatch(symbol) else symbol  # BRK.B is "BRK B"
    if sec_type in (SecType.STK, SecType.OPT):
        exchange = exchange or "SMART"
    return ib_async.Contract(
        secType=sec_type.value,
        symbol=symbol,
        currency=currency or "",
        exchange=exchange or "",
        primaryExchange=query.primary_exchange or "",
        lastTradeDateOrContractMonth=query.last_trade_date or "",
        strike=float(query.strike or 0),
        right=query.right or "",
        multiplier="" if query.multiplier is None else f"{query.multiplier:f}",
        tradingClass=query.trading_class or "",
    )


def _require_enough(query: InstrumentQuery) -> None:
    sec_type = query.effective_type
    if sec_type in OPTION_TYPES:
        parts = {"last_trade_date": query.last_trade_date, "strike": query.strike, "right": query.right}
        missing = [name for name, value in parts.items() if not value]
        if missing:
            raise Refused(
                "CONTRACT_AMBIGUOUS",
                f"An option on {query.symbol} is named by last_trade_date, strike and right; "
                f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing.",
                next_step="Take them from get_option_chain, or give the option's con_id.",
            )
    elif sec_type is None and query.last_trade_date:
        raise Refused(
            "CONTRACT_AMBIGUOUS",
            f"{query.symbol} with a last trade date can be a future or an option.",
            next_step="Say sec_type FUT, or give strike and right as well.",
        )


def _currency_pair(symbol: str) -> tuple[str, str] | None:
    """`EUR.USD` and `EURUSD` are pairs; `IBM.USD` is not, since IBM is no currency."""
    text = symbol[:3] + symbol[4:] if len(symbol) == 7 and symbol[3] == "." else symbol
    base, quote = text[:3], text[3:]
    return (base, quote) if base in CURRENCIES and quote in CURRENCIES and base != quote else None


def _listing(symbol: str) -> tuple[str, str, str] | None:
    """`VOD.LSE.GBP`, and `KBC.ENEXT.BE.EUR` whose exchange has a dot of its own."""
    rest, _, currency = symbol.rpartition(".")
    if currency not in CURRENCIES:
        return None
    for exchange in _DOTTED_EXCHANGES:
        if rest.endswith("." + exchange):
            return rest.removesuffix("." + exchange), exchange, currency
    name, _, exchange = rest.rpartition(".")
    return (name, exchange, currency) if name and exchange else None


def the_one(query: InstrumentQuery, found: Sequence[ib_async.ContractDetails]) -> ib_async.ContractDetails:
    """The only contract among `found`, or the only US listing in dollars when nothing else was asked for.

    Raises:
        Refused: CONTRACT_NOT_FOUND or CONTRACT_AMBIGUOUS.
    """
    contracts = {details.contract.conId: details for details in found if details.contract is not None}
    if len(contracts) == 1:
        return next(iter(contracts.values()))
    if not contracts:
        raise not_found(query)
    if query.currency is None and query.exchange is None:
        at_home = [details for details in contracts.values() if _is_us_listing(details)]
        if len(at_home) == 1:
            return at_home[0]
    candidates = [translate.candidate_from_details(details) for details in contracts.values()]
    candidates.sort(key=lambda one: one.last_trade_date)
    shown = candidates[:CANDIDATES_SHOWN]
    hidden = len(candidates) - len(shown)
    raise Refused(
        "CONTRACT_AMBIGUOUS",
        f"{query.symbol} can mean {len(candidates)} contracts" + (f"; {hidden} are not shown." if hidden else "."),
        next_step="Say which one: by con_id, or as SYMBOL.EXCHANGE.CURRENCY."
        if not candidates[0].last_trade_date
        else "Say which one: by con_id, or by last_trade_date, exchange, multiplier or trading_class.",
        details=[_told(one) for one in shown],
    )


def _told(one: Candidate) -> str:
    name = f"{one.symbol}.{one.primary_exchange}.{one.currency} {one.sec_type}"
    if one.last_trade_date:
        name += f" {option_label(one.trading_class, one.last_trade_date, one.strike, one.right)}"
        name += f" multiplier {one.multiplier or 'unknown'}"
    return f"{name} con_id {one.con_id} ({quoted(one.description)})"


def _is_us_listing(details: ib_async.ContractDetails) -> bool:
    contract = details.contract
    return (
        contract is not None
        and contract.secType == SecType.STK
        and contract.currency == "USD"
        and contract.primaryExchange not in NON_US_EXCHANGES
    )


def agrees(query: InstrumentQuery, contract: ib_async.Contract) -> bool:
    """Whether a contract that was named by its id is also what the rest of `query` says.

    An id that was copied wrongly must not turn an order for one share into an order for another.
    """
    if query.con_id is None or not query.symbol:
        return True
    said = _described(replace(query, con_id=None))
    held = translate.instrument_of(contract)
    return (
        said.symbol in (contract.symbol, contract.localSymbol)
        and said.currency in ("", contract.currency)
        and query.effective_type in (None, held.sec_type)
        and held.last_trade_date.startswith(query.last_trade_date or "")
        and query.strike in (None, held.strike)
        and query.right in (None, held.right)
        and query.multiplier in (None, held.multiplier)
        and query.trading_class in (None, held.trading_class)
    )


def _contradiction(query: InstrumentQuery, contract: ib_async.Contract) -> Refused:
    return Refused(
        "CONTRACT_NOT_FOUND",
        f"con_id {query.con_id} is {contract.secType} {translate.instrument_of(contract).label} in "
        f"{contract.currency}, which is not what the rest of the request says.",
        next_step="Give the con_id that belongs to the symbol, or leave it out.",
    )


def not_found(query: InstrumentQuery, *, code: int | None = None, text: str | None = None) -> Refused:
    asked = str(query.con_id) if query.con_id is not None else query.symbol
    pair = _currency_pair(query.symbol.strip().upper())
    hint = f" The pair may be listed as {pair[1]}.{pair[0]}." if pair else ""
    return Refused(
        "CONTRACT_NOT_FOUND",
        f"The broker knows no contract for {asked!r}.",
        next_step=f"Search for the symbol and use its exact form.{hint}",
        broker_code=code,
        broker_text=text,
    )


@dataclass(frozen=True, kw_only=True)
class _Kept:
    instrument: Instrument
    at: datetime


class Contracts:
    """Resolves and searches, and remembers what was resolved on this connection."""

    def __init__(self, session: Session, *, book: Book, clock: Clock) -> None:
        self._session = session
        self._book = book
        self._clock = clock
        self._searches = Pacer(clock, messages_per_second=1)
        self._kept: dict[InstrumentQuery, _Kept] = {}
        self._rules: dict[int, list[ib_async.PriceIncrement]] = {}
        self._turns: dict[InstrumentQuery, asyncio.Lock] = {}

    async def resolve(self, query: InstrumentQuery) -> Instrument:
        """See `BrokerReads.resolve`."""
        known = self._known(query)
        if known is not None:
            return known
        turn = self._turns.setdefault(query, asyncio.Lock())
        async with self._session.bounded(f"the contract of {query.symbol!r}", sent=True), turn:
            known = self._known(query)  # somebody else has asked meanwhile
            if known is not None:
                return known
            try:
                instrument = await self._ask(query)
            finally:
                self._turns.pop(query, None)
            kept = _Kept(instrument=instrument, at=self._clock.now())
            while len(self._kept) > CONTRACTS_KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[query] = kept
            self._kept[InstrumentQuery(symbol=instrument.symbol, con_id=instrument.con_id)] = kept
        self._book.learn(instrument)
        return instrument

    def _known(self, query: InstrumentQuery) -> Instrument | None:
        kept = self._kept.get(query)
        return kept.instrument if kept is not None and self._clock.now() - kept.at < KEPT_FOR else None

    def forget(self) -> None:
        """Resolve everything anew."""
        self._kept.clear()
        self._rules.clear()

    async def search(self, pattern: str) -> list[Candidate]:
        """See `BrokerReads.search`. The broker allows one search per second."""
        what, client = f"symbols like {pattern!r}", self._session.client
        async with self._session.bounded(what) as call, self._searches.permit(Lane.READ):
            call.sent = True
            found = await self._session.numbered(what, lambda req_id: client.reqMatchingSymbols(req_id, pattern))
        return [translate.candidate_from_search(one) for one in found if one.contract is not None]

    async def details(self, query: InstrumentQuery) -> ContractDetails:
        """See `BrokerReads.contract_details`."""
        details, instrument = await self._describe(query)
        self._book.learn(instrument)
        return translate.contract_details(details, instrument, self._clock.now())

    async def _ask(self, query: InstrumentQuery) -> Instrument:
        return (await self._describe(query))[1]

    async def _describe(self, query: InstrumentQuery) -> tuple[ib_async.ContractDetails, Instrument]:
        contract = contract_from(query)
        client = self._session.client
        try:
            found = await self._session.numbered(
                f"contract details of {query.symbol!r}", lambda req_id: client.reqContractDetails(req_id, contract)
            )
        except Refused as refusal:
            if refusal.broker_code == 200:
                raise not_found(query, code=200, text=refusal.broker_text) from refusal
            raise
        details = the_one(query, found)
        if details.contract is not None and not agrees(query, details.contract):
            raise _contradiction(query, details.contract)
        return details, translate.instrument_from_details(details, await self._increments(details))

    async def _increments(self, details: ib_async.ContractDetails) -> list[ib_async.PriceIncrement] | None:
        """The market rule of the contract; without an answer its smallest tick has to do."""
        rule = translate.market_rule_id(details)
        if rule is None:
            return None
        if rule not in self._rules:
            try:
                async with asyncio.timeout(MARKET_RULE_SECONDS):
                    self._rules[rule] = await self._session.unnumbered(
                        f"market rule {rule}", lambda: self._session.client.reqMarketRule(rule)
                    )
            except (TimeoutError, Unavailable):
                return None
        return self._rules[rule]
