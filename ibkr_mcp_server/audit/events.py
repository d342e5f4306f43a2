"""What can be recorded: a closed set of event types (requirements 3.5, AUD-07), and the event itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from ibkr_mcp_server.domain.operations import Actor

Recordable = object
"""None, text, whole numbers, Decimals, floats, booleans, times, days, enums, dataclasses, mappings with text keys, and
sequences of these. Anything else is recorded as its repr, so that an odd value never costs a record."""


class EventType(StrEnum):
    """Why a record was written."""

    SERVER_START = "SERVER_START"
    SERVER_STOP = "SERVER_STOP"
    CONFIG_LOADED = "CONFIG_LOADED"

    DECISION = "DECISION"
    CONTRACT_RULES = "CONTRACT_RULES"
    ORDER_ATTEMPT = "ORDER_ATTEMPT"
    ORDER_VALIDATION_FAILED = "ORDER_VALIDATION_FAILED"
    ORDER_REJECTED_LIMITS = "ORDER_REJECTED_LIMITS"
    SAFETY_VIOLATION = "SAFETY_VIOLATION"
    CHECK_ERROR = "CHECK_ERROR"
    MARKET_DATA_REQUEST = "MARKET_DATA_REQUEST"

    INTENT_RESERVED = "INTENT_RESERVED"
    ORDER_SENT = "ORDER_SENT"
    ORDER_PLACED = "ORDER_PLACED"
    ORDER_MODIFIED = "ORDER_MODIFIED"
    ORDER_CANCELLED = "ORDER_CANCELLED"
    ORDER_FILLED = "ORDER_FILLED"
    ORDER_UNKNOWN = "ORDER_UNKNOWN"
    ORDER_RECONCILED = "ORDER_RECONCILED"

    KILL_SWITCH_ACTIVATE = "KILL_SWITCH_ACTIVATE"
    KILL_SWITCH_DEACTIVATE = "KILL_SWITCH_DEACTIVATE"
    STOP_CARRIED_OUT = "STOP_CARRIED_OUT"
    CIRCUIT_BREAKER_TRIP = "CIRCUIT_BREAKER_TRIP"
    CIRCUIT_BREAKER_RESET = "CIRCUIT_BREAKER_RESET"
    MODE_CHANGE = "MODE_CHANGE"
    STAGE_CHANGE = "STAGE_CHANGE"
    STRATEGY_HALT = "STRATEGY_HALT"
    STRATEGY_RESUME = "STRATEGY_RESUME"

    ACCOUNT_VERIFIED = "ACCOUNT_VERIFIED"
    ACCOUNT_REJECTED = "ACCOUNT_REJECTED"
    AUTH_FAILED = "AUTH_FAILED"
    APPROVAL_REQUESTED = "APPROVAL_REQUESTED"
    APPROVAL_GRANTED = "APPROVAL_GRANTED"
    APPROVAL_DENIED = "APPROVAL_DENIED"
    CONFIRMATION_ISSUED = "CONFIRMATION_ISSUED"
    CONFIRMATION_USED = "CONFIRMATION_USED"

    CONTROL_DISABLED = "CONTROL_DISABLED"
    TEXT_FLAGGED = "TEXT_FLAGGED"
    TOOLS_CHANGED = "TOOLS_CHANGED"
    LIMIT_RAISED = "LIMIT_RAISED"
    LIMIT_RESTORED = "LIMIT_RESTORED"

    WRITER_GRANTED = "WRITER_GRANTED"
    START_STEP = "START_STEP"
    RECONCILED = "RECONCILED"
    LINK_UP = "LINK_UP"
    LINK_DOWN = "LINK_DOWN"
    POSITIONS_UNPROTECTED = "POSITIONS_UNPROTECTED"
    ALERT_SENT = "ALERT_SENT"
    ALERT_FAILED = "ALERT_FAILED"
    CHAIN_CHECKPOINT = "CHAIN_CHECKPOINT"
    DRILL_RESULT = "DRILL_RESULT"

    DEPOSIT = "DEPOSIT"
    WITHDRAWAL = "WITHDRAWAL"
    TRANSFER = "TRANSFER"
    """Of securities, into an account or out of it."""


OF_CALLS = frozenset(
    {
        EventType.DECISION,
        EventType.CONTRACT_RULES,
        EventType.ORDER_ATTEMPT,
        EventType.ORDER_VALIDATION_FAILED,
        EventType.ORDER_REJECTED_LIMITS,
        EventType.MARKET_DATA_REQUEST,
        EventType.INTENT_RESERVED,
        EventType.ORDER_SENT,
        EventType.ORDER_PLACED,
        EventType.ORDER_MODIFIED,
        EventType.ORDER_CANCELLED,
        EventType.ORDER_FILLED,
    }
)
"""What is left out where the log of calls is off; what is unclear, and what people do, is always recorded."""


@dataclass(frozen=True, kw_only=True)
class AuditEvent:
    """Something that happened, with all that is needed to judge it again later (AUD-09)."""

    type: EventType
    actor: Actor
    operation_type: str | None = None
    tool: str | None = None
    decision_id: str | None = None
    intent_id: str | None = None
    order_data: Mapping[str, Recordable] | None = None
    validation_result: Mapping[str, Recordable] | None = None
    outcome: Mapping[str, Recordable] | None = None
    broker_ids: Mapping[str, Recordable] | None = None
