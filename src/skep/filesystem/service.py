"""The file service: every call says who asks, and does its database work in one hop to a thread.

Privacy: what is not a principal's own, or their groups', does not exist for them (SpaceNotFound, NodeNotFound); what
they can see but their credential may not change is Forbidden. ``space_id`` None is the principal's own space.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from skep.base.clock import Clock
from skep.base.errors import (
    BadInput,
    BodyTooLarge,
    InvalidCursor,
    InvalidPath,
    InvalidSize,
    NodeNotFound,
    SkepError,
    SpaceNotFound,
)
from skep.base.ids import Id, id_text
from skep.chunks.manifest import Manifest
from skep.crypto.hashing import Buffer
from skep.db import Database, Transaction
from skep.events import EventLog, Journal, decode_cursor, encode_cursor
from skep.filesystem import (
    copies,
    editing,
    info,
    listing,
    moves,
    quota,
    spaces,
    subtree,
    tags,
    transfer,
    trash,
    tree,
    versions,
    writing,
)
from skep.filesystem.books import Books
from skep.filesystem.content import FileContent
from skep.filesystem.moves import Source, Target
from skep.filesystem.names import Segments, check_tag, split_path
from skep.filesystem.ports import ContentStore
from skep.filesystem.records import (
    ALWAYS,
    BatchItem,
    ChangePage,
    Conditions,
    Limits,
    NodeInfo,
    SpaceInfo,
    TrashInfo,
    VersionInfo,
    WriteResult,
)
from skep.filesystem.spaces import Space

if TYPE_CHECKING:
    from skep.auth.records import Principal

T = TypeVar("T")
READ = "files:read"
WRITE = "files:write"
BETWEEN_ATTEMPTS_MAX = 3
BATCH_HOP_BYTES = 64 << 10


class Filesystem:
    """Spaces, files and directories over the chunk service. Lives on one event loop."""

    def __init__(
        self,
        db: Database,
        chunks: ContentStore,
        log: EventLog,
        journal: Journal,
        clock: Clock,
        limits: Limits | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.books = Books(chunks, log, self.limits)
        self._db = db
        self._chunks = chunks
        self._journal = journal
        self._clock = clock

    # --- spaces ---------------------------------------------------------------------------

    def create_space(self, tx: Transaction, kind: str, owner_id: Id, name: str) -> Id:
        """Make the space of a new user (``personal``) or group (``group``) in the transaction that makes them."""
        return spaces.create(tx, self._chunks, kind, owner_id, name, self.limits.quota_bytes).id

    async def spaces(self, principal: Principal) -> list[SpaceInfo]:
        """The principal's own space, then those of their groups by name."""
        principal.require(READ)
        found = await self._db.read(lambda tx: spaces.visible(tx, principal))
        return [info.space_info(space) for space in found]

    async def home(self, principal: Principal) -> SpaceInfo:
        """The principal's own space. Raises SpaceNotFound."""
        return await self.space(principal, None)

    async def space(self, principal: Principal, space_id: Id | None) -> SpaceInfo:
        """One space. Raises SpaceNotFound."""
        principal.require(READ)
        return info.space_info(await self._db.read(lambda tx: _space(tx, principal, space_id)))

    async def set_quota(self, principal: Principal, space_id: Id, quota_bytes: int | None) -> SpaceInfo:
        """Allow a space so many bytes; None: no limit. Administrators only."""
        principal.require_admin()
        if quota_bytes is not None and not 0 <= quota_bytes < 1 << 62:
            raise InvalidSize(f"a quota of {quota_bytes} bytes makes no sense: give 0 or more, or no quota")

        def work(tx: Transaction) -> Space:
            spaces.lock(tx, space_id)
            spaces.set_quota(tx, space_id, quota_bytes)
            return spaces.lock(tx, space_id)

        return info.space_info(await self._db.write(work))

    async def space_of_owner(self, principal: Principal, kind: str, owner_id: Id) -> SpaceInfo:
        """The space of a user or a group, for administrators: its size and quota, not what is in it."""
        principal.require_admin()
        space = await self._db.read(lambda tx: spaces.of_owner(tx, kind, owner_id))
        if space is None:
            raise SpaceNotFound(f"no {kind} space of {id_text(owner_id)}")
        return info.space_info(space)

    # --- looking --------------------------------------------------------------------------

    async def by_path(self, principal: Principal, space_id: Id | None, path: str) -> NodeInfo:
        """The node at a path. Raises NodeNotFound, SpaceNotFound, InvalidPath, InvalidName."""
        principal.require(READ)
        segments = self._split(path)

        def work(tx: Transaction) -> NodeInfo:
            space = _space(tx, principal, space_id)
            place = tree.resolve(tx, space.root_id, segments)
            return info.described(tx, tree.found(place), place.path, principal.user_id)

        return await self._db.read(work)

    async def by_id(self, principal: Principal, node_id: Id) -> NodeInfo:
        """A living node. Raises NodeNotFound."""
        principal.require(READ)

        def work(tx: Transaction) -> NodeInfo:
            source = _living(tx, principal, node_id)
            return info.described(tx, source.node, source.path, principal.user_id)

        return await self._db.read(work)

    async def listing(
        self,
        principal: Principal,
        node_id: Id,
        depth: int = 1,
        limit: int | None = None,
        after: str | None = None,
    ) -> list[NodeInfo]:
        """What is in a directory, ``depth`` levels down, in tree order by the bytes of names.

        ``after`` is where the last page ended: the path of its last node relative to the directory. Fewer than
        ``limit`` nodes mean the end. A file has nothing in it. Raises NodeNotFound.
        """
        principal.require(READ)
        count = self._count(limit)
        if depth < 1:
            raise BadInput(f"a listing of depth {depth} makes no sense: give 1 or more", depth=depth)
        start = self._split("/" + after) if after else ()

        def work(tx: Transaction) -> list[NodeInfo]:
            source = _living(tx, principal, node_id)
            if not source.node.is_directory:
                return []
            directory = info.node_info(source.node, source.path)
            return listing.listing(tx, directory, principal.user_id, depth, count, start)

        return await self._db.read(work)

    async def open_file(self, principal: Principal, node_id: Id, version: int | None = None) -> FileContent:
        """A version of a file (the current one if None), ready to be read.

        Raises NodeNotFound (no such node, or it is a directory), VersionNotFound.
        """
        principal.require(READ)

        def work(tx: Transaction) -> tuple[NodeInfo, versions.Version, Id]:
            source = _living_file(tx, principal, node_id)
            chosen = versions.of_file(tx, source.node, version)
            node = info.node_info(source.node, source.path)
            return node, chosen, source.space.domain_id

        node, chosen, domain_id = await self._db.read(work)
        return FileContent(
            node,
            info.version_info(chosen, node.version_number),
            Manifest.decode(chosen.manifest),
            await self._chunks.domain(domain_id),
            self._chunks,
        )

    # --- writing --------------------------------------------------------------------------

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
            space = _space(tx, principal, space_id)
            node, is_new = writing.make_directory(
                tx, self.books, space.id, principal.user_id, segments, parents=parents, exist_ok=exist_ok
            )
            return info.node_info(node, path_of(segments), tags.of_node(tx, principal.user_id, node.id)), is_new

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
    ) -> WriteResult:
        """Make a stream the current version of the file at a path: a new file or a new version of one.

        Nothing is seen of it before it is whole, durable and checked; whatever is raised, the file is as it was.
        Raises NameClash, NodeNotFound, PreconditionFailed, QuotaExceeded, BodyTooLarge, LengthMismatch,
        ChecksumMismatch, Unavailable; and what the stream raises.
        """
        principal.require(WRITE)
        segments = self._split(path)
        if not segments:
            raise InvalidPath("the root of a space is a directory: give the path of a file", path=path)
        if length is not None and length > self.limits.file_bytes_max:
            raise BodyTooLarge(f"a file has at most {self.limits.file_bytes_max} bytes, not {length}", length=length)
        expected = expected_digests or {}
        transfer.check_known(expected)

        def before(tx: Transaction) -> Space:
            space = _space(tx, principal, space_id)
            writing.check_before(tx, space, segments, conditions, length, parents=parents)
            return space

        space = await self._db.read(before)
        domain = await self._chunks.domain(space.domain_id)
        with self._chunks.writing():
            content = await transfer.receive(
                self._chunks,
                domain,
                stream,
                length=length,
                room_bytes=quota.room(space),
                file_bytes_max=self.limits.file_bytes_max,
                digest_bytes_max=self.limits.digest_bytes_max,
                expected=expected,
            )
            item = writing.Incoming(segments, content, mime, modified_us, conditions)
            return await self._commit(
                lambda tx: writing.put_file(tx, self.books, space.id, principal.user_id, item, parents=parents)
            )

    async def write_batch(
        self, principal: Principal, space_id: Id | None, items: Sequence[BatchItem]
    ) -> list[WriteResult | SkepError]:
        """Write many small files with one durable write and one transaction; the result or refusal of each, in order.

        Parents are made. Raises what concerns all: SpaceNotFound, Forbidden, BodyTooLarge, Unavailable.
        """
        principal.require(WRITE)
        self._check_batch(items)
        space = await self._db.read(lambda tx: _space(tx, principal, space_id))
        domain = await self._chunks.domain(space.domain_id)
        outcomes: list[WriteResult | SkepError | None] = [None] * len(items)
        good: list[tuple[int, BatchItem, Segments]] = []
        for number, item in enumerate(items):
            try:
                good.append((number, item, self._file_segments(item.path)))
                transfer.check_known(item.expected_digests)
            except SkepError as refusal:
                outcomes[number] = refusal
        good = [one for one in good if outcomes[one[0]] is None]
        with self._chunks.writing():
            stored = await self._chunks.write_many(domain, [item.body for _, item, _ in good], digests=transfer.DIGESTS)
            incoming: list[tuple[int, writing.Incoming]] = []
            for (number, item, segments), one in zip(good, stored, strict=True):
                try:
                    transfer.check_digests(one, item.expected_digests)
                except SkepError as refusal:
                    outcomes[number] = refusal
                    continue
                content = transfer.content_of(one)
                incoming.append(
                    (number, writing.Incoming(segments, content, item.mime, item.modified_us, item.conditions))
                )
            written = await self._commit(
                lambda tx: writing.put_files(
                    tx, self.books, space.id, principal.user_id, [one for _, one in incoming], parents=True
                )
            )
        for (number, _), outcome in zip(incoming, written, strict=True):
            outcomes[number] = outcome
        return [outcome for outcome in outcomes if outcome is not None]

    def _file_segments(self, path: str) -> Segments:
        segments = self._split(path)
        if not segments:
            raise InvalidPath("the root of a space is a directory: give the path of a file", path=path)
        return segments

    def _check_batch(self, items: Sequence[BatchItem]) -> None:
        limits = self.limits
        if len(items) > limits.batch_items_max:
            raise BodyTooLarge(f"a batch has at most {limits.batch_items_max} files, not {len(items)}: send several")
        size_bytes = sum(len(item.body) for item in items)
        if size_bytes > limits.batch_bytes_max:
            raise BodyTooLarge(f"a batch has at most {limits.batch_bytes_max} bytes, not {size_bytes}: send several")

    async def update(
        self,
        principal: Principal,
        node_id: Id,
        *,
        name: str | None = None,
        attributes: Mapping[str, Any] | None = None,
        modified_us: int | None = None,
        mime: str | None = None,
        conditions: Conditions = ALWAYS,
    ) -> NodeInfo:
        """Change facts of a node: its name in its directory, its time, a file's media type, attributes.

        ``attributes`` are merged in: a null takes one away. Raises NodeNotFound, NameClash, InvalidName,
        PreconditionFailed, BodyTooLarge (attributes over their limit).
        """
        principal.require(WRITE)
        change = editing.Change(name, attributes, modified_us, mime)
        editing.check(change)

        def work(tx: Transaction) -> NodeInfo:
            space = _living(tx, principal, node_id).space
            editing.update(tx, self.books, space.id, node_id, change, conditions, principal.user_id)
            source = _living(tx, principal, node_id)
            return info.described(tx, source.node, source.path, principal.user_id)

        return await self._db.write(work)

    # --- moving ---------------------------------------------------------------------------

    async def move(
        self,
        principal: Principal,
        node_id: Id,
        target_space: Id | None,
        target_path: str,
        *,
        overwrite: bool = False,
        replace_kind: bool = False,
        conditions: Conditions = ALWAYS,
    ) -> NodeInfo:
        """Give a node another path, also in another space; it keeps its id, its versions, and a file its ETag.

        ``target_path`` is the new path itself, not the directory to put it in. With ``overwrite`` what is there goes to
        the trash if it is of the same kind, with ``replace_kind`` too of any kind; see the table in ``moves``.
        Raises NodeNotFound, NameClash, InvalidPath, PreconditionFailed, QuotaExceeded, LimitReached.
        """
        principal.require(WRITE)
        segments = self._file_segments(target_path)
        await self._check_height(principal, node_id, segments)

        def work(tx: Transaction, source: Source, space: Space, manifests: Mapping[Id, Manifest] | None) -> NodeInfo:
            target = Target(space.id, segments, overwrite, replace_kind)
            moves.move(tx, self.books, source.space.id, node_id, target, conditions, principal.user_id, manifests)
            now = _living(tx, principal, node_id)
            return info.described(tx, now.node, now.path, principal.user_id)

        return await self._across(principal, node_id, target_space, work, all_versions=True)

    async def copy(
        self,
        principal: Principal,
        node_id: Id,
        target_space: Id | None,
        target_path: str,
        *,
        overwrite: bool = False,
        replace_kind: bool = False,
        conditions: Conditions = ALWAYS,
    ) -> NodeInfo:
        """Copy a node and all below it to a path; a file copied onto a file becomes a new version of it.

        Within a domain no bytes move. Attributes and the principal's tags come along, older versions do not.
        Raises what ``move`` raises.
        """
        principal.require(WRITE)
        segments = self._file_segments(target_path)
        await self._check_height(principal, node_id, segments)

        def work(tx: Transaction, source: Source, space: Space, manifests: Mapping[Id, Manifest] | None) -> NodeInfo:
            target = Target(space.id, segments, overwrite, replace_kind)
            made = copies.copy(
                tx, self.books, source.space.id, node_id, target, conditions, principal.user_id, manifests
            )
            return info.described(tx, made, path_of(segments), principal.user_id)

        return await self._across(principal, node_id, target_space, work, all_versions=False)

    async def _check_height(self, principal: Principal, node_id: Id, segments: Segments) -> None:
        """Refuse to nest deeper than paths may be. A race can pass it by a little: it is a limit, not an invariant."""

        def work(tx: Transaction) -> int:
            source = _living(tx, principal, node_id)
            return subtree.height(tx, node_id, self.limits.depth_max) if source.node.is_directory else 1

        height = await self._db.read(work)
        if len(segments) + height - 1 > self.limits.depth_max:
            raise InvalidPath(
                f"{len(segments) + height - 1} levels of directories are too deep; at most {self.limits.depth_max}"
            )

    async def _across(
        self,
        principal: Principal,
        node_id: Id,
        target_space: Id | None,
        work: Callable[[Transaction, Source, Space, Mapping[Id, Manifest] | None], T],
        *,
        all_versions: bool,
    ) -> T:
        """Run a move or copy; between domains write the contents anew first, and again if they changed meanwhile."""

        def ends(tx: Transaction) -> tuple[Source, Space, list[versions.Version]]:
            source = _living(tx, principal, node_id)
            space = _space(tx, principal, target_space)
            if source.space.domain_id == space.domain_id:
                return source, space, []
            return source, space, self._contents(tx, source, space, all_versions=all_versions)

        def commit(manifests: Mapping[Id, Manifest] | None) -> Callable[[Transaction], T]:
            return lambda tx: work(tx, _living(tx, principal, node_id), _space(tx, principal, target_space), manifests)

        for attempt in range(1, BETWEEN_ATTEMPTS_MAX + 1):
            source, space, contents = await self._db.read(ends)
            if source.space.domain_id == space.domain_id:
                return await self._commit(commit(None))
            with self._chunks.writing():
                manifests = await transfer.rewrite(
                    self._chunks,
                    await self._chunks.domain(source.space.domain_id),
                    await self._chunks.domain(space.domain_id),
                    contents,
                )
                try:
                    return await self._commit(commit(manifests))
                except moves.ContentsChanged:
                    if attempt == BETWEEN_ATTEMPTS_MAX:
                        raise
        raise AssertionError("the last attempt returns or raises")

    def _contents(self, tx: Transaction, source: Source, space: Space, *, all_versions: bool) -> list[versions.Version]:
        """What has to be written under the other domain. Raises QuotaExceeded before any byte is."""
        nodes = subtree.nodes_below(tx, source.node, self.limits.tree_max)
        if all_versions:
            ids = [kept.id for kept in versions.of_nodes(tx, [node.id for node in nodes if not node.is_directory])]
        else:
            ids = [node.version_id for node in nodes if node.version_id is not None]
        found = list(versions.by_ids(tx, ids).values())
        quota.require_room(space, sum(version.size_bytes for version in found))
        return found

    # --- deleting -------------------------------------------------------------------------

    async def delete(
        self, principal: Principal, node_id: Id, *, permanently: bool = False, conditions: Conditions = ALWAYS
    ) -> None:
        """Put a node, with all below it, into the trash; or delete it for good.

        Raises NodeNotFound, InvalidPath (the root), PreconditionFailed.
        """
        principal.require(WRITE)

        def work(tx: Transaction) -> Id:
            space = spaces.lock(tx, _living(tx, principal, node_id).space.id)
            source = moves.living(tx, space, node_id)
            moves.require(source, conditions)
            trash.put(tx, self.books, space, source.node, source.above, principal.user_id, for_good=permanently)
            return space.id

        space_id = await self._commit(work)
        if permanently:
            await self.purge_rest(space_id, node_id)

    async def purge_rest(self, space_id: Id, node_id: Id) -> None:
        """Purge what was deleted for good, step by step. Safe to break off: the retention worker goes on."""
        more = True
        while more:
            more = await self._db.write(lambda tx: trash.purge_step(tx, self.books, spaces.lock(tx, space_id), node_id))

    async def trash(
        self,
        principal: Principal,
        space_id: Id | None = None,
        limit: int | None = None,
        after: TrashInfo | None = None,
    ) -> list[TrashInfo]:
        """What is in the trash of a space, the last deleted first; ``after`` is the last of the page before."""
        principal.require(READ)
        count = self._count(limit)
        before = None if after is None else (after.deleted_us, after.node_id)

        def work(tx: Transaction) -> list[TrashInfo]:
            space = _space(tx, principal, space_id)
            return [info.trash_info(node, entry) for node, entry in trash.page(tx, space.id, before, count)]

        return await self._db.read(work)

    async def restore_from_trash(self, principal: Principal, node_id: Id, target_path: str | None = None) -> NodeInfo:
        """Bring a node back to where it was, or to ``target_path``.

        Where its parent is gone the directories of its old path are made; where its name is taken it becomes
        ``name (restored)``. Raises NodeNotFound; with ``target_path`` also NameClash.
        """
        principal.require(WRITE)
        if target_path is not None:
            self._file_segments(target_path)

        def work(tx: Transaction) -> NodeInfo:
            space = spaces.lock(tx, _trashed(tx, principal, node_id).id)
            trash.restore(tx, self.books, space, node_id, target_path, principal.user_id)
            now = _living(tx, principal, node_id)
            return info.described(tx, now.node, now.path, principal.user_id)

        return await self._commit(work)

    async def purge(self, principal: Principal, node_id: Id) -> None:
        """Delete a trashed node for good. Raises NodeNotFound."""
        principal.require(WRITE)

        def work(tx: Transaction) -> Id:
            space = spaces.lock(tx, _trashed(tx, principal, node_id).id)
            trash.forget(tx, self.books, space, node_id, principal.user_id)
            return space.id

        await self.purge_rest(await self._commit(work), node_id)

    async def empty_trash(self, principal: Principal, space_id: Id | None = None) -> int:
        """Delete for good all that is in the trash now; how many entries that were."""
        principal.require(WRITE)
        space = await self.space(principal, space_id)
        done = 0
        while entries := await self.trash(principal, space.id, PURGE_PAGE):
            for entry in entries:
                try:
                    await self.purge(principal, entry.node_id)
                    done += 1
                except NodeNotFound:
                    pass  # restored or purged by somebody else meanwhile
        return done

    # --- versions -------------------------------------------------------------------------

    async def versions(
        self, principal: Principal, node_id: Id, limit: int | None = None, before: int | None = None
    ) -> list[VersionInfo]:
        """Versions of a file, the newest first; ``before`` is the last number of the page before.

        Raises NodeNotFound.
        """
        principal.require(READ)
        count = self._count(limit)

        def work(tx: Transaction) -> list[VersionInfo]:
            node = _living_file(tx, principal, node_id).node
            rows = versions.page(tx, node_id, 1 << 62 if before is None else before, count)
            return [info.version_info(row, node.version_number) for row in rows]

        return await self._db.read(work)

    async def restore_version(
        self, principal: Principal, node_id: Id, number: int, *, conditions: Conditions = ALWAYS
    ) -> WriteResult:
        """Make the content of an old version the newest one. Raises NodeNotFound, VersionNotFound, QuotaExceeded."""
        principal.require(WRITE)

        def work(tx: Transaction) -> WriteResult:
            space = spaces.lock(tx, _living_file(tx, principal, node_id).space.id)
            source = moves.living(tx, space, node_id)
            moves.require(source, conditions)
            old = versions.of_file(tx, source.node, number)
            content = copies.content_of(old, Manifest.decode(old.manifest))
            item = writing.Incoming(source.above.segments, content, old.mime, old.modified_us, ALWAYS)
            return writing.put_file(tx, self.books, space.id, principal.user_id, item, parents=False)

        return await self._commit(work)

    async def delete_version(self, principal: Principal, node_id: Id, number: int) -> None:
        """Let go of one old version. Raises NodeNotFound, VersionNotFound, InUse (it is the current one)."""
        principal.require(WRITE)

        def work(tx: Transaction) -> None:
            space = spaces.lock(tx, _living_file(tx, principal, node_id).space.id)
            versions.drop(tx, self.books, space, moves.living(tx, space, node_id).node, number)

        await self._commit(work)

    # --- tags -----------------------------------------------------------------------------

    async def set_tags(self, principal: Principal, node_id: Id, names: Collection[str]) -> NodeInfo:
        """Make these the principal's tags on a node. Others do not see them; no ETag changes. Raises InvalidName."""
        principal.require(WRITE)
        wanted = {check_tag(name) for name in names}
        if len(wanted) > self.limits.tags_max:
            raise BadInput(f"{len(wanted)} tags on one node are too many; at most {self.limits.tags_max} are allowed")

        def work(tx: Transaction) -> NodeInfo:
            source = _living(tx, principal, node_id)
            tags.put(tx, principal.user_id, node_id, wanted)
            return info.described(tx, source.node, source.path, principal.user_id)

        return await self._db.write(work)

    async def tags(self, principal: Principal) -> list[tuple[str, int]]:
        """The principal's tags, and on how many nodes each is (those in the trash included)."""
        principal.require(READ)
        return await self._db.read(lambda tx: tags.of_user(tx, principal.user_id, self.limits.page_max))

    async def by_tag(
        self, principal: Principal, name: str, limit: int | None = None, after: Id = b""
    ) -> list[NodeInfo]:
        """Living nodes with a tag of the principal's, in id order; ``after`` is the last id of the page before."""
        principal.require(READ)
        count = self._count(limit)

        def work(tx: Transaction) -> list[NodeInfo]:
            found: list[NodeInfo] = []
            last = after
            while len(found) < count and (ids := tags.nodes(tx, principal.user_id, name, last, TAG_PAGE)):
                for node_id in ids[: count - len(found)]:
                    try:
                        source = _living(tx, principal, node_id)
                    except NodeNotFound:
                        continue
                    found.append(info.described(tx, source.node, source.path, principal.user_id))
                last = ids[min(len(ids), count) - 1] if len(found) >= count else ids[-1]
            return found

        return await self._db.read(work)

    async def drop_tag(self, principal: Principal, name: str) -> int:
        """Take a tag of the principal's off all nodes; off how many."""
        principal.require(WRITE)
        return await self._db.write(lambda tx: tags.drop(tx, principal.user_id, name))

    # --- changes --------------------------------------------------------------------------

    async def changes(
        self,
        principal: Principal,
        space_id: Id | None,
        cursor: str | None,
        limit: int | None = None,
        timeout_s: float = 0.0,
    ) -> ChangePage:
        """The journal of a space from a cursor on; from its oldest entry if None.

        Waits up to ``timeout_s`` for the first new change. To follow a space: take ``SpaceInfo.cursor``, list, then ask
        from that cursor on. Raises InvalidCursor, CursorTooOld (list anew), SpaceNotFound.
        """
        principal.require(READ)
        count = min(self._count(limit), CHANGES_MAX)
        space = await self._db.read(lambda tx: _space(tx, principal, space_id))
        after = space.first_change - 1 if cursor is None else self._position(space, cursor)
        timeout_s = min(max(0.0, timeout_s), self.limits.wait_s_max)
        if timeout_s and after >= space.last_change:
            found = await self._journal.wait(space.id, after, count + 1, timeout_s)
        else:
            found = await self._journal.read(space.id, after, count + 1)
        page = tuple(found[:count])
        last = page[-1].number if page else after
        return ChangePage(page, encode_cursor(space.id, last), len(found) > count)

    def _position(self, space: Space, cursor: str) -> int:
        space_id, number = decode_cursor(cursor)
        if space_id != space.id:
            raise InvalidCursor("this cursor is of another space: list this space and take its own")
        return number

    # --- inside ---------------------------------------------------------------------------

    def _split(self, path: str) -> Segments:
        return split_path(path, path_bytes_max=self.limits.path_bytes_max, depth_max=self.limits.depth_max)

    def _count(self, limit: int | None) -> int:
        if limit is None:
            return self.limits.page_max
        if limit < 1:
            raise BadInput(f"a page of {limit} entries makes no sense: give 1 or more", limit=limit)
        return min(limit, self.limits.page_max)

    async def _commit(self, work: Callable[[Transaction], T]) -> T:
        """One transaction that, once it is on its way, is waited for even if the caller is cancelled.

        So a lease on chunks is never given up while the commit that references them may still come.
        """
        return await _shielded(self._db.write(work))


CHANGES_MAX = 10_000
PURGE_PAGE = 256
TAG_PAGE = 256


async def _shielded(doing: Awaitable[T]) -> T:
    task = asyncio.ensure_future(doing)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # the caller is gone: nobody else will look at it
        raise


def path_of(segments: Segments) -> str:
    return "/" + "/".join(segments)


def _space(tx: Transaction, principal: Principal, space_id: Id | None) -> Space:
    if space_id is None:
        space = spaces.of_owner(tx, "personal", principal.user_id)
        return spaces.used_by(principal, space, SpaceNotFound(f"{principal.name!r} has no space of their own"))
    return spaces.used_by(principal, spaces.by_id(tx, space_id), SpaceNotFound("no such space"))


def _living(tx: Transaction, principal: Principal, node_id: Id) -> Source:
    """A node in a tree that the principal may know of."""
    both = spaces.node_and_space(tx, node_id)
    missing = NodeNotFound("no such file or directory")
    if both is None:
        raise missing
    node, space = both
    spaces.used_by(principal, space, missing)
    above = tree.above(tx, node_id)
    if above.top_id != space.root_id:
        raise missing
    return Source(space, node, above)


def _living_file(tx: Transaction, principal: Principal, node_id: Id) -> Source:
    source = _living(tx, principal, node_id)
    if source.node.is_directory:
        raise NodeNotFound(f'file "{source.path}" does not exist: it is a directory', path=source.path)
    return source


def _trashed(tx: Transaction, principal: Principal, node_id: Id) -> Space:
    both = spaces.node_and_space(tx, node_id)
    missing = NodeNotFound("no such file or directory in the trash")
    if both is None:
        raise missing
    return spaces.used_by(principal, both[1], missing)
