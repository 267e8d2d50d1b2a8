"""The face for uploads in numbered parts: in any order and at once, replaced, listed, copied from files, completed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from skep.base.errors import BodyTooLarge, ChecksumMismatch
from skep.base.ids import Id
from skep.chunks.manifest import Manifest
from skep.crypto.hashing import Buffer
from skep.db import Transaction
from skep.filesystem import access, quota, spaces, transfer, views
from skep.filesystem.content import FileContent
from skep.filesystem.core import WRITE
from skep.filesystem.records import ALWAYS, Conditions, WriteResult
from skep.filesystem.spaces import Space
from skep.filesystem.uploads import ending, growing, reading, rows
from skep.filesystem.uploads.arriving import Arriving
from skep.filesystem.uploads.collecting import Collecting
from skep.filesystem.uploads.records import Choose, Expected, PartInfo
from skep.filesystem.uploads.rows import Row

if TYPE_CHECKING:
    from skep.auth.records import Principal

Also = Callable[[Transaction, WriteResult], None]
"""What a door writes down in the transaction that makes the version."""
PARTS_MAX = 10_000
"""The highest number of a part."""


class Partwise(Collecting):
    """What comes in numbered parts."""

    async def put_part(
        self,
        principal: Principal,
        door: str,
        upload_id: Id,
        number: int,
        stream: AsyncIterator[Buffer],
        *,
        length: int | None = None,
        digests: Collection[str] = ("md5",),
        expected_digests: Mapping[str, bytes] | None = None,
        expected: Sequence[Expected] = (),
    ) -> PartInfo:
        """Give an upload a numbered part, all of it or nothing; one of the same number is replaced.

        ``expected`` checksums are computed, checked if their value is not empty, and kept with the part. Raises
        UploadNotFound, UploadFinished, BodyTooLarge, LengthMismatch, QuotaExceeded, ChecksumMismatch, and what the
        stream raises.
        """
        declared = expected_digests or {}
        transfer.check_known(declared)
        row, space = await self._look_at_parts(principal, door, upload_id, number)
        domain = await self._chunks.domain(space.domain_id)
        room_bytes = quota.room(space)
        transfer.require_room(length, room_bytes)
        async with self._inflow(space, length) as inflow:
            whole = transfer.counted(inflow.counted(stream), length, room_bytes, self.limits.file_bytes_max)
            body = Arriving(whole, self._clock, hashers=[one.hasher for one in expected])
            with self._chunks.writing():
                stored = await self._chunks.write(
                    domain, body, scheme=self._scheme(space), digests={*digests, *declared}
                )
                if body.broken is not None:
                    raise body.broken
                transfer.check_digests(stored, declared)
                checksums = {one.name: one.hasher.digest() for one in expected}
                for one in expected:
                    if one.value and checksums[one.name] != one.value:
                        raise ChecksumMismatch(
                            f"the part does not have the {one.name} that was declared: send it again",
                            algorithm=one.name,
                        )
                checksums.update({name: value for name, value in stored.digests.items() if name != "md5"})
                return await self._keep_part(
                    principal, row, number, stored.manifest, stored.digests.get("md5"), checksums
                )

    async def copy_part(
        self,
        principal: Principal,
        door: str,
        upload_id: Id,
        number: int,
        source: FileContent,
        *,
        offset: int = 0,
        length: int | None = None,
        digests: Collection[str] = ("md5",),
    ) -> PartInfo:
        """Make a range of a file a numbered part. Within a space, whole chunks are shared and not copied.

        Digests that are asked for are computed by reading the range, unless they are known. Raises InvalidRange, and
        what ``put_part`` raises.
        """
        row, space = await self._look_at_parts(principal, door, upload_id, number)
        domain, scheme = await self._chunks.domain(space.domain_id), self._scheme(space)
        length = source.size_bytes - offset if length is None else length
        reading.check_range(source.size_bytes, offset, length)
        transfer.require_room(length, quota.room(space))
        with self._chunks.writing():
            if source.domain.domain_id == domain.domain_id:
                manifest = await reading.shared_range(self._chunks, domain, source.manifest, offset, length, scheme)
            else:
                manifest = (
                    await self._chunks.write(domain, _uncounted(source, offset, length), scheme=scheme)
                ).manifest
            known = reading.known_digests(source.version, offset, length)
            wanted = {name for name in digests if name not in known}
            if wanted:
                known = {**known, **await reading.digests_of(_uncounted(source, offset, length), wanted)}
            others = {name: known[name] for name in digests if name != "md5"}
            return await self._keep_part(principal, row, number, manifest, known.get("md5"), others)

    async def _look_at_parts(self, principal: Principal, door: str, upload_id: Id, number: int) -> tuple[Row, Space]:
        principal.require(WRITE)
        if not 1 <= number <= PARTS_MAX:
            raise BodyTooLarge(f"parts have the numbers 1 to {PARTS_MAX}, not {number}", limit=PARTS_MAX)

        def work(tx: Transaction) -> tuple[Row, Space]:
            row = rows.owned(tx, principal, door, upload_id)
            rows.require_open(row)
            return row, access.space(tx, principal, row.through_id, "create")

        return await self._db.glance(work)

    async def _keep_part(
        self,
        principal: Principal,
        row: Row,
        number: int,
        manifest: Manifest,
        md5: bytes | None,
        checksums: Mapping[str, bytes],
    ) -> PartInfo:
        def work(tx: Transaction) -> PartInfo:
            space = views.lock(tx, access.space(tx, principal, row.through_id, "create"))
            now = rows.owned(tx, principal, row.door, row.id)
            until_us = tx.now_us + self.limits.upload_kept_us
            part = growing.put_part(tx, self.books, space, now, number, manifest, md5, checksums, until_us)
            return rows.part_info(part)

        return await self._commit(work)

    async def parts(
        self, principal: Principal, door: str, upload_id: Id, *, after: int = 0, limit: int = 1_000
    ) -> list[PartInfo]:
        """Numbered parts, by their numbers, those after ``after``. Raises UploadNotFound."""
        principal.require(WRITE)

        def work(tx: Transaction) -> list[PartInfo]:
            row = self._owned(tx, principal, door, upload_id)
            return rows.part_infos(tx, row.id, after, min(max(1, limit), PARTS_MAX))

        return await self._db.read(work)

    async def complete_upload(
        self,
        principal: Principal,
        door: str,
        upload_id: Id,
        *,
        choose: Choose | None = None,
        path: str | None = None,
        conditions: Conditions = ALWAYS,
        mime: str | None = None,
        modified_us: int | None = None,
        parents: bool = True,
        digests: Mapping[str, bytes] | None = None,
        also: Also | None = None,
    ) -> WriteResult:
        """Make an upload of numbered parts a version, in one transaction and without moving bytes.

        ``choose`` says which parts, by default all; ``path``, ``conditions``, ``mime`` and ``modified_us`` replace what
        was said when it was opened. ``digests`` of the whole are checked by reading it back. ``also`` runs in the same
        transaction. Once complete, asking again gives the same version. Raises what ``write_file`` raises, and
        UploadNotFound, UploadFinished (what it became is gone), UploadUnfinished (shorter than was said).
        """
        principal.require(WRITE)
        row = await self._db.read(lambda tx: self._owned(tx, principal, door, upload_id))
        checked = {**rows.read_digests(row.digests), **(digests or {})}
        seen: Sequence[bytes] = ()
        if checked and row.state == "open":
            seen = await self._verify(row, choose, checked)

        def work(tx: Transaction) -> WriteResult:
            space = views.lock(tx, access.space(tx, principal, row.through_id, "create"))
            now = rows.owned(tx, principal, door, upload_id)
            if now.state == "done":
                return ending.require_repeated(tx, space, now)
            if checked and ending.manifests(tx, now, choose) != seen:
                raise ChecksumMismatch("parts were replaced while the upload was checked: complete it again")
            where = self._ending(tx, now, path, conditions, mime, modified_us, parents=parents)
            result = ending.finish(tx, self.books.of(principal), space, now, where, choose=choose, digests=checked)
            if also is not None:
                also(tx, result)
            return result

        return await self._commit(work)

    async def _verify(self, row: Row, choose: Choose | None, wanted: Mapping[str, bytes]) -> Sequence[bytes]:
        """Check the digests of the whole by reading it; the manifests that were read."""

        def look(tx: Transaction) -> tuple[Sequence[bytes], Id]:
            space = spaces.by_id(tx, row.space_id)
            assert space is not None
            return ending.manifests(tx, row, choose), space.domain_id

        encoded, domain_id = await self._db.read(look)
        whole = Manifest.of([ref for one in encoded for ref in Manifest.decode(one).chunks])
        await reading.verified(self._chunks, await self._chunks.domain(domain_id), whole, wanted)
        return encoded


def _uncounted(source: FileContent, offset: int, length: int) -> AsyncIterator[bytes]:
    """A range that is read for the hive itself: no traffic of anybody's."""
    return source.chunks.read(source.domain, source.manifest, offset, length)
