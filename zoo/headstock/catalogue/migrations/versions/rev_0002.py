"""Statements say what of their subject they are about: weights, code, data..."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the scope. Of statements recorded before nobody wrote it down: empty."""
    op.add_column("evidence", sa.Column("scope", sa.String(length=16), nullable=False, server_default=""))
