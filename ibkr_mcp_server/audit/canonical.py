"""Canonical JSON: one text for each value, without secrets.

ASCII, keys sorted, no blanks, every number that is not whole as text, times as RFC 3339 in UTC with microseconds. The
text is written in one pass, and what a type or a set of keys always needs is worked out once: each order writes some
thousand values, and does so before it leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from functools import lru_cache, partial
from json.encoder import encode_basestring_ascii
from typing import Any, NamedTuple

from ibkr_mcp_server.audit.redaction import REDACTED, SHORT, is_account_key, is_secret_key, redacted_text
from ibkr_mcp_server.domain.accounts import masked
from ibkr_mcp_server.store.columns import rfc3339

_LARGEST_SAFE_INTEGER = 2**53  # beyond it readers in other languages lose digits (RFC 8259, section 6)


class Rendered(str):
    """Canonical JSON already, made by `canonical`; it is taken as it stands."""

    __slots__ = ()


def canonical(value: object) -> Rendered:
    """`value` as canonical JSON, without secrets."""
    return Rendered(_text(value, False))


def writer_of(kind: type) -> Callable[[Any], str]:  # Any: a value of exactly that type
    """What `canonical` does with values of a type."""
    write = _WRITER_OF.get(kind) or _writer(kind)
    return lambda value: write(value, False)


def joined(items: Iterable[Rendered]) -> Rendered:
    """The list of what is rendered already."""
    return Rendered(f"[{','.join(items)}]")


def canonical_text(text: str | None) -> str | None:
    """`text` as it stands between the quotes of canonical JSON, without secrets."""
    return None if text is None else _string(text)[1:-1]


class _Member(NamedTuple):
    """What is known of an object's member before its value is."""

    key: str
    prefix: str
    """The key as JSON, with its colon."""
    is_secret: bool
    is_account: bool


def _text(value: object, account: bool) -> str:
    """`value` as JSON; redaction happens below here and nowhere else. `account`: its texts are account numbers."""
    if value is None:
        return "null"
    kind: type = type(value)
    return (_WRITER_OF.get(kind) or _writer(kind))(value, account)


def _write_text(value: str, account: bool) -> str:
    return encode_basestring_ascii(masked(value)) if account else _string(value)


def _string(text: str) -> str:
    return _short_string(text) if len(text) <= SHORT else encode_basestring_ascii(redacted_text(text))


@lru_cache(maxsize=4096)
def _short_string(text: str) -> str:
    """Keys, codes and words of this length come again and again."""
    return encode_basestring_ascii(redacted_text(text))


_WRITER_OF: dict[type, Callable[[Any, bool], str]] = {str: _write_text}  # Any: a value of that type


def _writer(kind: type) -> Callable[[Any, bool], str]:
    """How values of a type are written."""
    found = _of_dataclass(kind) if is_dataclass(kind) else _write_anything
    for of, writer in _WRITERS:
        if issubclass(kind, of):
            found = writer
            break
    _WRITER_OF[kind] = found
    return found


def _write_enum(value: Enum, account: bool) -> str:
    told = value._value_  # `value` itself is a property, and each order writes a dozen members
    return encode_basestring_ascii(told if isinstance(told, str) else value._name_)


def _write_integer(value: int, account: bool) -> str:
    # Python refuses to write very long integers in decimals.
    return str(int(value)) if abs(value) < _LARGEST_SAFE_INTEGER else f'"{value:#x}"'


def _write_moment(value: datetime, account: bool) -> str:
    return f'"{rfc3339(value) if value.tzinfo is not None else value.isoformat()}"'


def _write_mapping(value: Mapping[object, object], account: bool) -> str:
    keys = tuple(value)
    if not _TEXTS.issuperset(map(type, keys)):
        value = {str(key): item for key, item in value.items()}
        keys = tuple(value)
    return _object(_members(keys), value.__getitem__)


_TEXTS = frozenset({str})


def _write_list(value: Sequence[object], account: bool) -> str:
    return f"[{','.join([_text(item, account) for item in value])}]"


def _write_set(value: Set[object], account: bool) -> str:
    return f"[{','.join(sorted(_text(item, account) for item in value))}]"


def _write_anything(value: object, account: bool) -> str:
    return _string(repr(value))


_WRITERS: tuple[tuple[type | tuple[type, ...], Callable[[Any, bool], str]], ...] = (
    (Rendered, lambda value, account: value),
    (Enum, _write_enum),  # before str and int: a StrEnum is one, an IntEnum the other
    (str, lambda value, account: _text(str(value), account)),
    (bool, lambda value, account: "true" if value else "false"),
    (int, _write_integer),
    # 1.0 and 1e-05 are written differently from language to language
    ((Decimal, float), lambda value, account: f'"{value!s}"'),
    (datetime, _write_moment),
    (date, lambda value, account: f'"{value.isoformat()}"'),
    (Mapping, _write_mapping),
    (Set, _write_set),
    ((bytes, bytearray), _write_anything),
    (Sequence, _write_list),
)
"""The first that fits; a dataclass and all else come after them."""


def _of_dataclass(kind: type) -> Callable[[Any, bool], str]:
    members = _members(tuple(field.name for field in fields(kind)))

    def write(value: object, account: bool) -> str:
        return _object(members, partial(getattr, value))

    return write


def _object(members: Iterable[_Member], value_of: Callable[[str], object]) -> str:
    written = []
    for key, prefix, is_secret, is_account in members:
        value = value_of(key)
        if value is None:
            written.append(prefix + "null")
        elif is_secret:
            written.append(f'{prefix}"{REDACTED}"')
        else:
            kind: type = type(value)
            written.append(prefix + (_WRITER_OF.get(kind) or _writer(kind))(value, is_account))
    return f"{{{','.join(written)}}}"


@lru_cache(maxsize=1024)
def _members(keys: tuple[str, ...]) -> tuple[_Member, ...]:
    """The members of an object with these keys, in the order in which they are written."""
    named: dict[str, _Member] = {}
    for key in keys:
        name = redacted_text(key)
        while name in named:  # two account numbers may end alike
            name += "'"
        named[name] = _Member(key, f"{encode_basestring_ascii(name)}:", is_secret_key(key), is_account_key(key))
    return tuple(member for _, member in sorted(named.items()))
