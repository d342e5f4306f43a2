"""The tables. Migrations bring a database here; a test holds that both ways agree."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import (
    DDL,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    event,
)

from ibkr_mcp_server.domain.alerts import Priority
from ibkr_mcp_server.store.columns import DayText, DecimalText, MomentText, WholeNumber, WordText

HEAD = "0011"
"""The newest migration; a database that says so is opened without loading Alembic."""


class IntentState(StrEnum):
    """Where a write intent stands (ID-02)."""

    RESERVED = "RESERVED"
    """Durable, its quota taken, nothing sent."""
    SENT = "SENT"
    ACCEPTED = "ACCEPTED"
    REJECTED = "REJECTED"
    FILLED = "FILLED"
    CANCELLED = "CANCELLED"
    UNKNOWN = "UNKNOWN"
    """Sent, or perhaps sent, and nothing proves what became of it."""
    EXPIRED = "EXPIRED"
    """Ended without a fill: released before it was sent, or expired at the broker."""


class ApprovalState(StrEnum):
    """Where a request to people stands; one that is not used in time has ended without a row saying so."""

    PENDING = "PENDING"
    GRANTED = "GRANTED"
    DENIED = "DENIED"
    USED = "USED"


class DeliveryState(StrEnum):
    """Where one alert stands on one channel."""

    WAITING = "WAITING"
    SENT = "SENT"
    FAILED = "FAILED"
    """Given up."""


metadata = MetaData(
    naming_convention={"ix": "ix_%(table_name)s_%(column_0_N_name)s", "ck": "ck_%(table_name)s_%(constraint_name)s"}
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("seq", WholeNumber, primary_key=True, autoincrement=False),
    # Every text here is exactly the text that was hashed; see audit/chain.py.
    Column("timestamp", Text, nullable=False),
    Column("event_type", Text, nullable=False),
    Column("session_id", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("operation_type", Text),
    Column("tool", Text),
    Column("order_data", Text),
    Column("validation_result", Text),
    Column("outcome", Text),
    Column("decision_id", Text),
    Column("intent_id", Text),
    Column("broker_ids", Text),
    Column("config_hash", Text, nullable=False),
    Column("prev_hash", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Index(None, "event_type", "seq"),
    Index(None, "intent_id"),
    Index(None, "decision_id"),
)

APPEND_ONLY = {
    "sqlite": (
        """CREATE TRIGGER audit_log_no_update BEFORE UPDATE ON audit_log
BEGIN SELECT RAISE(ABORT, 'audit_log is append-only: records are never changed'); END""",
        """CREATE TRIGGER audit_log_no_delete BEFORE DELETE ON audit_log
BEGIN SELECT RAISE(ABORT, 'audit_log is append-only: records are never deleted'); END""",
        # INSERT OR REPLACE deletes without firing the trigger above.
        """CREATE TRIGGER audit_log_no_replace BEFORE INSERT ON audit_log
WHEN NEW.seq <= (SELECT max(seq) FROM audit_log)
BEGIN SELECT RAISE(ABORT, 'audit_log is append-only: records are only added at its end'); END""",
    ),
    "postgresql": (
        """CREATE FUNCTION audit_log_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'audit_log is append-only: records are never changed or deleted'; END $$""",
        """CREATE TRIGGER audit_log_no_update BEFORE UPDATE OR DELETE ON audit_log
FOR EACH ROW EXECUTE FUNCTION audit_log_is_append_only()""",
        """CREATE TRIGGER audit_log_no_truncate BEFORE TRUNCATE ON audit_log
FOR EACH STATEMENT EXECUTE FUNCTION audit_log_is_append_only()""",
    ),
}
for _dialect, _statements in APPEND_ONLY.items():
    for _statement in _statements:
        _trigger = DDL(_statement).execute_if(dialect=_dialect)  # type: ignore[no-untyped-call]  # SQLAlchemy left it untyped
        event.listen(audit_log, "after_create", _trigger)

intents = Table(
    "intents",
    metadata,
    Column("intent_id", Text, primary_key=True),
    Column("request_key", Text, nullable=False, unique=True),
    Column("fingerprint", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", WordText(IntentState), nullable=False),
    Column("opening", Boolean, nullable=False),
    Column("actor_id", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("con_id", WholeNumber, nullable=False),
    Column("symbol", Text, nullable=False),
    Column("side", Text, nullable=False),
    Column("quantity", DecimalText, nullable=False),
    Column("order_type", Text, nullable=False),
    Column("limit_price", DecimalText),
    Column("stop_price", DecimalText),
    Column("worst_case_value_usd", DecimalText),
    Column("order_ref", Text, nullable=False),
    Column("decision_id", Text, nullable=False),
    Column("trading_day", DayText, nullable=False),
    Column("created_at", MomentText, nullable=False),
    Column("monotonic", Float(53), nullable=False),
    Column("boot_id", Text, nullable=False),
    Column("session_id", Text, nullable=False),
    Column("perm_id", WholeNumber),
    Column("order_id", WholeNumber),
    Column("client_id", WholeNumber),
    Column("broker_status", Text),
    Column("filled_quantity", DecimalText),
    Column("average_fill_price", DecimalText),
    Column("result", Text),
    Column("release_reason", Text),
    Column("updated_at", MomentText, nullable=False),
    CheckConstraint("kind IN ('place', 'modify', 'cancel')", name="kind"),
    CheckConstraint("release_reason IS NULL OR state = 'EXPIRED'", name="released"),
    Index(None, "order_ref"),
    Index(None, "con_id", "state"),
    Index(None, "state"),
    Index(None, "trading_day", "opening"),
    Index(None, "boot_id", "monotonic"),
    Index(None, "created_at"),
)

agent_positions = Table(
    "agent_positions",
    metadata,
    Column("agent", Text, primary_key=True),
    Column("account", Text, primary_key=True),
    Column("con_id", WholeNumber, primary_key=True, autoincrement=False),
    Column("quantity", DecimalText, nullable=False),
)

fills = Table(
    "fills",
    metadata,
    Column("execution_id", Text, primary_key=True),
    Column("fill", Text, nullable=False),
    Column("revision", WholeNumber, nullable=False),
    Column("intent_id", Text),
    Column("recorded_at", MomentText, nullable=False),
    Index(None, "fill"),
)

reconciliations = Table(
    "reconciliations",
    metadata,
    Column("seq", WholeNumber, primary_key=True, autoincrement=False),
    Column("first_at", MomentText, nullable=False),
    Column("last_at", MomentText, nullable=False),
    Column("times", WholeNumber, nullable=False),
    Column("session_id", Text, nullable=False),
    Column("venue", Text, nullable=False),
    Column("occasion", Text, nullable=False),
    Column("clean", Boolean, nullable=False),
    Column("report", Text, nullable=False),
    Column("anchors", Text),
    Column("accepted_by", Text),
    Column("accepted_reason", Text),
)

latches = Table(
    "latches",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("mode", Text, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("actor_type", Text, nullable=False),
    Column("actor_id", Text, nullable=False),
    Column("auth", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("activated_at", MomentText),
    Column("changed_at", MomentText),
    Column("generation", WholeNumber, nullable=False),
    Column("repeats", WholeNumber, nullable=False),
)

breaker = Table(
    "breaker",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("is_open", Boolean, nullable=False),
    Column("mode", Text, nullable=False),
    Column("stage", Text, nullable=False),
    Column("generation", WholeNumber, nullable=False),
    Column("details", Text, nullable=False),
    Column("changed_at", MomentText),
)

risk_records = Table(
    "risk_records",
    metadata,
    Column("name", Text, primary_key=True),
    Column("record", Text, nullable=False),
    Column("updated_at", MomentText, nullable=False),
)

trades = Table(
    "trades",
    metadata,
    Column("fill", Text, primary_key=True),
    Column("revision", WholeNumber, nullable=False),
    Column("account", Text, nullable=False),
    Column("strategy", Text, nullable=False),
    Column("order_key", Text, nullable=False),
    Column("con_id", WholeNumber, nullable=False),
    Column("symbol", Text, nullable=False),
    Column("sec_type", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("side", Text, nullable=False),
    Column("quantity", DecimalText, nullable=False),
    Column("price", DecimalText, nullable=False),
    Column("multiplier", DecimalText),
    Column("commission", DecimalText),
    Column("commission_currency", Text),
    Column("executed_at", MomentText, nullable=False),
    Index(None, "executed_at"),
)

stop_runs = Table(
    "stop_runs",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("generation", WholeNumber, primary_key=True, autoincrement=False),
    Column("mode", Text, nullable=False),
    Column("step", Text, nullable=False),
    Column("begun_at", MomentText, nullable=False),
    Column("updated_at", MomentText, nullable=False),
    Column("finished_at", MomentText),
    Column("attempts", Integer, nullable=False),
    Column("report", Text, nullable=False),
)

operator_attempts = Table(
    "operator_attempts",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("last_at", MomentText, nullable=False),
    Column("monotonic", Float(53), nullable=False),
    Column("boot_id", Text, nullable=False),
)

approvals = Table(
    "approvals",
    metadata,
    Column("approval_id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("subject_hash", Text, nullable=False),
    Column("terms", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("requested_type", Text, nullable=False),
    Column("requested_by", Text, nullable=False),
    Column("requested_auth", Text, nullable=False),
    Column("requested_at", MomentText, nullable=False),
    Column("expires_at", MomentText, nullable=False),
    Column("monotonic", Float(53), nullable=False),
    Column("boot_id", Text, nullable=False),
    Column("seconds", Float(53), nullable=False),
    Column("power", Text, nullable=False),
    Column("needed", Integer, nullable=False),
    Column("state", WordText(ApprovalState), nullable=False),
    Column("changed_at", MomentText, nullable=False),
    CheckConstraint("needed IN (1, 2)", name="needed"),
    Index(None, "state"),
    Index(None, "kind", "subject_hash"),
)

approval_votes = Table(
    "approval_votes",
    metadata,
    Column("approval_id", Text, primary_key=True),
    Column("principal", Text, primary_key=True),
    Column("role", Text, nullable=False),
    Column("auth", Text, nullable=False),
    Column("given_at", MomentText, nullable=False),
)

control_nonces = Table(
    "control_nonces",
    metadata,
    Column("space", Text, primary_key=True),
    Column("nonce", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("seen_at", MomentText, nullable=False),
    Index(None, "seen_at"),
)

limit_raises = Table(
    "limit_raises",
    metadata,
    Column("raise_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("value", DecimalText, nullable=False),
    Column("until", MomentText, nullable=False),
    Column("reason", Text, nullable=False),
    Column("approved_by", Text, nullable=False),
    Column("made_at", MomentText, nullable=False),
    Column("monotonic", Float(53), nullable=False),
    Column("boot_id", Text, nullable=False),
    Column("seconds", Float(53), nullable=False),
    Column("ended_at", MomentText),
)

tickets = Table(
    "tickets",
    metadata,
    Column("ticket_id", Text, primary_key=True),
    Column("actor_id", Text, nullable=False),
    Column("actor_auth", Text, nullable=False),
    Column("tool", Text, nullable=False),
    Column("arguments", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("terms_hash", Text, nullable=False),
    Column("cap_price", DecimalText),
    Column("account", Text, nullable=False),
    Column("epoch", Text, nullable=False),
    Column("needs", Integer, nullable=False),
    Column("approval_id", Text),
    Column("request_key", Text, nullable=False),
    Column("decision_id", Text, nullable=False),
    Column("issued_at", MomentText, nullable=False),
    Column("expires_at", MomentText, nullable=False),
    Column("monotonic", Float(53), nullable=False),
    Column("boot_id", Text, nullable=False),
    Column("seconds", Float(53), nullable=False),
    Column("used_at", MomentText),
    Index(None, "needs", "issued_at"),
)

alerts = Table(
    "alerts",
    metadata,
    Column("number", WholeNumber, primary_key=True, autoincrement=False),
    Column("raised_at", MomentText, nullable=False),
    Column("event", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("priority", WordText(Priority), nullable=False),
    Column("title", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("incident", Text),
    Column("ends", WordText(Priority)),
    Column("audit_seq", WholeNumber),
    Column("routed", Boolean, nullable=False),
    Index(None, "routed"),
    Index(None, "priority", "raised_at"),
)

alert_deliveries = Table(
    "alert_deliveries",
    metadata,
    Column("number", WholeNumber, primary_key=True, autoincrement=False),
    Column("channel", Text, primary_key=True),
    Column("state", WordText(DeliveryState), nullable=False),
    Column("rank", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("problem", Text),
    Column("changed_at", MomentText, nullable=False),
    Index(None, "state", "changed_at"),
)

alert_subjects = Table(
    "alert_subjects",
    metadata,
    Column("subject", Text, primary_key=True),
    Column("priority", WordText(Priority), nullable=False),
    Column("state", Text, nullable=False),
    Column("told_at", MomentText, nullable=False),
    Column("suppressed", Integer, nullable=False),
    Column("newest", Text, nullable=False),
    Index(None, "suppressed"),
)

meta = Table(
    "meta",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
