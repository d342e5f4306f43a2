"""The chain: each record holds the hash of the one before it.

A record's hash is SHA-256 over its canonical JSON without the hash itself: ASCII, keys sorted, no blanks, every number
that is not whole as text, times as RFC 3339 in UTC with microseconds. The parts are rendered once, stored as text, and
joined here, so that what is verified is byte for byte what was hashed.

The chain alone shows careless tampering only: who may write to the store can compute a new one. Keyed checkpoints
(AUD-05) sign a `Head` with a key kept elsewhere; `verify` compares the log with such a head.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from hashlib import sha256
from typing import Any, NamedTuple

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


SEQ = StoredRecord._fields.index("seq")
PREV_HASH = StoredRecord._fields.index("prev_hash")
SESSION_ID = StoredRecord._fields.index("session_id")
HASH = len(StoredRecord._fields)
"""Places in a row: the fields of a `StoredRecord`, then its hash."""


def body_of(record: Sequence[Any]) -> str:  # Any: a StoredRecord, or a row with its columns first
    """The canonical JSON that is hashed. Written out, because verification spends its time here."""
    (actor, broker_ids, config, decision, kind, intent, operation, order, outcome, prev, seq, session, at, tool,
     validation, *_) = record  # fmt: skip
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
    """The hash of a record's canonical JSON, which is ASCII unless it was tampered with."""
    return sha256(body.encode("utf-8", "surrogatepass")).hexdigest()


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
    if type(value) is str:
        return masked(value) if account else redacted_text(value)
    if isinstance(value, Enum):  # before str: a StrEnum is one
        return value.value if isinstance(value.value, str) else value.name
    if isinstance(value, str):
        return _plain(str(value), account=account)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        # Python refuses to write very long integers in decimals.
        return value if abs(value) < _LARGEST_SAFE_INTEGER else f"{value:#x}"
    if isinstance(value, Decimal | float):
        return str(value)  # 1.0 and 1e-05 are written differently from language to language
    if isinstance(value, datetime):
        return rfc3339(value) if value.tzinfo is not None else value.isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, dict | Mapping):
        return _object((str(key), item) for key, item in value.items())
    if is_dataclass(value) and not isinstance(value, type):
        return _object((field.name, getattr(value, field.name)) for field in fields(value))
    if isinstance(value, Set):
        return sorted((_plain(item, account=account) for item in value), key=str)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [_plain(item, account=account) for item in value]
    return redacted_text(repr(value))


def _object(items: Iterable[tuple[str, object]]) -> dict[str, object]:
    plain: dict[str, object] = {}
    for key, value in items:
        name = redacted_text(key)
        while name in plain:  # two account numbers may end alike
            name += "'"
        if is_secret_key(key):
            plain[name] = None if value is None else REDACTED
        else:
            plain[name] = _plain(value, account=is_account_key(key))
    return plain


@dataclass(kw_only=True)
class ChainReader:
    """Follows a chain record by record, up to the first one that does not fit."""

    head: Head = GENESIS
    """The last record that fits; at first, the one that the chain is to continue."""
    expected: Head | None = None
    """A head known from elsewhere, which the chain must pass through."""
    records: int = 0
    first_bad_seq: int | None = None
    reason: str | None = None

    def take(self, seq: int, prev_hash: str, body: str, hash: str) -> bool:
        """Follow to the next record; False once one did not fit, and from then on."""
        if self.reason is not None:
            return False
        last_seq, last_hash = self.head
        if seq == last_seq + 1 and prev_hash == last_hash and digest(body) == hash:
            if self.expected is not None and seq == self.expected.seq and hash != self.expected.hash:
                return self.stop(seq, f"Record {seq} is not the one that was noted elsewhere: the chain was rewritten.")
            self.head = Head(seq, hash)
            self.records += 1
            return True
        if seq > last_seq + 1:
            lost = (
                f"Record {last_seq + 1} is missing"
                if seq == last_seq + 2
                else f"Records {last_seq + 1} to {seq - 1} are missing"
            )
            return self.stop(last_seq + 1, f"{lost}: the log goes on with record {seq}.")
        if seq <= last_seq:
            return self.stop(seq, f"Record {seq} stands after record {last_seq}: inserted, repeated or reordered.")
        if digest(body) != hash:
            return self.stop(seq, f"Record {seq} was changed: its content does not match its hash.")
        return self.stop(seq, f"Record {seq} does not continue the record before it: one of the two was replaced.")

    def end(self) -> None:
        """Say that no more records come: a tail that was cut off shows only now."""
        if self.reason is None and self.expected is not None and self.head.seq < self.expected.seq:
            first = self.head.seq + 1
            self.stop(first, f"The tail is cut off: records {first} to {self.expected.seq} are missing.")

    def stop(self, seq: int, reason: str) -> bool:
        """Note why the chain is not to be trusted from `seq` on."""
        self.first_bad_seq, self.reason = seq, reason
        return False
