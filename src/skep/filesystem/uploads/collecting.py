"""The face for uploads: opening and finding them, joining several, giving up.

    upload = await filesystem.open_upload(principal, None, Draft(door="tus", path="/film.mp4", length_bytes=10**9))
    got = await filesystem.append(principal, "tus", upload.id, 0, body)       # breaks off; got.broken says why
    got = await filesystem.append(principal, "tus", upload.id, got.upload.offset_bytes, body)
    got.written.node                                                          # full: it is a version now

An upload is its user's own: for others, and at other doors, it does not exist (UploadNotFound). How it grows is in
``appending`` and ``partwise``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from skep.base.chance import random_bytes
from skep.base.errors import AlreadyExists, BodyTooLarge, InvalidPath, TooManyUploads, UploadNotFound
from skep.base.ids import Id
from skep.db import Transaction
from skep.filesystem import access, quota, spaces, transfer, views, writing
from skep.filesystem.core import WRITE, Core
from skep.filesystem.names import Segments, check_time, join_path, stored_segments
from skep.filesystem.records import ALWAYS, Conditions, WriteResult
from skep.filesystem.spaces import Space
from skep.filesystem.uploads import ending, growing, rows
from skep.filesystem.uploads.ending import Ending
from skep.filesystem.uploads.records import Draft, Upload
from skep.filesystem.uploads.rows import Row

if TYPE_CHECKING:
    from skep.auth.records import Principal

JOINED_MAX = 1_000
"""Uploads that one is made of."""
KEY_BYTES_MAX = 255


class Collecting(Core):
    """Uploads as things that are there."""

    async def open_upload(self, principal: Principal, space_id: Id | None, draft: Draft) -> Upload:
        """Open an upload. Refuses what could not be written as things stand now.

        Raises TooManyUploads, AlreadyExists (the key), BodyTooLarge, QuotaExceeded, NameClash, PreconditionFailed.
        """
        principal.require(WRITE)
        segments = None if draft.path is None else self._target(space_id, draft.path)
        self._check_draft(draft)

        def work(tx: Transaction) -> Row:
            space = access.space(tx, principal, space_id, "create")
            if segments is not None:
                writing.check_before(tx, space, segments, draft.conditions, draft.length_bytes, parents=True)
            quota.require_room(space, draft.length_bytes or 0)
            self._require_place(tx, principal.user_id)
            if draft.key is not None and rows.by_key(tx, principal.user_id, draft.door, draft.key) is not None:
                raise AlreadyExists(f"an upload is called {draft.key!r} already: cancel it, or take another name")
            row = self._new_row(tx, principal, space, draft, segments)
            rows.insert(tx, row)
            return row

        return rows.upload_info(await self._commit(work))

    def _target(self, space_id: Id | None, path: str) -> Segments:
        """The names of a path that a file can have; a share may be a file itself. Raises InvalidPath, InvalidName."""
        return self._split(path) if space_id is not None else self._file_segments(path)

    def _check_draft(self, draft: Draft) -> None:
        length, most = draft.length_bytes, self.limits.file_bytes_max
        if length is not None and not 0 <= length <= most:
            raise BodyTooLarge(f"a file has at most {most} bytes, not {length}", length=length, limit_bytes=most)
        check_time(draft.modified_us)
        transfer.check_known(draft.digests)
        if draft.key is not None and not 1 <= len(draft.key.encode(errors="replace")) <= KEY_BYTES_MAX:
            raise BodyTooLarge(f"the name of an upload has 1 to {KEY_BYTES_MAX} bytes", limit_bytes=KEY_BYTES_MAX)

    def _require_place(self, tx: Transaction, user_id: Id) -> None:
        if rows.count_open(tx, user_id) >= self.limits.uploads_max:
            raise TooManyUploads(
                f"there are {self.limits.uploads_max} unfinished uploads, as many as a user may have: finish or cancel "
                "some, or wait until they expire",
                uploads_max=self.limits.uploads_max,
            )

    def _new_row(
        self, tx: Transaction, principal: Principal, space: Space, draft: Draft, segments: Segments | None
    ) -> Row:
        return Row(
            id=random_bytes(16),
            user_id=principal.user_id,
            space_id=space.id,
            through_id=space.seen_id,
            door=draft.door,
            key=draft.key,
            path=None if segments is None else join_path(segments),
            state="open",
            length_bytes=draft.length_bytes,
            held_bytes=0,
            part_count=0,
            mime=draft.mime,
            modified_us=draft.modified_us,
            conditions=rows.write_conditions(draft.conditions),
            digests=rows.write_digests(draft.digests),
            metadata=rows.write_metadata(draft.metadata, self.limits.attributes_bytes_max, BodyTooLarge),
            node_id=None,
            version_number=None,
            joined_id=None,
            created_us=tx.now_us,
            expires_us=tx.now_us + self.limits.upload_kept_us,
        )

    async def upload(self, principal: Principal, door: str, upload_id: Id, *, hurry: bool = False) -> Upload:
        """An upload as it stands. A body of it that stands still, or with ``hurry`` any, is saved first.

        Raises UploadNotFound, UploadExpired.
        """
        principal.require(WRITE)
        await self._db.glance(lambda tx: rows.owned(tx, principal, door, upload_id))
        await self._arrivals.settle(upload_id, hurry=hurry)
        return rows.upload_info(await self._db.glance(lambda tx: self._owned(tx, principal, door, upload_id)))

    async def upload_by_key(self, principal: Principal, door: str, key: str) -> Upload:
        """The unfinished upload that the client calls so. Raises UploadNotFound, UploadExpired."""
        principal.require(WRITE)

        def work(tx: Transaction) -> Row:
            row = rows.by_key(tx, principal.user_id, door, key)
            if row is None:
                raise UploadNotFound(f"no upload is called {key[:80]!r}")
            return self._owned(tx, principal, door, row.id)

        return rows.upload_info(await self._db.read(work))

    async def uploads(self, principal: Principal, door: str, space_id: Id | None) -> list[Upload]:
        """The principal's unfinished uploads into a space, the oldest first."""
        principal.require(WRITE)

        def work(tx: Transaction) -> list[Row]:
            space = access.space(tx, principal, space_id, "create")
            found = rows.page(tx, principal, door, space.id, self.limits.uploads_max)
            return [row for row in found if row.through_id == space.seen_id]

        return [rows.upload_info(row) for row in await self._db.read(work)]

    @staticmethod
    def _owned(tx: Transaction, principal: Principal, door: str, upload_id: Id) -> Row:
        """The row of a principal's upload, if they may still use its space."""
        row = rows.owned(tx, principal, door, upload_id)
        access.space(tx, principal, row.through_id, "create")
        return row

    def _ending(
        self,
        tx: Transaction,
        row: Row,
        path: str | None = None,
        conditions: Conditions = ALWAYS,
        mime: str | None = None,
        modified_us: int | None = None,
        *,
        parents: bool = True,
    ) -> Ending:
        """Where an upload goes: as it was said when it was opened, or as it is said now."""
        if path is None and row.path is None:
            raise InvalidPath("the upload was opened without a path: say where it goes")
        return Ending(
            stored_segments(row.path or "") if path is None else self._target(row.through_id, path),
            row.mime if mime is None else mime,
            row.modified_us if modified_us is None else modified_us,
            rows.read_conditions(row.conditions) if conditions == ALWAYS else conditions,
            parents,
            tx.now_us + self.limits.upload_kept_us,
        )

    async def join_uploads(
        self, principal: Principal, space_id: Id | None, draft: Draft, pieces: Sequence[Id]
    ) -> tuple[Upload, WriteResult]:
        """Make full uploads without a path, one after the other, one file; the upload that stands for it.

        The pieces are used up. The same call again finds what it made. Raises UploadNotFound, UploadUnfinished,
        UploadFinished, and what ``write_file`` raises.
        """
        principal.require(WRITE)
        if not 1 <= len(set(pieces)) == len(pieces) <= JOINED_MAX:
            raise BodyTooLarge(f"an upload is made of 1 to {JOINED_MAX} others, each named once", limit=JOINED_MAX)
        segments = self._target(space_id, draft.path or "/")
        self._check_draft(draft)

        def work(tx: Transaction) -> tuple[Row, WriteResult]:
            space = views.lock(tx, access.space(tx, principal, space_id, "create"))
            found = [rows.owned(tx, principal, draft.door, piece) for piece in pieces]
            if any(row.through_id != space.seen_id or row.path is not None for row in found):
                raise UploadNotFound("the pieces of an upload are uploads into the same space, opened as pieces")
            made = self._made_before(tx, principal, found)
            if made is not None:
                return made, ending.require_repeated(tx, space, made)
            row = self._new_row(tx, principal, space, draft, segments)
            result = ending.join_pieces(tx, self.books.of(principal), space, row, found, self._ending(tx, row))
            return rows.by_id(tx, row.id) or row, result

        row, result = await self._commit(work)
        return rows.upload_info(row), result

    @staticmethod
    def _made_before(tx: Transaction, principal: Principal, pieces: Sequence[Row]) -> Row | None:
        """The upload that all these pieces, and no others, have become."""
        wholes = {piece.joined_id for piece in pieces}
        whole_id = next(iter(wholes))
        if len(wholes) != 1 or whole_id is None:
            return None
        row = rows.owned(tx, principal, pieces[0].door, whole_id)
        return row if row.length_bytes == sum(piece.length_bytes or 0 for piece in pieces) else None

    async def abort_upload(self, principal: Principal, door: str, upload_id: Id) -> None:
        """Give an upload up: its bytes count no more. One that is done is only forgotten. Raises UploadNotFound."""
        principal.require(WRITE)
        await self._db.glance(lambda tx: rows.owned(tx, principal, door, upload_id))
        await self._arrivals.settle(upload_id, hurry=True)
        row = await self._commit(lambda tx: self._give_up(tx, principal, door, upload_id))
        while not await self._commit(lambda tx: growing.purge_step(tx, self.books, row)):
            pass

    @staticmethod
    def _give_up(tx: Transaction, principal: Principal, door: str, upload_id: Id) -> Row:
        spaces.lock(tx, rows.owned(tx, principal, door, upload_id).space_id)
        row = rows.owned(tx, principal, door, upload_id)
        rows.set_gone(tx, row.id)
        return row
