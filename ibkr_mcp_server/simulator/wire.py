"""Frames and fields of the TWS socket protocol (tws-wire guide, section 1).

Pure text work: a frame is a length and a payload, a payload is fields that each end in NUL. What the fields mean
belongs to `requests.py` and `replies.py`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import TypeAlias

Field: TypeAlias = str | int | Decimal | bool | None

UNSET_DOUBLE = "1.7976931348623157E308"
UNSET_INTEGER = 2_147_483_647
LARGEST_FRAME_BYTES = 1 << 20
"""Far above any request; a longer announced length is garbage, and waiting for it would hold memory."""

_UNSET_FROM = Decimal("1.797E308")
_WIDEST_EXPONENT = 40
_LONGEST_NUMBER = 40
"""No client prints more; longer ones would leave the precision that `Decimal` computes with."""
_LENGTH = struct.Struct(">I")


class MalformedMessage(ValueError):
    """A field is missing or cannot be read as what it should be."""


def to_text(value: Field) -> str:
    """One field as TWS prints it: no exponent, no trailing zeros, `None` as the empty field."""
    if type(value) is str:  # most fields are, of the hundred and more in an order
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, Decimal):
        return decimal_text(value)
    return str(value)


def decimal_text(value: Decimal) -> str:
    text = format(value, "f")
    return (text.rstrip("0").rstrip(".") or "0") if "." in text else text


def encode_frame(fields: Iterable[Field]) -> bytes:
    """A whole message. Non-ASCII text goes out escaped (section 1)."""
    payload = "".join([f"{to_text(field)}\0" for field in fields]).encode("ascii", "backslashreplace")
    return _LENGTH.pack(len(payload)) + payload


class FrameDecoder:
    """Cuts a byte stream into payloads, however the stream was segmented."""

    def __init__(self, *, largest: int = LARGEST_FRAME_BYTES) -> None:
        self._largest = largest
        self._buffer = bytearray()
        self.broken = ""
        """Says why no further frame can be read: a length above the limit was announced."""

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads completed by `data`, in order; none once the stream is `broken`."""
        if self.broken:
            return []
        self._buffer += data
        payloads = []
        start = 0
        while len(self._buffer) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, start)
            if length > self._largest:
                self.broken = f"a frame of {length} bytes was announced"
                break
            end = start + _LENGTH.size + length
            if len(self._buffer) < end:
                break
            payloads.append(bytes(self._buffer[start + _LENGTH.size : end]))
            start = end
        del self._buffer[:start]
        return payloads


def split_fields(payload: bytes) -> list[str]:
    """The fields of a payload; the last one's closing NUL may be missing."""
    fields = payload.decode("utf-8", "backslashreplace").split("\0")
    if fields[-1] == "":
        fields.pop()
    return fields


def is_infinite(text: str) -> bool:
    """`ib_async` writes `Infinite`, the official client `Infinity`."""
    return text.lower().lstrip("+-").startswith("inf")


def parse_decimal(text: str) -> Decimal | None:
    """A number, or `None` for every spelling of "unset" (section 1)."""
    if not text or is_infinite(text):
        return None
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise MalformedMessage(f"{text[:40]!r} is not a number") from None
    if not value.is_finite():
        raise MalformedMessage(f"{text[:40]!r} is not a finite number")
    if value.adjusted() == _UNSET_FROM.adjusted() and abs(value) >= _UNSET_FROM:
        return None
    if value and (abs(value.adjusted()) > _WIDEST_EXPONENT or len(text) > _LONGEST_NUMBER):
        raise MalformedMessage(f"{text[:40]!r} is out of range")
    return value if value else Decimal(0)


def parse_integer(text: str) -> int | None:
    """A whole number, or `None` for unset; `3.0` passes, since some clients print their floats."""
    value = parse_decimal(text)
    if value is None or value == UNSET_INTEGER:
        return None
    if value != value.to_integral_value():
        raise MalformedMessage(f"{text[:40]!r} is not a whole number")
    return int(value)


def parse_boolean(text: str) -> bool:
    if text in ("", "0", "false", "False"):
        return False
    if text in ("1", "true", "True"):
        return True
    raise MalformedMessage(f"{text[:40]!r} is neither 1 nor 0")


class FieldReader:
    """A cursor over the fields of one message; never an index, because sections vary (section 9)."""

    def __init__(self, fields: list[str]) -> None:
        self._fields = fields
        self._at = 0

    def text(self) -> str:
        if self._at >= len(self._fields):
            raise MalformedMessage(f"the message ends after {len(self._fields)} fields")
        self._at += 1
        return self._fields[self._at - 1]

    def texts(self, count: int) -> list[str]:
        return [self.text() for _ in range(count)]

    def integer(self, default: int = 0) -> int:
        value = parse_integer(self.text())
        return default if value is None else value

    def decimal(self) -> Decimal | None:
        return parse_decimal(self.text())

    def boolean(self) -> bool:
        return parse_boolean(self.text())

    def count(self, largest: int = 1_000) -> int:
        """The length of a repeated section; a wild one is refused before anything is read for it."""
        number = self.integer()
        if not 0 <= number <= largest:
            raise MalformedMessage(f"a section of {number} rows")
        return number

    def skip(self, count: int = 1) -> None:
        self.texts(count)

    def rest(self) -> list[str]:
        left = self._fields[self._at :]
        self._at = len(self._fields)
        return left
