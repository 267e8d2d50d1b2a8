"""Links: shares that whoever knows an address holds."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from skep.db.migrations.versions.v0001_initial import HASH, ID, INT, KEYTEXT, _create

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table; run again on MariaDB it finds its work done."""
    _create(
        "links",
        sa.Column("id", ID, nullable=False),
        sa.Column("token_hash", HASH, nullable=False),
        sa.Column("password_hash", KEYTEXT, nullable=True),
        sa.Column("expires_us", INT, nullable=True),
        sa.Column("downloads_max", INT, nullable=True),
        sa.Column("downloads", INT, server_default="0", nullable=False),
        sa.Column("file_bytes_max", INT, nullable=True),
        sa.Column("bytes_max", INT, nullable=True),
        sa.Column("received_bytes", INT, server_default="0", nullable=False),
        sa.Column("created_by", ID, nullable=False),
        sa.Column("created_us", INT, nullable=False),
        sa.Column("last_used_us", INT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_links"),
        sa.UniqueConstraint("token_hash", name="uq_links_token_hash"),
        sa.Index("ix_links_created_by", "created_by"),
    )


def downgrade() -> None:
    """Forget all links, and the shares that they are: nobody else holds those."""
    op.execute("DELETE FROM share_holders WHERE share_id IN (SELECT id FROM shares WHERE kind = 'link')")
    op.execute("DELETE FROM shares WHERE kind = 'link'")
    op.drop_table("links", if_exists=True)
