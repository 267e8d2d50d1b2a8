"""Who owns packs, what was said of where content may lie, and the chunks that people named themselves."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from skep.db.migrations.versions.v0001_initial import FLAG, HASH, ID, INT, KEYTEXT, SHORT, TEXT, _create

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them; run again on MariaDB it finds its work done."""
    _add("packs", sa.Column("owner_id", ID, nullable=True))
    _add("packs", sa.Column("members", SHORT, nullable=False, server_default=""))
    _add("agents", sa.Column("address", KEYTEXT, nullable=True))
    _add("spaces", sa.Column("unmetered", FLAG, nullable=False, server_default="0"))
    _create(
        "placements",
        sa.Column("owner_id", ID, nullable=False),
        sa.Column("kind", SHORT, nullable=False),
        sa.Column("policy", TEXT, nullable=False),
        sa.Column("changed_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("owner_id", name="pk_placements"),
        clustered=True,
    )
    _create(
        "held_chunks",
        sa.Column("owner_id", ID, nullable=False),
        sa.Column("service", SHORT, nullable=False),
        sa.Column("chunk_id", SHORT, nullable=False),
        sa.Column("object_id", ID, nullable=False),
        sa.Column("digest", HASH, nullable=False),
        sa.Column("replicas", INT, nullable=False),
        sa.Column("created_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("owner_id", "service", "chunk_id", name="pk_held_chunks"),
        sa.UniqueConstraint("object_id", name="uq_held_chunks_object_id"),
        clustered=True,
    )


def downgrade() -> None:
    """Take them away again."""
    for table in ("held_chunks", "placements"):
        op.drop_table(table, if_exists=True)
    for table, column in (("spaces", "unmetered"), ("agents", "address"), ("packs", "members"), ("packs", "owner_id")):
        if column in _columns(table):
            op.drop_column(table, column)


def _add(table: str, column: sa.Column[object]) -> None:
    if column.name not in _columns(table):
        op.add_column(table, column)


def _columns(table: str) -> set[str]:
    return {column["name"] for column in sa.inspect(op.get_bind()).get_columns(table)}
