"""Two steps to an order: prepare_order shows exactly what would be sent, commit_order sends that (LLM-06).

Neither confirms anything for a person: their word comes through the approval queue, outside of MCP (T-36).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from pydantic import Field

from ibkr_mcp_server.domain.confirmation import Confirmer
from ibkr_mcp_server.domain.operations import OperationClass
from ibkr_mcp_server.operations.refused import refuse
from ibkr_mcp_server.operations.safe_operation import OperationPrepared
from ibkr_mcp_server.safety.codes import Code, problem
from ibkr_mcp_server.safety.confirmations import unknown_ticket
from ibkr_mcp_server.store import tickets
from ibkr_mcp_server.tools.arguments import Arguments
from ibkr_mcp_server.tools.order_facts import Outcome
from ibkr_mcp_server.tools.parsing import parse
from ibkr_mcp_server.tools.registry import Call, Reply, Tool, Toolset
from ibkr_mcp_server.tools.results import Exact, Facts, Part, Unknown
from ibkr_mcp_server.tools.text import shown
from ibkr_mcp_server.tools.views import order_terms

Find = Callable[[Call, str], Tool | None]
"""The tool of a name, if the server shows it."""


class PrepareArguments(Arguments):
    tool: str = Field(description="A tool that places or changes an order")
    arguments: dict[str, Any] = Field(description="Its arguments")


class CommitArguments(Arguments):
    ticket: str = Field(description="From prepare_order", pattern=r"^[0-9a-f]{16}$")


class UsedLimit(Part):
    """A limit and what the order makes of it."""

    check: str
    observed: str | Unknown = None
    limit: str


class PreparedFacts(Facts):
    ticket: str
    confirm_by: str
    approval: str | Unknown = None
    expires_at: datetime
    client_request_id: str
    terms: tuple[dict[str, Any], ...]
    reference_price: Exact | Unknown = None
    worst_case_value_usd: Exact | Unknown = None
    limits: tuple[UsedLimit, ...]


class CommittedFacts(Facts):
    """Listed only: the answer is that of the tool that was prepared."""

    outcome: Outcome
    client_request_id: str | Unknown = None
    perm_id: int | Unknown = None


def tools(find: Find) -> tuple[Tool, ...]:
    """The two tools; `find` looks among all."""

    async def prepare_order(call: Call, arguments: PrepareArguments) -> Reply:
        inner = find(call, arguments.tool)
        if inner is None or not inner.writes or inner.operation_class is OperationClass.ORDER_CANCELLATION:
            text = f"{shown(arguments.tool)} is no tool of this server that places or changes an order."
            found = problem(Code.INVALID_ARGUMENTS, text, observed=shown(arguments.tool))
            return await refuse(call.operation(prepares=True, problems=(found,)), call.desk)
        given: Mapping[str, object] = arguments.arguments
        parsed, problems = parse(inner.arguments, given)
        if parsed is None:
            return await refuse(call.operation(prepares=True, problems=problems), call.desk)
        try:
            await inner.handler(call.nested(inner, parsed, given), parsed)
        except OperationPrepared as prepared:
            return _prepared(prepared)
        raise AssertionError(f"{inner.name} went past its preparation")

    async def commit_order(call: Call, arguments: CommitArguments) -> Reply:
        named = arguments.ticket
        ticket = await call.desk.database.read(lambda connection: tickets.find(connection, named))
        own = ticket is not None and (ticket.actor_id, ticket.actor_auth) == (call.actor.id, call.actor.auth)
        inner = find(call, ticket.tool) if ticket is not None and own else None
        parsed = None if inner is None or ticket is None else parse(inner.arguments, ticket.arguments)[0]
        if ticket is None or inner is None or parsed is None:
            return await refuse(call.operation(problems=(unknown_ticket(named),)), call.desk)
        return await inner.handler(call.nested(inner, parsed, ticket.arguments, ticket), parsed)

    return (
        Tool(
            name="prepare_order",
            title="Prepare an order",
            description="Judges the order that another tool would send and returns a ticket with its exact terms, "
            "worst-case value and `confirm_by`: nobody, agent or person. Sends nothing. Needed after "
            "CONFIRMATION_REQUIRED; commit_order sends it.",
            toolset=Toolset.ORDERS,
            operation_class=OperationClass.ORDER_PLACEMENT,
            arguments=PrepareArguments,
            facts=PreparedFacts,
            handler=prepare_order,
            prepares=True,
        ),
        Tool(
            name="commit_order",
            title="Commit a prepared order",
            description="Sends exactly the order of a ticket, once, and answers like its tool. PENDING_CONFIRMATION: "
            "a person has not approved it yet; an answer given here cannot stand for theirs.",
            toolset=Toolset.ORDERS,
            operation_class=OperationClass.ORDER_PLACEMENT,
            arguments=CommitArguments,
            facts=CommittedFacts,
            handler=commit_order,
        ),
    )


_NEXT = {
    Confirmer.NOBODY: "Call commit_order with this ticket to send it.",
    Confirmer.AGENT: "Compare the terms with what the user asked for, then call commit_order with this ticket.",
    Confirmer.PERSON: "Show the user the terms and ask them to run `ibkr-mcp-server approve {approval}` in a terminal; "
    "then call commit_order with this ticket.",
}


def _prepared(prepared: OperationPrepared) -> Reply:
    decision, ticket = prepared.decision, prepared.ticket
    seen = decision.seen.observed
    facts = PreparedFacts(
        ticket=ticket.ticket_id,
        confirm_by=ticket.needs.word,
        approval=ticket.approval_id,
        expires_at=ticket.expires_at,
        client_request_id=ticket.request_key,
        terms=tuple(order_terms(order).model_dump(mode="json", exclude_none=True) for _, order in decision.seen.placed),
        reference_price=seen.reference_price,
        worst_case_value_usd=seen.value_usd,
        limits=tuple(
            UsedLimit(check=verdict.check, observed=verdict.findings.observed, limit=verdict.findings.limit)
            for verdict in decision.validation.verdicts
            if verdict.findings.limit is not None
        ),
    )
    next_step = _NEXT[ticket.needs].format(approval=ticket.approval_id)
    return Reply(decision=decision, facts=facts, next_step=next_step)
