"""Questions that are tasks: which, and what they were asked with."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add a column that may be empty, so that a node of the version before can go on beside us."""
    op.add_column("question", sa.Column("task", sa.JSON(), nullable=True))
