"""Migrations: bring a database's schema to a revision, with Alembic, from inside the package.

Alembic is imported only when there is something to do: a start on a current database does not
pay for it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skep.base.errors import DatabaseUnusable
from skep.db.revision import HEAD, connect_plain, require_known, stored_revision
from skep.db.urls import DatabaseUrl, MysqlUrl, PostgresqlUrl, SqliteUrl, parse_url

if TYPE_CHECKING:
    import sqlalchemy as sa
    from alembic.config import Config

_LOCK_WAIT_S = 60
_LOCK_NUMBER = 0x736B6570


def current_revision(url: str) -> str | None:
    """The schema revision of a database; None when it is empty or (SQLite) not there.

    Raises DatabaseUnusable, DatabaseBusy.
    """
    return stored_revision(parse_url(url))


def migrate(url: str, revision: str = "head") -> None:
    """Bring the database to ``revision``: ``head``, ``base`` (empty) or one of REVISIONS.

    Creates the file of an SQLite database, readable by its owner only. Runs under a lock, so that
    processes which start together migrate once. On SQLite and PostgreSQL a migration that fails
    leaves nothing; MariaDB commits each table by itself: there, run it again.

    Raises DatabaseTooNew, DatabaseUnusable, DatabaseBusy.
    """
    parsed = parse_url(url)
    stored = stored_revision(parsed)
    require_known(parsed, stored)
    wanted = {"head": HEAD, "base": None}.get(revision, revision)
    if stored == wanted:
        return
    require_known(parsed, wanted)
    _create_file(parsed)
    engine = _alembic_engine(parsed)
    try:
        with engine.begin() as connection:
            _lock(connection)
            _move(connection, wanted)
    finally:
        engine.dispose()


def alembic_config(connection: sa.Connection | None = None) -> Config:
    """The configuration that alembic.ini would hold, with the connection that migrations use."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _move(connection: sa.Connection, wanted: str | None) -> None:
    from alembic import command
    from alembic.runtime.migration import MigrationContext

    from skep.db.revision import REVISIONS

    stored = MigrationContext.configure(connection).get_current_revision()
    if stored == wanted:  # another process was faster
        return
    config = alembic_config(connection)
    order: list[str | None] = [None, *REVISIONS]
    if order.index(wanted) > order.index(stored):
        command.upgrade(config, wanted or "base")
    else:
        command.downgrade(config, wanted or "base")


def _create_file(url: DatabaseUrl) -> None:
    if not isinstance(url, SqliteUrl):
        return
    try:
        os.close(os.open(url.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise DatabaseUnusable(f"the database {url.path} cannot be created: {error.strerror}") from error


def _alembic_engine(url: DatabaseUrl) -> sa.Engine:
    import sqlalchemy as sa

    scheme = {SqliteUrl: "sqlite", PostgresqlUrl: "postgresql+psycopg", MysqlUrl: "mysql+pymysql"}[type(url)]

    def connect() -> Any:
        connection = connect_plain(url)
        if isinstance(url, SqliteUrl):
            connection.execute("PRAGMA foreign_keys=OFF")  # tables are rebuilt by some migrations
        return connection

    engine = sa.create_engine(f"{scheme}://", creator=connect, poolclass=sa.pool.NullPool)

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        # The driver is in autocommit mode: say BEGIN ourselves, so that DDL is in the transaction too.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if isinstance(url, SqliteUrl) else "BEGIN")

    return engine


def _lock(connection: sa.Connection) -> None:
    """Wait for other migrating processes. SQLite's BEGIN IMMEDIATE is such a lock already."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK_NUMBER})")
    elif connection.dialect.name in ("mysql", "mariadb"):
        connection.exec_driver_sql(f"SELECT GET_LOCK('skep-migrate', {_LOCK_WAIT_S})")
