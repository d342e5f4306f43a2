"""Write intents: the durable promise made before anything is sent, and the only source of every order counter.

All functions work inside the caller's transaction; they keep nothing in memory, so a restart changes nothing (RL-09).
"""

from __future__ import annotations

import json
from collections.abc import Sequence, Set
from dataclasses import dataclass, fields, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from operator import itemgetter
from typing import Any, Literal, NamedTuple, TypedDict, Unpack

from sqlalchemy import (
    ColumnElement,
    Connection,
    Float,
    Text,
    bindparam,
    cast,
    func,
    or_,
    select,
    type_coerce,
    union_all,
    update,
)
from sqlalchemy import insert as insert_into

from ibkr_mcp_server.clock import Clock, trading_day
from ibkr_mcp_server.errors import Fault
from ibkr_mcp_server.store import agent_positions
from ibkr_mcp_server.store.prepared import Prepared, Row
from ibkr_mcp_server.store.schema import IntentState, intents

__all__ = [
    "FINAL",
    "TRANSITIONS",
    "UNRESOLVED",
    "DayOfMessages",
    "Intent",
    "IntentState",
    "KeyTaken",
    "Opening",
    "Outcome",
    "accepted_placements",
    "advance",
    "ended_placements",
    "find_by_key",
    "find_by_ref",
    "get",
    "messages_on",
    "modifications_in_window",
    "opening_in_window",
    "opening_on",
    "openings",
    "release",
    "reserve",
    "unresolved",
    "working_opening",
]

_S = IntentState

TRANSITIONS: dict[IntentState, frozenset[IntentState]] = {
    # An answer may overtake our own note that we sent; EXPIRED comes to a RESERVED intent by `release` alone.
    _S.RESERVED: frozenset({_S.SENT, _S.ACCEPTED, _S.REJECTED, _S.FILLED, _S.CANCELLED, _S.UNKNOWN}),
    _S.SENT: frozenset({_S.ACCEPTED, _S.REJECTED, _S.FILLED, _S.CANCELLED, _S.UNKNOWN, _S.EXPIRED}),
    _S.UNKNOWN: frozenset({_S.SENT, _S.ACCEPTED, _S.REJECTED, _S.FILLED, _S.CANCELLED, _S.EXPIRED}),
    # Accepted orders may still be rejected: error 201 after a PreSubmitted, or an exchange that says no at the open.
    _S.ACCEPTED: frozenset({_S.REJECTED, _S.FILLED, _S.CANCELLED, _S.UNKNOWN, _S.EXPIRED}),
    _S.CANCELLED: frozenset({_S.FILLED}),  # the last fill crossed the cancellation on its way
    # Both may be our own conclusion, from lists that lacked the order; what the broker tells of it later is stronger.
    _S.REJECTED: frozenset({_S.ACCEPTED, _S.FILLED, _S.CANCELLED}),
    _S.EXPIRED: frozenset({_S.ACCEPTED, _S.FILLED, _S.CANCELLED}),
    _S.FILLED: frozenset(),
}
"""Where an intent may go; staying, with newer figures, is always allowed."""

FINAL = frozenset({_S.REJECTED, _S.FILLED, _S.CANCELLED, _S.EXPIRED})
UNRESOLVED = frozenset({_S.RESERVED, _S.SENT, _S.UNKNOWN})
_WORKING = UNRESOLVED | {_S.ACCEPTED}


@dataclass(frozen=True, kw_only=True)
class Intent:
    """One write that was decided on."""

    intent_id: str
    request_key: str
    """The caller's `client_request_id`, or one that the server minted; unique for ever (ID-01)."""
    fingerprint: str
    """Of the canonical parameters (ID-03)."""
    kind: Literal["place", "modify", "cancel"]
    state: IntentState = IntentState.RESERVED
    opening: bool
    """Can increase the absolute projected position; only such intents use up quotas."""
    actor_id: str
    account: str
    con_id: int
    symbol: str
    side: str
    quantity: Decimal
    order_type: str
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    worst_case_value_usd: Decimal | None
    order_ref: str
    """As it travels to the broker; that of the target for a modification or cancellation."""
    decision_id: str
    trading_day: date
    created_at: datetime
    monotonic: float
    """The clock's monotonic seconds at `created_at`; comparable under the same `boot_id` only."""
    boot_id: str
    session_id: str
    perm_id: int | None = None
    order_id: int | None = None
    client_id: int | None = None
    broker_status: str | None = None
    filled_quantity: Decimal | None = None
    average_fill_price: Decimal | None = None
    result: Any = None  # Any: whatever JSON the caller was answered
    """The stored answer, for a repeat of the same request (ID-04)."""
    release_reason: str | None = None
    """Why the quota was given back; None while it counts."""
    updated_at: datetime | None = None
    """Set by the store."""


class Opening(NamedTuple):
    """What the limits need to know of an opening order that was accepted earlier.

    A tuple, because each decision makes one for each order of the day.
    """

    age_seconds: float
    is_today: bool
    """It counts in the present trading day."""
    con_id: int
    side: str
    quantity: Decimal
    limit_price: Decimal | None
    stop_price: Decimal | None
    value_usd: Decimal
    """At its worst price; an order without a known value is never accepted."""
    request_key: str
    order_ref: str
    agent: str
    is_new: bool
    """A placement; False for a change of a working order."""


@dataclass(frozen=True, kw_only=True)
class DayOfMessages:
    """What the broker was told about orders in a trading day."""

    sent: int = 0
    """Submits, changes and cancels."""
    executed: int = 0
    """Orders that traded at least in part."""


class Outcome(TypedDict, total=False):
    """What may be learned about an intent after it was reserved."""

    perm_id: int | None
    order_id: int | None
    client_id: int | None
    broker_status: str | None
    filled_quantity: Decimal | None
    average_fill_price: Decimal | None
    result: Any  # Any: as in Intent


class KeyTaken(Exception):
    """The request key belongs to an intent already; the caller compares fingerprints and answers from it."""

    def __init__(self, existing: Intent) -> None:
        super().__init__(f"request key {existing.request_key!r} belongs to intent {existing.intent_id}")
        self.existing = existing


def reserve(connection: Connection, intent: Intent, *, key_is_free: bool = False) -> None:
    """Write `intent` down as RESERVED; from here on it counts.

    `key_is_free`: the caller has looked for the key in this transaction, or minted it.

    Raises:
        KeyTaken: an intent with this request key exists. Nothing was written.
    """
    if intent.state is not IntentState.RESERVED:
        raise Fault("INTENT_STATE", f"An intent begins RESERVED, not {intent.state}.")
    # Writers are serialised, so nobody can take the key between this look and the insert; the index holds it anyway.
    if not key_is_free and (existing := find_by_key(connection, intent.request_key)):
        raise KeyTaken(existing)
    _INSERT.execute(connection, _as_row(intent) | {"updated_at": intent.created_at})


def get(connection: Connection, intent_id: str) -> Intent | None:
    return _one(connection, _BY_ID, intent_id=intent_id)


def find_by_key(connection: Connection, request_key: str) -> Intent | None:
    return _one(connection, _BY_KEY, request_key=request_key)


def find_by_ref(connection: Connection, order_ref: str) -> Intent | None:
    """The placement that carries `order_ref`; its modifications and cancellations share the reference."""
    return _one(connection, _BY_REF, order_ref=order_ref)


def advance(
    connection: Connection, intent_id: str, state: IntentState, *, now: datetime, **learned: Unpack[Outcome]
) -> Intent:
    """Move the intent to `state` and note what was learned; fields not given stay as they are.

    What left EXPIRED had been sent after all, so it counts again.

    Raises:
        Fault: there is no such intent, the step is not in TRANSITIONS, or a field may not be changed.
    """
    if unknown := set(learned) - set(Outcome.__annotations__):
        raise Fault("INTENT_FIELD", f"Fixed when an intent is reserved: {', '.join(sorted(unknown))}.")
    before = _existing(connection, intent_id)
    if state is not before.state and state not in TRANSITIONS[before.state]:
        raise Fault("INTENT_TRANSITION", f"Intent {intent_id} cannot go from {before.state} to {state}.")
    after = replace(before, state=state, updated_at=now, **learned)
    if before.state is IntentState.EXPIRED and state is not IntentState.EXPIRED:
        after = replace(after, release_reason=None)
    traded = (after.filled_quantity or Decimal(0)) - (before.filled_quantity or Decimal(0))
    if traded and after.kind == "place":
        signed = traded if after.side == "BUY" else -traded
        agent_positions.add(connection, after.actor_id, after.account, after.con_id, signed)
    return _store(connection, after)


def release(connection: Connection, intent_id: str, reason: str, now: datetime) -> Intent:
    """Give back the quota of an intent that provably never left (RL-08); it ends EXPIRED.

    Raises:
        Fault: it is not RESERVED, so something may have been sent.
    """
    before = _existing(connection, intent_id)
    if before.state is not IntentState.RESERVED:
        raise Fault("INTENT_TRANSITION", f"Intent {intent_id} is {before.state}: its quota cannot be given back.")
    return _store(connection, replace(before, state=IntentState.EXPIRED, release_reason=reason, updated_at=now))


def opening_in_window(connection: Connection, clock: Clock, seconds: float) -> list[float]:
    """Ages in seconds, youngest first, of the opening intents younger than `seconds` (RL-03).

    Under the same boot id the monotonic clock decides, so steps of the wall clock change nothing. Readings of another
    boot do not compare: there the wall clock decides, and what seems to come from the future is 0 seconds old.
    """
    return _ages(connection, _IN_WINDOW, clock, seconds)


def _ages(connection: Connection, query: Prepared, clock: Clock, seconds: float) -> list[float]:
    now, monotonic = clock.now(), clock.monotonic()
    rows = query.rows(
        connection,
        boot_id=clock.boot_id,
        monotonic_after=monotonic - seconds,
        created_after=now - timedelta(seconds=seconds),
    )
    ages = (
        monotonic - was if boot_id == clock.boot_id else (now - created_at).total_seconds()
        for boot_id, was, created_at in rows
    )
    return sorted(max(0.0, age) for age in ages if age < seconds)


def modifications_in_window(connection: Connection, clock: Clock, seconds: float) -> list[float]:
    """As `opening_in_window`, of the changes of working orders, whatever they do (RL-11)."""
    return _ages(connection, _MODIFICATIONS, clock, seconds)


def openings(connection: Connection, clock: Clock, seconds: float) -> list[Opening]:
    """The opening orders that count in this trading day or are younger than `seconds`, youngest first."""
    now, monotonic, boot_id, today = clock.now(), clock.monotonic(), clock.boot_id, trading_day(clock.now())
    rows = _OPENINGS.rows(
        connection,
        trading_day=today,
        boot_id=boot_id,
        monotonic_after=monotonic - seconds,
        created_after=now - timedelta(seconds=seconds),
    )
    found = []
    for facts, day, created_at, was, booted in rows:
        age = max(0.0, monotonic - was if booted == boot_id else (now - created_at).total_seconds())
        found.append(Opening._make((age, day == today, *facts)))
    return sorted(found, key=_AGE)


def _fixed(row: Any) -> Row:  # Any: the `_OPENING_COLUMNS`
    """What the orders of the day keep from decision to decision: the facts of an `Opening`, and when it was made."""
    facts = *row[:5], row.worst_case_value_usd or Decimal(0), row.request_key, row.order_ref, row.actor_id
    made = row.trading_day, row.created_at, row.monotonic, row.boot_id
    return (*facts, row.kind == "place"), *made


def opening_on(connection: Connection, day: date) -> int:
    """How many opening intents count on `day` (RL-05, RL-07)."""
    (count,) = _ON_DAY.rows(connection, trading_day=day)[0]
    return int(count)


def messages_on(connection: Connection, day: date) -> DayOfMessages:
    """What was sent of the intents of `day`, and what of it traded (RL-15)."""
    sent, executed = _MESSAGES.rows(connection, trading_day=day)[0]
    return DayOfMessages(sent=sent, executed=executed)


def unresolved(connection: Connection) -> list[Intent]:
    """Intents whose outcome is not known yet: RESERVED, SENT or UNKNOWN; oldest first."""
    return _many(connection, _UNRESOLVED)


def accepted_placements(connection: Connection) -> list[Intent]:
    """Orders that we take for working at the broker; oldest first."""
    return _many(connection, _ACCEPTED_PLACEMENTS)


def ended_placements(connection: Connection, order_refs: Sequence[str]) -> list[Intent]:
    """Of the orders under these references, those that we take for ended without a complete fill."""
    refs = sorted(set(order_refs))
    return [
        _from_row(tuple(row))
        for first in range(0, len(refs), _REFS_AT_ONCE)
        for row in connection.execute(_ENDED_PLACEMENTS, {"order_refs": refs[first : first + _REFS_AT_ONCE]})
    ]


def working_opening(connection: Connection, con_id: int) -> list[Intent]:
    """Opening intents of one instrument that may still fill: unresolved or ACCEPTED; oldest first."""
    return _many(connection, _WORKING_OPENING, con_id=con_id)


def actors(connection: Connection) -> list[str]:
    """Everybody who ever had an order accepted, by name."""
    return list(connection.execute(_ACTORS).scalars())


def working_refs_of(connection: Connection, actor_id: str) -> set[str]:
    """The order references of the placements of one actor that may still work."""
    return set(connection.execute(_REFS_OF, {"actor_id": actor_id}).scalars())


def _existing(connection: Connection, intent_id: str) -> Intent:
    intent = get(connection, intent_id)
    if intent is None:
        raise Fault("INTENT_MISSING", f"There is no intent {intent_id!r} in the store.")
    return intent


def _store(connection: Connection, intent: Intent) -> Intent:
    row = _as_row(intent)
    changed = {name: row[name] for name in _CHANGING}
    _UPDATE.execute(connection, {**changed, "which": intent.intent_id})
    return intent


def _is_one_of(states: Set[IntentState]) -> ColumnElement[bool]:
    """Not `in_`, whose values are put into the text anew at each execution."""
    return or_(*(intents.c.state == state for state in sorted(states)))


def _one(connection: Connection, query: Prepared, **which: object) -> Intent | None:
    row = query.one_or_none(connection, **which)
    return None if row is None else _from_row(row)


def _many(connection: Connection, query: Prepared, **which: object) -> list[Intent]:
    return [_from_row(row) for row in query.rows(connection, **which)]


_FIELDS = tuple(field.name for field in fields(Intent))
_CHANGING = (*Outcome.__annotations__, "state", "release_reason", "updated_at")
_INSERT = Prepared(insert_into(intents))
_UPDATE = Prepared(
    update(intents)
    .where(intents.c.intent_id == bindparam("which"))
    .values({name: bindparam(name) for name in _CHANGING})
)
_ALL = select(*(intents.c[name] for name in _FIELDS))
_BY_ID = Prepared(_ALL.where(intents.c.intent_id == bindparam("intent_id")))
_BY_KEY = Prepared(_ALL.where(intents.c.request_key == bindparam("request_key")))
_BY_REF = Prepared(_ALL.where(intents.c.order_ref == bindparam("order_ref"), intents.c.kind == "place"))
_OLDEST_FIRST = (intents.c.created_at, intents.c.intent_id)
_UNRESOLVED = Prepared(_ALL.where(_is_one_of(UNRESOLVED)).order_by(*_OLDEST_FIRST))
_ACCEPTED_PLACEMENTS = Prepared(
    _ALL.where(intents.c.kind == "place", intents.c.state == _S.ACCEPTED).order_by(*_OLDEST_FIRST)
)
_REFS_AT_ONCE = 500
_ENDED_PLACEMENTS = _ALL.where(
    intents.c.order_ref.in_(bindparam("order_refs", expanding=True)),
    intents.c.kind == "place",
    intents.c.state.in_([_S.CANCELLED, _S.EXPIRED, _S.REJECTED]),
)
_WORKING_OPENING = Prepared(
    _ALL.where(intents.c.con_id == bindparam("con_id"), _is_one_of(_WORKING), intents.c.opening).order_by(
        *_OLDEST_FIRST
    )
)
_ACTORS = select(intents.c.actor_id).where(intents.c.kind == "place").distinct().order_by(intents.c.actor_id)
_REFS_OF = select(intents.c.order_ref).where(
    intents.c.actor_id == bindparam("actor_id"), intents.c.kind == "place", intents.c.state.in_(sorted(_WORKING))
)
_COUNTS = intents.c.opening & intents.c.release_reason.is_(None)
_ON_DAY = Prepared(select(func.count()).where(intents.c.trading_day == bindparam("trading_day"), _COUNTS))


_AGE = itemgetter(Opening._fields.index("age_seconds"))
_OPENING_COLUMNS = (  # in the order of an Opening, then what its age is told by
    *("con_id", "side", "quantity", "limit_price", "stop_price", "worst_case_value_usd", "request_key", "order_ref"),
    *("actor_id", "kind", "trading_day", "created_at", "monotonic", "boot_id"),
)
_ANOTHER_DAY = intents.c.trading_day != bindparam("trading_day")
_OPENINGS = Prepared(
    union_all(  # three searches instead of OR, so that each walks one index; no order is found by two of them
        *(
            select(*(intents.c[name] for name in _OPENING_COLUMNS)).where(_COUNTS, *condition)
            for condition in (
                (intents.c.trading_day == bindparam("trading_day"),),
                (
                    _ANOTHER_DAY,
                    intents.c.boot_id == bindparam("boot_id"),
                    intents.c.monotonic > bindparam("monotonic_after"),
                ),
                (
                    _ANOTHER_DAY,
                    intents.c.boot_id != bindparam("boot_id"),
                    intents.c.created_at > bindparam("created_after"),
                ),
            )
        )
    ),
    meaning=_fixed,
)


def _in_window(counts: ColumnElement[bool]) -> Prepared:
    """The moments of what counts in a window: two halves instead of OR, so that each walks one index."""
    moments = select(intents.c.boot_id, intents.c.monotonic, intents.c.created_at).where(counts)
    return Prepared(
        union_all(
            moments.where(
                intents.c.boot_id == bindparam("boot_id"), intents.c.monotonic > bindparam("monotonic_after")
            ),
            moments.where(intents.c.boot_id != bindparam("boot_id"), intents.c.created_at > bindparam("created_after")),
        )
    )


_IN_WINDOW = _in_window(_COUNTS)
_MODIFICATIONS = _in_window((intents.c.kind == "modify") & intents.c.release_reason.is_(None))

_TRADED = (intents.c.kind == "place") & (
    (intents.c.state == _S.FILLED) | (cast(type_coerce(intents.c.filled_quantity, Text), Float) > 0)
)
_MESSAGES = Prepared(
    select(func.count(), func.count().filter(_TRADED)).where(
        intents.c.trading_day == bindparam("trading_day"),
        intents.c.state != _S.RESERVED,
        intents.c.release_reason.is_(None),
    )
)


def _as_row(intent: Intent) -> dict[str, Any]:  # Any: values of all the columns' types
    row = {name: getattr(intent, name) for name in _FIELDS}
    row["result"] = None if intent.result is None else json.dumps(intent.result)
    return row


def _from_row(row: Row) -> Intent:
    values = dict(zip(_FIELDS, row, strict=True))
    values["result"] = None if values["result"] is None else json.loads(values["result"])
    return Intent(**values)
