"""The chain: each record holds the hash of the one before it.

A record's hash is SHA-256 over its canonical JSON without the hash itself: ASCII, keys sorted, no blanks, every number
that is not whole as text, times as RFC 3339 in UTC with microseconds. The parts are rendered once, stored as text, and
joined here, so that what is verified is byte for byte what was hashed.

The chain alone shows careless tampering only: who may write to the store can compute a new one. Keyed checkpoints
(AUD-05) sign a `Head` with a key kept elsewhere; `verify` compares the log with such a head.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from hashlib import sha256
from typing import NamedTuple

from ibkr_mcp_server.audit.redaction import REDACTED, is_account_key, is_secret_key, redacted_text
from ibkr_mcp_server.domain.accounts import masked
from ibkr_mcp_server.store.columns import rfc3339

_LARGEST_SAFE_INTEGER = 2**53  # beyond it readers in other languages lose digits (RFC 8259, section 6)


class Head(NamedTuple):
    """A place in the chain: the record `seq`, and its hash."""

    seq: int
    hash: str


GENESIS = Head(0, sha256(b"ibkr-mcp-server audit log").hexdigest())
"""Where every chain begins: before record 1."""


class StoredRecord(NamedTuple):
    """A record as its row holds it, in the order of its canonical keys; JSON parts are JSON text, None is null.

    Plain texts are kept as they stand between the quotes of JSON, which for all sane text changes nothing.
    """

    actor: str
    broker_ids: str | None
    config_hash: str
    decision_id: str | None
    event_type: str
    intent_id: str | None
    operation_type: str | None
    order_data: str | None
    outcome: str | None
    prev_hash: str
    seq: int
    session_id: str
    timestamp: str
    tool: str | None
    validation_result: str | None

    def body(self) -> str:
        """The canonical JSON that is hashed."""
        (actor, broker_ids, config, decision, kind, intent, operation, order, outcome, prev, seq, session, at, tool,
         validation) = self  # fmt: skip
        decision = "null" if decision is None else f'"{decision}"'
        intent = "null" if intent is None else f'"{intent}"'
        operation = "null" if operation is None else f'"{operation}"'
        tool = "null" if tool is None else f'"{tool}"'
        return (
            f'{{"actor":{actor},"broker_ids":{broker_ids or "null"},"config_hash":"{config}","decision_id":{decision}'
            f',"event_type":"{kind}","intent_id":{intent},"operation_type":{operation},"order_data":{order or "null"}'
            f',"outcome":{outcome or "null"},"prev_hash":"{prev}","seq":{seq},"session_id":"{session}"'
            f',"timestamp":"{at}","tool":{tool},"validation_result":{validation or "null"}}}'
        )


def digest(body: str) -> str:
    """The hash of a record's canonical JSON."""
    return sha256(body.encode("ascii")).hexdigest()


def export_line(body: str, hash: str) -> str:
    """The record as one line of an export: its canonical JSON, with the hash as the last key."""
    return f'{body[:-1]},"hash":"{hash}"}}'


def canonical(value: object) -> str:
    """`value` as canonical JSON, without secrets."""
    return json.dumps(_plain(value), ensure_ascii=True, sort_keys=True, separators=(",", ":"), allow_nan=False)


def canonical_text(text: str | None) -> str | None:
    """`text` as it stands between the quotes of canonical JSON, without secrets."""
    return None if text is None else canonical(text)[1:-1]


def _plain(value: object, *, account: bool = False) -> object:
    """`value` in the types of JSON; redaction happens here and nowhere else."""
    if isinstance(value, Enum):  # before str: a StrEnum is one
        return value.value if isinstance(value.value, str) else value.name
    if isinstance(value, str):
        return masked(value) if account else redacted_text(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < _LARGEST_SAFE_INTEGER else str(value)
    if isinstance(value, Decimal | float):
        return str(value)  # 1.0 and 1e-05 are written differently from language to language
    if isinstance(value, datetime):
        return rfc3339(value) if value.tzinfo is not None else value.isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): _under(str(key), item, account) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _under(field.name, getattr(value, field.name), account) for field in fields(value)}
    if isinstance(value, Set):
        return sorted((_plain(item, account=account) for item in value), key=str)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [_plain(item, account=account) for item in value]
    return redacted_text(repr(value))


def _under(key: str, value: object, account: bool) -> object:
    if is_secret_key(key):
        return None if value is None else REDACTED
    return _plain(value, account=account or is_account_key(key))


@dataclass
class ChainReader:
    """Follows a chain record by record, up to the first one that does not fit."""

    head: Head = GENESIS
    records: int = 0
    first_bad_seq: int | None = None
    reason: str | None = None

    @property
    def broken(self) -> bool:
        return self.reason is not None

    def take(self, seq: int, prev_hash: str, body: str, hash: str) -> bool:
        """Follow to the next record; False, and for ever, once one did not fit."""
        expected_seq, expected_hash = self.head
        if seq == expected_seq + 1 and prev_hash == expected_hash and sha256(body.encode()).hexdigest() == hash:
            self.head = Head(seq, hash)
            self.records += 1
            return True
        if seq > expected_seq + 1:
            missing = expected_seq + 1
            where = "the beginning is missing" if expected_seq == 0 else f"record {seq} follows record {expected_seq}"
            return self.stop(missing, f"Record {missing} is missing: {where}.")
        if seq <= expected_seq:
            return self.stop(seq, f"Record {seq} stands after record {expected_seq}: inserted, repeated or reordered.")
        if digest_of(body) != hash:
            return self.stop(seq, f"Record {seq} was changed: its content does not match its hash.")
        return self.stop(seq, f"Record {seq} does not continue record {expected_seq}: one of the two was replaced.")

    def stop(self, seq: int, reason: str) -> bool:
        self.first_bad_seq, self.reason = seq, reason
        return False


def digest_of(body: str) -> str:
    """As `digest`, for text that may have been tampered with and need not be ASCII."""
    return sha256(body.encode("utf-8", "surrogatepass")).hexdigest()
