"""The tool that reads the audit log (AUD-11)."""

from __future__ import annotations

from datetime import datetime
from difflib import get_close_matches
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic.json_schema import SkipJsonSchema

from ibkr_mcp_server.audit.canonical import canonical
from ibkr_mcp_server.audit.events import EventType
from ibkr_mcp_server.audit.log import AuditRecord
from ibkr_mcp_server.domain.operations import OperationClass
from ibkr_mcp_server.operations.audit_review import audit_page
from ibkr_mcp_server.tools.arguments import Arguments
from ibkr_mcp_server.tools.registry import Call, Reply, Tool, Toolset
from ibkr_mcp_server.tools.results import Facts, Part, Unknown
from ibkr_mcp_server.tools.text import cleaned

LONGEST_OUTCOME = 400
NOT_FOR_AGENTS = frozenset({EventType.CONFIG_LOADED, EventType.CHAIN_CHECKPOINT, EventType.START_STEP})
"""Whose outcomes tell of paths and other insides of the machine (LLM-10)."""


def _event_type(name: str) -> str:
    if name not in list(EventType):
        nearest = get_close_matches(name.upper(), EventType, n=5, cutoff=0)
        raise ValueError(f"is no event type; the nearest are {', '.join(nearest)}")
    return name


class AuditArguments(Arguments):
    max_records: int = Field(default=20, ge=1, le=100, description="Per page")
    before_seq: int | SkipJsonSchema[None] = Field(default=None, ge=1, description="Only earlier records")
    event_type: Annotated[str, AfterValidator(_event_type)] | SkipJsonSchema[None] = Field(
        default=None, max_length=40, description="Such as DECISION"
    )


class RecordView(Part):
    """One record."""

    seq: int
    at: datetime
    event: str
    actor: str
    tool: str | Unknown = None
    decision_id: str | Unknown = None
    untrusted_text: str | Unknown = None


class AuditFacts(Facts):
    records: tuple[RecordView, ...]
    next_before_seq: int | Unknown = None


async def get_audit_log(call: Call, arguments: AuditArguments) -> Reply:
    wanted = arguments.event_type
    answer = await audit_page(
        call.operation(),
        call.desk,
        limit=arguments.max_records,
        before_seq=arguments.before_seq,
        event_type=None if wanted is None else EventType(wanted),
    )
    assert answer.result is not None
    records = tuple(map(_view, answer.result))
    more = len(records) == arguments.max_records and records[-1].seq > 1
    facts = AuditFacts(records=records, next_before_seq=records[-1].seq if more else None)
    return Reply(decision=answer.decision, facts=facts)


def _view(record: AuditRecord) -> RecordView:
    told = None if record.event_type in NOT_FOR_AGENTS else record.outcome
    return RecordView(
        seq=record.seq,
        at=record.timestamp,
        event=record.event_type,
        actor=f"{record.actor['type']} {cleaned(str(record.actor['id']), 60)}",
        tool=record.tool,
        decision_id=record.decision_id,
        untrusted_text=cleaned(canonical(told), LONGEST_OUTCOME) if told else None,
    )


TOOLS = (
    Tool(
        name="get_audit_log",
        title="Audit log",
        description="Records of what was decided and done, newest first; page with before_seq = next_before_seq.",
        toolset=Toolset.SAFETY,
        operation_class=OperationClass.ACCOUNT_READ,
        arguments=AuditArguments,
        facts=AuditFacts,
        handler=get_audit_log,
    ),
)
