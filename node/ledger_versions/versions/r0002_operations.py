"""What operators need: accounts, the priority of a study, and the title that it was sent to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add columns with defaults, so that a node of the version before can go on beside us."""
    priority = sa.Column("priority", sa.Integer(), nullable=False, server_default="0")
    op.add_column("study", priority)
    called = sa.Column("called_aet", sa.String(), nullable=False, server_default="")
    op.add_column("study", called)
    op.add_column("commitment_request", sa.Column("reported_at", sa.Float(), nullable=True))
    op.create_table(
        "account",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("password_hash", sa.String(), nullable=False),
        sa.Column("made_at", sa.Float(), nullable=False),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.drop_table("meta", if_exists=True)
