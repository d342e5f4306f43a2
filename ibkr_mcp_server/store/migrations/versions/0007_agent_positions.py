"""What each agent's orders bought and sold: its share of the positions."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    whole_number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "agent_positions",
        sa.Column("agent", sa.Text, primary_key=True),
        sa.Column("account", sa.Text, primary_key=True),
        sa.Column("con_id", whole_number, primary_key=True, autoincrement=False),
        sa.Column("quantity", sa.Text, nullable=False),
    )
