"""The face for what was: deleting, the trash, versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skep.base.errors import NodeNotFound
from skep.base.ids import Id
from skep.chunks.manifest import Manifest
from skep.db import Transaction
from skep.filesystem import access, copies, facts, info, moves, spaces, trash, trash_views, versions, views, writing
from skep.filesystem.core import READ, WRITE, Core
from skep.filesystem.records import ALWAYS, Conditions, NodeInfo, TrashInfo, VersionInfo, WriteResult

if TYPE_CHECKING:
    from skep.auth.records import Principal


PURGE_PAGE = 256
"""Entries of the trash looked at together."""


class Keeping(Core):
    """What goes, and what comes back."""

    async def delete(
        self, principal: Principal, node_id: Id, *, permanently: bool = False, conditions: Conditions = ALWAYS
    ) -> None:
        """Put a node, with all below it, into the trash; or delete it for good.

        Raises NodeNotFound, InvalidPath (the root), PreconditionFailed.
        """
        principal.require(WRITE)

        def work(tx: Transaction) -> Id:
            space = views.lock(tx, access.living(tx, principal, node_id, "write").space)
            if permanently:
                access.owned(space, "delete for good")
            source = moves.living(tx, space, node_id)
            moves.require(source, conditions)
            trash.put(
                tx, self.books.of(principal), space, source.node, source.above, principal.user_id, for_good=permanently
            )
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
        """What is in the trash of a space, the last deleted first; ``after`` is the last of the page before.

        Of a share: what was deleted from directories that are in it now. Raises SpaceNotFound, Forbidden.
        """
        principal.require(READ)
        count = self._count(limit)
        before = None if after is None else (after.deleted_us, after.node_id)

        def work(tx: Transaction) -> list[TrashInfo]:
            space = access.space(tx, principal, space_id, "read")
            if space.seen is not None:
                return trash_views.page(tx, space, before, count)
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
            space = views.lock(tx, access.trashed(tx, principal, node_id))
            trash.restore(tx, self.books.of(principal), space, node_id, target_path, principal.user_id)
            now = moves.living(tx, space, node_id)
            return info.described(tx, space, now.node, now.path, principal.user_id)

        return await self._commit(work)

    async def purge(self, principal: Principal, node_id: Id) -> None:
        """Delete a trashed node for good. Raises NodeNotFound."""
        principal.require(WRITE)

        def work(tx: Transaction) -> Id:
            space = spaces.lock(tx, access.owned(access.trashed(tx, principal, node_id), "empty the trash").id)
            trash.forget(tx, self.books.of(principal), space, node_id, principal.user_id)
            return space.id

        await self.purge_rest(await self._commit(work), node_id)

    async def empty_trash(self, principal: Principal, space_id: Id | None = None) -> int:
        """Delete for good all that is in the trash now; how many entries that were."""
        principal.require(WRITE)
        await self._db.read(lambda tx: access.owned(access.space(tx, principal, space_id, "write"), "empty the trash"))
        done = 0
        while entries := await self.trash(principal, space_id, PURGE_PAGE):
            for entry in entries:
                try:
                    await self.purge(principal, entry.node_id)
                    done += 1
                except NodeNotFound:
                    pass  # restored or purged by somebody else meanwhile
        return done

    async def versions(
        self, principal: Principal, node_id: Id, limit: int | None = None, before: int | None = None
    ) -> list[VersionInfo]:
        """Versions of a file, the newest first; ``before`` is the last number of the page before.

        Raises NodeNotFound.
        """
        principal.require(READ)
        count = self._count(limit)

        def work(tx: Transaction) -> list[VersionInfo]:
            node = access.living_file(tx, principal, node_id, "read").node
            rows = versions.page(tx, node_id, 1 << 62 if before is None else before, count)
            return [info.version_info(row, node.version_number) for row in rows]

        return await self._db.read(work)

    async def restore_version(
        self, principal: Principal, node_id: Id, number: int, *, conditions: Conditions = ALWAYS
    ) -> WriteResult:
        """Make the content of an old version the newest one. Raises NodeNotFound, VersionNotFound, QuotaExceeded."""
        principal.require(WRITE)

        def work(tx: Transaction) -> WriteResult:
            space = views.lock(tx, access.living_file(tx, principal, node_id, "write").space)
            source = moves.living(tx, space, node_id)
            moves.require(source, conditions)
            old = versions.of_file(tx, source.node, number)
            content = copies.content_of(old, Manifest.decode(old.manifest), facts.of(tx, old.id))
            item = writing.Incoming(source.above.segments, content, old.mime, old.modified_us, ALWAYS)
            return writing.put_file(tx, self.books.of(principal), space, principal.user_id, item, parents=False)

        return await self._commit(work)

    async def delete_version(self, principal: Principal, node_id: Id, number: int) -> None:
        """Let go of one old version. Raises NodeNotFound, VersionNotFound, InUse (it is the current one)."""
        principal.require(WRITE)

        def work(tx: Transaction) -> None:
            found = access.living_file(tx, principal, node_id, "write")
            space = spaces.lock(tx, access.owned(found.space, "delete versions").id)
            versions.drop(tx, self.books.of(principal), space, moves.living(tx, space, node_id).node, number)

        await self._commit(work)
