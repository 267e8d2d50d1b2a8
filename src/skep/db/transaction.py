"""The unit of work's view of the database: run statements, see rows, nothing else.

What always holds:
- a Transaction is used by one thread, and only while its unit of work runs;
- after the database refused one statement the unit cannot be committed: the same on the three
  databases, although only PostgreSQL insists on it;
- calls given to ``after_commit`` run only if the unit is durable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

from skep.db.statement import DialectName, Statement

AFTER_COMMIT_MAX = 100_000
"""Calls that one unit of work may leave for after its commit."""

_NOTHING: Mapping[str, object] = MappingProxyType({})


class Cursor(Protocol):
    """The part of a DB-API cursor that is used (PEP 249)."""

    @property
    def rowcount(self) -> int: ...
    def execute(self, sql: Any, values: Any, /) -> object: ...
    def executemany(self, sql: Any, values: Any, /) -> object: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> Any: ...


class Driver(Protocol):
    """What differs between the databases' drivers."""

    dialect: DialectName
    failures: type[Exception]
    """Base class of everything the driver raises."""

    def translate(self, error: Exception) -> Exception:
        """The error of our tree for a driver's error, or the same error if it is a bug of ours."""
        ...

    def affected(self, cursor: Any, statement: Statement) -> int:
        """Rows that the last statement inserted, matched or deleted."""
        ...


class Transaction:
    """One consistent view, and on the writing side one all-or-nothing change.

    Errors: RowExists when a unique key is taken; DatabaseBusy, DatabaseFull, CorruptDatabase as
    they say. After any of them the unit of work should let the error pass: it is not committed.
    """

    __slots__ = ("_calls", "_cursor", "_dialect", "_driver", "failure", "now_us")

    def __init__(self, cursor: Cursor, driver: Driver, now_us: int) -> None:
        self.now_us = now_us
        self.failure: Exception | None = None
        self._cursor = cursor
        self._driver = driver
        self._dialect = driver.dialect
        self._calls: list[Callable[[], None]] | None = None

    def rows(self, st: Statement, params: Mapping[str, object] = _NOTHING) -> list[tuple[Any, ...]]:
        """All rows of the result."""
        try:
            self._cursor.execute(*st.bound(self._dialect, params))
            found = self._cursor.fetchall()
        except self._driver.failures as error:
            raise self._failed(error) from error
        return found if type(found) is list else list(found)

    def one(self, st: Statement, params: Mapping[str, object] = _NOTHING) -> tuple[Any, ...] | None:
        """The first row, or None."""
        try:
            self._cursor.execute(*st.bound(self._dialect, params))
            row: tuple[Any, ...] | None = self._cursor.fetchone()
        except self._driver.failures as error:
            raise self._failed(error) from error
        return row

    def value(self, st: Statement, params: Mapping[str, object] = _NOTHING) -> Any | None:
        """The first column of the first row, or None."""
        row = self.one(st, params)
        return None if row is None else row[0]

    def run(self, st: Statement, params: Mapping[str, object] = _NOTHING) -> int:
        """Run a change; the number of rows inserted, deleted, or matched by an UPDATE."""
        cursor = self._cursor
        try:
            cursor.execute(*st.bound(self._dialect, params))
            return self._driver.affected(cursor, st)
        except self._driver.failures as error:
            raise self._failed(error) from error

    def many(self, st: Statement, rows: Sequence[Mapping[str, object]]) -> None:
        """Run a change once per row; every row has the same parameters."""
        if not rows:
            return
        try:
            self._cursor.executemany(*st.bound_many(self._dialect, rows))
        except self._driver.failures as error:
            raise self._failed(error) from error

    def after_commit(self, call: Callable[[], None]) -> None:
        """Have ``call`` run on the event loop's thread once this unit is durable."""
        if self._calls is None:
            self._calls = []
        if len(self._calls) >= AFTER_COMMIT_MAX:
            raise RuntimeError(f"a unit of work left more than {AFTER_COMMIT_MAX} calls for after its commit")
        self._calls.append(call)

    def finish(self) -> Sequence[Callable[[], None]]:
        """Engine only: end the unit's use of the cursor; the calls it left."""
        self._cursor = _OVER
        return self._calls or ()

    def _failed(self, error: Exception) -> Exception:
        failure = self._driver.translate(error)
        if self.failure is None:
            self.failure = failure
        return failure


class _Over:
    """Stands in for the cursor when the unit of work is over."""

    rowcount = -1

    def execute(self, sql: Any, values: Any) -> object:
        raise RuntimeError("this transaction is over: use it only inside its unit of work")

    def executemany(self, sql: Any, values: Any) -> object:
        return self.execute(sql, values)

    def fetchone(self) -> Any: ...
    def fetchall(self) -> Any: ...


_OVER = _Over()
