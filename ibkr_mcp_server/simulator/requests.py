"""Every request a client may send, as a frozen dataclass, and the decoders that read them.

`DECODERS` is the table of the protocol's message ids (tws-wire guide, sections 3 to 9) for server versions 176 to 178.
An id outside the table becomes `UnknownRequest`, a message that cannot be read becomes `UnreadableRequest`; both are
answers to give, not reasons to hang up.
"""

from __future__ import annotations

from dataclasses import dataclass

from ibkr_mcp_server.simulator.order_terms import OrderTerms, read_order_terms
from ibkr_mcp_server.simulator.request_base import (
    ContractQuery,
    Decoder,
    Request,
    id_after_version,
    read_contract,
    skip_combo_legs,
)
from ibkr_mcp_server.simulator.research_requests import RESEARCH_DECODERS
from ibkr_mcp_server.simulator.stream_requests import STREAM_DECODERS
from ibkr_mcp_server.simulator.wire import FieldReader, MalformedMessage

__all__ = ["ContractQuery", "Request", "decode_request"]


# --- session ---


@dataclass(frozen=True, kw_only=True)
class StartApi(Request):
    client_id: int


@dataclass(frozen=True, kw_only=True)
class ReqIds(Request):
    pass


@dataclass(frozen=True, kw_only=True)
class ReqManagedAccounts(Request):
    pass


@dataclass(frozen=True, kw_only=True)
class ReqCurrentTime(Request):
    pass


@dataclass(frozen=True, kw_only=True)
class ReqUserInfo(Request):
    req_id: int


@dataclass(frozen=True, kw_only=True)
class Unanswered(Request):
    """A request that TWS takes note of and answers with nothing, such as setServerLogLevel."""

    message_id: int


@dataclass(frozen=True, kw_only=True)
class UnknownRequest(Request):
    message_id: int


@dataclass(frozen=True, kw_only=True)
class UnreadableRequest(Request):
    """`about` is the order id when an order could not be read, else -1."""

    message_id: int
    about: int
    reason: str


# --- account ---


@dataclass(frozen=True, kw_only=True)
class ReqAccountUpdates(Request):
    subscribe: bool
    account: str


@dataclass(frozen=True, kw_only=True)
class ReqAccountSummary(Request):
    req_id: int
    group: str
    tags: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CancelAccountSummary(Request):
    req_id: int


@dataclass(frozen=True, kw_only=True)
class ReqPositions(Request):
    pass


@dataclass(frozen=True, kw_only=True)
class CancelPositions(Request):
    pass


@dataclass(frozen=True, kw_only=True)
class ReqPositionsMulti(Request):
    req_id: int
    account: str
    model_code: str


@dataclass(frozen=True, kw_only=True)
class CancelPositionsMulti(Request):
    req_id: int


@dataclass(frozen=True, kw_only=True)
class ReqAccountUpdatesMulti(Request):
    req_id: int
    account: str
    model_code: str


@dataclass(frozen=True, kw_only=True)
class CancelAccountUpdatesMulti(Request):
    req_id: int


@dataclass(frozen=True, kw_only=True)
class ReqPnl(Request):
    req_id: int
    account: str


@dataclass(frozen=True, kw_only=True)
class CancelPnl(Request):
    req_id: int


@dataclass(frozen=True, kw_only=True)
class ReqPnlSingle(Request):
    req_id: int
    account: str
    con_id: int


@dataclass(frozen=True, kw_only=True)
class CancelPnlSingle(Request):
    req_id: int


# --- reference data ---


@dataclass(frozen=True, kw_only=True)
class ReqContractDetails(Request):
    req_id: int
    contract: ContractQuery


@dataclass(frozen=True, kw_only=True)
class ReqMatchingSymbols(Request):
    req_id: int
    pattern: str


@dataclass(frozen=True, kw_only=True)
class ReqMarketRule(Request):
    rule_id: int


@dataclass(frozen=True, kw_only=True)
class ReqOptionParameters(Request):
    """`exchange` is for options on futures; empty asks for every exchange."""

    req_id: int
    symbol: str
    exchange: str
    under_con_id: int


# --- market data ---


@dataclass(frozen=True, kw_only=True)
class ReqMarketData(Request):
    req_id: int
    contract: ContractQuery
    generic_ticks: str
    snapshot: bool


@dataclass(frozen=True, kw_only=True)
class CancelMarketData(Request):
    req_id: int


@dataclass(frozen=True, kw_only=True)
class ReqMarketDataType(Request):
    market_data_type: int


@dataclass(frozen=True, kw_only=True)
class ReqHistoricalData(Request):
    req_id: int
    contract: ContractQuery
    end: str
    bar_size: str
    duration: str
    use_rth: bool
    what: str
    format_date: int
    keep_up_to_date: bool


@dataclass(frozen=True, kw_only=True)
class CancelHistoricalData(Request):
    req_id: int


@dataclass(frozen=True, kw_only=True)
class ReqHeadTimestamp(Request):
    req_id: int
    contract: ContractQuery
    what: str
    format_date: int


# --- orders ---


@dataclass(frozen=True, kw_only=True)
class PlaceOrder(Request):
    """A new order, a modification, or the release of a staged one: the protocol has one message for all three."""

    order_id: int
    contract: ContractQuery
    terms: OrderTerms
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CancelOrder(Request):
    order_id: int


@dataclass(frozen=True, kw_only=True)
class GlobalCancel(Request):
    pass


@dataclass(frozen=True, kw_only=True)
class ReqOpenOrders(Request):
    pass


@dataclass(frozen=True, kw_only=True)
class ReqAllOpenOrders(Request):
    pass


@dataclass(frozen=True, kw_only=True)
class ReqAutoOpenOrders(Request):
    """Client 0 asks to be given the orders that are placed by hand, or no longer."""

    bind: bool


@dataclass(frozen=True, kw_only=True)
class ReqCompletedOrders(Request):
    pass


@dataclass(frozen=True, kw_only=True)
class ReqExecutions(Request):
    """Empty filters match everything; `client_id` 0 means any client."""

    req_id: int
    client_id: int
    account: str
    time: str
    symbol: str
    sec_type: str
    exchange: str
    side: str


# --- reading ---


def _place_order(reader: FieldReader, version: int) -> Request:
    order_id = reader.integer()
    contract = read_contract(reader)
    terms = read_order_terms(reader, version, sec_type=contract.sec_type, exchange=contract.exchange)
    return PlaceOrder(order_id=order_id, contract=contract, terms=terms, unread=tuple(reader.rest()))


def _market_data(reader: FieldReader, version: int) -> Request:
    reader.skip()
    req_id = reader.integer()
    contract = read_contract(reader)
    skip_combo_legs(reader, contract)
    if reader.boolean():
        reader.skip(3)  # the delta-neutral contract
    generic_ticks, snapshot, regulatory_snapshot = reader.text(), reader.boolean(), reader.boolean()
    return ReqMarketData(
        req_id=req_id, contract=contract, generic_ticks=generic_ticks, snapshot=snapshot or regulatory_snapshot
    )


def _historical_data(reader: FieldReader, version: int) -> Request:
    req_id = reader.integer()
    contract = read_contract(reader)
    reader.skip()  # includeExpired
    end, bar_size, duration = reader.texts(3)
    use_rth = reader.boolean()
    what = reader.text()
    format_date = reader.integer(1)
    skip_combo_legs(reader, contract)
    return ReqHistoricalData(
        req_id=req_id,
        contract=contract,
        end=end,
        bar_size=bar_size,
        duration=duration,
        use_rth=use_rth,
        what=what,
        format_date=format_date,
        keep_up_to_date=reader.boolean(),
    )


def _head_timestamp(reader: FieldReader, version: int) -> Request:
    req_id = reader.integer()
    contract = read_contract(reader)
    reader.skip(2)  # includeExpired, useRTH
    return ReqHeadTimestamp(req_id=req_id, contract=contract, what=reader.text(), format_date=reader.integer(1))


def _option_parameters(reader: FieldReader, version: int) -> Request:
    req_id = reader.integer()
    symbol, exchange, _ = reader.texts(3)  # the third is the underlying's type, which its contract id implies
    return ReqOptionParameters(req_id=req_id, symbol=symbol, exchange=exchange, under_con_id=reader.integer())


def _contract_details(reader: FieldReader, version: int) -> Request:
    reader.skip()
    return ReqContractDetails(req_id=reader.integer(), contract=read_contract(reader))


def _account_summary(reader: FieldReader, version: int) -> Request:
    reader.skip()
    req_id, group, tags = reader.integer(), reader.text(), reader.text()
    return ReqAccountSummary(req_id=req_id, group=group, tags=tuple(tag for tag in tags.split(",") if tag))


def _executions(reader: FieldReader, version: int) -> Request:
    reader.skip()
    req_id, client_id = reader.integer(), reader.integer()
    account, time, symbol, sec_type, exchange, side = reader.texts(6)
    return ReqExecutions(
        req_id=req_id,
        client_id=client_id,
        account=account,
        time=time,
        symbol=symbol,
        sec_type=sec_type,
        exchange=exchange,
        side=side,
    )


def _account_updates(reader: FieldReader, version: int) -> Request:
    reader.skip()
    return ReqAccountUpdates(subscribe=reader.boolean(), account=reader.text())


def _positions_multi(reader: FieldReader, version: int) -> Request:
    reader.skip()
    return ReqPositionsMulti(req_id=reader.integer(), account=reader.text(), model_code=reader.text())


def _account_updates_multi(reader: FieldReader, version: int) -> Request:
    reader.skip()
    return ReqAccountUpdatesMulti(req_id=reader.integer(), account=reader.text(), model_code=reader.text())


def _pnl_single(reader: FieldReader, version: int) -> Request:
    req_id, account = reader.integer(), reader.text()
    reader.skip()  # modelCode
    return ReqPnlSingle(req_id=req_id, account=account, con_id=reader.integer())


def _unanswered(message_id: int) -> Decoder:
    return lambda reader, version: Unanswered(message_id=message_id)


DECODERS: dict[int, Decoder] = {
    **STREAM_DECODERS,
    **RESEARCH_DECODERS,
    1: _market_data,
    2: lambda reader, version: CancelMarketData(req_id=id_after_version(reader)),
    3: _place_order,
    4: lambda reader, version: CancelOrder(order_id=id_after_version(reader)),
    5: lambda reader, version: ReqOpenOrders(),
    6: _account_updates,
    7: _executions,
    8: lambda reader, version: ReqIds(),
    9: _contract_details,
    14: _unanswered(14),  # setServerLogLevel
    15: lambda reader, version: ReqAutoOpenOrders(bind=bool(id_after_version(reader))),
    16: lambda reader, version: ReqAllOpenOrders(),
    17: lambda reader, version: ReqManagedAccounts(),
    20: _historical_data,
    25: lambda reader, version: CancelHistoricalData(req_id=id_after_version(reader)),
    49: lambda reader, version: ReqCurrentTime(),
    58: lambda reader, version: GlobalCancel(),
    59: lambda reader, version: ReqMarketDataType(market_data_type=id_after_version(reader)),
    61: lambda reader, version: ReqPositions(),
    62: _account_summary,
    63: lambda reader, version: CancelAccountSummary(req_id=id_after_version(reader)),
    64: lambda reader, version: CancelPositions(),
    71: lambda reader, version: StartApi(client_id=id_after_version(reader)),
    74: _positions_multi,
    75: lambda reader, version: CancelPositionsMulti(req_id=id_after_version(reader)),
    76: _account_updates_multi,
    77: lambda reader, version: CancelAccountUpdatesMulti(req_id=id_after_version(reader)),
    69: _unanswered(69),  # updateDisplayGroup: a gateway has no windows
    70: _unanswered(70),  # unsubscribeFromGroupEvents
    101: _unanswered(101),  # cancelWshMetaData: it was declined
    103: _unanswered(103),  # cancelWshEventData
    53: _unanswered(53),  # cancelFundamentalData: there is nothing to cancel
    78: _option_parameters,
    81: lambda reader, version: ReqMatchingSymbols(req_id=reader.integer(), pattern=reader.text()),
    87: _head_timestamp,
    89: _unanswered(89),  # cancelHistogramData: already answered
    90: _unanswered(90),  # cancelHeadTimestamp: likewise
    91: lambda reader, version: ReqMarketRule(rule_id=reader.integer()),
    92: lambda reader, version: ReqPnl(req_id=reader.integer(), account=reader.text()),
    93: lambda reader, version: CancelPnl(req_id=reader.integer()),
    94: _pnl_single,
    95: lambda reader, version: CancelPnlSingle(req_id=reader.integer()),
    99: lambda reader, version: ReqCompletedOrders(),
    104: lambda reader, version: ReqUserInfo(req_id=reader.integer()),
}

_PLACE_ORDER = 3


def decode_request(fields: list[str], version: int) -> Request:
    """The request in these fields; never raises, whatever they hold."""
    reader = FieldReader(fields)
    try:
        message_id = reader.integer(-1)
    except MalformedMessage as error:
        return UnreadableRequest(message_id=-1, about=-1, reason=str(error))
    decode = DECODERS.get(message_id)
    if decode is None:
        return UnknownRequest(message_id=message_id)
    try:
        return decode(reader, version)
    except MalformedMessage as error:
        return UnreadableRequest(message_id=message_id, about=_subject(fields, message_id), reason=str(error))


def _subject(fields: list[str], message_id: int) -> int:
    if message_id != _PLACE_ORDER:
        return -1
    try:
        return FieldReader(fields[1:]).integer(-1)
    except MalformedMessage:
        return -1
