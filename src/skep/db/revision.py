"""Which schema revision a database has, found with one plain query and without Alembic."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from skep.base.errors import DatabaseTooNew, DatabaseTooOld, DatabaseUnusable
from skep.db.urls import DatabaseUrl, MysqlUrl, PostgresqlUrl, SqliteUrl

REVISIONS = (
    "0001",
    "0002",
    "0003",
    "0004",
    "0005",
    "0006",
    "0007",
    "0008",
    "0009",
    "0010",
    "0011",
    "0012",
    "0013",
    "0014",
    "0015",
    "0016",
    "0017",
    "0018",
    "0019",
    "0020",
    "0021",
    "0022",
    "0023",
)
"""Every schema revision, oldest first; a test compares them with the migrations."""
HEAD = REVISIONS[-1]

_QUERY = "SELECT version_num FROM alembic_version"


def connect_plain(url: DatabaseUrl) -> Any:
    """A DB-API connection in autocommit mode.

    Raises DatabaseUnusable (its driver is not installed, too) or DatabaseBusy.
    """
    try:
        if isinstance(url, PostgresqlUrl):
            from skep.db import postgresql

            return postgresql.connect(url)
        if isinstance(url, MysqlUrl):
            from skep.db import mysql

            return mysql.connect(url)
    except ImportError as error:
        extra = "postgresql" if isinstance(url, PostgresqlUrl) else "mariadb"
        raise DatabaseUnusable(
            f"{url.shown} needs a driver that is not installed ({error}): pip install 'skep[{extra}]'"
        ) from error
    from skep.db import sqlite

    return sqlite.connect(url, "writer")


def stored_revision(url: DatabaseUrl) -> str | None:
    """The revision that the database says it has; None when it holds no schema of Skep."""
    if isinstance(url, SqliteUrl) and not url.path.exists():
        return None
    with closing(connect_plain(url)) as connection, closing(connection.cursor()) as cursor:
        try:
            cursor.execute(_QUERY)
            row = cursor.fetchone()
        except Exception as error:
            if _no_such_table(error):
                return None
            raise
    return None if row is None else str(row[0])


def require_known(url: DatabaseUrl, revision: str | None) -> None:
    """Raise DatabaseTooNew unless this Skep knows the revision."""
    if revision is not None and revision not in REVISIONS:
        raise DatabaseTooNew(
            f"the database {url.shown} has schema revision {revision[:32]!r}, and this Skep knows none after {HEAD!r}: "
            "start the Skep that migrated it, or downgrade it with that one first (docs/operate/database.md)",
            revision=revision[:32],
        )


def require_current(url: DatabaseUrl) -> None:
    """Raise DatabaseTooNew or DatabaseTooOld unless the database is at HEAD."""
    revision = stored_revision(url)
    require_known(url, revision)
    if revision != HEAD:
        raise DatabaseTooOld(
            f"the database {url.shown} has schema revision {revision or 'none'!r}, this Skep needs {HEAD!r}: "
            "migrate it first (docs/operate/database.md)",
            revision=revision,
        )


def _no_such_table(error: Exception) -> bool:
    text = str(error)
    return "no such table" in text or type(error).__name__ == "UndefinedTable" or "1146" in text
