"""Plans that move shards between stores."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from skep.db.migrations.versions.v0001_initial import HASH, ID, INT, SHORT, TEXT, _create

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the two tables."""
    _create(
        "rebalances",
        sa.Column("version", INT, nullable=False, autoincrement=False),
        sa.Column("state", SHORT, nullable=False),
        sa.Column("layout", HASH, nullable=False),
        sa.Column("stores", TEXT, nullable=False),
        sa.Column("moves", INT, nullable=False),
        sa.Column("move_bytes", INT, nullable=False),
        sa.Column("moved", INT, nullable=False),
        sa.Column("moved_bytes", INT, nullable=False),
        sa.Column("skipped", INT, nullable=False),
        sa.Column("created_us", INT, nullable=False),
        sa.Column("ended_us", INT, nullable=True),
        sa.PrimaryKeyConstraint("version", name="pk_rebalances"),
        clustered=True,
    )
    _create(
        "rebalance_moves",
        sa.Column("version", INT, nullable=False, autoincrement=False),
        sa.Column("number", INT, nullable=False, autoincrement=False),
        sa.Column("pack_id", HASH, nullable=False),
        sa.Column("shard", INT, nullable=False),
        sa.Column("source_id", ID, nullable=False),
        sa.Column("target_id", ID, nullable=False),
        sa.Column("size_bytes", INT, nullable=False),
        sa.Column("attempts", INT, nullable=False),
        sa.PrimaryKeyConstraint("version", "number", name="pk_rebalance_moves"),
        clustered=True,
    )


def downgrade() -> None:
    """Take them away again."""
    op.drop_table("rebalance_moves", if_exists=True)
    op.drop_table("rebalances", if_exists=True)
