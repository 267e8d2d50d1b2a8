from __future__ import annotations

import subprocess
import sys

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from skep.base.clock import SystemClock
from skep.base.errors import DatabaseTooNew, DatabaseTooOld, DatabaseUnusable
from skep.db import Database, current_revision, migrate
from skep.db.migrate import _alembic_engine, alembic_config
from skep.db.revision import HEAD, REVISIONS
from skep.db.schema import METADATA
from skep.db.urls import parse_url


def _tables(url: str) -> set[str]:
    engine = _alembic_engine(parse_url(url))
    with engine.connect() as connection:
        return set(sa.inspect(connection).get_table_names())


def _default_differs(context, inspected, column, stored, declared, rendered) -> bool:
    """Alembic takes the default '' for none; else compare the text, without the type or brackets around it."""
    return (stored or "").partition("::")[0].strip("()'") != (rendered or "").strip("'")


def test_the_migrations_make_exactly_the_schema(database_url):
    migrate(database_url)
    engine = _alembic_engine(parse_url(database_url))
    with engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": _default_differs}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, METADATA) == []


def test_clustered_tables_have_no_row_id(sqlite_url):
    migrate(sqlite_url)
    engine = _alembic_engine(parse_url(sqlite_url))
    with engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE sql LIKE '%WITHOUT ROWID%'")
        clustered = {
            table.name for table in METADATA.tables.values() if not table.dialect_options["sqlite"]["with_rowid"]
        }
        assert {row[0] for row in found} == clustered


def test_every_text_of_mariadb_compares_by_bytes(mariadb_url):
    migrate(mariadb_url)
    with _alembic_engine(parse_url(mariadb_url)).connect() as connection:
        found = connection.exec_driver_sql(
            "SELECT DISTINCT collation_name FROM information_schema.columns WHERE table_schema = database()"
            " AND table_name <> 'alembic_version' AND collation_name IS NOT NULL"
        )
        assert [row[0] for row in found] == ["utf8mb4_nopad_bin"]


def test_collations_compare_by_bytes(database_url):
    migrate(database_url)
    engine = _alembic_engine(parse_url(database_url))
    users = METADATA.tables["users"]
    with engine.begin() as connection:
        for number, name in enumerate(["a", "A", "a ", "á"]):
            row = {"id": bytes([number] * 16), "name": name, "name_key": name, "state": "active", "created_us": 1}
            connection.execute(sa.insert(users), row)
        found = connection.execute(sa.select(users.c.name_key).order_by(users.c.name_key)).scalars().all()
    assert found == ["A", "a", "a ", "á"]


def test_up_and_down_and_up_again(database_url):
    assert current_revision(database_url) is None
    migrate(database_url)
    assert current_revision(database_url) == HEAD
    assert _tables(database_url) == set(METADATA.tables) | {"alembic_version"}
    migrate(database_url, "base")
    assert current_revision(database_url) is None
    assert _tables(database_url) == {"alembic_version"}
    migrate(database_url)
    migrate(database_url)
    assert current_revision(database_url) == HEAD


def test_the_list_of_revisions_is_that_of_the_migrations():
    script = ScriptDirectory.from_config(alembic_config())
    assert [step.revision for step in reversed(list(script.walk_revisions()))] == list(REVISIONS)
    assert script.get_current_head() == HEAD


async def test_a_newer_database_is_refused(database_url):
    migrate(database_url)
    engine = _alembic_engine(parse_url(database_url))
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(DatabaseTooNew, match="9999"):
        await Database.open(database_url, clock=SystemClock())
    with pytest.raises(DatabaseTooNew):
        migrate(database_url)


async def test_an_empty_database_is_refused(database_url):
    with pytest.raises(DatabaseTooOld, match="migrate it first"):
        await Database.open(database_url, clock=SystemClock())


def test_an_unknown_revision_is_refused(sqlite_url):
    with pytest.raises(DatabaseTooNew):
        migrate(sqlite_url, "0815")


def test_a_file_that_is_no_database_is_refused(tmp_path):
    path = tmp_path / "letter.txt"
    path.write_text("Dear database,\n" * 100)
    with pytest.raises(DatabaseUnusable, match="is not an SQLite database"):
        migrate(f"sqlite:///{path}")
    assert path.read_text().startswith("Dear database")


@pytest.mark.parametrize(
    ("url", "module", "extra"),
    [("postgresql://x@127.0.0.1:1/x", "psycopg", "postgresql"), ("mysql://x@127.0.0.1:1/x", "pymysql", "mariadb")],
)
def test_a_driver_that_is_not_installed_is_named(url, module, extra, monkeypatch):
    for name in [name for name in sys.modules if name in ("skep.db.postgresql", "skep.db.mysql")]:
        monkeypatch.delitem(sys.modules, name)
        monkeypatch.delattr(f"skep.db.{name.rpartition('.')[2]}")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DatabaseUnusable, match=rf"pip install 'skep\[{extra}\]'"):
        current_revision(url)


def test_a_missing_directory_is_refused(tmp_path):
    with pytest.raises(DatabaseUnusable, match="cannot be created"):
        migrate(f"sqlite:///{tmp_path / 'no' / 'hive.db'}")


def test_a_new_database_file_is_its_owners_alone(sqlite_url, tmp_path):
    migrate(sqlite_url)
    assert (tmp_path / "hive.db").stat().st_mode & 0o777 == 0o600


def test_a_current_database_is_checked_without_alembic(sqlite_url):
    migrate(sqlite_url)
    code = f"import sys; from skep.db import migrate; migrate({sqlite_url!r}); assert 'alembic' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
