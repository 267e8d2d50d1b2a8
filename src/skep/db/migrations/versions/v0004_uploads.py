"""Uploads that arrive in pieces, and their parts."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql, postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_COLLATION = "utf8mb4_nopad_bin"


def _bytes(length: int) -> sa.types.TypeEngine[bytes]:
    return sa.LargeBinary(length).with_variant(mysql.VARBINARY(length), "mysql", "mariadb")


def _text(length: int) -> sa.types.TypeEngine[str]:
    return (
        sa.String(length)
        .with_variant(mysql.VARCHAR(length, charset="utf8mb4", collation=_COLLATION), "mysql", "mariadb")
        .with_variant(postgresql.VARCHAR(length, collation="C"), "postgresql")
    )


ID = _bytes(16)
KEYTEXT = _text(255)
SHORT = _text(64)
TEXT = sa.Text().with_variant(mysql.LONGTEXT(charset="utf8mb4", collation=_COLLATION), "mysql", "mariadb")
BLOB = sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")
INT = sa.BigInteger()


def _create(name: str, *items: sa.schema.SchemaItem, clustered: bool = False) -> None:
    """A table, then its indexes: what an earlier run on MariaDB has made before it was killed stays."""
    options: dict[str, Any] = {"sqlite_with_rowid": False} if clustered else {}
    op.create_table(
        name,
        *(item for item in items if not isinstance(item, sa.Index)),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate=_COLLATION,
        if_not_exists=op.get_bind().dialect.name == "mysql",  # no transaction around DDL: may be run again
        **options,
    )
    there = {index["name"] for index in sa.inspect(op.get_bind()).get_indexes(name)}
    for item in items:
        if isinstance(item, sa.Index) and item.name not in there:
            op.create_index(item.name, name, list(item.expressions))


def upgrade() -> None:
    _create(
        "uploads",
        sa.Column("id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("space_id", ID, nullable=False),
        sa.Column("through_id", ID, nullable=False),
        sa.Column("door", SHORT, nullable=False),
        sa.Column("key", KEYTEXT, nullable=True),
        sa.Column("path", TEXT, nullable=True),
        sa.Column("state", SHORT, nullable=False),
        sa.Column("length_bytes", INT, nullable=True),
        sa.Column("held_bytes", INT, nullable=False),
        sa.Column("part_count", INT, nullable=False),
        sa.Column("mime", KEYTEXT, nullable=True),
        sa.Column("modified_us", INT, nullable=True),
        sa.Column("conditions", TEXT, nullable=True),
        sa.Column("digests", TEXT, nullable=True),
        sa.Column("metadata", TEXT, nullable=True),
        sa.Column("node_id", ID, nullable=True),
        sa.Column("version_number", INT, nullable=True),
        sa.Column("joined_id", ID, nullable=True),
        sa.Column("created_us", INT, nullable=False),
        sa.Column("expires_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_uploads"),
        sa.UniqueConstraint("user_id", "door", "key", name="uq_uploads_user_id_door_key"),
        sa.Index("ix_uploads_expires_us", "expires_us"),
        sa.Index("ix_uploads_space_id", "space_id"),
    )
    _create(
        "upload_parts",
        sa.Column("upload_id", ID, nullable=False),
        sa.Column("number", INT, nullable=False, autoincrement=False),
        sa.Column("size_bytes", INT, nullable=False),
        sa.Column("manifest", BLOB, nullable=False),
        sa.Column("md5", _bytes(16), nullable=True),
        sa.Column("checksums", TEXT, nullable=True),
        sa.Column("created_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("upload_id", "number", name="pk_upload_parts"),
        clustered=True,
    )


def downgrade() -> None:
    op.drop_table("upload_parts", if_exists=True)
    op.drop_table("uploads", if_exists=True)
