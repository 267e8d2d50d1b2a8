"""PostgreSQL through psycopg 3: connection set-up, errors, value mapping.

Integers come back as ``int`` whatever the server's type (``sum(bigint)`` is numeric there), truth
values as 0 and 1, binary as ``bytes``: the same values as from SQLite.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import psycopg
from psycopg.adapt import Buffer, Dumper, Loader

from skep.base.errors import CorruptDatabase, DatabaseBusy, DatabaseFull, DatabaseUnusable
from skep.db.errors import RowExists
from skep.db.statement import DialectName, Statement
from skep.db.urls import PostgresqlUrl

CONNECT_TIMEOUT_S = 5
LOCK_TIMEOUT_S = 60.0
"""Where nobody says: while the schema is looked at or migrated."""

_CONFLICTS = frozenset({"40001", "40P01"})  # serialization_failure, deadlock_detected
_SOON = ("starting up", "shutting down", "recovery", "too many", "connection slots")
_GONE = frozenset({"57P01", "57P02", "57P03"})  # admin_shutdown, crash_shutdown, cannot_connect_now


class _FlagDumper(Dumper):
    """Python truth values as the 0 and 1 that our flag columns hold."""

    oid = psycopg.postgres.types["int2"].oid

    def dump(self, obj: bool) -> Buffer:
        return b"1" if obj else b"0"


class _FlagLoader(Loader):
    def load(self, data: Buffer) -> int:
        return int(bytes(data) == b"t")


class _NumericLoader(Loader):
    def load(self, data: Buffer) -> int | float:
        value = Decimal(bytes(data).decode())
        return int(value) if value == value.to_integral_value() else float(value)


def connect(url: PostgresqlUrl, busy_timeout_s: float = LOCK_TIMEOUT_S) -> psycopg.Connection[Any]:
    """Open a connection in autocommit mode. Raises DatabaseBusy or DatabaseUnusable."""
    try:
        return psycopg.connect(
            url.conninfo,
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_S,
            fallback_application_name="skep",
            options=f"-c lock_timeout={max(1, round(busy_timeout_s * 1000))}ms -c client_min_messages=warning",
            client_encoding="utf8",
        )
    except psycopg.Error as error:
        raise _not_connected(url, error) from error


def _not_connected(url: PostgresqlUrl, error: psycopg.Error) -> Exception:
    """libpq gives no state for a connection that was not made, only the server's words."""
    text = str(error)
    if "FATAL:" in text and not any(words in text for words in _SOON):
        return _refused(url, error)
    return PostgresqlDriver(url).translate(error)


def _refused(url: PostgresqlUrl, error: Exception) -> DatabaseUnusable:
    return DatabaseUnusable(f"{url.shown} refuses us ({_line(error)}): check database.url in the settings")


class PostgresqlDriver:
    """PostgreSQL's errors and transactions in our words."""

    def __init__(self, url: PostgresqlUrl, busy_timeout_s: float = LOCK_TIMEOUT_S) -> None:
        self._busy_timeout_s = busy_timeout_s
        self.dialect: DialectName = "postgresql"
        self.failures: type[Exception] = psycopg.Error
        self.shown = url.shown
        self._url = url

    def connect(self, *, writes: bool) -> psycopg.Connection[Any]:
        connection = connect(self._url, self._busy_timeout_s)
        connection.adapters.register_dumper(bool, _FlagDumper)
        connection.adapters.register_loader("bool", _FlagLoader)
        connection.adapters.register_loader("numeric", _NumericLoader)
        return connection

    def begin(self, *, writes: bool) -> str:
        return "BEGIN ISOLATION LEVEL SERIALIZABLE" if writes else "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

    def is_conflict(self, error: BaseException | None) -> bool:
        return isinstance(error, psycopg.Error) and error.sqlstate in _CONFLICTS

    def is_lost(self, error: BaseException | None) -> bool:
        if not isinstance(error, psycopg.OperationalError):
            return False
        state = error.sqlstate
        return state is None or state.startswith("08") or state in _GONE

    def affected(self, cursor: Any, statement: Statement) -> int:
        return int(cursor.rowcount)

    def translate(self, error: Exception) -> Exception:
        state = getattr(error, "sqlstate", None) or ""
        if state == "23505":
            name = getattr(getattr(error, "diag", None), "constraint_name", None) or "unique key"
            return RowExists(f"a row with this key is there already ({name})", key=name)
        if state == "53100":
            return DatabaseFull(f"{self.shown}: no room on the server's disk; nothing was written")
        if state in ("XX001", "XX002"):
            return CorruptDatabase(f"{self.shown} is damaged ({error}): restore it from a backup")
        if state in ("28000", "28P01", "3D000"):
            return _refused(self._url, error)
        if state in _CONFLICTS or state in ("55P03", "53300", "57014") or self.is_lost(error):
            return DatabaseBusy(f"{self.shown} does not answer or is busy ({_line(error)}): try again")
        return error


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0]
