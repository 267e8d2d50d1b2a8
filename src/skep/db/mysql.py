"""MariaDB (and MySQL's protocol) through PyMySQL: connection set-up, errors, value mapping.

Integers come back as ``int`` (sums are decimals there) and binary as ``bytes``: the same values as
from SQLite. Strict mode is on for each connection, so that a value which does not fit is an error.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pymysql
from pymysql.constants import CLIENT, CR, ER, FIELD_TYPE
from pymysql.converters import conversions

from skep.base.errors import DatabaseBusy, DatabaseFull, DatabaseUnusable
from skep.db.errors import RowExists
from skep.db.statement import DialectName, Statement
from skep.db.urls import MysqlUrl

CONNECT_TIMEOUT_S = 5
ANSWER_TIMEOUT_S = 120
LOCK_TIMEOUT_S = 60.0
"""Where nobody says: while the schema is looked at or migrated."""
PACKET_MAX_BYTES = 64 << 20

_LOST = frozenset({CR.CR_SERVER_GONE_ERROR, CR.CR_SERVER_LOST, CR.CR_CONNECTION_ERROR, CR.CR_CONN_HOST_ERROR, 1927, 0})
_CONFLICTS = frozenset({ER.LOCK_DEADLOCK, ER.CHECKREAD})
_BUSY = frozenset({ER.LOCK_WAIT_TIMEOUT, ER.CON_COUNT_ERROR, ER.TOO_MANY_USER_CONNECTIONS, ER.SERVER_SHUTDOWN, 1317})
_REFUSED = frozenset({ER.ACCESS_DENIED_ERROR, ER.BAD_DB_ERROR, ER.DBACCESS_DENIED_ERROR, 1698})
_FULL = frozenset({ER.DISK_FULL, ER.RECORD_FILE_FULL, 1041})


def _number(text: str) -> int | float:
    value = Decimal(text)
    return int(value) if value == value.to_integral_value() else float(value)


def _buffer(value: Any, mapping: Any = None) -> str:
    return f"x'{bytes(value).hex()}'"


_CONVERSIONS: dict[Any, Any] = {
    **conversions,
    FIELD_TYPE.DECIMAL: _number,
    FIELD_TYPE.NEWDECIMAL: _number,
    memoryview: _buffer,
}


def connect(
    url: MysqlUrl, isolation: str = "SERIALIZABLE", busy_timeout_s: float = LOCK_TIMEOUT_S
) -> pymysql.connections.Connection[Any]:
    """Open a connection in autocommit mode. Raises DatabaseBusy or DatabaseUnusable."""
    try:
        return pymysql.connect(
            host=url.host,
            port=url.port,
            user=url.user,
            password=url.password,
            database=url.database,
            unix_socket=url.unix_socket,
            ssl_ca=url.ssl_ca,
            charset="utf8mb4",
            autocommit=True,
            binary_prefix=True,
            conv=_CONVERSIONS,
            client_flag=CLIENT.FOUND_ROWS,
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=ANSWER_TIMEOUT_S,
            write_timeout=ANSWER_TIMEOUT_S,
            max_allowed_packet=PACKET_MAX_BYTES,
            init_command=(
                "SET SESSION sql_mode='STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO',"
                f" innodb_lock_wait_timeout={max(1, round(busy_timeout_s))}, tx_isolation='{isolation}',"
                " time_zone='+00:00'"
            ),
        )
    except pymysql.Error as error:
        raise MysqlDriver(url).translate(error) from error


class MysqlDriver:
    """MariaDB's errors and transactions in our words."""

    def __init__(self, url: MysqlUrl, busy_timeout_s: float = LOCK_TIMEOUT_S) -> None:
        self._busy_timeout_s = busy_timeout_s
        self.dialect: DialectName = "mysql"
        self.failures: type[Exception] = pymysql.Error
        self.shown = url.shown
        self._url = url

    def connect(self, *, writes: bool) -> pymysql.connections.Connection[Any]:
        return connect(self._url, "SERIALIZABLE" if writes else "REPEATABLE-READ", self._busy_timeout_s)

    def begin(self, *, writes: bool) -> str:
        return "START TRANSACTION" if writes else "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"

    def is_conflict(self, error: BaseException | None) -> bool:
        return isinstance(error, pymysql.Error) and _code(error) in _CONFLICTS

    def is_lost(self, error: BaseException | None) -> bool:
        if isinstance(error, pymysql.InterfaceError):
            return True
        return isinstance(error, pymysql.OperationalError) and _code(error) in _LOST

    def affected(self, cursor: Any, statement: Statement) -> int:
        count = int(cursor.rowcount)
        if statement.ignores_existing and cursor.warning_count:
            self._only_duplicates(cursor)
        return min(count, 1) if statement.is_upsert else count

    def translate(self, error: Exception) -> Exception:
        code = _code(error)
        if code == ER.DUP_ENTRY:
            name = str(error.args[-1]).rpartition(" for key ")[2].strip("'")
            return RowExists(f"a row with this key is there already ({name})", key=name)
        if code in _FULL:
            return DatabaseFull(f"{self.shown}: no room on the server's disk; nothing was written")
        if code in _REFUSED:
            return DatabaseUnusable(f"{self.shown} refuses us ({error.args[-1]}): check database.url in the settings")
        if code in _CONFLICTS or code in _BUSY or self.is_lost(error):
            return DatabaseBusy(f"{self.shown} does not answer or is busy ({error}): try again")
        return error

    def _only_duplicates(self, cursor: Any) -> None:
        """INSERT IGNORE also bends values that do not fit: let that be the error it is elsewhere."""
        cursor.execute("SHOW WARNINGS")
        for _, code, message in cursor.fetchall():
            if code != ER.DUP_ENTRY:
                raise pymysql.DataError(code, message)


def _code(error: BaseException) -> int:
    return error.args[0] if error.args and isinstance(error.args[0], int) else -1
