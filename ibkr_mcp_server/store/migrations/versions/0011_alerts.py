"""Alerts: the outbox, its deliveries, and what was told of each subject."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "alerts",
        sa.Column("number", number, primary_key=True, autoincrement=False),
        sa.Column("raised_at", sa.Text, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("priority", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("incident", sa.Text),
        sa.Column("ends", sa.Text),
        sa.Column("audit_seq", number),
        sa.Column("routed", sa.Boolean, nullable=False),
    )
    op.create_index("ix_alerts_routed", "alerts", ["routed"])
    op.create_index("ix_alerts_priority_raised_at", "alerts", ["priority", "raised_at"])
    op.create_table(
        "alert_deliveries",
        sa.Column("number", number, primary_key=True, autoincrement=False),
        sa.Column("channel", sa.Text, primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("rank", sa.Integer, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("problem", sa.Text),
        sa.Column("changed_at", sa.Text, nullable=False),
    )
    op.create_index("ix_alert_deliveries_state_changed_at", "alert_deliveries", ["state", "changed_at"])
    op.create_table(
        "alert_subjects",
        sa.Column("subject", sa.Text, primary_key=True),
        sa.Column("priority", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("told_at", sa.Text, nullable=False),
        sa.Column("suppressed", sa.Integer, nullable=False),
        sa.Column("newest", sa.Text, nullable=False),
    )
    op.create_index("ix_alert_subjects_suppressed", "alert_subjects", ["suppressed"])
