"""What owners say of their stores, and what was kept and moved by day."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from skep.db.migrations.versions.v0001_initial import ID, INT, TEXT, _create

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column and the table."""
    if "terms" not in _columns():
        op.add_column("stores", sa.Column("terms", TEXT, nullable=True))
    _create(
        "store_traffic",
        sa.Column("store_id", ID, nullable=False),
        sa.Column("day", INT, nullable=False, autoincrement=False),
        sa.Column("kib_seconds", INT, nullable=False),
        sa.Column("up_bytes", INT, nullable=False),
        sa.Column("down_bytes", INT, nullable=False),
        sa.PrimaryKeyConstraint("store_id", "day", name="pk_store_traffic"),
        clustered=True,
    )


def downgrade() -> None:
    """Take them away again."""
    op.drop_table("store_traffic", if_exists=True)
    if "terms" in _columns():
        op.drop_column("stores", "terms")


def _columns() -> set[str]:
    return {column["name"] for column in sa.inspect(op.get_bind()).get_columns("stores")}
