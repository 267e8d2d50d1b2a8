"""Prefixes of the block API, and users that an accounting server elsewhere knows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from skep.db.migrations.versions.v0001_initial import ID, INT, KEYTEXT, _create

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them; run again on MariaDB it finds its work done."""
    _create(
        "prefixes",
        sa.Column("name", KEYTEXT, nullable=False),
        sa.Column("space_id", ID, nullable=False),
        sa.Column("created_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_prefixes"),
        sa.Index("ix_prefixes_space_id", "space_id"),
        clustered=True,
    )
    _create(
        "outside_users",
        sa.Column("external_id", KEYTEXT, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("created_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("external_id", name="pk_outside_users"),
        sa.Index("ix_outside_users_user_id", "user_id"),
        clustered=True,
    )


def downgrade() -> None:
    """Take them away again."""
    for table in ("outside_users", "prefixes"):
        op.drop_table(table, if_exists=True)
