"""Statements: SQLAlchemy Core clauses, compiled once per dialect and then run through the driver.

SQLAlchemy costs about 0.15 ms of Python for each execution of a statement, which is more than
SQLite needs to run it. Here a clause is compiled on its first use; from then on running it costs
one dictionary lookup and one tuple of values.

    _by_id = prepared(sa.select(nodes.c.name).where(nodes.c.id == sa.bindparam("id")))
    name = tx.value(_by_id, {"id": node_id})

Every dialect is compiled with positional placeholders, so a value is passed once per place where
it stands. Values and results are plain ``int``, ``str``, ``bytes``, ``float`` and None; no
SQLAlchemy type converts them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, Literal, TypeAlias, cast

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.compiler import SQLCompiler

DialectName: TypeAlias = Literal["sqlite", "postgresql", "mysql"]
Params: TypeAlias = Mapping[str, object]
Values: TypeAlias = tuple[object, ...]
Pick: TypeAlias = Callable[[Params], Values]

PLANS_PER_STATEMENT_MAX = 64
"""Texts kept per statement and dialect: list lengths of an IN, column sets of an INSERT."""


class Statement(ABC):
    """One SQL statement for every dialect. Made by prepared(), insert_new() and upsert()."""

    __slots__ = ()

    ignores_existing: bool = False
    """The statement keeps a row that is there: MySQL says so only in its warnings."""
    is_upsert: bool = False
    """The statement inserts or updates one row: MySQL counts an update as two."""

    @abstractmethod
    def bound(self, dialect: DialectName, params: Params) -> tuple[str, Values]:
        """The SQL text for these parameters and the values in the order of its placeholders.

        Raises TypeError when a parameter is missing.
        """

    @abstractmethod
    def bound_many(self, dialect: DialectName, rows: Sequence[Params]) -> tuple[str, list[Values]]:
        """One SQL text and the values of each row; every row has the parameters of the first."""


def prepared(clause: sa.Executable) -> Statement:
    """Make a statement of a Core clause with named ``sa.bindparam`` parameters.

    ``IN`` lists are ``column.in_(sa.bindparam("ids", expanding=True))``: their texts are cached by
    length, rounded up to a power of two.
    """
    return _Clause(clause)


def insert_new(table: sa.Table, *, or_ignore: bool = False) -> Statement:
    """INSERT the columns that the parameters name; columns not given take their server default.

    With ``or_ignore`` a row whose key is taken is kept as it is and ``run`` returns 0.
    """
    return _Insert(table, (), (), or_ignore=or_ignore)


def upsert(table: sa.Table, keys: Sequence[str], update: Sequence[str]) -> Statement:
    """INSERT the columns that the parameters name; where ``keys`` are taken, set ``update`` to them.

    ``keys`` must be the primary key or a unique key of the table. ``run`` returns 1.
    """
    if not update:
        raise ValueError("upsert needs columns to update: use insert_new(table, or_ignore=True)")
    return _Insert(table, tuple(keys), tuple(update), or_ignore=False)


@lru_cache(maxsize=3)
def _dialect(name: DialectName) -> Dialect:
    if name == "sqlite":
        from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

        return SQLiteDialect_pysqlite(paramstyle="qmark")
    if name == "postgresql":
        from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

        return PGDialect_psycopg(paramstyle="format")  # type: ignore[no-untyped-call]
    from sqlalchemy.dialects.mysql.mariadb import loader

    # Not the dialect of MySQL: MariaDB reserves more words (``offset``).
    return cast(Dialect, loader("pymysql")(paramstyle="format"))


def _picker(names: Sequence[str], constants: Mapping[str, object]) -> Pick:
    """A function from parameters to values in the order of ``names``."""
    if constants:
        inner = _picker(names, {})
        return lambda params: inner({**constants, **params})
    if not names:
        return lambda params: ()
    if len(names) == 1:
        name = names[0]
        return lambda params: (params[name],)
    return itemgetter(*names)


def _constants(compiled: SQLCompiler) -> dict[str, object]:
    """Values that stand in the clause itself (``column == 5``)."""
    return {
        name: bind.effective_value for name, bind in compiled.binds.items() if not bind.required and not bind.expanding
    }


def _missing(sql: str, error: KeyError) -> TypeError:
    return TypeError(f"parameter {error.args[0]!r} is missing for: {sql[:200]}")


class _Plan:
    """One compiled text and how to pick its values."""

    __slots__ = ("pick", "sql")

    def __init__(self, sql: str, pick: Pick) -> None:
        self.sql = sql
        self.pick = pick


class _Lists:
    """A clause with IN lists: one text for each combination of rounded list lengths."""

    __slots__ = ("_compiled", "_constants", "_plans", "names")

    def __init__(self, compiled: SQLCompiler, names: Sequence[str]) -> None:
        self._compiled = compiled
        self._constants = {n: b.effective_value for n, b in compiled.binds.items() if n not in names and not b.required}
        self._plans: dict[tuple[int, ...], _Plan] = {}
        self.names = tuple(names)

    def bound(self, params: Params) -> tuple[str, Values]:
        flat: dict[str, object] = {**self._constants, **params}
        lengths = []
        for name in self.names:
            items = _padded(params[name])
            lengths.append(len(items))
            flat[name] = items
            for number, item in enumerate(items, 1):
                flat[f"{name}_{number}"] = item
        key = tuple(lengths)
        plan = self._plans.get(key)
        if plan is None:
            plan = self._expand(flat)
            if len(self._plans) < PLANS_PER_STATEMENT_MAX:
                self._plans[key] = plan
        return plan.sql, plan.pick(flat)

    def _expand(self, params: Mapping[str, Any]) -> _Plan:
        state = self._compiled.construct_expanded_state(dict(params), escape_names=False)
        return _Plan(state.statement, _picker(state.positiontup or (), {}))


def _padded(items: object) -> list[object]:
    """The items, the last one repeated up to a power of two, so that few texts serve all lengths."""
    if isinstance(items, str | bytes) or not hasattr(items, "__iter__"):
        raise TypeError(f"an IN list takes a list, not {type(items).__name__}")
    found = list(items)
    if not found:
        return found
    wanted = 1 << (len(found) - 1).bit_length()
    return found + found[-1:] * (wanted - len(found))


class _Clause(Statement):
    __slots__ = ("_clause", "_plans")

    def __init__(self, clause: sa.Executable) -> None:
        self._clause = clause
        self._plans: dict[DialectName, _Plan | _Lists] = {}

    def bound(self, dialect: DialectName, params: Params) -> tuple[str, Values]:
        plan = self._plans.get(dialect) or self._compile(dialect)
        try:
            if type(plan) is _Plan:
                return plan.sql, plan.pick(params)
            return plan.bound(params)  # type: ignore[union-attr]
        except KeyError as error:
            raise _missing(str(self._clause), error) from None

    def bound_many(self, dialect: DialectName, rows: Sequence[Params]) -> tuple[str, list[Values]]:
        plan = self._plans.get(dialect) or self._compile(dialect)
        if isinstance(plan, _Lists):
            raise TypeError("a statement with an IN list cannot run for many rows at once")
        try:
            return plan.sql, list(map(plan.pick, rows))
        except KeyError as error:
            raise _missing(plan.sql, error) from None

    def _compile(self, dialect: DialectName) -> _Plan | _Lists:
        compiled = self._clause.compile(dialect=_dialect(dialect))  # type: ignore[attr-defined]
        assert isinstance(compiled, SQLCompiler)
        lists = [name for name, bind in compiled.binds.items() if bind.expanding]
        plan: _Plan | _Lists
        if compiled.post_compile_params and lists:
            plan = _Lists(compiled, lists)
        else:
            plan = _Plan(compiled.string, _picker(compiled.positiontup or (), _constants(compiled)))
        self._plans[dialect] = plan
        return plan


class _Insert(Statement):
    __slots__ = ("_keys", "_plans", "_table", "_update", "ignores_existing", "is_upsert")

    def __init__(self, table: sa.Table, keys: tuple[str, ...], update: tuple[str, ...], *, or_ignore: bool) -> None:
        self._table = table
        self._keys = keys
        self._update = update
        self._plans: dict[tuple[DialectName, tuple[str, ...]], _Plan] = {}
        self.ignores_existing = or_ignore
        self.is_upsert = bool(update)

    def bound(self, dialect: DialectName, params: Params) -> tuple[str, Values]:
        plan = self._plan(dialect, params)
        return plan.sql, plan.pick(params)

    def bound_many(self, dialect: DialectName, rows: Sequence[Params]) -> tuple[str, list[Values]]:
        plan = self._plan(dialect, rows[0])
        width = len(rows[0])
        if any(len(row) != width for row in rows):
            raise TypeError(f"rows for {self._table.name} name different columns: give each row the same")
        try:
            return plan.sql, list(map(plan.pick, rows))
        except KeyError as error:
            raise _missing(plan.sql, error) from None

    def _plan(self, dialect: DialectName, params: Params) -> _Plan:
        key = (dialect, tuple(params))
        plan = self._plans.get(key)
        if plan is None:
            plan = self._compile(dialect, key[1])
            if len(self._plans) < PLANS_PER_STATEMENT_MAX:
                self._plans[key] = plan
        return plan

    def _compile(self, dialect: DialectName, columns: tuple[str, ...]) -> _Plan:
        unknown = [name for name in columns if name not in self._table.c]
        if unknown or not columns:
            raise TypeError(f"table {self._table.name} has no column {', '.join(unknown) or '(none given)'}")
        compiled = self._clause(dialect).compile(dialect=_dialect(dialect), column_keys=list(columns))
        assert isinstance(compiled, SQLCompiler)
        return _Plan(compiled.string, _picker(compiled.positiontup or (), {}))

    def _clause(self, dialect: DialectName) -> sa.Insert:
        if dialect == "mysql":
            return self._mysql_clause()
        if not self.ignores_existing and not self.is_upsert:
            return sa.insert(self._table).inline()
        # The two dialects spell ON CONFLICT alike, but each has its own class for it.
        if dialect == "sqlite":
            from sqlalchemy.dialects import sqlite

            lite = sqlite.insert(self._table).inline()
            if self.ignores_existing:
                return lite.on_conflict_do_nothing()
            return lite.on_conflict_do_update(self._keys, set_={n: lite.excluded[n] for n in self._update})
        from sqlalchemy.dialects import postgresql

        post = postgresql.insert(self._table).inline()
        if self.ignores_existing:
            return post.on_conflict_do_nothing()
        return post.on_conflict_do_update(index_elements=self._keys, set_={n: post.excluded[n] for n in self._update})

    def _mysql_clause(self) -> sa.Insert:
        from sqlalchemy.dialects import mysql

        clause = mysql.insert(self._table).inline()
        if self.ignores_existing:
            return clause.prefix_with("IGNORE")
        if self.is_upsert:
            return clause.on_duplicate_key_update({n: clause.inserted[n] for n in self._update})
        return clause
