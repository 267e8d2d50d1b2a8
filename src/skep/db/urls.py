"""Database URLs.

    sqlite:////var/lib/skep/skep.db          four slashes: an absolute path (SQLAlchemy's convention)
    sqlite:///skep.db                        three: relative to the working directory
    postgresql://user:password@host/name     anything that libpq takes
    mysql://user:password@host:3306/name     MariaDB; ?unix_socket=/run/mysqld/mysqld.sock, ?ssl_ca=/path

Options of SQLite: ``busy_timeout_s`` (how long to wait for another
process's lock; else the setting of that name) and
``synchronous`` (``full``; ``off`` loses acknowledged writes on power loss and is for tests).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from skep.base.errors import InvalidSetting


@dataclass(frozen=True)
class SqliteUrl:
    """A database file on this machine."""

    path: Path
    busy_timeout_s: float | None = None
    synchronous: str = "full"

    @property
    def shown(self) -> str:
        """The URL as it may stand in a message."""
        return f"sqlite:///{self.path}"


@dataclass(frozen=True)
class PostgresqlUrl:
    """A PostgreSQL server; ``conninfo`` goes to libpq as it is and holds the password."""

    conninfo: str
    shown: str


@dataclass(frozen=True)
class MysqlUrl:
    """A MariaDB server."""

    host: str
    port: int
    user: str
    password: str
    database: str
    unix_socket: str | None
    ssl_ca: str | None
    shown: str


DatabaseUrl: TypeAlias = SqliteUrl | PostgresqlUrl | MysqlUrl
_SCHEMES = ("sqlite", "postgresql", "mysql", "mariadb")


def parse_url(text: str) -> DatabaseUrl:
    """Read a database URL. Raises InvalidSetting, never showing the password."""
    scheme, separator, _ = text.partition("://")
    if not separator or scheme not in _SCHEMES:
        near = difflib.get_close_matches(scheme, _SCHEMES, 1)
        hint = f": did you mean {near[0]}://?" if near else ": use sqlite:///, postgresql:// or mysql://"
        raise InvalidSetting(f"database.url starts with {scheme[:32]!r}, which is no database that Skep knows{hint}")
    parts = urlsplit(text)
    if scheme == "sqlite":
        return _sqlite(parts)
    if scheme == "postgresql":
        return PostgresqlUrl(conninfo=text, shown=_redacted(parts))
    return _mysql(parts)


def _options(parts: SplitResult, known: Iterable[str]) -> dict[str, str]:
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, list(known), 1)
            raise InvalidSetting(
                f"database.url has the unknown option {name!r}: "
                + (f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(known)}")
            )
    return options


def _sqlite(parts: SplitResult) -> SqliteUrl:
    path = unquote(parts.path).removeprefix("/")
    if parts.netloc or not path or path == ":memory:":
        raise InvalidSetting("database.url needs a file: sqlite:////absolute/path.db or sqlite:///relative.db")
    options = _options(parts, ("busy_timeout_s", "synchronous"))
    synchronous = options.get("synchronous", "full").lower()
    if synchronous not in ("off", "normal", "full", "extra"):
        raise InvalidSetting(f"database.url: synchronous={synchronous!r} is none of full, extra, normal, off")
    try:
        busy_timeout_s = float(options["busy_timeout_s"]) if "busy_timeout_s" in options else None
    except ValueError:
        raise InvalidSetting("database.url: busy_timeout_s must be a number of seconds") from None
    return SqliteUrl(Path(path), busy_timeout_s, synchronous)


def _mysql(parts: SplitResult) -> MysqlUrl:
    database = unquote(parts.path).removeprefix("/")
    if not database:
        raise InvalidSetting("database.url needs the name of the database: mysql://user@host/name")
    options = _options(parts, ("unix_socket", "ssl_ca"))
    try:
        port = parts.port or 3306
    except ValueError:
        raise InvalidSetting("database.url: the port must be a number") from None
    return MysqlUrl(
        host=parts.hostname or "localhost",
        port=port,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        database=database,
        unix_socket=options.get("unix_socket"),
        ssl_ca=options.get("ssl_ca"),
        shown=_redacted(parts),
    )


def _redacted(parts: SplitResult) -> str:
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"
