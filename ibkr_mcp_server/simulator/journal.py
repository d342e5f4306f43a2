"""The gateway's memory on disk: a journal of upserts that survives a killed process.

A line is one transaction, `{section: {key: value}}`; a `null` value deletes. It is handed to the operating system
before the acknowledgement that it stands behind is sent, so what a client was told is found again. A last line torn by
the kill was never acknowledged and is dropped. Opening rewrites the journal as a single line, by an atomic rename.

Dataclasses travel through `encode` and `decode`; decimals and times as text, so that nothing is rounded.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import types
import typing
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

Json: TypeAlias = Any  # JSON text has no static shape; `decode` checks it against the dataclass it becomes
Transaction: TypeAlias = Mapping[str, Mapping[str, Json]]
State: TypeAlias = dict[str, dict[str, Json]]
T = TypeVar("T")

COMPACT_ABOVE_BYTES = 16 << 20


class Journal:
    """One gateway's journal; a single process owns it."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._path = directory / "world.jsonl"
        self._file: typing.BinaryIO | None = None
        self._size = 0

    def load(self) -> State:
        """Everything written so far, merged; opens the journal for writing."""
        state: State = {}
        if self._path.exists():
            for line in self._path.read_bytes().splitlines(keepends=True):
                transaction = _parse(line)
                if transaction is None:
                    break
                _merge(state, transaction)
        self.compact(state)
        return state

    def append(self, transaction: Transaction) -> None:
        """Write one transaction; when this returns, killing the process loses nothing of it."""
        if self._file is None:
            raise RuntimeError("the journal was not loaded or is closed")
        line = _line(transaction)
        self._file.write(line)
        self._file.flush()
        self._size += len(line)

    @property
    def wants_compaction(self) -> bool:
        return self._size > COMPACT_ABOVE_BYTES

    def compact(self, state: Transaction) -> None:
        """Replace the journal by `state` alone."""
        fresh = self._path.with_suffix(".fresh")
        with fresh.open("wb") as file:
            file.write(_line(state))
            file.flush()
            os.fsync(file.fileno())
        self.close()
        fresh.replace(self._path)
        self._file = self._path.open("ab")
        self._size = 0

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _line(transaction: Transaction) -> bytes:
    return json.dumps(transaction, separators=(",", ":")).encode() + b"\n"


def _parse(line: bytes) -> Transaction | None:
    if not line.endswith(b"\n"):
        return None
    try:
        parsed = json.loads(line)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def _merge(state: State, transaction: Transaction) -> None:
    for section, entries in transaction.items():
        rows = state.setdefault(section, {})
        for key, value in entries.items():
            if value is None:
                rows.pop(key, None)
            else:
                rows[key] = value


def encode(value: object) -> Json:
    """A dataclass, or what one is made of, as JSON; see `decode`."""
    if dataclasses.is_dataclass(value):
        return {field.name: encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): encode(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [encode(entry) for entry in value]
    return value


def decode(kind: type[T], value: Json) -> T:
    """Read back what `encode` wrote, by the dataclass's own annotations."""
    return typing.cast(T, _decode(kind, value))


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _decode(kind: Any, value: Json) -> Any:  # `kind` is an annotation, which has no useful static type
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        return _decode(next(entry for entry in arguments if entry is not types.NoneType), value)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return kind(**{name: _decode(hint, value[name]) for name, hint in _hints(kind).items() if name in value})
    if kind is Decimal:
        return Decimal(value)
    if kind is datetime:
        return datetime.fromisoformat(value)
    if kind is date:
        return date.fromisoformat(value)
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return tuple(_decode(arguments[0], entry) for entry in value)
        return tuple(_decode(hint, entry) for hint, entry in zip(arguments, value, strict=True))
    if origin is list:
        return [_decode(arguments[0], entry) for entry in value]
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {_decode(arguments[0], key): _decode(arguments[1], entry) for key, entry in value.items()}
    if kind is int:
        return int(value)
    return value
