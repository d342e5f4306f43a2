"""The reports of comparisons with the broker, and what the next comparison starts from."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    whole_number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "reconciliations",
        sa.Column("seq", whole_number, primary_key=True, autoincrement=False),
        sa.Column("first_at", sa.Text, nullable=False),
        sa.Column("last_at", sa.Text, nullable=False),
        sa.Column("times", whole_number, nullable=False),
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("venue", sa.Text, nullable=False),
        sa.Column("occasion", sa.Text, nullable=False),
        sa.Column("clean", sa.Boolean, nullable=False),
        sa.Column("report", sa.Text, nullable=False),
        sa.Column("anchors", sa.Text),
        sa.Column("accepted_by", sa.Text),
        sa.Column("accepted_reason", sa.Text),
    )
