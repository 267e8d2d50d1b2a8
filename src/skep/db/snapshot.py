"""A whole database as a stream of bytes, and back into an empty one of any kind.

Format page: docs/formats/metadata-snapshot.md. The stream is made inside one read, so it is one
consistent state; it is neither compressed nor encrypted, which is its user's part:

    await database.read(lambda tx: [sink.write(part) for part in export(tx)])
    await load(empty_database, parts)

What always holds:
- neither side holds more than a few megabytes (or one row, if that is larger);
- a stream that was cut, reordered or damaged anywhere is refused, and the database is empty again;
- a load that was killed is recognised by the next, which starts anew.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping
from functools import cache
from typing import Any, TypeAlias

import msgspec
import sqlalchemy as sa

from skep.base.errors import CorruptRecord, DatabaseTooNew, InUse
from skep.db.database import Database
from skep.db.revision import HEAD, REVISIONS
from skep.db.schema import METADATA, hive
from skep.db.statement import Statement, insert_new, prepared, upsert
from skep.db.transaction import Transaction

MAGIC = b"SKEPMETA\x01"
ROWS_BYTES = 1 << 20
"""About as many bytes of rows go into one record."""
RECORD_MAX_BYTES = 1 << 28
TAG_BYTES = 16
_PAGE_ROWS_FIRST = 16
_PAGE_ROWS_MAX = 1_000
_LOADING = "snapshot-loading"
_LENGTH = struct.Struct(">I")
_encode = msgspec.msgpack.encode

Row: TypeAlias = tuple[Any, ...]


class Head(msgspec.Struct, frozen=True, tag="head", array_like=True):
    """First record: the schema revision that the rows follow, and when they were read."""

    revision: str
    created_us: int


class Table(msgspec.Struct, frozen=True, tag="table", array_like=True):
    """The rows up to the next Table are of this table and have these columns, in this order."""

    name: str
    columns: tuple[str, ...]


class Rows(msgspec.Struct, frozen=True, tag="rows", array_like=True):
    """Some rows of the table: integers, texts, bytes and nil."""

    rows: list[list[Any]]


class End(msgspec.Struct, frozen=True, tag="end", array_like=True):
    """Last record: how many rows there were."""

    rows: int


Record: TypeAlias = Head | Table | Rows | End


def export(tx: Transaction, *, leave_out: Collection[str] = ()) -> Iterator[bytes]:
    """The database as ``tx`` sees it, in parts of about a megabyte. Use it up inside the unit of work.

    ``leave_out`` names tables whose rows are left out: what a restored hive must not believe.
    """
    count, tag = 0, MAGIC

    def part(record: Record) -> bytes:
        nonlocal tag
        body = _encode(record)
        tag = _tag(tag, body)
        return _LENGTH.pack(len(body)) + body + tag

    yield MAGIC
    yield part(Head(HEAD, tx.now_us))
    for table in METADATA.tables.values():
        yield part(Table(str(table.name), tuple(map(str, table.c.keys()))))
        for rows in _pages(tx, table) if table.name not in leave_out else ():
            count += len(rows)
            yield part(Rows([list(row) for row in rows]))
    yield part(End(count))


def _tag(before: bytes, body: bytes) -> bytes:
    """What follows a record: a hash of it and of the tag before it, so of all up to here."""
    return hashlib.blake2b(before + body, digest_size=TAG_BYTES).digest()


def _pages(tx: Transaction, table: sa.Table) -> Iterator[list[Row]]:
    """All rows in the order of the primary key, in pages of about ROWS_BYTES."""
    first, following = _page_statements(table)
    key_at = [list(table.c).index(column) for column in table.primary_key.columns]
    limit, last = _PAGE_ROWS_FIRST, None
    while rows := _next_page(tx, first, following, last, limit):
        yield rows
        last = {f"key_{number}": rows[-1][at] for number, at in enumerate(key_at)}
        limit = _next_limit(rows, limit)


@cache  # of the tables of the schema, which are few: to compile them costs more than to read a small hive
def _page_statements(table: sa.Table) -> tuple[Statement, list[Statement]]:
    """The first page, and what may follow a key: rows that share most of it, then less and less.

    One comparison of whole keys would be shorter; MariaDB would answer it by reading the table.
    """
    keys = list(table.primary_key.columns)
    page = sa.select(table).order_by(*keys).limit(sa.bindparam("limit", type_=sa.Integer))
    following = []
    for shared in reversed(range(len(keys))):
        same = [column == sa.bindparam(f"key_{number}") for number, column in enumerate(keys[:shared])]
        following.append(prepared(page.where(*same, keys[shared] > sa.bindparam(f"key_{shared}"))))
    return prepared(page), following


def _next_page(
    tx: Transaction, first: Statement, following: list[Statement], last: Mapping[str, object] | None, limit: int
) -> list[Row]:
    if last is None:
        return tx.rows(first, {"limit": limit})
    for statement in following:
        if rows := tx.rows(statement, {**last, "limit": limit}):
            return rows
    return []


def _next_limit(rows: list[Row], limit: int) -> int:
    size_bytes = sum(len(value) if isinstance(value, str | bytes) else 8 for row in rows for value in row)
    if size_bytes > ROWS_BYTES:
        return max(1, limit // 2)
    return min(_PAGE_ROWS_MAX, limit * 2) if size_bytes < ROWS_BYTES // 4 else limit


async def load(
    database: Database,
    parts: Iterable[bytes] | AsyncIterable[bytes],
    last: Callable[[Transaction], object] = lambda tx: None,
) -> int:
    """Fill an empty, migrated database from an export, cut into parts anywhere; how many rows came.

    ``last`` runs in the transaction that makes the database count as filled; until then ``loading`` says so.
    Raises InUse when the database holds rows, DatabaseTooNew for an export of a newer Skep, and
    CorruptRecord for one that is damaged or not whole; then the database is empty.
    """
    await _make_room(database)
    await database.write(lambda tx: tx.run(_mark, {"name": _LOADING, "value": b""}))
    try:
        count = await _load_records(database, _records(_async(parts)))
    except BaseException:
        await database.write(empty)
        raise
    await database.write(lambda tx: (tx.run(_unmark), last(tx)))
    return count


def loading(tx: Transaction) -> bool:
    """Whether a load into this database was begun and not finished."""
    return tx.one(_marked) is not None


_mark = upsert(hive, ["name"], ["value"])
_unmark = prepared(sa.delete(hive).where(hive.c.name == _LOADING))
_marked = prepared(sa.select(hive.c.name).where(hive.c.name == _LOADING))


async def _make_room(database: Database) -> None:
    def clear(tx: Transaction) -> None:
        if tx.one(_marked):
            empty(tx)  # left by a load that was killed

    await database.write(clear)
    await require_empty(database)


async def require_empty(database: Database) -> None:
    """Raise InUse when a database holds rows."""

    def work(tx: Transaction) -> str | None:
        if tx.one(_marked):
            return None
        used = (table for table in METADATA.tables.values() if tx.one(prepared(sa.select(*table.c).limit(1))))
        return next((table.name for table in used), None)

    if name := await database.read(work):
        raise InUse(f"the database is not empty (table {name} has rows): load a snapshot into a new one")


def empty(tx: Transaction) -> None:
    """Delete all rows of all tables."""
    for table in METADATA.tables.values():
        tx.run(prepared(sa.delete(table)))


async def _load_records(database: Database, records: AsyncIterator[Record]) -> int:
    table: sa.Table | None = None
    columns: tuple[str, ...] = ()
    count = 0
    async for record in records:
        if isinstance(record, Table):
            table, columns = _known_table(record), record.columns
        elif isinstance(record, Rows) and table is not None:
            count += len(record.rows)
            await _insert(database, table, columns, record.rows)
        elif isinstance(record, End) and record.rows != count:
            raise CorruptRecord(f"the metadata snapshot says {record.rows} rows and holds {count}")
    return count


def _known_table(record: Table) -> sa.Table:
    table = METADATA.tables.get(record.name)
    if table is None or not set(record.columns) <= set(table.c.keys()):
        raise CorruptRecord(f"the metadata snapshot has a table {record.name[:64]!r} that its revision does not have")
    return table


async def _insert(database: Database, table: sa.Table, columns: tuple[str, ...], rows: list[list[Any]]) -> None:
    if any(len(row) != len(columns) for row in rows):
        raise CorruptRecord(f"the metadata snapshot has a row of {table.name} with too few or too many values")
    named = [dict(zip(columns, row, strict=True)) for row in rows]
    statement = insert_new(table)
    await database.write(lambda tx: tx.many(statement, named))


async def _records(parts: AsyncIterator[bytes]) -> AsyncIterator[Record]:
    """The records of a stream, each given only after its tag was checked."""
    reader = _Reader(parts)
    tag = await reader.take(len(MAGIC))
    if tag != MAGIC:
        raise CorruptRecord("this is no metadata snapshot, or one of another format version")
    decoder = msgspec.msgpack.Decoder(Record)
    record: Record | None = None
    while not isinstance(record, End):
        (size_bytes,) = _LENGTH.unpack(await reader.take(_LENGTH.size))
        if size_bytes > RECORD_MAX_BYTES:
            raise CorruptRecord(f"the metadata snapshot has a record of {size_bytes} bytes: it is damaged")
        body = await reader.take(size_bytes)
        tag = _tag(tag, body)
        if await reader.take(TAG_BYTES) != tag:
            raise CorruptRecord("the metadata snapshot is damaged: take another one")
        first = record is None
        try:
            record = decoder.decode(body)
        except msgspec.MsgspecError as error:
            raise CorruptRecord(f"the metadata snapshot has a record that does not decode: {error}") from None
        if isinstance(record, Head) is not first:
            raise CorruptRecord("the metadata snapshot does not begin with its head")
        if isinstance(record, Head):
            _require_loadable(record)
        yield record


def _require_loadable(head: Head) -> None:
    if head.revision not in REVISIONS:
        raise DatabaseTooNew(
            f"a newer Skep took this metadata snapshot (schema revision {head.revision[:32]!r}): load it with that one",
            revision=head.revision[:32],
        )


class _Reader:
    """Takes exact lengths from parts of any length."""

    def __init__(self, parts: AsyncIterator[bytes]) -> None:
        self._parts = parts
        self._waiting = bytearray()

    async def take(self, size_bytes: int) -> bytes:
        while len(self._waiting) < size_bytes:
            part = await anext(self._parts, None)
            if part is None:
                raise CorruptRecord("the metadata snapshot ends too early: take another one")
            self._waiting += part
        taken = bytes(self._waiting[:size_bytes])
        del self._waiting[:size_bytes]
        return taken


async def _async(parts: Iterable[bytes] | AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    if isinstance(parts, AsyncIterable):
        async for part in parts:
            yield part
    else:
        for part in parts:
            yield part
