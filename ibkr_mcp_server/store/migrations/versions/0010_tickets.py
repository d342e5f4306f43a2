"""Tickets of prepared orders."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tickets",
        sa.Column("ticket_id", sa.Text, primary_key=True),
        sa.Column("actor_id", sa.Text, nullable=False),
        sa.Column("actor_auth", sa.Text, nullable=False),
        sa.Column("tool", sa.Text, nullable=False),
        sa.Column("arguments", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("terms_hash", sa.Text, nullable=False),
        sa.Column("cap_price", sa.Text),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("epoch", sa.Text, nullable=False),
        sa.Column("needs", sa.Integer, nullable=False),
        sa.Column("approval_id", sa.Text),
        sa.Column("request_key", sa.Text, nullable=False),
        sa.Column("decision_id", sa.Text, nullable=False),
        sa.Column("issued_at", sa.Text, nullable=False),
        sa.Column("expires_at", sa.Text, nullable=False),
        sa.Column("monotonic", sa.Float(53), nullable=False),
        sa.Column("boot_id", sa.Text, nullable=False),
        sa.Column("seconds", sa.Float(53), nullable=False),
        sa.Column("used_at", sa.Text),
    )
    op.create_index("ix_tickets_needs_issued_at", "tickets", ["needs", "issued_at"])
