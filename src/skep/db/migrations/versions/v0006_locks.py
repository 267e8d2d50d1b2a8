"""Write locks, and properties that clients keep on nodes, as WebDAV has them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from skep.db.migrations.versions.v0001_initial import FLAG, ID, INT, KEYTEXT, TEXT, _create

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the two tables, and the column that says where no lock can be."""
    _create(
        "properties",
        sa.Column("node_id", ID, nullable=False),
        sa.Column("name", KEYTEXT, nullable=False),
        sa.Column("value", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("node_id", "name", name="pk_properties"),
        clustered=True,
    )
    _create(
        "locks",
        sa.Column("token", ID, nullable=False),
        sa.Column("space_id", ID, nullable=False),
        sa.Column("node_id", ID, nullable=False),
        sa.Column("is_shared", FLAG, nullable=False),
        sa.Column("is_deep", FLAG, nullable=False),
        sa.Column("owner", TEXT, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("created_us", INT, nullable=False),
        sa.Column("expires_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("token", name="pk_locks"),
        sa.Index("ix_locks_space_id", "space_id"),
        sa.Index("ix_locks_expires_us", "expires_us"),
    )
    if "locked_until_us" not in _columns_of_spaces():
        op.add_column("spaces", sa.Column("locked_until_us", INT, nullable=False, server_default="0"))


def downgrade() -> None:
    """Take them away again."""
    if "locked_until_us" in _columns_of_spaces():
        op.drop_column("spaces", "locked_until_us")
    op.drop_table("locks", if_exists=True)
    op.drop_table("properties", if_exists=True)


def _columns_of_spaces() -> set[str]:
    return {column["name"] for column in sa.inspect(op.get_bind()).get_columns("spaces")}
