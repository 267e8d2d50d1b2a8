"""A scheme of a space's own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from skep.db.migrations.versions.v0001_initial import SHORT

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Let spaces say how their new packs are coded; run again on MariaDB it finds its work done."""
    if "scheme" not in _columns():
        op.add_column("spaces", sa.Column("scheme", SHORT, nullable=True))


def downgrade() -> None:
    """Forget what they say."""
    if "scheme" in _columns():
        op.drop_column("spaces", "scheme")


def _columns() -> set[str]:
    return {column["name"] for column in sa.inspect(op.get_bind()).get_columns("spaces")}
