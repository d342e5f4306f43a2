"""How one setting is read: what is allowed, in words, and the value that comes of its text.

A rule serves three readers: pydantic, which calls it before its own strict type check; the person who gave a wrong
value, whose sentence ends with `allowed`; and the generated pages, which list `allowed` for each setting.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import Enum, StrEnum, auto
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import GetCoreSchemaHandler, SecretStr
from pydantic_core import CoreSchema, core_schema

from ibkr_mcp_server.domain.accounts import masked
from ibkr_mcp_server.domain.agents import AGENT_NAME
from ibkr_mcp_server.domain.daily_window import DailyWindow

PLAIN_NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{1,9})?")
"""Digits with an optional fraction: no sign, exponent, separator, `nan` or `inf`, and always exact as a Decimal."""
INSTRUMENT = re.compile(r"[0-9]{1,10}|[A-Z0-9][A-Z0-9 .\-]{0,15}:[A-Z]{2,6}:[A-Z0-9.]{1,12}:[A-Z]{3}")
ACCOUNT = re.compile(r"[A-Z]{1,6}[0-9][A-Z0-9]{0,15}")
ACCOUNT_PREFIX = re.compile(r"[A-Z]{1,6}")
HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?|[0-9A-Fa-f:]{2,39}")
TOKEN = re.compile(r"[!-~]{32,512}")
YES = frozenset({"true", "1", "yes", "on"})
NO = frozenset({"false", "0", "no", "off"})
LONGEST_VALUE_SHOWN = 80
MAIL_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?")
SECRET_LINE = re.compile(r"[!-~](?:[ -~]{0,510}[!-~])?")


class Privacy(Enum):
    """How much of a value people may see."""

    OPEN = auto()
    ACCOUNTS = auto()
    """Account numbers, of which the last three characters may be seen (SEC-05)."""
    SECRET = auto()


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Reads one setting."""

    allowed: str
    """Completes the sentence "it must be …"."""
    read: Callable[[str], object]
    """The value of a text; raises ValueError for a text that is not allowed."""
    privacy: Privacy = Privacy.OPEN
    unset: str = ""
    """What applies while an optional setting is not given."""

    def value_of(self, given: object) -> object:
        """The value of what a source gave, be it text or already a value; None stays None."""
        return None if given is None else self.read(as_text(given))

    def redacted(self, value: object) -> str | None:
        """`value` as text that anyone may see."""
        if value is None:
            return None
        if self.privacy is Privacy.SECRET:
            return "(set, not shown)"
        if self.privacy is Privacy.ACCOUNTS:
            return ",".join(masked(account) for account in as_text(value).split(","))
        return as_text(value)

    def quoted(self, given: object) -> str:
        """What a source gave, as a sentence about a mistake may quote it."""
        if self.privacy is Privacy.SECRET:
            return "set to a value that is not shown"
        if isinstance(given, str) and not given.strip():
            return "empty"
        text = masked(as_text(given)) if self.privacy is Privacy.ACCOUNTS else as_text(given)
        return repr(text if len(text) <= LONGEST_VALUE_SHOWN else text[:LONGEST_VALUE_SHOWN] + "…")

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # pydantic's Any
        return core_schema.no_info_before_validator_function(self.value_of, handler(source))


def as_text(value: object) -> str:
    """`value` as an environment variable would carry it; equal values give equal texts."""
    match value:
        case str():
            return str(value).strip()
        case bool():
            return "true" if value else "false"
        case Decimal() | float():
            text = format(Decimal(str(value)), "f")
            return text.rstrip("0").rstrip(".") if "." in text else text
        case tuple() | list():
            return ",".join(as_text(item) for item in value)
        case SecretStr():
            return value.get_secret_value()
        case _:
            return str(value)


def switch(*, unset: str = "") -> Rule:
    """FD-21: a word that is neither a yes nor a no is an error, not a no (and not a yes)."""

    def read(text: str) -> bool:
        word = text.lower()
        if word not in YES | NO:
            raise ValueError
        return word in YES

    return Rule(allowed="true or false (also 1/0, yes/no, on/off)", read=read, unset=unset)


def whole_number(lowest: int, highest: int, *, unset: str = "") -> Rule:
    def read(text: str) -> int:
        number = _number_between(text, Decimal(lowest), Decimal(highest))
        if number != number.to_integral_value():
            raise ValueError
        return int(number)

    return Rule(allowed=f"a whole number from {lowest:,} to {highest:,}", read=read, unset=unset)


def port(*, or_zero: bool = False, unset: str = "") -> Rule:
    return whole_number(0 if or_zero else 1, 65_535, unset=unset)


def us_dollars(highest: int, *, from_zero: bool = False, unset: str = "") -> Rule:
    def read(text: str) -> Decimal:
        return _number_between(text, Decimal(0), Decimal(highest), above=not from_zero)

    lowest = "of 0 or more" if from_zero else "above 0"
    return Rule(allowed=f"an amount in US dollars {lowest}, at most {highest:,}", read=read, unset=unset)


def basis_points(highest: int) -> Rule:
    def read(text: str) -> Decimal:
        return _number_between(text, Decimal(0), Decimal(highest))

    return Rule(allowed=f"basis points from 0 to {highest:,} (10 means 0.1 %)", read=read)


def percent(lowest: str, highest: str) -> Rule:
    """Percent points (T-30); `lowest` also catches the fraction that was meant as percent."""

    def read(text: str) -> Decimal:
        return _number_between(text, Decimal(lowest), Decimal(highest))

    return Rule(allowed=f"percent points from {lowest} to {highest} (3 means 3 %)", read=read)


def times(highest: int) -> Rule:
    """A multiple, kept exact."""

    def read(text: str) -> Decimal:
        return _number_between(text, Decimal(0), Decimal(highest), above=True)

    return Rule(allowed=f"a number above 0, at most {highest:,}", read=read)


def seconds(highest: int) -> Rule:
    return _positive_float(f"a number of seconds above 0, at most {highest:,}", highest)


def hours(highest: int) -> Rule:
    return _positive_float(f"a number of hours above 0, at most {highest:,}", highest)


def pause(highest: int) -> Rule:
    def read(text: str) -> float:
        return float(_number_between(text, Decimal(0), Decimal(highest)))

    return Rule(allowed=f"a number of seconds from 0 (off) to {highest:,}", read=read)


def factor(highest: int) -> Rule:
    return _positive_float(f"a number above 0, at most {highest:,}", highest)


def one_of(words: type[StrEnum]) -> Rule:
    return Rule(allowed=_either(list(words)), read=words)


def phrase(exact: str) -> Rule:
    def read(text: str) -> str:
        if text not in ("", exact):
            raise ValueError
        return text

    return Rule(allowed=f'empty, or exactly "{exact}"', read=read)


def list_of(words: type[StrEnum]) -> Rule:
    def read(text: str) -> tuple[StrEnum, ...]:
        return tuple(words(item) for item in _items(text))

    return Rule(allowed=f"a list (A,B or JSON) of some of {', '.join(words)}", read=read)


def account_prefixes() -> Rule:
    return Rule(
        allowed="a list (A,B or JSON) of one or more prefixes of 1 to 6 capital letters",
        read=lambda text: _matching_items(text, ACCOUNT_PREFIX),
    )


def accounts(*, may_be_empty: bool = False, privacy: Privacy = Privacy.OPEN) -> Rule:
    """Account ids; `may_be_empty` lets the empty text stand for none."""
    return Rule(
        allowed=f"{'empty, or ' if may_be_empty else ''}a list (A,B or JSON) of account ids such as DU1234567",
        read=lambda text: () if may_be_empty and text in ("", "[]") else _matching_items(text, ACCOUNT),
        privacy=privacy,
    )


def instruments(*, unset: str) -> Rule:
    """Contracts, never tickers alone (T-38); the empty text stands for none."""

    def read(text: str) -> tuple[str, ...]:
        return () if text in ("", "[]") else ("*",) if text == "*" else _matching_items(text, INSTRUMENT)

    return Rule(
        allowed="*, empty, or a list (A,B or JSON) of contract ids and SYMBOL:TYPE:EXCHANGE:CURRENCY such as "
        "AAPL:STK:NASDAQ:USD",
        read=read,
        unset=unset,
    )


def daily_windows() -> Rule:
    """Times of day in New York; the empty text stands for none."""

    def read(text: str) -> tuple[DailyWindow, ...]:
        return () if text in ("", "[]") else tuple(DailyWindow.read(item) for item in _items(text))

    return Rule(allowed="empty, or a list (A,B or JSON) of New York times such as 23:40-00:10", read=read)


def host(*, unset: str = "") -> Rule:
    return _matching(HOST, "a host name or an IP address", unset=unset)


def mail_address(*, unset: str) -> Rule:
    return _matching(MAIL_ADDRESS, "an e-mail address", unset=unset)


def mail_addresses() -> Rule:
    return Rule(
        allowed="empty, or a list (A,B or JSON) of e-mail addresses",
        read=lambda text: () if text in ("", "[]") else _matching_items(text, MAIL_ADDRESS),
    )


def line(*, unset: str) -> Rule:
    return _matching(SECRET_LINE, "1 to 512 printable ASCII characters", unset=unset)


def secret_line(*, unset: str) -> Rule:
    rule = line(unset=unset)
    return replace(rule, read=lambda text: SecretStr(str(rule.read(text))), privacy=Privacy.SECRET)


def web_address(*, unset: str = "") -> Rule:
    """Encrypted, unless the program that listens is on this machine."""

    def read(text: str) -> str:
        found = urlsplit(text)
        is_secure = found.scheme == "https" or (found.scheme == "http" and is_loopback(found.hostname or ""))
        if not (is_secure and found.hostname and SECRET_LINE.fullmatch(text)) or " " in text:
            raise ValueError
        return text

    allowed = "a URL that begins with https://, or with http:// and a loopback address"
    return Rule(allowed=allowed, read=read, unset=unset)


def secret_web_address(*, unset: str) -> Rule:
    """The address itself lets its holder in, as a webhook's does."""
    rule = web_address(unset=unset)
    return replace(rule, read=lambda text: SecretStr(str(rule.read(text))), privacy=Privacy.SECRET)


def loopback_host() -> Rule:
    def read(text: str) -> str:
        if not is_loopback(text):
            raise ValueError
        return text

    return Rule(allowed="a loopback address: 127.0.0.1, ::1 or localhost", read=read)


def is_loopback(text: str) -> bool:
    """Whether only programs of this machine can reach `text`."""
    try:
        return text == "localhost" or ipaddress.ip_address(text).is_loopback
    except ValueError:
        return False


def absolute_path(*, within: str = "", unset: str) -> Rule:
    def read(text: str) -> Path:
        if not text.isprintable():
            raise ValueError
        try:
            path = Path(text).expanduser()
        except RuntimeError as error:  # a home directory that does not exist
            raise ValueError from error
        if not path.is_absolute():
            raise ValueError
        return path

    return Rule(allowed=f"an absolute path{within}", read=read, unset=unset)


def token(*, unset: str) -> Rule:
    def read(text: str) -> SecretStr:
        if not TOKEN.fullmatch(text):
            raise ValueError
        return SecretStr(text)

    return Rule(
        allowed="32 to 512 printable ASCII characters without spaces", read=read, privacy=Privacy.SECRET, unset=unset
    )


def agent_name() -> Rule:
    def read(text: str) -> str:
        if not AGENT_NAME.fullmatch(text):
            raise ValueError
        return text

    return Rule(allowed="a name of 1 to 32 characters a-z, 0-9, - and _, such as momentum", read=read)


def shared_secret(*, unset: str) -> Rule:
    """Any text: a weak secret keeps the control API off, and must not keep the server from starting (SIG-05)."""
    return Rule(
        allowed="32 or more random bytes, such as `openssl rand -hex 32` prints",
        read=SecretStr,
        privacy=Privacy.SECRET,
        unset=unset,
    )


def postgresql_url(*, unset: str) -> Rule:
    def read(text: str) -> SecretStr:
        if not re.fullmatch(r"postgresql\+psycopg://\S+", text):
            raise ValueError
        return SecretStr(text)

    return Rule(allowed="a URL that begins with postgresql+psycopg://", read=read, privacy=Privacy.SECRET, unset=unset)


def redis_url(*, unset: str) -> Rule:
    def read(text: str) -> SecretStr:
        if not re.fullmatch(r"(redis|rediss|unix)://\S+", text):
            raise ValueError
        return SecretStr(text)

    allowed = "a URL that begins with redis://, rediss:// or unix://"
    return Rule(allowed=allowed, read=read, privacy=Privacy.SECRET, unset=unset)


def redis_key() -> Rule:
    def read(text: str) -> str:
        if not re.fullmatch(r"[!-~]{1,200}", text):
            raise ValueError
        return text

    return Rule(allowed="1 to 200 printable characters without spaces", read=read)


def _positive_float(allowed: str, highest: int) -> Rule:
    def read(text: str) -> float:
        return float(_number_between(text, Decimal(0), Decimal(highest), above=True))

    return Rule(allowed=allowed, read=read)


def _number_between(text: str, lowest: Decimal, highest: Decimal, *, above: bool = False) -> Decimal:
    """The number that `text` states; `above` excludes `lowest` itself."""
    if not PLAIN_NUMBER.fullmatch(text):
        raise ValueError
    number = Decimal(text)
    if number > highest or number < lowest or (above and number == lowest):
        raise ValueError
    return Decimal(as_text(number))  # 0.20 is 0.2, so that what the log tells of it says all


def _matching(pattern: re.Pattern[str], allowed: str, *, unset: str) -> Rule:
    def read(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError
        return text

    return Rule(allowed=allowed, read=read, unset=unset)


def _items(text: str) -> tuple[str, ...]:
    """The items of a comma list or a JSON list, each once; an empty list or item is an error (CFG-13)."""
    try:
        items = json.loads(text) if text.startswith("[") else text.split(",")
    except RecursionError as error:
        raise ValueError from error
    if not items or not all(isinstance(item, str) and item.strip() for item in items):
        raise ValueError
    return tuple(dict.fromkeys(item.strip() for item in items))


def _matching_items(text: str, pattern: re.Pattern[str]) -> tuple[str, ...]:
    items = _items(text)
    if not all(pattern.fullmatch(item) for item in items):
        raise ValueError
    return items


def _either(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"
