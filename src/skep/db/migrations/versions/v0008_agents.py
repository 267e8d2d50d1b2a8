"""Agents that lend disk, and the invitations by which they enrol."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql, postgresql

revision = "0008"
down_revision = "0007"
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
HASH = _bytes(32)
KEYTEXT = _text(255)
SHORT = _text(64)
TEXT = sa.Text().with_variant(mysql.LONGTEXT(charset="utf8mb4", collation=_COLLATION), "mysql", "mariadb")
INT = sa.BigInteger()
FLAG = sa.SmallInteger()


def _create(name: str, *items: sa.schema.SchemaItem) -> None:
    op.create_table(
        name,
        *(item for item in items if not isinstance(item, sa.Index)),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate=_COLLATION,
        if_not_exists=op.get_bind().dialect.name == "mysql",  # no transaction around DDL: may be run again
    )
    there = {index["name"] for index in sa.inspect(op.get_bind()).get_indexes(name)}
    for item in items:
        if isinstance(item, sa.Index) and item.name not in there:
            op.create_index(item.name, name, list(item.expressions))


def upgrade() -> None:
    _create(
        "agents",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", KEYTEXT, nullable=False),
        sa.Column("owner_id", ID, nullable=True),
        sa.Column("public_key", HASH, nullable=False),
        sa.Column("store_id", ID, nullable=True),
        sa.Column("zone", KEYTEXT, nullable=False),
        sa.Column("capacity_bytes", INT, nullable=True),
        sa.Column("joins", FLAG, nullable=False),
        sa.Column("state", SHORT, nullable=False),
        sa.Column("generation", INT, nullable=False),
        sa.Column("pending", INT, nullable=False),
        sa.Column("trouble", TEXT, nullable=True),
        sa.Column("created_us", INT, nullable=False),
        sa.Column("seen_us", INT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_agents"),
        sa.UniqueConstraint("name", name="uq_agents_name"),
        sa.UniqueConstraint("public_key", name="uq_agents_public_key"),
        sa.Index("ix_agents_store_id", "store_id"),
    )
    _create(
        "agent_invites",
        sa.Column("id", ID, nullable=False),
        sa.Column("token_hash", HASH, nullable=False),
        sa.Column("created_by", ID, nullable=False),
        sa.Column("owner_id", ID, nullable=True),
        sa.Column("name", KEYTEXT, nullable=False),
        sa.Column("zone", KEYTEXT, nullable=False),
        sa.Column("joins", FLAG, nullable=False),
        sa.Column("uses_left", INT, nullable=False),
        sa.Column("created_us", INT, nullable=False),
        sa.Column("expires_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_agent_invites"),
        sa.UniqueConstraint("token_hash", name="uq_agent_invites_token_hash"),
    )


def downgrade() -> None:
    for name in ("agent_invites", "agents"):
        op.drop_table(name, if_exists=True)
