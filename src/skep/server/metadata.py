"""The metadata as a stream of bytes, for snapshots: every row of every table, and back into an empty database.

docs/formats/metadata-export.md. MessagePack objects one after the other: a head with the schema's
revision, then batches of rows table by table, then an end mark. The rows of one export come from one
transaction. What a restored hive must not believe (sessions, workers' states) is left out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import sqlalchemy as sa

from skep.base.errors import CorruptRecord
from skep.db import Database, Transaction, insert_new, prepared
from skep.db import schema as s

VERSION = 1
BATCH_ROWS = 500
OBJECT_BYTES_MAX = 1 << 30
_LEFT_OUT = frozenset({"sessions", "worker_states"})
_encoder = msgspec.msgpack.Encoder()


class Head(msgspec.Struct, frozen=True, tag="head", tag_field="is"):
    """What comes first."""

    version: int
    created_us: int


class Rows(msgspec.Struct, frozen=True, tag="rows", tag_field="is"):
    """Rows of one table; each has a value for every column."""

    table: str
    columns: list[str]
    rows: list[list[Any]]


class End(msgspec.Struct, frozen=True, tag="end", tag_field="is"):
    """What comes last: how many rows there were."""

    rows: int


_decoder = msgspec.msgpack.Decoder(Head | Rows | End)


def export_metadata(tx: Transaction) -> Iterator[bytes]:
    """All rows of the hive as sized objects."""
    yield _sized(Head(VERSION, tx.now_us))
    total = 0
    for table in s.METADATA.sorted_tables:
        if table.name in _LEFT_OUT:
            continue
        columns = [str(column.name) for column in table.columns]
        for rows in _pages(tx, table):
            total += len(rows)
            yield _sized(Rows(str(table.name), columns, [list(row) for row in rows]))
    yield _sized(End(total))


async def load_metadata(db: Database, stream: AsyncIterator[bytes]) -> None:
    """Fill a migrated, empty database. Raises CorruptRecord for a stream that is no whole export."""
    total, ended = 0, False
    async for item in _objects(stream):
        match item:
            case Head(version=version) if version != VERSION:
                raise CorruptRecord(f"The snapshot has version {version}, this Skep knows {VERSION}: upgrade Skep.")
            case Rows():
                await db.write(lambda tx, rows=item: _insert(tx, rows))  # type: ignore[misc]
                total += len(item.rows)
            case End(rows=rows):
                ended = rows == total
    if not ended:
        raise CorruptRecord("The snapshot is not whole: its end is missing or counts other rows.")


def _pages(tx: Transaction, table: sa.Table) -> Iterator[list[tuple[Any, ...]]]:
    """A table in pages by primary key: each page asks for what is greater than the last key."""
    key = list(table.primary_key.columns)
    first = prepared(sa.select(table).order_by(*key).limit(BATCH_ROWS))
    greater = sa.or_(
        *(
            sa.and_(*(key[i] == sa.bindparam(f"e{n}_{i}") for i in range(n)), key[n] > sa.bindparam(f"g{n}"))
            for n in range(len(key))
        )
    )
    following = prepared(sa.select(table).where(greater).order_by(*key).limit(BATCH_ROWS))
    places = [list(table.columns).index(column) for column in key]
    page = tx.rows(first)
    while page:
        yield page
        if len(page) < BATCH_ROWS:
            return
        last = [page[-1][place] for place in places]
        params = {f"g{n}": last[n] for n in range(len(key))}
        params |= {f"e{n}_{i}": last[i] for n in range(len(key)) for i in range(n)}
        page = tx.rows(following, params)


def _insert(tx: Transaction, rows: Rows) -> None:
    table = s.METADATA.tables.get(rows.table)
    if table is None:
        raise CorruptRecord(f"The snapshot has a table {rows.table!r} that this Skep does not know: upgrade Skep.")
    known = [str(column.name) for column in table.columns]
    if sorted(known) != sorted(rows.columns):
        raise CorruptRecord(f"The snapshot's table {rows.table!r} has other columns: it is of another Skep version.")
    tx.many(insert_new(table, or_ignore=True), [dict(zip(rows.columns, row, strict=True)) for row in rows.rows])


def _sized(item: Head | Rows | End) -> bytes:
    encoded = _encoder.encode(item)
    return len(encoded).to_bytes(4, "big") + encoded


async def _objects(stream: AsyncIterator[bytes]) -> AsyncIterator[Head | Rows | End]:
    held = bytearray()
    async for piece in stream:
        held += piece
        while len(held) >= 4 and len(held) >= 4 + (size := int.from_bytes(held[:4], "big")):
            yield _decode(bytes(held[4 : 4 + size]))
            del held[: 4 + size]
    if held:
        raise CorruptRecord("The snapshot ends in the middle of an object.")


def _decode(raw: bytes) -> Head | Rows | End:
    try:
        item: Head | Rows | End = _decoder.decode(raw)
    except msgspec.MsgspecError as error:
        raise CorruptRecord(f"The snapshot holds an object that does not parse: {error}.") from None
    return item
