"""What audits have shown of each store."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from skep.db.migrations.versions.v0001_initial import TEXT

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    if "reputation" not in _columns():
        op.add_column("stores", sa.Column("reputation", TEXT, nullable=True))


def downgrade() -> None:
    """Take it away again."""
    if "reputation" in _columns():
        op.drop_column("stores", "reputation")


def _columns() -> set[str]:
    return {column["name"] for column in sa.inspect(op.get_bind()).get_columns("stores")}
