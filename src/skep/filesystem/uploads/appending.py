"""The face for uploads in a row: bytes follow what is there, whatever becomes of the connection.

A long body is committed every ``Limits.step_bytes``, so a killed hive has most of it; a body that breaks off, stalls or
is cut by a stop is kept as far as it came. What is refused is refused before the bytes that it concerns are kept, so
the offset never says more than what was accepted.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from skep.base.errors import BodyTooLarge, ChecksumMismatch, LengthMismatch, ShuttingDown
from skep.base.ids import Id
from skep.chunks.manifest import ChunkRef, Manifest
from skep.chunks.scheme import Scheme
from skep.crypto.hashing import Buffer
from skep.crypto.keys import DomainKeys
from skep.db import Transaction
from skep.filesystem import access, quota, transfer, views
from skep.filesystem.core import WRITE
from skep.filesystem.ports import Stored
from skep.filesystem.records import WriteResult
from skep.filesystem.spaces import Space
from skep.filesystem.taps import Late
from skep.filesystem.uploads import ending, growing, reading, rows
from skep.filesystem.uploads.arriving import Arriving
from skep.filesystem.uploads.collecting import Collecting
from skep.filesystem.uploads.growing import Run
from skep.filesystem.uploads.records import Appended, Expected
from skep.filesystem.uploads.rows import Row

if TYPE_CHECKING:
    from skep.auth.records import Principal

SHORT_RATIO = 16
CUT_BYTES_MIN = 256 << 10
"""The last chunk is cut anew with what follows, unless it has its least size and a body is a small fraction of it."""


@dataclass(slots=True)
class _Continuation:
    """One request that continues an upload in a row."""

    principal: Principal
    row: Row
    domain: DomainKeys
    scheme: Scheme | None
    body: Arriving
    offset: int
    length: int | None
    room_bytes: int | None
    last: bool | None
    expected: Sequence[Expected]
    replaces: ChunkRef | None = None


class Appending(Collecting):
    """What comes in pieces, one after the other."""

    async def append(
        self,
        principal: Principal,
        door: str,
        upload_id: Id,
        offset: int,
        stream: AsyncIterator[Buffer],
        *,
        length_bytes: int | None = None,
        body_bytes: int | None = None,
        last: bool | None = None,
        expected: Sequence[Expected] = (),
        hurry: bool = False,
    ) -> Appended:
        """Continue an upload in a row from where it stands; keeps what arrived of a body that breaks off.

        ``length_bytes`` is the length of the whole, if it is said only now, ``body_bytes`` that of this body, if it is
        known. ``last``: whether the upload ends with this body; None: as soon as it has its length, if it has a path.
        The last bytes are kept only together with the end: what the end is refused for is raised, and can be repeated.
        With ``hurry`` a body that is being sent to it ends first; without, that one goes on and this is refused. With
        ``expected`` checksums nothing of the body is kept before all of it has them.

        Raises UploadLocked, OffsetMismatch, UploadFinished, BodyTooLarge, QuotaExceeded, ChecksumMismatch,
        LengthMismatch; at the end what ``write_file`` raises. A stream that breaks off raises nothing: ``broken``.
        """
        principal.require(WRITE)
        await self._db.glance(lambda tx: rows.owned(tx, principal, door, upload_id))
        await self._arrivals.require_free(upload_id, hurry=hurry)
        late = Late()
        counted = stream if self.meter is None or not self.meter.active else late.counted(stream)
        body = Arriving(counted, self._clock, hashers=[one.hasher for one in expected])
        with self._arrivals.enter(upload_id, body):
            row, space = await self._db.read(
                lambda tx: self._look_at(tx, principal, door, upload_id, offset, length_bytes)
            )
            room_bytes = quota.room(space)
            length = growing.agreed_length(row, length_bytes)
            body.limit_bytes = (self.limits.file_bytes_max if length is None else length) - offset
            self._check_room(body.limit_bytes, room_bytes, body_bytes)
            domain, scheme = await self._chunks.domain(space.domain_id), self._scheme(space)
            going = _Continuation(principal, row, domain, scheme, body, offset, length, room_bytes, last, expected)
            async with self._inflow(space, body_bytes) as late.inflow:
                return await self._saving(body, self._append(going, body_bytes))

    def _look_at(
        self, tx: Transaction, principal: Principal, door: str, upload_id: Id, offset: int, length_bytes: int | None
    ) -> tuple[Row, Space]:
        row = rows.owned(tx, principal, door, upload_id)
        space = access.space(tx, principal, row.through_id, "create")
        rows.require_open(row)
        if row.held_bytes != offset:
            raise growing.offset_mismatch(row, offset)
        growing.agreed_length(row, length_bytes)
        if length_bytes is not None and length_bytes < row.held_bytes:
            raise LengthMismatch(f"the upload has {row.held_bytes} bytes already, more than {length_bytes}")
        return row, space

    def _check_room(self, left: int, room_bytes: int | None, body_bytes: int | None) -> None:
        """Refuse a body of known length before any of it is taken."""
        if body_bytes is not None and body_bytes > left:
            raise BodyTooLarge(f"the upload takes {left} bytes more, and the body has {body_bytes}", limit_bytes=left)
        transfer.require_room(body_bytes, room_bytes)

    async def _saving(self, body: Arriving, doing: Coroutine[Any, Any, Appended]) -> Appended:
        """The result of an append that, when its caller is cancelled, ends its body and saves what came."""
        task = asyncio.ensure_future(doing)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            body.stop(ShuttingDown("the hive is stopping: go on when it is back"))
            await asyncio.wait([task])
            if not task.cancelled():
                task.exception()  # the caller is gone: nobody else will look at it
            raise

    async def _append(self, going: _Continuation, body_bytes: int | None) -> Appended:
        """Take the body in steps, each committed; the last together with the end."""
        with self._chunks.writing():
            going.replaces = await self._tail_to_cut(going, body_bytes)
            rest = await self._chunks.write(
                going.domain,
                self._with_tail(going),
                scheme=going.scheme,
                limit_bytes=_limit_of(going),
                step_bytes=self.limits.step_bytes,
                save=None if going.expected else lambda got: self._save(going, got),
            )
            self._check_expected(going)
            return await self._save_last(going, rest)

    async def _tail_to_cut(self, going: _Continuation, body_bytes: int | None) -> ChunkRef | None:
        if not going.row.held_bytes or body_bytes == 0:
            return None
        tail = await self._db.read(lambda tx: growing.tail_of(tx, going.row.id))
        if tail is None:
            return None
        is_short = body_bytes is not None and body_bytes * SHORT_RATIO < tail.plain_bytes
        return None if is_short and tail.plain_bytes >= CUT_BYTES_MIN else tail

    async def _with_tail(self, going: _Continuation) -> AsyncIterator[Buffer]:
        """The last chunk of what is there, then the body; nothing if there is no body."""
        first = await anext(going.body, None)
        if first is None:
            going.replaces = None
            return
        if going.replaces is not None:
            async for part in self._chunks.read(going.domain, Manifest.of([going.replaces])):
                yield part
        yield first
        async for piece in going.body:
            yield piece

    @staticmethod
    def _check_expected(going: _Continuation) -> None:
        if going.body.broken is not None and going.expected:
            raise going.body.broken
        for one in going.expected:
            if one.hasher.digest() != one.value:
                raise ChecksumMismatch(
                    f"the body does not have the {one.name} that was declared: nothing of it is kept, send it again",
                    algorithm=one.name,
                )

    async def _save(self, going: _Continuation, got: Stored) -> None:
        """Commit one step."""
        run = Run(got.manifest, going.replaces)

        going.row = await self._commit(lambda tx: self._extend(tx, going, run)[1])
        going.offset, going.replaces = going.offset + run.added_bytes, None

    def _extend(self, tx: Transaction, going: _Continuation, run: Run) -> tuple[Space, Row]:
        space = views.lock(tx, access.space(tx, going.principal, going.row.through_id, "create"))
        row = rows.owned(tx, going.principal, going.row.door, going.row.id)
        until_us = tx.now_us + self.limits.upload_kept_us
        return space, growing.extend(tx, self.books, space, row, going.offset, run, going.length, until_us)

    async def _save_last(self, going: _Continuation, rest: Stored) -> Appended:
        """Commit what is left, and the end if this is it."""
        run = Run(rest.manifest, going.replaces)
        total = going.offset + run.added_bytes
        is_end = self._is_end(going, total)
        wanted = rows.read_digests(going.row.digests)
        digests: Mapping[str, bytes] = {}
        if is_end and wanted:
            digests = await self._read_back(going, run, wanted)

        def work(tx: Transaction) -> tuple[Row, WriteResult | None]:
            space, row = self._extend(tx, going, run)
            if not is_end:
                return row, None
            result = ending.finish(
                tx, self.books.of(going.principal), space, row, self._ending(tx, row), digests=digests
            )
            return rows.by_id(tx, row.id) or row, result

        row, written = await self._commit(work)
        return Appended(rows.upload_info(row), written, going.body.broken)

    @staticmethod
    def _is_end(going: _Continuation, total: int) -> bool:
        if going.body.broken is not None or going.last is False:
            return False
        if going.last is None:
            return going.length is not None and total == going.length and going.row.path is not None
        if going.length is not None and total != going.length:
            raise LengthMismatch(
                f"the upload ends after {total} bytes and was said to have {going.length}", length=going.length
            )
        return True

    async def _read_back(self, going: _Continuation, run: Run, wanted: Mapping[str, bytes]) -> Mapping[str, bytes]:
        await self._db.write(lambda tx: None)  # the rows of what was just written come before this
        parts = await self._db.read(lambda tx: ending.all_parts(tx, going.row.id))
        chunks = [ref for part in parts for ref in Manifest.decode(part.manifest).chunks]
        whole = Manifest.of([*chunks[: len(chunks) - (run.replaces is not None)], *run.manifest.chunks])
        return await reading.verified(self._chunks, going.domain, whole, wanted)


def _limit_of(going: _Continuation) -> int | None:
    """The most that is written for a request: what there is room for, and the tail that is written again."""
    if going.room_bytes is None:
        return None
    return going.room_bytes + (going.replaces.plain_bytes if going.replaces else 0)
