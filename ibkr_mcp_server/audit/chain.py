"""The chain: each record holds the hash of the one before it.

A record's hash is SHA-256 over its canonical JSON (`canonical.py`) without the hash itself. The parts are rendered
once, stored as text, and joined here, so that what is verified is byte for byte what was hashed.

The chain alone shows careless tampering only: who may write to the store can compute a new one. Keyed checkpoints
(AUD-05) sign a `Head` with a key kept elsewhere; `verify` compares the log with such a head.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NamedTuple


class Head(NamedTuple):
    """A place in the chain: the record `seq`, and its hash."""

    seq: int
    hash: str


GENESIS = Head(0, sha256(b"ibkr-mcp-server audit log").hexdigest())
"""Where every chain begins: before record 1."""


class StoredRecord(NamedTuple):
    """A record as its row holds it: what is hashed, in the order of its canonical keys, then the hash.

    JSON parts are JSON text, None is null. Plain texts are kept as they stand between the quotes of JSON, which for all
    sane text changes nothing.
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
    hash: str


SEQ = StoredRecord._fields.index("seq")
PREV_HASH = StoredRecord._fields.index("prev_hash")
SESSION_ID = StoredRecord._fields.index("session_id")
EVENT_TYPE = StoredRecord._fields.index("event_type")
HASH = StoredRecord._fields.index("hash")
"""Places in a row."""

Row = Sequence[Any]
"""The fields of a `StoredRecord`, by their places. Any: text, whole numbers and None, unless it was tampered with."""


def body_of(row: Row) -> str:
    """The canonical JSON that is hashed. Written out, because verification spends its time here."""
    (actor, broker_ids, config, decision, kind, intent, operation, order, outcome, prev, seq, session, at, tool,
     validation, _) = row  # fmt: skip
    decision = "null" if decision is None else f'"{decision}"'
    intent = "null" if intent is None else f'"{intent}"'
    operation = "null" if operation is None else f'"{operation}"'
    tool = "null" if tool is None else f'"{tool}"'
    broker_ids = "null" if broker_ids is None else broker_ids
    order = "null" if order is None else order
    outcome = "null" if outcome is None else outcome
    validation = "null" if validation is None else validation
    return (
        f'{{"actor":{actor},"broker_ids":{broker_ids},"config_hash":"{config}","decision_id":{decision}'
        f',"event_type":"{kind}","intent_id":{intent},"operation_type":{operation},"order_data":{order}'
        f',"outcome":{outcome},"prev_hash":"{prev}","seq":{seq},"session_id":"{session}","timestamp":"{at}"'
        f',"tool":{tool},"validation_result":{validation}}}'
    )


def digest(body: str) -> str:
    """The hash of a record's canonical JSON, which is ASCII unless it was tampered with."""
    return sha256(body.encode("utf-8", "surrogatepass")).hexdigest()


def export_line(body: str, hash: str) -> str:
    """The record as one line of an export: its canonical JSON, with the hash as the last key."""
    return f'{body[:-1]},"hash":"{hash}"}}'


@dataclass(kw_only=True)
class ChainReader:
    """Follows a chain record by record, up to the first one that does not fit."""

    head: Head = GENESIS
    """The last record that fits; at first, the one that the chain is to continue."""
    expected: Head | None = None
    """A head known from elsewhere, which the chain must pass through."""
    first_bad_seq: int | None = None
    reason: str | None = None
    _continues: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._continues = self.head.seq

    @property
    def records(self) -> int:
        """Records that fit."""
        return self.head.seq - self._continues

    def follow(self, rows: Iterable[Row]) -> set[str]:
        """Take the rows up to the first that does not fit; returns the server runs that wrote those that do.

        What plainly fits is passed here, with nothing else done for it, because verification spends its time here.
        Everything else is for `take` to judge.
        """
        sessions: set[str] = set()
        seq, hash = self.head
        noted = None if self.expected is None else self.expected.seq
        for row in rows:
            here = row[SEQ]
            if here == seq + 1 and here != noted and row[PREV_HASH] == hash and digest(body_of(row)) == row[HASH]:
                seq, hash = here, row[HASH]
            else:
                self.head = Head(seq, hash)
                if not self.take(here, row[PREV_HASH], body_of(row), row[HASH]):
                    return sessions
                seq, hash = self.head
            sessions.add(row[SESSION_ID])
        self.head = Head(seq, hash)
        return sessions

    def take(self, seq: int, prev_hash: str, body: str, hash: str) -> bool:
        """Follow to the next record; False once one did not fit, and from then on."""
        if self.reason is not None:
            return False
        last_seq, last_hash = self.head
        if seq == last_seq + 1 and prev_hash == last_hash and digest(body) == hash:
            if self.expected is not None and seq == self.expected.seq and hash != self.expected.hash:
                return self.stop(seq, f"Record {seq} is not the one that was noted elsewhere: the chain was rewritten.")
            self.head = Head(seq, hash)
            return True
        if not isinstance(seq, int):
            return self.stop(
                last_seq + 1, f"Record {last_seq + 1} is missing: the log goes on with one without number."
            )
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
