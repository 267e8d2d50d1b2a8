"""Public keys of users, for SFTP."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql, postgresql

revision = "0002"
down_revision = "0001"
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


def upgrade() -> None:
    op.create_table(
        "ssh_keys",
        sa.Column("id", _bytes(16), nullable=False),
        sa.Column("user_id", _bytes(16), nullable=False),
        sa.Column("name", _text(255), nullable=False),
        sa.Column("kind", _text(64), nullable=False),
        sa.Column("fingerprint", _bytes(32), nullable=False),
        sa.Column("scopes", _text(255), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("last_used_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_ssh_keys"),
        sa.UniqueConstraint("user_id", "fingerprint", name="uq_ssh_keys_user_id_fingerprint"),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate=_COLLATION,
        if_not_exists=op.get_bind().dialect.name == "mysql",  # no transaction around DDL: may be run again
    )
    if "ix_ssh_keys_user_id" not in {index["name"] for index in sa.inspect(op.get_bind()).get_indexes("ssh_keys")}:
        op.create_index("ix_ssh_keys_user_id", "ssh_keys", ["user_id"])


def downgrade() -> None:
    op.drop_table("ssh_keys", if_exists=True)
