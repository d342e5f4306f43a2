"""The circuit breaker's latch, the risk mode and the recovery stage: one row, read at every decision (CB-03, RC-06).

A row that is missing or cannot be read is an open breaker.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select

from ibkr_mcp_server.store.prepared import Prepared
from ibkr_mcp_server.store.schema import breaker

ACCOUNT = "account"


class Mode(StrEnum):
    """RM-01; OBSERVE is the breaker's own state."""

    NORMAL = "NORMAL"
    REDUCE = "REDUCE"


class Stage(StrEnum):
    """RC-03: how far trading has come back after a trip that lost money, smallest first."""

    PAPER = "PAPER"
    QUARTER = "QUARTER"
    HALF = "HALF"
    FULL = "FULL"

    @property
    def below(self) -> Stage:
        order = list(Stage)
        return order[max(0, order.index(self) - 1)]

    @property
    def above(self) -> Stage:
        order = list(Stage)
        return order[min(len(order) - 1, order.index(self) + 1)]


@dataclass(frozen=True, kw_only=True)
class Breach:
    """A level that a figure reached; the worst since the breaker was closed last."""

    trigger: str
    metric: str
    scope: str
    level: str
    observed: Decimal
    limit: Decimal
    unit: str
    at: datetime
    loses_money: bool

    @property
    def text(self) -> str:
        whose = f" of {self.scope}" if self.scope else ""
        return f"{self.trigger} {self.metric}{whose} {self.observed:.2f}{self.unit} ({self.level} at {self.limit:f})"


@dataclass(frozen=True, kw_only=True)
class Acknowledged:
    """A figure that a person accepted as it stands; it counts again when it gets worse."""

    level: str
    observed: Decimal


@dataclass(frozen=True, kw_only=True)
class BreakerState:
    """The row."""

    is_open: bool
    mode: Mode
    stage: Stage
    generation: int
    """Grows with each change; 0 when the stored state cannot be read."""
    changed_at: datetime | None = None
    opened_at: datetime | None = None
    first: Breach | None = None
    """What opened the breaker (CB-01)."""
    breaches: Mapping[str, Breach] = field(default_factory=dict)
    acknowledged: Mapping[str, Acknowledged] = field(default_factory=dict)
    earliest_reset: datetime | None = None
    counting_since: datetime | None = None
    """Streaks and windows begin anew at a person's reset."""
    stage_since: datetime | None = None
    stage_decisions: int = 0
    """Since the stage began or the last warning in it."""
    stage_warnings: int = 0
    proposed: bool = False
    """The next stage was proposed to a person."""

    @property
    def is_readable(self) -> bool:
        return self.generation > 0

    @property
    def loses_money(self) -> bool:
        """A breach for lost money is among those that opened the breaker."""
        return any(breach.loses_money and breach.level != "WARN" for breach in self.breaches.values())


UNREADABLE = BreakerState(is_open=True, mode=Mode.REDUCE, stage=Stage.PAPER, generation=0)


def current(connection: Connection) -> BreakerState:
    """The state; a missing or inconsistent one is open."""
    found = _BY_SCOPE.rows(connection, scope=ACCOUNT)
    return found[0] if found else UNREADABLE


def _read(row: Any) -> BreakerState:  # Any: a record of the table
    try:
        state = BreakerState(
            is_open=row.is_open,
            mode=Mode(row.mode),
            stage=Stage(row.stage),
            generation=row.generation,
            changed_at=row.changed_at,
            **(_details(json.loads(row.details)) if row.details != "{}" else {}),
        )
    except (ValueError, TypeError, KeyError, ArithmeticError):
        return UNREADABLE
    return state if state.generation > 0 and state.is_open in (True, False) else UNREADABLE


_BY_SCOPE = Prepared(select(breaker).where(breaker.c.scope == bindparam("scope")), meaning=_read)


def store(connection: Connection, state: BreakerState, now: datetime) -> BreakerState:
    """Write the state as the next generation."""
    kept = replace(state, generation=max(1, state.generation + 1), changed_at=now)
    columns = {"is_open", "mode", "stage", "generation", "changed_at"}
    details = {name.name: getattr(kept, name.name) for name in fields(kept) if name.name not in columns}
    details |= {
        "first": None if kept.first is None else asdict(kept.first),
        "breaches": {key: asdict(breach) for key, breach in kept.breaches.items()},
        "acknowledged": {key: asdict(one) for key, one in kept.acknowledged.items()},
    }
    connection.execute(delete(breaker).where(breaker.c.scope == ACCOUNT))
    connection.execute(
        insert(breaker),
        {
            "scope": ACCOUNT,
            "is_open": kept.is_open,
            "mode": kept.mode.value,
            "stage": kept.stage.value,
            "generation": kept.generation,
            "changed_at": now,
            "details": json.dumps(details, default=_text, sort_keys=True),
        },
    )
    return kept


def _details(told: Mapping[str, Any]) -> dict[str, Any]:
    moments = ("opened_at", "earliest_reset", "counting_since", "stage_since")
    return {
        **told,
        **{name: None if told[name] is None else datetime.fromisoformat(told[name]) for name in moments},
        "first": None if told["first"] is None else _breach(told["first"]),
        "breaches": {key: _breach(one) for key, one in told["breaches"].items()},
        "acknowledged": {
            key: Acknowledged(level=one["level"], observed=Decimal(one["observed"]))
            for key, one in told["acknowledged"].items()
        },
    }


def _breach(told: Mapping[str, Any]) -> Breach:
    return Breach(
        **{
            **told,
            "observed": Decimal(told["observed"]),
            "limit": Decimal(told["limit"]),
            "at": datetime.fromisoformat(told["at"]),
        }
    )


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
