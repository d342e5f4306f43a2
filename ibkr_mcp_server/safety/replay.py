"""Judges recorded decisions again, from the log alone, and says where the verdict differs (AUD-09); pure.

A decision's record keeps what `evidence.py` writes, its contract stands in a record before it, and the limits in the
CONFIG_LOADED record of the same run. What is rebuilt of them goes through the table of `policy.py` once more.
"""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, is_dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, IntEnum
from functools import lru_cache
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from ibkr_mcp_server.audit.canonical import canonical
from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.audit.redaction import is_account_key, is_secret_key
from ibkr_mcp_server.broker.base import LinkState, LinkStatus
from ibkr_mcp_server.domain.accounts import masked
from ibkr_mcp_server.domain.agents import AgentLimits
from ibkr_mcp_server.domain.instruments import Instrument, InstrumentQuery, SecType
from ibkr_mcp_server.domain.operations import CloseDraft, Operation
from ibkr_mcp_server.domain.orders import BrokerOrder, Exits, Order
from ibkr_mcp_server.safety.decision import Basis, Validation
from ibkr_mcp_server.safety.evidence import WORKING_ROW, hash_of, shown
from ibkr_mcp_server.safety.policy import Policy
from ibkr_mcp_server.safety.records import validation_record
from ibkr_mcp_server.safety.snapshot import Observed, Recorded, Snapshot
from ibkr_mcp_server.settings.base import variable_of
from ibkr_mcp_server.settings.model import Settings, rule_of, setting_names
from ibkr_mcp_server.settings.rules import Privacy
from ibkr_mcp_server.store.intents import Intent

JSON = Mapping[str, Any]  # Any, here and below: whatever JSON was recorded
DECISIONS = frozenset({EventType.DECISION, EventType.MARKET_DATA_REQUEST})
READ = DECISIONS | {EventType.CONFIG_LOADED, EventType.CONTRACT_RULES}
"""The types of records that a replay looks at."""
_VERDICT = ("is_safe", "errors", "warnings", "safety_checks")


class Unreadable(Exception):
    """The log does not hold what judging the decision again takes."""


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """One decision, judged again."""

    seq: int
    decision_id: str
    tool: str
    recorded: str
    """The verdict as it was recorded: `approved`, or the codes of the refusal."""
    again: str
    """The verdict now; `unreadable` when it could not be judged."""
    differences: tuple[str, ...] = ()
    """Empty when both agree in every check, text and figure."""

    @property
    def is_equal(self) -> bool:
        return not self.differences


@dataclass(frozen=True, kw_only=True)
class _Run:
    """One run of the server."""

    policy: Policy
    live_accounts: tuple[str, ...]
    """Masked."""


@dataclass(kw_only=True)
class Replay:
    """Follows a log from its beginning; decisions are judged as they come."""

    _runs: dict[str, _Run] = field(default_factory=dict)
    """By session."""
    _contracts: dict[str, Instrument] = field(default_factory=dict)
    """By hash."""

    def take(self, record: JSON) -> Replayed | None:
        """The decision of `record`, judged again; None for a record of anything else."""
        if record["event_type"] in DECISIONS:
            return self.judged(record)
        self.learn(record)
        return None

    def learn(self, record: JSON) -> None:
        """Take in a record that decisions after it may rest on; others, and what was tampered with, are passed over."""
        told, outcome = record["order_data"], record["outcome"]
        with suppress(LookupError, TypeError, ValueError):  # then the decisions that rest on it cannot be judged
            if record["event_type"] == EventType.CONFIG_LOADED and "config" in outcome:
                limits = {one["agent"]: rebuilt(AgentLimits, _only(AgentLimits, one)) for one in outcome["agents"]}
                policy = Policy(settings_of(outcome["config"]), limits)
                self._runs[record["session_id"]] = _Run(policy=policy, live_accounts=tuple(outcome["live_accounts"]))
            elif (
                record["event_type"] == EventType.CONTRACT_RULES
                and hash_of(canonical(told["contract"])) == told["hash"]
            ):
                self._contracts[told["hash"]] = rebuilt(Instrument, told["contract"])

    def judged(self, record: JSON) -> Replayed:
        """The decision of `record`, judged again."""
        recorded = record["validation_result"] or {}
        try:
            verdict = verdict_of(self._again(record))
            again = _told(verdict)
            differences = tuple(_differences(recorded, verdict)) + _outcome_differs(record)
        except (Unreadable, LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
            reason = str(error) if isinstance(error, Unreadable) else f"{type(error).__name__}: {error}"
            again, differences = "unreadable", (f"It cannot be judged again: {reason}",)
        return Replayed(
            seq=record["seq"],
            decision_id=str(record["decision_id"]),
            tool=str(record["tool"]),
            recorded=_told(recorded),
            again=again,
            differences=differences,
        )

    def _again(self, record: JSON) -> Validation:
        run = self._runs.get(record["session_id"])
        if run is None:
            raise Unreadable("no readable CONFIG_LOADED record of its run stands before it.")
        seen, policy = self._snapshot(record), run.policy
        if run.live_accounts and seen.observed.link is not None:
            # The log has only the ends of account numbers; what ends alike is taken for the same.
            same = tuple(account for account in seen.observed.link.accounts if masked(account) in run.live_accounts)
            policy = policy.with_live_accounts(same)
        return policy.judge(Basis(record["validation_result"]["basis"]), _operation(record), seen)

    def _snapshot(self, record: JSON) -> Snapshot:
        told, given = record["validation_result"], record["order_data"]
        seen = dict(told["observed"])
        working = tuple(map(_working, seen.pop("working", ())))
        observed = replace(rebuilt(Observed, seen), working=working)
        if given["contract"] is not None:
            instrument = self._contracts.get(given["contract"])
            if instrument is None:
                raise Unreadable(f"the record of its contract {given['contract']} is missing or was changed.")
            order, *exits = (
                replace(rebuilt(Order, _only(Order, one)), instrument=instrument)
                for one in (given["order"], *given["exits"])
            )
            observed = replace(observed, order=order)
            if exits:
                observed = replace(observed, exits=Exits(take_profit=exits[0], stop_loss=exits[1]))
        return Snapshot(observed=observed, recorded=rebuilt(Recorded, told["recorded"]))


def verdict_of(validation: Validation) -> dict[str, Any]:
    """A verdict in the shape of a record, redacted in the same way."""
    told: dict[str, Any] = json.loads(canonical(validation_record(validation)))
    return told


def settings_of(config: Mapping[str, str | None]) -> Settings:
    """The settings that a CONFIG_LOADED record tells of, without secrets and account numbers.

    Raises:
        ValueError: a value is none that the setting allows.
    """
    values: dict[str, Any] = {}
    for name in setting_names():
        variable, rule = variable_of(name), rule_of(name)
        text = config.get(variable)
        if rule.privacy is not Privacy.OPEN or is_secret_key(variable) or is_account_key(variable):
            continue
        if text is not None:
            values[name] = rule.value_of(text)  # built-in values are read by their rule as well
    return Settings.model_construct(**values)


# ---- comparing


def _told(verdict: JSON) -> str:
    if verdict.get("is_safe"):
        return "approved"
    return ", ".join(dict.fromkeys(error.partition(":")[0] for error in verdict.get("errors", ()))) or "refused"


def _differences(recorded: JSON, again: JSON) -> list[str]:
    """In words: what the record says, and what judging again says."""
    found = []
    for part in _VERDICT[:3]:
        if recorded.get(part) != again[part]:
            found.append(f"{part}: recorded {_short(recorded.get(part))}, again {_short(again[part])}")
    before = {check["check"]: check for check in recorded.get("safety_checks", ())}
    after = {check["check"]: check for check in again["safety_checks"]}
    for name in {**before, **after}:
        if before.get(name) != after.get(name):
            found.append(f"check {name}: recorded {_short(before.get(name))}, again {_short(after.get(name))}")
    return found


def _outcome_differs(record: JSON) -> tuple[str, ...]:
    """The outcome must be the one that the recorded verdict leads to."""
    verdict, outcome = record["validation_result"], record["outcome"]
    codes = [error.partition(":")[0] for error in verdict["errors"]]
    if outcome["approved"] is not verdict["is_safe"] or outcome["codes"] != codes:
        return (f"outcome: recorded {_short(outcome)}, against its own verdict {_told(verdict)}",)
    return ()


def _short(value: object) -> str:
    return "nothing" if value is None else json.dumps(value, sort_keys=True)


# ---- rebuilding

_NEVER = datetime.fromtimestamp(0, UTC)
_BARE = Instrument(con_id=0, symbol="", sec_type=SecType.OTHER, exchange="", primary_exchange="", currency="")
_NOT_KEPT: Mapping[type, Mapping[str, object]] = {
    LinkStatus: {"state": LinkState.UP, "venue": "", "address": "", "client_id": 0, "since": _NEVER},
    BrokerOrder: {"order_id": 0, "filled": Decimal(), "remaining": Decimal(), "average_fill_price": None},
    Order: {"instrument": _BARE},
    Intent: {
        **dict.fromkeys(("actor_id", "account", "order_type", "order_ref", "decision_id", "boot_id"), ""),
        **{"opening": True, "worst_case_value_usd": None, "trading_day": _NEVER.date(), "created_at": _NEVER},
        **{"monotonic": 0.0, "session_id": ""},
    },
}
"""What stands in for required fields that no check looks at, and that no record keeps."""


def rebuilt(kind: Any, told: Any) -> Any:
    """The value of a type that was written as `told`."""
    if told is None:
        return None
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        kind = next(option for option in get_args(kind) if option is not type(None))
        return rebuilt(kind, told)
    if origin is tuple:
        options = get_args(kind)
        wanted = [options[0]] * len(told) if options[1:] == (...,) else options
        return tuple(rebuilt(option, one) for option, one in zip(wanted, told, strict=True))
    if origin is Literal or kind is Any:
        return told
    if is_dataclass(kind):
        return _dataclass(kind, told)
    if issubclass(kind, tuple):
        row: type[NamedTuple] = kind
        return kind(*(rebuilt(_hints(kind)[name], one) for name, one in zip(row._fields, told, strict=True)))
    return _READERS[next(of for of in _READERS if issubclass(kind, of))](kind, told)


_READERS: Mapping[type, Callable[[Any, Any], Any]] = {
    IntEnum: lambda kind, told: kind[told],
    Enum: lambda kind, told: kind(told),
    bool: lambda kind, told: bool(told),
    int: lambda kind, told: int(told, 0) if isinstance(told, str) else int(told),
    float: lambda kind, told: float(told),
    Decimal: lambda kind, told: Decimal(told),
    datetime: lambda kind, told: datetime.fromisoformat(told),
    date: lambda kind, told: date.fromisoformat(told),
    str: lambda kind, told: str(told),
}
"""The first that fits."""


def _dataclass(kind: Any, told: JSON, **given: object) -> Any:
    values = {**_NOT_KEPT.get(kind, {}), **given}
    for name, value in told.items():
        if is_account_key(name):
            value = shown(value) if isinstance(value, str) else value and [shown(account) for account in value]
        if kind is Order and name in ("con_id", "instrument"):
            continue
        values[name] = rebuilt(_hints(kind)[name], value)
    if kind is Order and "con_id" in told:
        values["instrument"] = replace(_BARE, con_id=told["con_id"])
    return kind(**values)


@lru_cache(maxsize=256)
def _hints(kind: type) -> Mapping[str, Any]:
    return get_type_hints(kind)


def _only(kind: type, told: JSON) -> dict[str, Any]:
    return {name: value for name, value in told.items() if name in _hints(kind)}


def _operation(record: JSON) -> Operation:
    told = dict(record["order_data"]["operation"])
    # Of a draft the checks look at its kind alone.
    closes = told.pop("draft", None) == CloseDraft.__name__
    operation: Operation = _dataclass(
        Operation,
        told | {"tool": record["tool"], "operation_class": record["operation_type"], "actor": record["actor"]},
        draft=CloseDraft(query=InstrumentQuery(symbol="")) if closes else None,
        arguments={},
    )
    return operation


def _working(row: Sequence[Any]) -> BrokerOrder:
    """A working order of a row."""
    told: dict[str, Any] = dict(zip(WORKING_ROW, row, strict=True))
    order = {path.removeprefix("order."): value for path, value in told.items() if path.startswith("order.")}
    con_id = order.pop("instrument.con_id")
    rest = {name: value for name, value in told.items() if not name.startswith("order.")}
    usual = {"account": "", "con_id": con_id}
    found: BrokerOrder = rebuilt(BrokerOrder, rest | {"order": order | usual, "client_id": 0, "status": "Submitted"})
    return found
