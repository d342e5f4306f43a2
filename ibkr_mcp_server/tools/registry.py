"""A tool is data: name, class, arguments, facts, handler. Nothing can be registered without its class (TW-01)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ibkr_mcp_server.domain.operations import Actor, Operation, OperationClass
from ibkr_mcp_server.domain.toolsets import ToolChoice, Toolset
from ibkr_mcp_server.errors import Fault
from ibkr_mcp_server.operations.desk import Desk
from ibkr_mcp_server.operations.progress import Progress, silent
from ibkr_mcp_server.safety.codes import Code
from ibkr_mcp_server.safety.decision import Decision
from ibkr_mcp_server.store.tickets import Ticket
from ibkr_mcp_server.tools.arguments import Arguments
from ibkr_mcp_server.tools.results import Facts, Failure, output_schema, slim

__all__ = ["HINTS", "READ_ONLY", "Call", "Handler", "Registry", "Reply", "Tool", "Toolset", "input_schema"]


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a handler brings back: the decision that let it through, and the facts."""

    decision: Decision
    facts: Facts
    warnings: tuple[str, ...] = ()
    """Besides those of the decision."""
    next_step: str | None = None
    failure: Failure | None = None
    """Set when the facts amount to a failure, such as an order that the broker turned down."""


class Call:
    """One call of one tool, on its way to the one operation that it becomes."""

    def __init__(
        self,
        *,
        tool: Tool,
        actor: Actor,
        arguments: Mapping[str, object],
        desk: Desk,
        progress: Progress = silent,
        outer: Tool | None = None,
        given: Mapping[str, object] | None = None,
        ticket: Ticket | None = None,
    ) -> None:
        """`outer` prepares this call's order, or commits it by `ticket`; `given` is what this tool was given."""
        self.desk = desk
        self.progress = progress
        """Tells a client that asked for it how far the call is."""
        self._tool = tool
        self._actor = actor
        self._arguments = arguments
        self._outer, self._given, self._ticket = outer, given, ticket
        self._made = False

    def operation(self, **parts: Any) -> Operation:  # Any: the fields of Operation that the tool fills
        """The call's only operation; it carries the tool's class, the actor and what was asked for."""
        if self._made:
            raise Fault(Code.INTERNAL_ERROR, f"The tool {self._tool.name} made a second operation out of one call.")
        self._made = True
        operation = Operation(
            tool=self._tool.name,
            operation_class=self._tool.operation_class,
            actor=self._actor,
            arguments=self._arguments,
            preview=self._tool.preview,
            **parts,
        )
        if self._outer is None:
            return operation
        ticket = self._ticket
        return replace(
            operation,
            tool=self._outer.name,
            inner=self._tool.name,
            given=self._given or {},
            prepares=ticket is None,
            ticket=None if ticket is None else ticket.ticket_id,
            client_request_id=operation.client_request_id if ticket is None else ticket.request_key,
        )

    def nested(
        self, tool: Tool, arguments: Arguments, given: Mapping[str, object], ticket: Ticket | None = None
    ) -> Call:
        """The call of `tool` that this one prepares, or commits by `ticket`; it makes the operation of both."""
        return Call(
            tool=tool,
            actor=self._actor,
            arguments=arguments.canonical(),
            desk=self.desk,
            progress=self.progress,
            outer=self._tool,
            given=given,
            ticket=ticket,
        )

    @property
    def actor(self) -> Actor:
        return self._actor


Handler = Callable[[Call, Any], Awaitable[Reply]]
"""Gets the tool's own arguments; Any, because a table of tools holds handlers of many argument types."""


@dataclass(frozen=True, kw_only=True)
class Tool:
    """One tool."""

    name: str
    title: str
    description: str
    toolset: Toolset
    operation_class: OperationClass
    arguments: type[Arguments]
    facts: type[Facts]
    handler: Handler = field(repr=False)
    preview: bool = False
    """Judges an operation of its class and can send nothing."""
    prepares: bool = False
    """Makes a ticket and can send nothing."""

    def __post_init__(self) -> None:
        if not isinstance(self.operation_class, OperationClass):
            raise TypeError(f"the tool {self.name!r} needs an operation class, not {self.operation_class!r}")

    @property
    def writes(self) -> bool:
        """Whether a call may send an order, a change or a cancellation."""
        return self.operation_class.writes_orders and not self.preview and not self.prepares

    @property
    def needs_link(self) -> bool:
        """Whether a first call waits a moment for a link that is just coming up; stopping never does."""
        return self.operation_class not in (OperationClass.SAFETY_STATUS, OperationClass.SAFETY_STOP)

    def hints(self) -> dict[str, bool]:
        """What hosts are told about the effects (LLM-05); truthful, and no control relies on it."""
        return READ_ONLY if self.preview else PREPARES if self.prepares else HINTS[self.operation_class]

    def listing(self) -> dict[str, Any]:  # Any: JSON
        """The entry of tools/list."""
        return {
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "inputSchema": input_schema(self.arguments),
            "outputSchema": output_schema(self.facts),
            "annotations": self.hints(),
            "_meta": {"ibkr/class": self.operation_class.value, "ibkr/toolset": self.toolset.value},
        }


READ_ONLY = {"readOnlyHint": True, "openWorldHint": True}
PREPARES = {"readOnlyHint": False, "destructiveHint": False, "idempotentHint": False}
"""A ticket, and perhaps a request to a person, is all that it leaves."""

HINTS: dict[OperationClass, dict[str, bool]] = {
    OperationClass.ORDER_PLACEMENT: {"readOnlyHint": False, "destructiveHint": True, "idempotentHint": False},
    OperationClass.ORDER_MODIFICATION: {"readOnlyHint": False, "destructiveHint": True, "idempotentHint": False},
    # A second cancellation of an order changes nothing (ID-06).
    OperationClass.ORDER_CANCELLATION: {"readOnlyHint": False, "destructiveHint": True, "idempotentHint": True},
    OperationClass.ACCOUNT_MANAGEMENT: {"readOnlyHint": False, "destructiveHint": False, "idempotentHint": True},
    OperationClass.FOREX: READ_ONLY,
    OperationClass.MARKET_DATA: READ_ONLY,
    OperationClass.ACCOUNT_READ: READ_ONLY,
    OperationClass.SAFETY_STATUS: {"readOnlyHint": True, "openWorldHint": False},
    OperationClass.SAFETY_STOP: {"readOnlyHint": False, "destructiveHint": True, "idempotentHint": True},
}
"""Annotations by class. Orders move money at a broker and cannot be taken back: destructive."""


def input_schema(arguments: type[Arguments]) -> dict[str, Any]:  # Any: JSON schema
    """The listed schema of a tool's arguments, the required ones first."""
    schema: dict[str, Any] = slim(arguments.model_json_schema())
    required = schema.get("required", [])
    properties = schema["properties"]
    optional = [name for name in properties if name not in required]
    schema["properties"] = {name: properties[name] for name in (*required, *optional)}
    return schema


class Registry:
    """The tools by name."""

    def __init__(self, *families: Iterable[Tool]) -> None:
        self._tools: dict[str, Tool] = {}
        for tool in (tool for family in families for tool in family):
            if tool.name in self._tools:
                raise ValueError(f"two tools are called {tool.name!r}")
            self._tools[tool.name] = tool

    def get(self, name: str) -> Tool | None:
        return self._tools.get(name)

    def shown(self, choice: ToolChoice) -> list[Tool]:
        """The tools that `choice` shows."""
        return [tool for tool in self if choice.shows(tool.toolset, tool.operation_class)]

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools.values())

    def __len__(self) -> int:
        return len(self._tools)
