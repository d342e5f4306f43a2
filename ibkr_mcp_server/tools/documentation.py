"""The tool that explains the others, from the same table that they are registered in."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from ibkr_mcp_server.domain.operations import OperationClass
from ibkr_mcp_server.errors import Refused
from ibkr_mcp_server.operations.documentation import documentation
from ibkr_mcp_server.safety.codes import Code
from ibkr_mcp_server.safety.policy import Policy
from ibkr_mcp_server.tools.arguments import Arguments
from ibkr_mcp_server.tools.registry import Call, Reply, Tool, Toolset
from ibkr_mcp_server.tools.results import Envelope, Facts
from ibkr_mcp_server.tools.text import shown

LONGEST_NAME = 64

Json = dict[str, Any]
"""A JSON schema."""


class DocumentationArguments(Arguments):
    tool_name: str | SkipJsonSchema[None] = Field(
        default=None, max_length=LONGEST_NAME, description="Which tool; without it, a list of all"
    )


class DocumentationFacts(Facts):
    page: str


def tools(shown_by: Callable[[Call], Sequence[Tool]]) -> tuple[Tool, ...]:
    """The family; `shown_by` tells which tools the server of a call shows."""

    async def get_tool_documentation(call: Call, arguments: DocumentationArguments) -> Reply:
        known = {tool.name: tool for tool in shown_by(call)}

        def write(policy: Policy) -> str:
            if arguments.tool_name is None:
                return contents(list(known.values()))
            if arguments.tool_name not in known:
                raise _unknown(arguments.tool_name, list(known))
            return page_of(known[arguments.tool_name], policy)

        answer = await documentation(call.operation(), write, call.desk)
        assert answer.result is not None
        return Reply(decision=answer.decision, facts=DocumentationFacts(page=answer.result))

    return (
        Tool(
            name="get_tool_documentation",
            title="Tool documentation",
            description="The page of one tool: every argument with its other names, the fields of its answer, and the "
            "checks that judge its calls; without tool_name, what each tool is for. Works without a link.",
            toolset=Toolset.SAFETY,
            operation_class=OperationClass.ACCOUNT_READ,
            arguments=DocumentationArguments,
            facts=DocumentationFacts,
            handler=get_tool_documentation,
        ),
    )


def contents(known: Sequence[Tool]) -> str:
    """All of these tools by family, in Markdown."""
    lines = ["# Tools"]
    for toolset in Toolset:
        family = [tool for tool in known if tool.toolset is toolset]
        if family:
            lines += ["", f"## {toolset}", "", *(f"- `{tool.name}`: {tool.title}" for tool in family)]
    return "\n".join(lines) + "\n"


def page_of(tool: Tool, policy: Policy) -> str:
    """The whole page of one tool, in Markdown."""
    listing = tool.listing()
    checks = [f"{rule.step}. {rule.name}" for rule in policy.table[tool.operation_class]]
    parts = [
        f"# {tool.name}",
        tool.description,
        f"Class {tool.operation_class}, toolset {tool.toolset}. {_effect(tool)}",
        "## Arguments",
        "\n".join(_arguments(tool, listing["inputSchema"])) or "None.",
        "## Answer",
        "\n".join(_fields(listing["outputSchema"])) or "The envelope alone.",
        "Besides these, every answer has success, venue and at; a refusal has code, error and next_step.",
        "## Checks",
        "By their step in the chain: " + ", ".join(checks) + "." if checks else "None: stopping needs nothing.",
    ]
    return "\n\n".join(parts) + "\n"


def _effect(tool: Tool) -> str:
    if tool.preview:
        return "Judges an order and can send nothing."
    if tool.writes:
        return "Can send to the broker; judged and recorded before anything leaves."
    if tool.operation_class is OperationClass.SAFETY_STOP:
        return "Stops trading; only a person can end that."
    if tool.operation_class is OperationClass.ACCOUNT_MANAGEMENT:
        return "Changes what later calls mean; sends nothing."
    return "Only reads."


def _arguments(tool: Tool, schema: Json) -> Iterator[str]:
    others: dict[str, list[str]] = {}
    for other, own in tool.arguments.other_names().items():
        others.setdefault(own, []).append(other)
    for name, entry in schema["properties"].items():
        words = [_kind(entry), "required" if name in schema.get("required", []) else _default(entry)]
        also = f" Also understood: {', '.join(others[name])}." if name in others else ""
        yield f"- `{name}` ({', '.join(words)}): {entry['description']}.{also}"
    if tool.arguments.one_of:
        yield f"- At least one of {', '.join(tool.arguments.one_of)} must be given."


def _kind(entry: Json) -> str:
    if "enum" in entry:
        return "one of " + ", ".join(map(str, entry["enum"]))
    kind = str(entry.get("type", "value"))
    return f"list of {entry['items'].get('type', 'value')}" if kind == "array" else kind


def _default(entry: Json) -> str:
    value = entry.get("default")
    return "optional" if value is None or isinstance(value, list) else f"default {value}"


def _fields(schema: Json) -> Iterator[str]:
    """The facts of a tool, those with parts followed by the names of their parts."""
    for name, entry in schema["properties"].items():
        if name not in Envelope.model_fields:
            parts = _parts(entry, schema.get("$defs", {}))
            yield f"- `{name}`" + (f": {', '.join(parts)}" if parts else "")


def _parts(entry: Json, definitions: Json) -> list[str]:
    reference = entry.get("$ref") or entry.get("items", {}).get("$ref")
    return [] if reference is None else list(definitions[reference.rpartition("/")[2]].get("properties", {}))


def _unknown(name: str, known: Sequence[str]) -> Refused:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    return Refused(
        Code.UNKNOWN_TOOL,
        f"There is no tool {shown(name)} on this server.{hint}",
        next_step="Call get_tool_documentation without an argument for the list of all tools.",
    )
