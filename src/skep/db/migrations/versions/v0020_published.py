"""Published content: what the MetaDisk door keeps under its hash."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from skep.db.migrations.versions.v0001_initial import HASH, ID, INT, KEYTEXT, SHORT, _create

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them; run again on MariaDB it finds its work done."""
    _create(
        "published",
        sa.Column("hash", HASH, nullable=False),
        sa.Column("object_id", ID, nullable=False),
        sa.Column("name", KEYTEXT, nullable=False),
        sa.Column("key_check", HASH, nullable=False),
        sa.Column("created_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("hash", name="pk_published"),
        sa.UniqueConstraint("object_id", name="uq_published_object_id"),
        clustered=True,
    )
    _create(
        "published_room",
        sa.Column("id", SHORT, nullable=False),
        sa.Column("used_bytes", INT, nullable=False),
        sa.Column("files", INT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_published_room"),
        clustered=True,
    )


def downgrade() -> None:
    """Take them away again."""
    for table in ("published_room", "published"):
        op.drop_table(table, if_exists=True)
