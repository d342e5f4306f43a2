"""What a decision rests on, as its record keeps it (AUD-09): all that the checks may look at, and nothing else.

`replay.py` reads it back and judges again. Fields that stand at their default are left out, and so is what no check
reads (`LEFT_OUT`; a test holds that none does). What comes many times, earlier orders and working ones, is a row
without names. A contract is kept once, in a record of its own, and named by the hash of its text.

Each order waits for this to be written, so what a type needs is worked out once, and what does not change is written
once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from decimal import Decimal
from functools import lru_cache
from hashlib import sha256
from json.encoder import encode_basestring_ascii
from operator import attrgetter
from typing import Any, NamedTuple

from ibkr_mcp_server.audit.canonical import Rendered, canonical, writer_of
from ibkr_mcp_server.audit.redaction import is_account_key
from ibkr_mcp_server.broker.base import LinkStatus
from ibkr_mcp_server.domain.instruments import Instrument
from ibkr_mcp_server.domain.operations import Operation, Problem
from ibkr_mcp_server.domain.orders import BrokerOrder, Order
from ibkr_mcp_server.domain.quotes import Quote
from ibkr_mcp_server.safety.snapshot import Given, Observed, Recorded
from ibkr_mcp_server.store.intents import Intent, Opening


def _all_but(kind: type, *kept: str) -> frozenset[str]:
    names = {field.name for field in fields(kind)}
    assert names.issuperset(kept)
    return frozenset(names.difference(kept))


LEFT_OUT: Mapping[type, frozenset[str]] = {
    # The order and its exits stand in `order_data`.
    Observed: frozenset({"order", "exits", "balances"}),
    Recorded: frozenset({"agent_positions", "switch_generation"}),
    Operation: _all_but(Operation, "symbols", "account", "preview", "in_parts", "inner", "prepares", "problems"),
    LinkStatus: _all_but(LinkStatus, "accounts", "accounts_verified_at"),
    Quote: _all_but(
        Quote,
        *("con_id", "received_at", "data_type", "bid", "ask", "last", "average_volume", "shortable"),
        "shortable_shares",
    ),
    Instrument: frozenset({"long_name"}),
    Order: frozenset({"instrument"}),
    BrokerOrder: _all_but(BrokerOrder, "order", "perm_id", "client_id", "status", "parent_perm_id", "placed_here"),
    Intent: _all_but(
        Intent,
        *("intent_id", "request_key", "fingerprint", "kind", "state", "con_id", "symbol", "side", "quantity"),
    ),
    Problem: frozenset({"next_step"}),
    Given: frozenset({"ticket"}),
}
"""By type, what is not kept. What the checks need of these is derived from them before, and kept itself."""

WORKING_ROW = (
    *("perm_id", "order.instrument.con_id", "order.side", "order.quantity", "order.order_type", "order.limit_price"),
    *("order.cap_price", "placed_here", "parent_perm_id"),
)
"""What the checks look at of other working orders, in the order of a row; an earlier order's is that of `Opening`."""

CONTRACTS_KEPT = 256
OPENINGS_KEPT = 2_000


class Contract(NamedTuple):
    """A contract with its rules, as a record of its own keeps it."""

    hash: str
    text: Rendered


def hash_of(text: str) -> str:
    """What names a contract by its canonical JSON."""
    return sha256(text.encode()).hexdigest()[:32]


class Contracts:
    """Knows which contracts the log of this run holds, so that each is written once, and again when it changes."""

    def __init__(self) -> None:
        self._written: dict[int, tuple[Instrument, Contract]] = {}
        self._durable: set[str] = set()
        self._queued: set[str] = set()

    def of(self, instrument: Instrument) -> Contract:
        """By identity: the broker layer keeps what it resolved."""
        known = self._written.get(id(instrument))
        if known is None:
            text = Rendered(_text(instrument))
            known = instrument, Contract(hash_of(text), text)
            if len(self._written) >= CONTRACTS_KEPT:
                self._written.clear()
            self._written[id(instrument)] = known  # holding on to it, so that its id stays its own
        return known[1]

    def is_recorded(self, contract: Contract, *, with_a_write: bool) -> bool:
        """Whether it stands in the log before what comes next; records of reads wait, and those of writes overtake."""
        return contract.hash in self._durable or (not with_a_write and contract.hash in self._queued)

    def recorded(self, order: Order | None, *, with_a_write: bool) -> None:
        """The contract of `order` was recorded; of a write, its transaction is durable."""
        if order is not None:
            (self._durable if with_a_write else self._queued).add(self.of(order.instrument).hash)


def evidence_of(value: Operation | Observed | Recorded | Order) -> Rendered:
    """The part of a record that keeps `value`."""
    return Rendered(_text(value))


@lru_cache(maxsize=256)
def hidden(account: str) -> str:
    """An account id of which only the shape is left, and the last three characters (SEC-05).

    Two letters at its beginning tell paper from live; a hidden digit is `*`, a hidden letter `#`.
    """
    start = 2 if account[:2].isalpha() else 1 if account[:1].isalpha() else 0
    end = max(start, len(account) - 3)
    return account[:start] + "".join("*" if sign.isdigit() else "#" for sign in account[start:end]) + account[end:]


def shown(account: str) -> str:
    """A made-up account id of the same shape as the hidden one."""
    return account.replace("*", "0").replace("#", "A")


# ---- writing


def _text(value: Any) -> str:  # Any: whatever a snapshot holds
    if value is None:
        return "null"
    kind: type = type(value)
    return (_WRITER_OF.get(kind) or _writer(kind))(value)


def _write_list(value: tuple[object, ...]) -> str:
    return f"[{','.join(map(_text, value))}]" if value else "[]"


def _write_openings(value: tuple[Opening, ...]) -> str:
    return f"[{','.join([_write_opening(opening) for opening in value])}]"


def _write_opening(value: Opening) -> str:
    """Only the age, the first of its fields, differs from decision to decision."""
    rest = value[1:]
    known = _rests.get(value.request_key)
    if known is None or known[0] != rest:
        if len(_rests) >= OPENINGS_KEPT:
            _rests.clear()
        known = _rests[value.request_key] = rest, canonical(rest)[1:]
    return f'["{value[0]!s}",{known[1]}'


_rests: dict[str, tuple[tuple[object, ...], str]] = {}
"""By request key. Compared and not hashed: the store gives the same objects again, which is seen at once."""


def _write_working(value: tuple[BrokerOrder, ...]) -> str:
    return f"[{','.join([_row(order) for order in value])}]"


_rows: dict[int, tuple[BrokerOrder, str]] = {}


def _row(order: BrokerOrder) -> str:
    """By identity: the book makes a new one when something changes."""
    known = _rows.get(id(order))
    if known is None:
        known = order, canonical(_WORKING(order))
        if len(_rows) >= CONTRACTS_KEPT:
            _rows.clear()
        _rows[id(order)] = known
    return known[1]


_WORKING = attrgetter(*WORKING_ROW)


def _write_accounts(value: Any) -> str:  # Any: a text or a tuple of texts
    if isinstance(value, str):
        return encode_basestring_ascii(hidden(value))
    return f"[{','.join([encode_basestring_ascii(hidden(account)) for account in value])}]"


_WRITER_OF: dict[type, Callable[[Any], str]] = {tuple: _write_list}


def _writer(kind: type) -> Callable[[Any], str]:
    found = _of_dataclass(kind) if is_dataclass(kind) else writer_of(kind)
    _WRITER_OF[kind] = found
    return found


_SPECIAL: Mapping[str, Callable[[Any], str]] = {"working": _write_working, "openings": _write_openings}
_ADDED: Mapping[type, Mapping[str, tuple[str, object]]] = {
    Order: {"con_id": ("instrument.con_id", MISSING), "instrument": ("instrument.label", MISSING)},
    Operation: {"draft": ("draft.__class__.__name__", "NoneType")},
}
"""Members that are no fields: their names, where they are found, and what is left out."""


def _of_dataclass(kind: type) -> Callable[[Any], str]:
    found: dict[str, tuple[Callable[[Any], object], object]] = {}
    left_out = LEFT_OUT.get(kind, frozenset())
    for field in fields(kind):
        default = field.default_factory() if field.default_factory is not MISSING else field.default
        if field.name not in left_out:
            found[field.name] = attrgetter(field.name), default
    for name, (path, usual) in _ADDED.get(kind, {}).items():
        found[name] = attrgetter(path), usual
    members = [
        (
            f"{encode_basestring_ascii(name)}:",
            getter,
            default,
            _write_accounts if is_account_key(name) else _SPECIAL.get(name, _text),
        )
        for name, (getter, default) in sorted(found.items())
    ]

    def write(value: object) -> str:
        written = []
        for prefix, getter, default, writer in members:
            item = getter(value)
            # Equal numbers may have other digits (1.0 and 1), which texts of checks show.
            if item is default or (default is not MISSING and item.__class__ is not Decimal and item == default):
                continue
            written.append(prefix + ("null" if item is None else writer(item)))
        return f"{{{','.join(written)}}}"

    return write
