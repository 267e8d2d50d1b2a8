"""The face for writing: directories, files from streams, batches of small files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from skep.base.errors import BodyTooLarge, SkepError
from skep.base.ids import Id
from skep.crypto.hashing import Buffer
from skep.db import Transaction
from skep.filesystem import access, batch, info, joining, locks, quota, tags, transfer, writing
from skep.filesystem.core import WRITE, Core
from skep.filesystem.facts import Facts
from skep.filesystem.growth import Content
from skep.filesystem.names import Segments, check_time, join_path
from skep.filesystem.records import ALWAYS, BatchItem, Conditions, NodeInfo, WriteResult
from skep.filesystem.spaces import Space
from skep.filesystem.taps import Inflow, tap_of

if TYPE_CHECKING:
    from skep.auth.records import Principal


class Uploading(Core):
    """What comes in."""

    async def make_directory(
        self, principal: Principal, space_id: Id | None, path: str, *, parents: bool = True, exist_ok: bool = True
    ) -> NodeInfo:
        """The directory at a path, made if it is not there.

        Raises NameClash (a file is there or above; or a directory, and not ``exist_ok``), NodeNotFound (no parent, and
        not ``parents``).
        """
        node, _ = await self.ensure_directory(principal, space_id, path, parents=parents, exist_ok=exist_ok)
        return node

    async def ensure_directory(
        self, principal: Principal, space_id: Id | None, path: str, *, parents: bool = True, exist_ok: bool = True
    ) -> tuple[NodeInfo, bool]:
        """``make_directory`` that also says whether the directory is new."""
        principal.require(WRITE)
        segments = self._split(path)

        def work(tx: Transaction) -> tuple[NodeInfo, bool]:
            space = access.space(tx, principal, space_id, "write")
            node, is_new = writing.make_directory(
                tx, self.books.of(principal), space, principal.user_id, segments, parents=parents, exist_ok=exist_ok
            )
            found = info.node_info(node, join_path(segments), tags.of_node(tx, principal.user_id, node.id))
            return info.seen(space, found), is_new

        return await self._db.write(work)

    async def write_file(
        self,
        principal: Principal,
        space_id: Id | None,
        path: str,
        stream: AsyncIterator[Buffer],
        *,
        length: int | None = None,
        conditions: Conditions = ALWAYS,
        mime: str | None = None,
        modified_us: int | None = None,
        expected_digests: Mapping[str, bytes] | None = None,
        parents: bool = False,
        below: int = 0,
        digests: Collection[str] = (),
        describe: Callable[[Content], Facts | None] | None = None,
    ) -> WriteResult:
        """Make a stream the current version of the file at a path: a new file or a new version of one.

        Nothing is seen of it before it is whole, durable and checked; whatever is raised, the file is as it was.
        ``below``: so many names at the front of the path must be there; ``digests`` are computed whatever the size;
        ``describe`` gives the facts to keep of the version, once its content is there.
        Raises NameClash, NodeNotFound, PreconditionFailed, QuotaExceeded, BodyTooLarge, LengthMismatch,
        ChecksumMismatch, Unavailable; and what the stream raises.
        """
        principal.require(WRITE)
        segments = self._split(path) if space_id is not None else self._file_segments(path)
        if length is not None and length > self.limits.file_bytes_max:
            raise BodyTooLarge(f"a file has at most {self.limits.file_bytes_max} bytes, not {length}", length=length)
        check_time(modified_us)
        expected = expected_digests or {}
        transfer.check_known(expected)

        small = length is not None and length <= joining.SMALL_BYTES
        home = self._joiner.home(principal, space_id) if small else None
        room_bytes = None
        if home is None:
            home, room_bytes = await self._look_before(
                principal, space_id, segments, conditions, length, parents=parents, below=below
            )
        domain = await self._chunks.domain(home.domain_id)
        async with Inflow(tap_of(self.meter, home.kind, home.owner_id), length) as inflow:
            body = await transfer.whole(inflow.counted(stream), length) if small and length is not None else None
            with self._chunks.writing():
                if body is not None:
                    content = await transfer.keep(
                        self._chunks,
                        domain,
                        body,
                        expected=expected,
                        digests=digests,
                        digest_bytes_max=self.limits.digest_bytes_max,
                        scheme=home.scheme,
                    )
                else:
                    content = await transfer.receive(
                        self._chunks,
                        domain,
                        inflow.counted(stream),
                        length=length,
                        room_bytes=room_bytes,
                        file_bytes_max=self.limits.file_bytes_max,
                        digest_bytes_max=self.limits.digest_bytes_max,
                        expected=expected,
                        digests=digests,
                        scheme=home.scheme,
                    )
                if describe is not None:
                    content = content._replace(facts=describe(content))
                item = writing.Incoming(segments, content, mime, modified_us, conditions, below)
                if small:
                    return await self._joiner.put(joining.Key(principal, space_id, parents), item)
                return await self._commit(
                    lambda tx: writing.put_file(
                        tx,
                        self.books.of(principal),
                        access.space(tx, principal, space_id, "create"),
                        principal.user_id,
                        item,
                        parents=parents,
                    )
                )

    async def _look_before(
        self,
        principal: Principal,
        space_id: Id | None,
        segments: Segments,
        conditions: Conditions,
        length: int | None,
        *,
        parents: bool,
        below: int,
    ) -> tuple[joining.Home, int | None]:
        """Refuse a body before it is taken, as things stand now; the space, and the room in it in bytes."""

        def work(tx: Transaction) -> tuple[Space, int]:
            space = access.space(tx, principal, space_id, "create")
            writing.check_before(tx, space, segments, conditions, length, parents=parents, below=below)
            locks.look_before(tx, self.books.of(principal), space, principal.user_id, segments)
            return space, writing.largest_overdrawing(tx, space, segments, conditions)

        space, least_bytes = await self._db.read(work)
        home = joining.Home(space.domain_id, self._scheme(space), self._payer(space), space.owner_id)
        self._joiner.remember(principal, space_id, home)
        room_bytes = quota.room(space)
        return home, None if room_bytes is None else max(room_bytes, least_bytes)

    async def write_batch(
        self, principal: Principal, space_id: Id | None, items: Sequence[BatchItem]
    ) -> list[WriteResult | SkepError]:
        """Write many small files with one durable write and one transaction; the result or refusal of each, in order.

        Parents are made. Raises what concerns all: SpaceNotFound, Forbidden, BodyTooLarge, Unavailable.
        """
        principal.require(WRITE)
        self._check_batch(items)
        space = await self._db.read(lambda tx: access.space(tx, principal, space_id, "create"))
        admitted, outcomes = await asyncio.to_thread(batch.admit, items, self._file_segments)
        done: dict[int, WriteResult | SkepError] = {**outcomes}
        bodies = [one.item.body for one in admitted]
        size_bytes = sum(map(len, bodies))
        async with self._inflow(space, size_bytes) as inflow:
            await inflow.take(size_bytes)
            done.update(await self._keep_batch(principal, space_id, space, admitted))
        return [done[number] for number in range(len(items))]

    async def _keep_batch(
        self, principal: Principal, space_id: Id | None, space: Space, admitted: Sequence[batch.Admitted]
    ) -> dict[int, WriteResult | SkepError]:
        """Make the bodies of a batch durable and commit them; the outcome of each by its number."""
        domain = await self._chunks.domain(space.domain_id)
        with self._chunks.writing():
            bodies = [one.item.body for one in admitted]
            stored = await self._chunks.write_many(domain, bodies, scheme=self._scheme(space), digests=transfer.DIGESTS)
            incoming, refusals = await asyncio.to_thread(batch.incoming, admitted, stored)
            done: dict[int, WriteResult | SkepError] = {**refusals}
            good = [one for _, one in incoming]
            written = await self._commit(
                lambda tx: writing.put_files(
                    tx,
                    self.books.of(principal),
                    access.space(tx, principal, space_id, "create"),
                    principal.user_id,
                    good,
                    parents=True,
                )
            )
        done.update((number, outcome) for (number, _), outcome in zip(incoming, written, strict=True))
        return done

    def _check_batch(self, items: Sequence[BatchItem]) -> None:
        limits = self.limits
        if len(items) > limits.batch_items_max:
            raise BodyTooLarge(f"a batch has at most {limits.batch_items_max} files, not {len(items)}: send several")
        size_bytes = sum(len(item.body) for item in items)
        if size_bytes > limits.batch_bytes_max:
            raise BodyTooLarge(f"a batch has at most {limits.batch_bytes_max} bytes, not {size_bytes}: send several")
