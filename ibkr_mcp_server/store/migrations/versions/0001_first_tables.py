"""First tables, and the rows whose absence later means damage: the store's id and the unpressed kill switch."""

from uuid import uuid4

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

whole_number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

APPEND_ONLY = {
    "sqlite": (
        """CREATE TRIGGER audit_log_no_update BEFORE UPDATE ON audit_log
BEGIN SELECT RAISE(ABORT, 'audit_log is append-only: records are never changed'); END""",
        """CREATE TRIGGER audit_log_no_delete BEFORE DELETE ON audit_log
BEGIN SELECT RAISE(ABORT, 'audit_log is append-only: records are never deleted'); END""",
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


def upgrade() -> None:
    op.create_table(
        "audit_log",
        sa.Column("seq", whole_number, primary_key=True, autoincrement=False),
        sa.Column("timestamp", sa.Text, nullable=False),
        sa.Column("event_type", sa.Text, nullable=False),
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("operation_type", sa.Text),
        sa.Column("tool", sa.Text),
        sa.Column("order_data", sa.Text),
        sa.Column("validation_result", sa.Text),
        sa.Column("outcome", sa.Text),
        sa.Column("decision_id", sa.Text),
        sa.Column("intent_id", sa.Text),
        sa.Column("broker_ids", sa.Text),
        sa.Column("config_hash", sa.Text, nullable=False),
        sa.Column("prev_hash", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
    )
    op.create_index("ix_audit_log_event_type_seq", "audit_log", ["event_type", "seq"])
    op.create_index("ix_audit_log_intent_id", "audit_log", ["intent_id"])
    op.create_index("ix_audit_log_decision_id", "audit_log", ["decision_id"])
    for statement in APPEND_ONLY[op.get_bind().dialect.name]:
        op.execute(statement)

    op.create_table(
        "intents",
        sa.Column("intent_id", sa.Text, primary_key=True),
        sa.Column("request_key", sa.Text, nullable=False, unique=True),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("opening", sa.Boolean, nullable=False),
        sa.Column("actor_id", sa.Text, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("con_id", whole_number, nullable=False),
        sa.Column("symbol", sa.Text, nullable=False),
        sa.Column("side", sa.Text, nullable=False),
        sa.Column("quantity", sa.Text, nullable=False),
        sa.Column("order_type", sa.Text, nullable=False),
        sa.Column("limit_price", sa.Text),
        sa.Column("stop_price", sa.Text),
        sa.Column("worst_case_value_usd", sa.Text),
        sa.Column("order_ref", sa.Text, nullable=False),
        sa.Column("decision_id", sa.Text, nullable=False),
        sa.Column("trading_day", sa.Text, nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
        sa.Column("monotonic", sa.Float(53), nullable=False),
        sa.Column("boot_id", sa.Text, nullable=False),
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("perm_id", whole_number),
        sa.Column("order_id", whole_number),
        sa.Column("client_id", whole_number),
        sa.Column("broker_status", sa.Text),
        sa.Column("filled_quantity", sa.Text),
        sa.Column("average_fill_price", sa.Text),
        sa.Column("result", sa.Text),
        sa.Column("release_reason", sa.Text),
        sa.Column("updated_at", sa.Text, nullable=False),
        sa.CheckConstraint("kind IN ('place', 'modify', 'cancel')", name="kind"),
        sa.CheckConstraint("release_reason IS NULL OR state = 'EXPIRED'", name="released"),
    )
    for columns in (
        ["order_ref"],
        ["con_id", "state"],
        ["state"],
        ["trading_day", "opening"],
        ["boot_id", "monotonic"],
        ["created_at"],
    ):
        op.create_index("_".join(["ix_intents", *columns]), "intents", columns)

    latches = op.create_table(
        "latches",
        sa.Column("scope", sa.Text, primary_key=True),
        sa.Column("mode", sa.Text, nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.Column("actor_type", sa.Text, nullable=False),
        sa.Column("actor_id", sa.Text, nullable=False),
        sa.Column("auth", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("activated_at", sa.Text),
        sa.Column("changed_at", sa.Text),
        sa.Column("generation", whole_number, nullable=False),
        sa.Column("repeats", whole_number, nullable=False),
    )
    op.create_table(
        "operator_attempts",
        sa.Column("scope", sa.Text, primary_key=True),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("last_at", sa.Text, nullable=False),
        sa.Column("monotonic", sa.Float(53), nullable=False),
        sa.Column("boot_id", sa.Text, nullable=False),
    )
    meta = op.create_table(
        "meta",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    op.bulk_insert(meta, [{"name": "store_id", "value": str(uuid4())}])
    op.bulk_insert(
        latches,
        [
            {
                "scope": "account",
                "mode": "HALT_ONLY",
                "active": False,
                "actor_type": "system",
                "actor_id": "ibkr-mcp-server",
                "auth": "in-process",
                "reason": "the store was created",
                "generation": 1,
                "repeats": 0,
            }
        ],
    )
