"""The face for what is there already: facts of nodes, moves, copies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from skep.base.errors import ContentsChanged, InvalidPath
from skep.base.ids import Id
from skep.chunks.manifest import Manifest
from skep.db import Transaction
from skep.filesystem import access, copies, editing, info, moves, quota, subtree, transfer, versions
from skep.filesystem.core import WRITE, Core
from skep.filesystem.moves import Source, Target
from skep.filesystem.names import Segments, join_path
from skep.filesystem.records import ALWAYS, Conditions, NodeInfo
from skep.filesystem.shares import Need
from skep.filesystem.spaces import Space

if TYPE_CHECKING:
    from skep.auth.records import Principal

T = TypeVar("T")
BETWEEN_ATTEMPTS_MAX = 3
"""Times that contents are written under another domain, when they change meanwhile."""


class Rearranging(Core):
    """What changes place or name."""

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
            space = access.living(tx, principal, node_id, "write").space
            editing.update(tx, self.books.of(principal), space, node_id, change, conditions, principal.user_id)
            source = moves.living(tx, space, node_id)
            return info.described(tx, space, source.node, source.path, principal.user_id)

        return await self._db.write(work)

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
            target = Target(space, segments, overwrite, replace_kind)
            moves.move(
                tx, self.books.of(principal), source.space, node_id, target, conditions, principal.user_id, manifests
            )
            now = moves.living(tx, space, node_id)
            return info.described(tx, space, now.node, now.path, principal.user_id)

        return await self._across(principal, node_id, target_space, work, "write", all_versions=True)

    async def copy(
        self,
        principal: Principal,
        node_id: Id,
        target_space: Id | None,
        target_path: str,
        *,
        overwrite: bool = False,
        replace_kind: bool = False,
        shallow: bool = False,
        conditions: Conditions = ALWAYS,
    ) -> NodeInfo:
        """Copy a node and all below it to a path; a file copied onto a file becomes a new version of it.

        Within a domain no bytes move. Attributes, dead properties and the principal's tags come along, older versions
        do not. ``shallow``: of a directory, itself alone.
        Raises what ``move`` raises.
        """
        principal.require(WRITE)
        segments = self._file_segments(target_path)
        await self._check_height(principal, node_id, segments)

        def work(tx: Transaction, source: Source, space: Space, manifests: Mapping[Id, Manifest] | None) -> NodeInfo:
            target = Target(space, segments, overwrite, replace_kind)
            made = copies.copy(
                tx,
                self.books.of(principal),
                source.space,
                node_id,
                target,
                conditions,
                principal.user_id,
                manifests,
                shallow=shallow,
            )
            return info.described(tx, space, made, join_path(segments), principal.user_id)

        return await self._across(principal, node_id, target_space, work, "read", all_versions=False)

    async def _check_height(self, principal: Principal, node_id: Id, segments: Segments) -> None:
        """Refuse to nest deeper than paths may be. A race can pass it by a little: it is a limit, not an invariant."""

        def work(tx: Transaction) -> int:
            source = access.living(tx, principal, node_id, "read")
            if not source.node.is_directory or len(segments) <= len(source.above.segments):
                return 1  # what is below comes to lie no deeper than it does now
            return subtree.height(tx, node_id, self.limits.depth_max)

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
        need: Need,
        *,
        all_versions: bool,
    ) -> T:
        """Run a move or copy; the principal needs ``need`` of the source, and to write at the target.

        Between domains the contents are written anew first, and again if they changed meanwhile.
        """

        def ends(tx: Transaction) -> tuple[Source, Space, list[versions.Version]]:
            source = access.living(tx, principal, node_id, need)
            space = access.space(tx, principal, target_space, "write")
            if source.space.domain_id == space.domain_id:
                return source, space, []
            return source, space, self._contents(tx, source, space, all_versions=all_versions)

        def commit(manifests: Mapping[Id, Manifest] | None) -> Callable[[Transaction], T]:
            return lambda tx: work(
                tx,
                access.living(tx, principal, node_id, need),
                access.space(tx, principal, target_space, "write"),
                manifests,
            )

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
                    self._scheme(space),
                )
                try:
                    return await self._commit(commit(manifests))
                except ContentsChanged:
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
