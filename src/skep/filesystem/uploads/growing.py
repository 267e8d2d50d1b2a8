"""What an upload holds grows and shrinks: functions over a transaction that has locked the row of the space.

Upload in a row: the bytes of a request follow what is there. A content is cut where its bytes say, but the last chunk
of what is there was cut because the request ended; so it is cut anew together with what follows (``Run.replaces``), and
in the end the chunks are those of a content that came in one go. Its parts are rows of up to ``ROW_CHUNKS`` chunks,
however many requests there were.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from skep.base.errors import LengthMismatch, OffsetMismatch
from skep.base.ids import Id
from skep.chunks.manifest import ChunkRef, Manifest
from skep.db import Transaction
from skep.filesystem import quota, spaces
from skep.filesystem.books import Books
from skep.filesystem.spaces import Space
from skep.filesystem.uploads import rows
from skep.filesystem.uploads.rows import Part, Row

ROW_CHUNKS = 1_000
"""Chunks in one row of an upload in a row: an append writes at most so many again."""
PURGE_PARTS = 8
"""Parts that one step of a purge lets go of."""


class Run(NamedTuple):
    """Durable chunks that follow what an upload in a row has."""

    manifest: Manifest
    replaces: ChunkRef | None = None
    """The chunk at the end of what is there that these begin with."""

    @property
    def added_bytes(self) -> int:
        """How much longer the upload gets."""
        return self.manifest.size_bytes - (self.replaces.plain_bytes if self.replaces else 0)


def tail_of(tx: Transaction, upload_id: Id) -> ChunkRef | None:
    """The last chunk of an upload in a row."""
    last = rows.last_part(tx, upload_id)
    chunks = Manifest.decode(last.manifest).chunks if last is not None else ()
    return chunks[-1] if chunks else None


def extend(
    tx: Transaction,
    books: Books,
    space: Space,
    row: Row,
    offset: int,
    run: Run,
    length_bytes: int | None,
    expires_us: int,
) -> Row:
    """Put a run behind what an upload has; its row then. The space is locked, the row was read after that.

    Raises OffsetMismatch, QuotaExceeded, UploadFinished, LengthMismatch (another length than was said before).
    """
    rows.require_open(row)
    if row.held_bytes != offset:
        raise offset_mismatch(row, offset)
    length = agreed_length(row, length_bytes)
    count = 0
    if run.manifest.chunks:
        count = _put_run(tx, books, space, row, offset, run)
    rows.hold(tx, row, run.added_bytes, count, length, expires_us)
    return row._replace(
        held_bytes=offset + run.added_bytes,
        part_count=row.part_count + count,
        length_bytes=length,
        expires_us=expires_us,
    )


def _put_run(tx: Transaction, books: Books, space: Space, row: Row, offset: int, run: Run) -> int:
    """Write the rows of a run; how many more parts there are."""
    quota.charge(tx, space, run.added_bytes)
    last = rows.last_part(tx, row.id)
    before = Manifest.decode(last.manifest).chunks if last is not None else ()
    if run.replaces is not None:
        if not before or before[-1] != run.replaces:
            raise offset_mismatch(row, offset)
        before = before[:-1]
    books.chunks.reference(tx, space.domain_id, [run.manifest])
    if run.replaces is not None:
        books.chunks.release(tx, space.domain_id, [Manifest.of([run.replaces])])
    number = last.number if last is not None else 0
    chunks = run.manifest.chunks
    if last is not None and (len(before) < ROW_CHUNKS or run.replaces is not None):
        taken = max(0, ROW_CHUNKS - len(before))
        _put_row(tx, row.id, number, (*before, *chunks[:taken]))
        chunks = chunks[taken:]
    added = 0
    for start in range(0, len(chunks), ROW_CHUNKS):
        added += 1
        _put_row(tx, row.id, number + added, chunks[start : start + ROW_CHUNKS])
    return added


def _put_row(tx: Transaction, upload_id: Id, number: int, chunks: tuple[ChunkRef, ...]) -> None:
    manifest = Manifest.of(chunks)
    rows.put_part(tx, upload_id, Part(number, manifest.size_bytes, manifest.encode(), None, None, tx.now_us))


def put_part(
    tx: Transaction,
    books: Books,
    space: Space,
    row: Row,
    number: int,
    manifest: Manifest,
    md5: bytes | None,
    checksums: Mapping[str, bytes],
    expires_us: int,
) -> Part:
    """Give an upload a numbered part, in place of one of the same number. Raises QuotaExceeded, UploadFinished."""
    rows.require_open(row)
    old = rows.part(tx, row.id, number)
    added_bytes = manifest.size_bytes - (old.size_bytes if old else 0)
    quota.charge(tx, space, added_bytes)
    books.chunks.reference(tx, space.domain_id, [manifest])
    if old is not None:
        books.chunks.release(tx, space.domain_id, [Manifest.decode(old.manifest)])
    part = Part(number, manifest.size_bytes, manifest.encode(), md5, rows.write_digests(checksums), tx.now_us)
    rows.put_part(tx, row.id, part)
    rows.hold(tx, row, added_bytes, 0 if old else 1, row.length_bytes, expires_us)
    return part


def let_go(tx: Transaction, books: Books, space: Space, row: Row, gone: list[Part]) -> None:
    """Take parts away from an upload, with their bytes and references."""
    if not gone:
        return
    size_bytes = sum(part.size_bytes for part in gone)
    quota.give_back(tx, space.id, size_bytes)
    books.chunks.release(tx, space.domain_id, [Manifest.decode(part.manifest) for part in gone])
    for part in gone:
        rows.delete_part(tx, row.id, part.number)
    rows.hold(tx, row, -size_bytes, -len(gone), row.length_bytes, row.expires_us)


def purge_step(tx: Transaction, books: Books, row: Row) -> bool:
    """Let go of some parts of an upload that is over, and of the upload with the last; whether it is gone now."""
    space = spaces.lock(tx, row.space_id)
    now = rows.by_id(tx, row.id)
    if now is None:
        return True
    if now.state == "open":
        rows.set_gone(tx, row.id)
        now = now._replace(state="gone", expires_us=tx.now_us)
    let_go(tx, books, space, now, rows.parts(tx, row.id, -1, PURGE_PARTS))
    if rows.last_part(tx, row.id) is not None:
        return False
    rows.delete(tx, row.id)
    return True


def drop_of_space(tx: Transaction, books: Books, space_id: Id) -> None:
    """Forget all uploads into a space that goes."""
    while (row := rows.any_of_space(tx, space_id)) is not None:
        purge_step(tx, books, row)


def drop_of_user(tx: Transaction, books: Books, user_id: Id) -> None:
    """Forget all uploads of a user who goes."""
    while (row := rows.any_of_user(tx, user_id)) is not None:
        purge_step(tx, books, row)


def agreed_length(row: Row, length_bytes: int | None) -> int | None:
    """The length of the whole, as it was said before or is said now. Raises LengthMismatch."""
    if row.length_bytes is not None and length_bytes is not None and row.length_bytes != length_bytes:
        raise LengthMismatch(
            f"the upload was said to have {row.length_bytes} bytes, and now {length_bytes}: it cannot change",
            length=row.length_bytes,
        )
    return length_bytes if row.length_bytes is None else row.length_bytes


def offset_mismatch(row: Row, offset: int) -> OffsetMismatch:
    """The error for bytes that do not follow what is there."""
    return OffsetMismatch(
        f"the upload has {row.held_bytes} bytes and these were for offset {offset}: go on from {row.held_bytes}",
        offset=row.held_bytes,
        expected=row.held_bytes,
        provided=offset,
    )
