"""What all requests of clients have in common; the requests themselves are in `requests.py` and its neighbours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeAlias

from ibkr_mcp_server.simulator.wire import FieldReader


@dataclass(frozen=True, kw_only=True)
class Request:
    """Something a client asked for."""


@dataclass(frozen=True, kw_only=True)
class ContractQuery:
    """The twelve contract fields that every request about an instrument carries; empty means "any"."""

    con_id: int = 0
    symbol: str = ""
    sec_type: str = ""
    last_trade_date: str = ""
    strike: Decimal | None = None
    right: str = ""
    multiplier: str = ""
    exchange: str = ""
    primary_exchange: str = ""
    currency: str = ""
    local_symbol: str = ""
    trading_class: str = ""


def read_contract(reader: FieldReader) -> ContractQuery:
    con_id = reader.integer()
    symbol, sec_type, last_trade_date = reader.texts(3)
    strike = reader.decimal()
    right, multiplier, exchange, primary_exchange, currency, local_symbol, trading_class = reader.texts(7)
    return ContractQuery(
        con_id=con_id,
        symbol=symbol,
        sec_type=sec_type,
        last_trade_date=last_trade_date,
        strike=strike or None,
        right="" if right == "?" else right,
        multiplier=multiplier,
        exchange=exchange,
        primary_exchange=primary_exchange,
        currency=currency,
        local_symbol=local_symbol,
        trading_class=trading_class,
    )


def skip_combo_legs(reader: FieldReader, contract: ContractQuery) -> None:
    if contract.sec_type == "BAG":
        reader.skip(4 * reader.count())


def id_after_version(reader: FieldReader) -> int:
    reader.skip()
    return reader.integer()


Decoder: TypeAlias = Callable[[FieldReader, int], Request]
"""Reads what follows the message id, at the negotiated server version."""
