"""Numbers under which other block servers know users."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from skep.db.migrations.versions.v0001_initial import ID, INT, _create

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them; run again on MariaDB it finds its work done."""
    _create(
        "user_numbers",
        sa.Column("user_id", ID, nullable=False),
        sa.Column("number", INT, nullable=False),
        sa.PrimaryKeyConstraint("user_id", name="pk_user_numbers"),
        sa.UniqueConstraint("number", name="uq_user_numbers_number"),
        clustered=True,
    )


def downgrade() -> None:
    """Take them away again."""
    op.drop_table("user_numbers", if_exists=True)
