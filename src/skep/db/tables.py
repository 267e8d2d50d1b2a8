"""How tables of the one schema are stated: types that compare by bytes on every database, and how a table is kept."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql

METADATA = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)


def raw(length: int) -> sa.types.TypeEngine[bytes]:
    """Short binary that can be a key in every database."""
    return sa.LargeBinary(length).with_variant(mysql.VARBINARY(length), "mysql", "mariadb")


def text(length: int) -> sa.types.TypeEngine[str]:
    """Text compared by bytes, trailing spaces included."""
    return (
        sa.String(length)
        .with_variant(mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_nopad_bin"), "mysql", "mariadb")
        .with_variant(postgresql.VARCHAR(length, collation="C"), "postgresql")
    )


ID = raw(16)
HASH = raw(32)
KEYTEXT = text(255)
SHORT = text(64)
TEXT = sa.Text().with_variant(mysql.LONGTEXT(charset="utf8mb4", collation="utf8mb4_nopad_bin"), "mysql", "mariadb")
BLOB = sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")
INT = sa.BigInteger()
FLAG = sa.SmallInteger()


def column(name: str, kind: sa.types.TypeEngine[Any], *, null: bool = False, **options: Any) -> sa.Column[Any]:
    """A column that must have a value unless ``null``."""
    return sa.Column(name, kind, nullable=null, **options)


def table(name: str, *items: sa.schema.SchemaItem, clustered: bool = False) -> sa.Table:
    """A table; ``clustered`` stores rows in the primary key's tree (no row id on SQLite)."""
    options: dict[str, Any] = {"sqlite_with_rowid": False} if clustered else {}
    return sa.Table(
        name,
        METADATA,
        *items,
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_nopad_bin",
        **options,
    )
