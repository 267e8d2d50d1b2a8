"""What the S3 door needs: access keys, facts of versions, settings of buckets."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql, postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_COLLATION = "utf8mb4_nopad_bin"


def _text(length: int) -> sa.types.TypeEngine[str]:
    return (
        sa.String(length)
        .with_variant(mysql.VARCHAR(length, charset="utf8mb4", collation=_COLLATION), "mysql", "mariadb")
        .with_variant(postgresql.VARCHAR(length, collation="C"), "postgresql")
    )


ID = sa.LargeBinary(16).with_variant(mysql.VARBINARY(16), "mysql", "mariadb")
KEYTEXT = _text(255)
SHORT = _text(64)
TEXT = sa.Text().with_variant(mysql.LONGTEXT(charset="utf8mb4", collation=_COLLATION), "mysql", "mariadb")
BLOB = sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")
INT = sa.BigInteger()


def _create(name: str, *items: sa.schema.SchemaItem, clustered: bool = False) -> None:
    options: dict[str, Any] = {"sqlite_with_rowid": False} if clustered else {}
    op.create_table(
        name,
        *(item for item in items if not isinstance(item, sa.Index)),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate=_COLLATION,
        if_not_exists=op.get_bind().dialect.name == "mysql",
        **options,
    )
    there = {index["name"] for index in sa.inspect(op.get_bind()).get_indexes(name)}
    for item in items:
        if isinstance(item, sa.Index) and item.name not in there:
            op.create_index(item.name, name, list(item.expressions))


def upgrade() -> None:
    _create(
        "access_keys",
        sa.Column("id", ID, nullable=False),
        sa.Column("access_key", SHORT, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("name", KEYTEXT, nullable=False),
        sa.Column("space_id", ID, nullable=True),
        sa.Column("sealed_secret", BLOB, nullable=False),
        sa.Column("scopes", KEYTEXT, nullable=False),
        sa.Column("bucket", KEYTEXT, nullable=True),
        sa.Column("prefix", TEXT, nullable=True),
        sa.Column("created_us", INT, nullable=False),
        sa.Column("last_used_us", INT, nullable=True),
        sa.Column("expires_us", INT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_access_keys"),
        sa.UniqueConstraint("access_key", name="uq_access_keys_access_key"),
        sa.Index("ix_access_keys_user_id", "user_id"),
    )
    _create(
        "facts",
        sa.Column("about_id", ID, nullable=False),
        sa.Column("etag", SHORT, nullable=True),
        sa.Column("document", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("about_id", name="pk_facts"),
        clustered=True,
    )
    _create(
        "buckets",
        sa.Column("node_id", ID, nullable=False),
        sa.Column("document", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("node_id", name="pk_buckets"),
        clustered=True,
    )


def downgrade() -> None:
    for name in ("buckets", "facts", "access_keys"):
        op.drop_table(name, if_exists=True)
