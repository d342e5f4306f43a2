"""The circuit breaker's latch, the marks of the equity that it measures against, and the fills with their prices."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    whole_number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    breaker = op.create_table(
        "breaker",
        sa.Column("scope", sa.Text, primary_key=True),
        sa.Column("is_open", sa.Boolean, nullable=False),
        sa.Column("mode", sa.Text, nullable=False),
        sa.Column("stage", sa.Text, nullable=False),
        sa.Column("generation", whole_number, nullable=False),
        sa.Column("details", sa.Text, nullable=False),
        sa.Column("changed_at", sa.Text),
    )
    op.create_table(
        "risk_records",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("record", sa.Text, nullable=False),
        sa.Column("updated_at", sa.Text, nullable=False),
    )
    op.create_table(
        "trades",
        sa.Column("fill", sa.Text, primary_key=True),
        sa.Column("revision", whole_number, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("strategy", sa.Text, nullable=False),
        sa.Column("order_key", sa.Text, nullable=False),
        sa.Column("con_id", whole_number, nullable=False),
        sa.Column("symbol", sa.Text, nullable=False),
        sa.Column("sec_type", sa.Text, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("side", sa.Text, nullable=False),
        sa.Column("quantity", sa.Text, nullable=False),
        sa.Column("price", sa.Text, nullable=False),
        sa.Column("multiplier", sa.Text),
        sa.Column("commission", sa.Text),
        sa.Column("commission_currency", sa.Text),
        sa.Column("executed_at", sa.Text, nullable=False),
    )
    op.create_index("ix_trades_executed_at", "trades", ["executed_at"])
    op.bulk_insert(
        breaker,
        [
            {
                "scope": "account",
                "is_open": False,
                "mode": "NORMAL",
                "stage": "FULL",
                "generation": 1,
                "details": "{}",
            }
        ],
    )
