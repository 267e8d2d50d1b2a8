"""Shares: access that is given to a user or a group on a node."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from skep.db.migrations.versions.v0001_initial import FLAG, ID, INT, KEYTEXT, SHORT, _create

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the two tables."""
    _create(
        "shares",
        sa.Column("id", ID, nullable=False),
        sa.Column("space_id", ID, nullable=False),
        sa.Column("node_id", ID, nullable=False),
        sa.Column("kind", SHORT, nullable=False),
        sa.Column("principal_id", ID, nullable=False),
        sa.Column("rights", SHORT, nullable=False),
        sa.Column("may_share", FLAG, server_default="0", nullable=False),
        sa.Column("parent_id", ID, nullable=True),
        sa.Column("since_change", INT, nullable=False),
        sa.Column("created_by", ID, nullable=False),
        sa.Column("created_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_shares"),
        sa.UniqueConstraint("node_id", "kind", "principal_id", name="uq_shares_node_id_kind_principal_id"),
        sa.Index("ix_shares_principal_id", "principal_id"),
        sa.Index("ix_shares_parent_id", "parent_id"),
        sa.Index("ix_shares_space_id", "space_id"),
    )
    _create(
        "share_holders",
        sa.Column("share_id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("state", SHORT, nullable=False),
        sa.Column("name", KEYTEXT, nullable=False),
        sa.Column("changed_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("share_id", "user_id", name="pk_share_holders"),
        sa.Index("ix_share_holders_user_id", "user_id"),
        clustered=True,
    )


def downgrade() -> None:
    """Forget all shares."""
    op.drop_table("share_holders", if_exists=True)
    op.drop_table("shares", if_exists=True)
