"""How many files and directories a space may hold."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from skep.db.migrations.versions.v0001_initial import INT

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add it; run again on MariaDB it finds its work done."""
    if "objects_max" not in {one["name"] for one in sa.inspect(op.get_bind()).get_columns("spaces")}:
        op.add_column("spaces", sa.Column("objects_max", INT, nullable=True))


def downgrade() -> None:
    """Take it away again."""
    if "objects_max" in {one["name"] for one in sa.inspect(op.get_bind()).get_columns("spaces")}:
        op.drop_column("spaces", "objects_max")
