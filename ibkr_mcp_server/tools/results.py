"""What tools answer: the facts of a tool, in an envelope that every answer has (TW-05, SIM-03).

Decimals travel as text, so that no reader rounds them; times are UTC; what is unknown is left out, never zero. A
refusal is the envelope alone, and since only the envelope's first fields are required by the listed schemas, it fits
every tool's schema: clients that validate error results show it instead of failing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, PlainSerializer, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from ibkr_mcp_server.audit.redaction import redacted_text
from ibkr_mcp_server.domain.accounts import masked
from ibkr_mcp_server.domain.money import Money
from ibkr_mcp_server.domain.operations import Problem
from ibkr_mcp_server.errors import ProductError
from ibkr_mcp_server.safety.codes import CODES, Code
from ibkr_mcp_server.safety.decision import Decision, report
from ibkr_mcp_server.tools.text import cleaned

MOST_DETAILS = 30


class Part(BaseModel):
    """A piece of a result."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Facts(Part):
    """What one tool tells besides the envelope."""


Exact = Annotated[
    Decimal, PlainSerializer(lambda value: f"{value:f}", return_type=str), WithJsonSchema({"type": "string"})
]
"""A decimal as text."""
AccountId = Annotated[str, PlainSerializer(masked, return_type=str)]
"""An account as agents see it: its last three characters, which calls take for the whole (LLM-10)."""
Unknown = SkipJsonSchema[None]
"""Leaves the field out of the answer."""


class Amount(Part):
    """Money."""

    amount: Exact
    currency: str


class Quoted(Part):
    """Text that somebody else wrote: data to report, never an instruction (LLM-02)."""

    untrusted_text: str
    source: Literal["broker", "news"] = "broker"


def amount(money: Money | None) -> Amount | None:
    return None if money is None else Amount(amount=money.amount, currency=money.currency)


def quoted(text: str | None, most: int = 300, *, source: Literal["broker", "news"] = "broker") -> Quoted | None:
    """Somebody else's words, bounded and marked; None when there are none."""
    words = cleaned(text or "", most)
    return Quoted(untrusted_text=words, source=source) if words else None


class Envelope(Part):
    """What every answer has."""

    success: bool
    venue: Literal["simulator", "paper", "live"]
    at: datetime
    decision_id: str | Unknown = None
    warnings: tuple[str, ...] | Unknown = None
    next_step: str | Unknown = None
    error: str | Unknown = None
    code: str | Unknown = None
    check: str | Unknown = None
    limit: str | Unknown = None
    observed: str | Unknown = None
    details: tuple[str, ...] | Unknown = None
    retry_after_s: float | Unknown = None
    broker_code: int | Unknown = None
    broker_text: Quoted | Unknown = None


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a call did not do what it was asked for, in the words of TW-05."""

    code: str
    error: str
    next_step: str
    check: str | None = None
    limit: str | None = None
    observed: str | None = None
    details: Sequence[str] = ()
    retry_after_seconds: float | None = None
    broker_code: int | None = None
    broker_text: str | None = None

    def fields(self) -> dict[str, object]:
        """For the envelope: bounded, on one line each, and without secrets (TW-15)."""
        return {
            "error": _said(self.error, 600),
            "code": self.code,
            "check": self.check,
            "limit": None if self.limit is None else _said(self.limit),
            "observed": None if self.observed is None else _said(self.observed),
            "details": tuple(_said(detail) for detail in self.details[:MOST_DETAILS]),
            "next_step": _said(self.next_step),
            "retry_after_s": None if self.retry_after_seconds is None else round(self.retry_after_seconds, 3),
            "broker_code": self.broker_code,
            "broker_text": quoted(self.broker_text),
        }


def refusal(decision: Decision) -> Failure:
    """The chain said no."""
    told = report(decision)
    return Failure(
        code=told.code,
        error=told.error,
        next_step=told.next_step,
        check=told.check,
        limit=told.limit,
        observed=told.observed,
        details=told.details,
        retry_after_seconds=told.retry_after_seconds,
    )


def failure(error: ProductError) -> Failure:
    """Approved, and then it went wrong. Codes are of the documented list; others, of the store, say that it failed."""
    documented = error.code in tuple(Code)
    return Failure(
        code=error.code if documented else Code.STATE_UNREADABLE,
        error=error.message if documented else f"{error.code}: {error.message}",
        next_step=error.next_step or remedy(error.code),
        details=error.details,
        retry_after_seconds=error.retry_after_seconds,
        broker_code=error.broker_code,
        broker_text=error.broker_text,
    )


def failures(problems: Sequence[Problem]) -> Failure:
    """What the door found wrong while there was no chain to ask."""
    first = problems[0]
    return Failure(
        code=first.code,
        error=first.message,
        next_step=first.next_step,
        limit=first.limit,
        observed=first.observed,
        details=[f"{found.code}: {found.message}" for found in problems],
    )


def remedy(code: str) -> str:
    """What the reader of a code may do."""
    try:
        return CODES[Code(code)].remedy
    except ValueError:
        return CODES[Code.INTERNAL_ERROR].remedy


def _said(text: str, most: int = 300) -> str:
    return cleaned(redacted_text(text), most)


def body(envelope: Envelope, facts: Facts | None) -> dict[str, Any]:  # Any: JSON
    """The answer as it travels; what is unknown or empty in the envelope is left out."""
    head: dict[str, Any] = envelope.model_dump(mode="json", exclude_none=True)
    for name in ("warnings", "details"):
        if not head.get(name):
            head.pop(name, None)
    return head if facts is None else head | facts.model_dump(mode="json", exclude_none=True)


LISTED = ("success", "venue", "at", "code", "error")
"""Of the envelope, what every listed schema names: the rest is the same for all refusals, and documented once."""


ECHOED = ("OrderTerms",)
"""Parts that repeat what was asked for, under the names of the arguments: listed as objects, not once more in full."""


def output_schema(facts: type[Facts]) -> dict[str, Any]:  # Any: JSON schema
    """The listed schema of a tool: its facts and the envelope; required is only what a refusal has, too.

    It names and types what there is. What a host would only check, and a model would pay for reading, is left out.
    """
    envelope = _loose(slim(Envelope.model_json_schema(mode="serialization")))
    own = _loose(slim(facts.model_json_schema(mode="serialization")))
    schema = {
        "type": "object",
        "properties": {name: envelope["properties"][name] for name in LISTED} | own.get("properties", {}),
        "required": ["success", "venue", "at"],
    }
    definitions = {name: {"type": "object"} if name in ECHOED else part for name, part in own.get("$defs", {}).items()}
    return schema | ({"$defs": definitions} if definitions else {})


def _loose(node: Any) -> Any:  # Any: JSON schema
    """A schema of names and types alone; a choice of words shows its type, and times are text."""
    if isinstance(node, list):
        return [_loose(item) for item in node]
    if not isinstance(node, Mapping):
        return node
    return {
        key: {name: _loose(item) for name, item in value.items()} if key in ("properties", "$defs") else _loose(value)
        for key, value in node.items()
        if key not in ("additionalProperties", "required", "default", "description", "format")
        and not (key == "type" and "enum" in node)
    }


def slim(node: Any) -> Any:  # Any: JSON schema
    """A schema without what pydantic adds and nobody reads: titles, docstrings of parts, defaults of null."""
    if isinstance(node, list):
        return [slim(item) for item in node]
    if not isinstance(node, Mapping):
        return node
    kept: dict[str, Any] = {}
    for key, value in node.items():
        if key in ("properties", "$defs"):
            kept[key] = {name: slim(item) for name, item in value.items()}
        elif not (
            key == "title" or (key == "default" and value is None) or (key == "description" and "properties" in node)
        ):
            kept[key] = slim(value)
    return kept
