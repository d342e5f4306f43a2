"""What tools may be asked for: strict types that say in their schema what they take.

Nothing is guessed: a number is a JSON number, text is never a number, and an argument that a tool does not have is an
error. `parsing.py` turns what fits none of this into problems.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError

from ibkr_mcp_server.domain.instruments import EQUITY_SYMBOL, InstrumentQuery, SecType
from ibkr_mcp_server.domain.moments import parse_moment
from ibkr_mcp_server.safety.identity import REQUEST_KEY

LARGEST_NUMBER = 10**12
"""More than any quantity or price on earth; what lies above is a mistake."""
MOST_DECIMALS = 12
MOST_SYMBOLS = 1_000
"""Bounds the work of reading a list; the limit of symbols for a call is a rule of the safety chain (RL-02)."""

_ACCOUNT = re.compile(r"[A-Z]{1,4}[0-9][A-Z0-9]{0,15}|\*{1,17}[A-Z0-9]{3}")
"""In full, or as answers show it."""
_EXCHANGE = re.compile(r"[A-Z][A-Z0-9.]{0,15}")
_LAST_TRADE_DATE = re.compile(r"\d{4}(0[1-9]|1[0-2])(\d{2})?")
_TRADING_CLASS = re.compile(r"[A-Z0-9]{1,12}")
_RIGHTS = {"CALL": "C", "PUT": "P"}
_PROVIDER = re.compile(r"[A-Z0-9][A-Z0-9._:-]{0,23}")
_ARTICLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9$._:+/=-]{0,127}")
_SCAN_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._,:-]{0,63}")
_CURRENCY = re.compile(r"[A-Z]{3}")


class Arguments(BaseModel):
    """The arguments of one tool."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    also_called: ClassVar[Mapping[str, str]] = {}
    """Other names that callers use for an argument, and its own name; those of the base classes hold as well."""
    one_of: ClassVar[tuple[str, ...]] = ()
    """At least one of these must be given."""

    @classmethod
    @cache
    def other_names(cls) -> Mapping[str, str]:
        """All of `also_called` that name an argument which this tool has."""
        known: dict[str, str] = {}
        for kind in reversed(cls.__mro__):
            known |= vars(kind).get("also_called", {})
        return {other: own for other, own in known.items() if own in cls.model_fields}

    def canonical(self) -> dict[str, object]:
        """What is asked for, defaults included; equal for equal requests, however they were written (ID-03)."""
        return self.model_dump(exclude_none=True)


class NoArguments(Arguments):
    """For tools that take none."""


def number(value: object) -> Decimal:
    """A JSON number as the decimal of its shortest text, so that 0.1 is exactly 0.1."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PydanticCustomError("number", "must be a JSON number, not {kind}", {"kind": kind_of(value)})
    if isinstance(value, float) and not math.isfinite(value):
        raise PydanticCustomError("number", "must be finite")
    if value <= 0:
        raise PydanticCustomError("number", "must be above zero")
    if value > LARGEST_NUMBER:
        raise PydanticCustomError("number", "must be at most 1e12")
    exact = Decimal(repr(value)).normalize()
    exponent = exact.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -MOST_DECIMALS:
        raise PydanticCustomError("number", "must have at most {n} decimals", {"n": MOST_DECIMALS})
    return Decimal(f"{exact:f}")


def kind_of(value: object) -> str:
    """What JSON calls the kind of `value`."""
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text"
    return "null" if value is None else "a list" if isinstance(value, list) else "an object"


def moment(value: object) -> datetime:
    """A moment that says its time zone, in TWS's spelling or RFC 3339."""
    found = parse_moment(value) if isinstance(value, str) and len(value) <= 64 else None
    if found is None:
        raise PydanticCustomError(
            "moment", "must be a time with its zone, such as 20261120 15:30:00 US/Eastern or 2026-11-20T15:30:00-05:00"
        )
    return found


def _fits(pattern: re.Pattern[str], form: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if pattern.fullmatch(text):
            return text
        raise PydanticCustomError("form", "must be {form}", {"form": form})

    return check


def _symbol(text: str) -> str:
    if EQUITY_SYMBOL.fullmatch(text):
        return text
    if EQUITY_SYMBOL.fullmatch(text.upper()):
        raise PydanticCustomError("symbol", "must be in upper case: {symbol}", {"symbol": text.upper()})
    raise PydanticCustomError(
        "symbol", "must be a symbol of at most 16 capital letters, digits, dots, dashes and blanks, such as AAPL"
    )


def as_list(value: object) -> object:
    """Some hosts send a list as the text of its JSON."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


Symbol = Annotated[str, AfterValidator(_symbol)]
SymbolList = Annotated[
    list[Symbol],
    BeforeValidator(as_list),
    Field(min_length=1, max_length=MOST_SYMBOLS),
    WithJsonSchema({"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 50}),
]
Number = Annotated[Decimal, BeforeValidator(number), WithJsonSchema({"type": "number", "exclusiveMinimum": 0})]
RequestKey = Annotated[
    str,
    AfterValidator(_fits(REQUEST_KEY, "8 to 64 characters of A-Z a-z 0-9 _ . : -")),
    WithJsonSchema({"type": "string", "pattern": f"^{REQUEST_KEY.pattern}$"}),
]
Account = Annotated[str, AfterValidator(_fits(_ACCOUNT, "an account id such as DU1234567"))]
Exchange = Annotated[str, AfterValidator(_fits(_EXCHANGE, "an exchange in capitals, such as SMART or LSE"))]
Currency = Annotated[str, AfterValidator(_fits(_CURRENCY, "three capital letters, such as USD"))]
ContractId = Annotated[int, Field(gt=0, le=2**31 - 1), WithJsonSchema({"type": "integer", "minimum": 1})]
PermId = Annotated[int, Field(gt=0, lt=2**63), WithJsonSchema({"type": "integer", "minimum": 1})]
LastTradeDate = Annotated[
    str,
    BeforeValidator(lambda value: value.replace("-", "") if isinstance(value, str) else value),
    AfterValidator(_fits(_LAST_TRADE_DATE, "YYYYMMDD, or YYYYMM for the month of a future")),
]
TradingClass = Annotated[str, AfterValidator(_fits(_TRADING_CLASS, "a trading class in capitals, such as SPXW"))]
SecurityType = Literal["STK", "CASH", "OPT", "FUT", "FOP", "IND", "CFD", "CRYPTO"]
Right = Annotated[
    Literal["C", "P"], BeforeValidator(lambda value: _RIGHTS.get(value, value) if isinstance(value, str) else value)
]
ProviderCode = Annotated[str, AfterValidator(_fits(_PROVIDER, "a provider's code, such as BRFG or DJ-N"))]
ArticleId = Annotated[str, AfterValidator(_fits(_ARTICLE, "an article_id as get_news tells it"))]
ScanWord = Annotated[str, AfterValidator(_fits(_SCAN_WORD, "a code of the scanner, such as TOP_PERC_GAIN"))]
Action = Literal["BUY", "SELL"]
Tif = Literal["DAY", "GTC", "GTD", "IOC", "FOK", "OPG"]
Moment = Annotated[datetime, BeforeValidator(moment), WithJsonSchema({"type": "string"})]


class ListingArguments(Arguments):
    """How an instrument is named that is no option."""

    also_called: ClassVar = {
        "expiry": "last_trade_date",
        "expiration": "last_trade_date",
        "lastTradeDateOrContractMonth": "last_trade_date",
        "secType": "sec_type",
        "conId": "con_id",
        "tradingClass": "trading_class",
    }

    symbol: Symbol = Field(description="AAPL, EUR.USD, or SYMBOL.EXCHANGE.CURRENCY")
    sec_type: SecurityType | SkipJsonSchema[None] = Field(default=None, description="IBKR type; else by symbol")
    exchange: Exchange | SkipJsonSchema[None] = Field(default=None, description="e.g. SMART, LSE")
    currency: Currency | SkipJsonSchema[None] = Field(default=None, description="ISO code")
    con_id: ContractId | SkipJsonSchema[None] = Field(default=None, description="IBKR contract id: exact")

    def query(self) -> InstrumentQuery:
        return InstrumentQuery(
            symbol=self.symbol,
            sec_type=None if self.sec_type is None else SecType(self.sec_type),
            exchange=self.exchange,
            currency=self.currency,
            con_id=self.con_id,
        )


class InstrumentArguments(ListingArguments):
    """How any instrument is named; the last five tell derivatives apart."""

    last_trade_date: LastTradeDate | SkipJsonSchema[None] = Field(default=None, description="Expiry YYYYMMDD")
    strike: Number | SkipJsonSchema[None] = Field(default=None, description="Option strike")
    right: Right | SkipJsonSchema[None] = Field(default=None, description="C or P")
    multiplier: Number | SkipJsonSchema[None] = Field(default=None, description="e.g. 100")
    trading_class: TradingClass | SkipJsonSchema[None] = Field(default=None, description="e.g. SPXW")

    def query(self) -> InstrumentQuery:
        return replace(
            super().query(),
            last_trade_date=self.last_trade_date,
            strike=self.strike,
            right=self.right,
            multiplier=self.multiplier,
            trading_class=self.trading_class,
        )


class AccountArguments(Arguments):
    """For tools that read one account."""

    account: Account | SkipJsonSchema[None] = Field(default=None, description="Account id; else the default one")
